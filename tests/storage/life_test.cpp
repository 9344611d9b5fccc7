#include "storage/life.h"

#include <doctest/doctest.h>

namespace jade {

TEST_CASE("who has had a life remembers it, recorded or not") {
  std::vector<Life> lives{{7, 40}, {8, 0}, {9, 60}, {5, 0}};
  for (const Life& life : lives) CHECK(remembers(lives, life));
  // Its record may have reached others first.
  CHECK(remembers(lives, {8, 50}));
  CHECK(remembers(lives, {5, 99}));
  // Nothing is known of the node yet.
  CHECK(remembers(lives, {}));
  CHECK(remembers({}, {}));
}

TEST_CASE("a later life, and one of the same time, of another disk is not remembered") {
  std::vector<Life> lives{{7, 40}, {8, 0}, {9, 60}, {5, 0}};
  for (uint64_t version : {40, 41, 59, 60, 61, 1000}) CHECK(!remembers(lives, {1, version}));
  CHECK(!remembers({{8, 0}}, {1, 3}));
  CHECK(!remembers({}, {1, 3}));
}

TEST_CASE("of lives before the oldest recorded one a node is believed") {
  std::vector<Life> lives{{7, 40}, {9, 60}};
  CHECK(remembers(lives, {1, 39}));
  // What was not recorded says nothing of when it was.
  CHECK(!remembers({{8, 0}, {7, 40}}, {1, 40}));
}

}  // namespace jade
