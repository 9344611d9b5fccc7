// The lives of a node: each of its starts is one, with a number drawn at random, so
// that a data directory that is put back from a copy can be told from one that went on.
// A node knows its lives by its own disk, and the cluster the one that its catalog
// recorded last. Who does not remember that one has an older copy: its disk was
// elsewhere meanwhile, and what it promised there is forgotten.
//
// A counter would not do: the copy counts on as the directory did that it was made of.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace jade {

struct Life {
  uint64_t id = 0;       // drawn; 0: none
  uint64_t version = 0;  // index of the entry in the metadata log that recorded it; 0: none yet

  friend bool operator==(const Life&, const Life&) = default;
};

// As many of each sort are remembered: recorded ones, and ones that are not. A start
// that nobody hears of leaves one of the latter.
constexpr size_t lives_max = 64;

// Whether a node with these lives, oldest first, is the one that had the life `known`.
// Of lives before the oldest that was recorded it is believed.
inline bool remembers(const std::vector<Life>& lives, const Life& known) {
  if (known.id == 0) return true;
  auto is_known = [&](const Life& life) { return life.id == known.id; };
  if (std::any_of(lives.begin(), lives.end(), is_known)) return true;
  auto recorded =
      std::find_if(lives.begin(), lives.end(), [](const Life& life) { return life.version != 0; });
  return recorded != lives.end() && known.version < recorded->version;
}

}  // namespace jade
