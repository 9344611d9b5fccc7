// The walk over a graph (index/hnsw_graph.h) to the neighbours of a query.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "index/hnsw_graph.h"
#include "index/kernels.h"
#include "index/row_codes.h"
#include "index/stopper.h"

namespace jade {

// A distance and a row (below 2^31) as one number that orders by distance, then row.
class Candidate {
 public:
  Candidate() = default;
  Candidate(float distance, uint32_t row)
      : bits_(uint64_t{ordered(distance)} << 32 | uint64_t{row} << 1) {}

  float distance() const {
    auto high = static_cast<uint32_t>(bits_ >> 32);
    return std::bit_cast<float>(high >> 31 != 0 ? high ^ 0x80000000u : ~high);
  }
  uint32_t row() const { return static_cast<uint32_t>(bits_) >> 1; }
  // A mark; the order of different candidates is the same with it.
  bool taken() const { return (bits_ & 1) != 0; }
  void take() { bits_ |= 1; }
  friend auto operator<=>(const Candidate&, const Candidate&) = default;

 private:
  friend class Beam;
  // Floats order as integers do but for the sign.
  static uint32_t ordered(float value) {
    auto bits = std::bit_cast<uint32_t>(value + 0.0f);  // one zero only
    return bits ^ (-(bits >> 31) | 0x80000000u);
  }
  uint64_t bits_ = 0;
};
static_assert(sizeof(Candidate) == sizeof(uint64_t), "Beam sorts them as numbers");

// The nearest candidates, best first, up to a number, and which were taken to walk on
// from. One sorted array, as in NSG (Fu et al., "Fast approximate nearest neighbor
// search with the navigating spreading-out graph", 2019): faster than heaps.
class Beam {
 public:
  void reset(size_t width) {
    width_ = width;
    size_ = 0;
    next_ = 0;
    limit_ = std::numeric_limits<float>::infinity();
    // One more than it holds, so that what falls out has a place.
    if (sorted_.size() <= width) sorted_.resize(width + 1);
  }
  bool full() const { return size_ >= width_; }
  // It wants nothing farther away.
  float limit() const { return limit_; }
  bool wants(Candidate candidate) const { return !full() || candidate < sorted_[size_ - 1]; }
  // Only what it wants. Nothing where it is there already.
  void insert(Candidate candidate) {
    size_t place = insert_(&sorted_.data()->bits_, size_, candidate.bits_);
    if (place < size_ && sorted_[place + 1].bits_ >> 1 == candidate.bits_ >> 1) {
      std::copy(&sorted_[place + 1], &sorted_[size_] + 1, &sorted_[place]);
      return;
    }
    size_ += full() ? 0 : 1;
    next_ = std::min(next_, place);
    if (full()) limit_ = sorted_[size_ - 1].distance();
  }
  // The nearest that was not taken; null when all were.
  const Candidate* next() {
    while (next_ < size_ && sorted_[next_].taken()) ++next_;
    return next_ < size_ ? &sorted_[next_] : nullptr;
  }
  void take_next() { sorted_[next_++].take(); }
  std::span<const Candidate> sorted() const { return {sorted_.data(), size_}; }

 private:
  decltype(Kernels::insert_sorted) insert_ = kernels().insert_sorted;
  size_t width_ = 0;
  size_t size_ = 0;
  size_t next_ = 0;  // all before it were taken
  float limit_ = std::numeric_limits<float>::infinity();
  std::vector<Candidate> sorted_;
};

// Memory that the searches of one thread use again and again.
class WalkMemory {
 public:
  static WalkMemory& of_this_thread();

  // Forgets which of n rows were visited.
  void reset(size_t n);
  // As that, for walks with a beam so wide that use visit_recent() only. False, and nothing,
  // where that would not save memory that is touched.
  bool reset_recent(size_t n, size_t width);
  // True at the first visit.
  bool visit(uint32_t row) { return std::exchange(epochs_[row], epoch_) != epoch_; }
  // As visit() where `wanted`; else nothing, and false. Without a branch.
  bool visit_if(bool wanted, uint32_t row) {
    uint16_t& epoch = epochs_[row];
    const bool first = wanted & (epoch != epoch_);
    epoch = first ? epoch_ : epoch;
    return first;
  }
  // Puts those of `links`, up to the first that is negative, that had not been visited into
  // `fresh`, and returns how many.
  size_t visit_linked(std::span<const int32_t> links) {
    if (fresh.size() < links.size()) fresh.resize(links.size());
    uint32_t* const out = fresh.data();
    uint16_t* const epochs = epochs_.data();
    const uint16_t epoch = epoch_;
    size_t count = 0;
    for (int32_t link : links) {
      if (link < 0) break;
      // About half were visited: a branch could not be foreseen.
      out[count] = static_cast<uint32_t>(link);
      count += std::exchange(epochs[link], epoch) != epoch ? 1 : 0;
    }
    return count;
  }
  // As visit(), but true also at another visit, where others have taken its place meanwhile.
  bool visit_recent(uint32_t row) {
    const bool first = std::exchange(recent_[place_of(row)], row) != row;
    recent_visits_ += first ? 1 : 0;
    return first;
  }
  // As visit_linked(), by visit_recent().
  size_t visit_linked_recent(std::span<const int32_t> links) {
    if (fresh.size() < links.size()) fresh.resize(links.size());
    uint32_t* const out = fresh.data();
    uint32_t* const recent = recent_.data();
    size_t count = 0;
    for (int32_t link : links) {
      if (link < 0) break;
      const auto row = static_cast<uint32_t>(link);
      out[count] = row;
      count += std::exchange(recent[place_of(row)], row) != row ? 1 : 0;
    }
    recent_visits_ += count;
    return count;
  }
  // How many rows were visited, one again where it was said to be new again. Looks at all rows.
  size_t visited() const {
    if (recent_visits_ > 0) return recent_visits_;
    return static_cast<size_t>(std::count(epochs_.begin(), epochs_.end(), epoch_));
  }

  Beam beam;
  Beam found;                     // of NearMatches
  std::vector<Candidate> passed;  // a heap, the nearest on top
  std::vector<uint32_t> fresh;
  std::vector<uint32_t> between;  // of walk_matching()
  std::vector<float> distances;
  EncodedQuery query;

 private:
  // Fibonacci hashing: Knuth, "The art of computer programming", volume 3, 6.4.
  size_t place_of(uint32_t row) const { return (row * 0x9E3779B1u) >> recent_shift_; }

  std::vector<uint16_t> epochs_;
  uint16_t epoch_ = 0;
  std::vector<uint32_t> recent_;  // the latest row of each place
  uint32_t recent_shift_ = 0;     // from a hash to its place
  size_t recent_visits_ = 0;
};

// What a walk compares rows with: one query, and rows by their values, in memory.
class ExactRows {
 public:
  // `vectors`: as distance.format() says; `scales`: of each of them, null where all are 1.
  // All outlive this.
  ExactRows(const char* vectors, const float* scales, const RowDistance& distance)
      : vectors_(vectors),
        scales_(scales),
        distance_(distance),
        row_bytes_(distance.format().row_bytes()) {}

  void prefetch(uint32_t row) const {
    prefetch_row(vectors_ + row * row_bytes_, row_bytes_);
    if (scales_ != nullptr) __builtin_prefetch(scales_ + row);
  }
  float error(float) const { return 0; }
  void distances(const uint32_t* rows, size_t count, float* out) const {
    for (size_t i = 0; i < count; ++i) {
      out[i] =
          distance_(vectors_ + rows[i] * row_bytes_, scales_ == nullptr ? 1.0f : scales_[rows[i]]);
    }
  }

 private:
  const char* vectors_;
  const float* scales_;
  const RowDistance& distance_;
  size_t row_bytes_;
};

// The same, and rows by their codes.
class CodedRows {
 public:
  CodedRows(const RowCodes& codes, const EncodedQuery& query) : codes_(codes), query_(query) {}

  void prefetch(uint32_t row) const { codes_.prefetch(row); }
  float error(float distance) const { return codes_.error(query_, distance); }
  void distances(const uint32_t* rows, size_t count, float* out) const {
    codes_.distances(query_, rows, count, out);
  }

 private:
  const RowCodes& codes_;
  const EncodedQuery& query_;
};

// As far as a walk goes: to the end of its beam.
struct Unbounded {
  float operator()(const Beam&) const { return std::numeric_limits<float>::infinity(); }
  void met(Candidate) const {}
};

// How many times as far as the k-th nearest, squared, a walk looks at most.
inline constexpr double walk_stretch_max = 1e6;

// Or less far: while the next row is at most so many times as far as the k-th nearest that was
// found. So a walk takes longer where near rows are many, and is over soon where they are few:
// Al-Jazzazi, Diwan, Gou, Musco, Musco and Suel, "Distance adaptive beam search for provably
// accurate graph-based nearest neighbor search", 2025. `Rows`: ExactRows or CodedRows.
template <class Rows>
class Horizon {
 public:
  // `nearest`: the k above, 1 and more. `stretch`: how many times as far, squared, 1 and more.
  Horizon(const Rows& rows, size_t nearest, float stretch)
      : rows_(rows), nearest_(nearest), stretch_(stretch) {}

  // What is farther away than this is not looked for.
  float operator()(const Beam& beam) const {
    auto found = beam.sorted();
    if (found.size() < nearest_) return std::numeric_limits<float>::infinity();
    return reach(rows_, found[nearest_ - 1].distance(), stretch_);
  }
  static float reach(const Rows& rows, float distance, float stretch) {
    // What is not farther but for the error of what is compared is not left out.
    return std::max(std::max(distance, 0.0f) * stretch, distance + rows.error(distance));
  }
  void met(Candidate) const {}

 private:
  const Rows& rows_;
  const size_t nearest_;
  const float stretch_;
};

// What a walk accepts that looks for any rows.
struct EveryRow {
  bool operator()(uint32_t) const { return true; }
};

// From the entry point through the levels above `level` to a row near the query. The
// graph is not empty. `Rows`: ExactRows or CodedRows.
template <class Rows>
Candidate descend(const HnswGraph& graph, const Rows& rows, int32_t level, WalkMemory& memory);

// Walks on `level` from `start` towards the query and collects up to `width` rows for
// which accept(row), called once for a row, is true, in memory.beam; others are walked
// through. Ends when no nearer rows are in sight. False when more than `visits_max` rows
// were compared before that, or `stop` (null: never) said so: what was collected may then
// be far from best. `bound`: Unbounded, or what may end it earlier: bound(beam) says of each step
// what is too far to be looked at, and bound.met(candidate) is told of each row that is not.
//
// Accepting EveryRow, it may compare a row again: in a large graph it remembers only the
// latest rows that it came to, in few bytes that stay near the processor. What it collects
// is the same, as a row that fell out of the beam is not wanted again.
template <class Rows, class Accept, class Bound = Unbounded>
bool walk(const HnswGraph& graph, const Rows& rows, uint32_t level, Candidate start, size_t width,
          size_t visits_max, Accept accept, WalkMemory& memory, Stopper* stop = nullptr,
          Bound&& bound = Bound());

// How far a walk goes before it asks whether to go on.
class Pace {
 public:
  Pace(size_t visits_max, Stopper* stop) : visits_max_(visits_max), stop_(stop) { pause(0); }

  // Whether to end after so many visits. One comparison, where there is a `stop` or not.
  bool ends(size_t visits) { return visits > pause_ && !goes_on(visits); }

 private:
  void pause(size_t visits) {
    bool far = stop_ == nullptr || visits_max_ - visits <= Stopper::interval;
    pause_ = far ? visits_max_ : visits + Stopper::interval;
  }
  bool goes_on(size_t visits) {
    if (visits > visits_max_ || stop_->check()) return false;
    pause(visits);
    return true;
  }

  size_t visits_max_;
  Stopper* stop_;
  size_t pause_ = 0;
};

// Implementation.

template <class Rows>
Candidate descend(const HnswGraph& graph, const Rows& rows, int32_t level, WalkMemory& memory) {
  auto entry = static_cast<uint32_t>(graph.entry_point);
  float d;
  rows.distances(&entry, 1, &d);
  Candidate best(d, entry);
  auto& near = memory.fresh;
  for (int32_t at = graph.level_max; at > level; --at) {
    for (bool moved = true; moved;) {
      moved = false;
      near.clear();
      for (int32_t row : graph.links(best.row(), static_cast<uint32_t>(at))) {
        if (row < 0) break;
        near.push_back(static_cast<uint32_t>(row));
        rows.prefetch(near.back());
      }
      memory.distances.resize(near.size());
      rows.distances(near.data(), near.size(), memory.distances.data());
      for (size_t i = 0; i < near.size(); ++i) {
        Candidate next(memory.distances[i], near[i]);
        if (!(next < best)) continue;
        best = next;
        moved = true;
      }
    }
  }
  return best;
}

template <class Rows, class Accept, class Bound>
bool walk(const HnswGraph& graph, const Rows& rows, uint32_t level, Candidate start, size_t width,
          size_t visits_max, Accept accept, WalkMemory& memory, Stopper* stop, Bound&& bound) {
  Beam& beam = memory.beam;
  auto& passed = memory.passed;
  auto& fresh = memory.fresh;
  beam.reset(width);
  passed.clear();
  // Rows that are walked through are in no beam, and would be walked through for ever.
  const bool recent = std::is_same_v<Accept, EveryRow> && memory.reset_recent(graph.rows(), width);
  if (!recent) memory.reset(graph.rows());

  auto reach = [&](Candidate candidate) {
    if (!beam.wants(candidate)) return;
    if (accept(candidate.row())) return beam.insert(candidate);
    passed.push_back(candidate);
    std::push_heap(passed.begin(), passed.end(), std::greater<>());
  };

  recent ? memory.visit_recent(start.row()) : memory.visit(start.row());
  bound.met(start);
  reach(start);
  Pace pace(visits_max, stop);
  for (size_t visits = 1;;) {
    const Candidate* next = beam.next();
    Candidate nearest;
    if (!passed.empty() && (next == nullptr || passed.front() < *next)) {
      nearest = passed.front();
      if (!beam.wants(nearest)) return true;
      std::pop_heap(passed.begin(), passed.end(), std::greater<>());
      passed.pop_back();
    } else if (next != nullptr) {
      nearest = *next;
      beam.take_next();
    } else {
      return true;
    }
    // It only comes nearer.
    const float reach_max = bound(beam);
    if (nearest.distance() > reach_max) return true;
    if (pace.ends(visits)) return false;
    auto links = graph.links(nearest.row(), level);
    const size_t count = recent ? memory.visit_linked_recent(links) : memory.visit_linked(links);
    for (size_t i = 0; i < count; ++i) rows.prefetch(fresh[i]);
    // The row that is likely next.
    if (const Candidate* likely = beam.next()) graph.prefetch_links(likely->row());
    visits += count;
    memory.distances.resize(links.size());
    rows.distances(fresh.data(), count, memory.distances.data());
    for (size_t i = 0; i < count; ++i) {
      if (memory.distances[i] > std::min(reach_max, beam.limit())) continue;
      const Candidate candidate(memory.distances[i], fresh[i]);
      bound.met(candidate);
      reach(candidate);
    }
  }
}

}  // namespace jade
