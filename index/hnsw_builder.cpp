#include "index/hnsw_builder.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/cancel.h"
#include "index/hnsw_search.h"
#include "index/random.h"
#include "index/row_copies.h"

namespace jade {
namespace {

uint32_t random_levels(Random& random, const std::vector<double>& probabilities) {
  double left = random.unit();
  for (uint32_t i = 0; i < probabilities.size(); ++i) {
    if (left < probabilities[i]) return i + 1;
    left -= probabilities[i];
  }
  return static_cast<uint32_t>(probabilities.size());
}

// Of what is in the graph already, a batch is one part in so many: most rows then look for
// their neighbours in nearly the graph that they would find one by one.
constexpr size_t batch_share = 16;
// More would only be more to compare with each other.
constexpr size_t batch_rows_max = 256;
// What is looked for by products is found in less time than the nearest.
constexpr uint32_t product_ef_share = 2;
// Links back, by their target: each worker takes all of some.
constexpr size_t buckets = 64;

// How rows are compared with each other.
enum class Measure {
  distance,  // Euclidean, as in EuclideanRows
  product,   // as product_added() says
};

// Of two rows with this distance, which have these numbers for added().
float by_product(float distance, float a, float b) {
  return distance - l2_squared_added(a, b) + product_added(a, b);
}

// Rows in memory compared with one of them, as walks do it (index/hnsw_search.h).
class ExactPoints {
 public:
  explicit ExactPoints(const EuclideanRows& rows) : rows_(rows) {}

  void set_measure(Measure measure) { by_product_ = measure == Measure::product; }
  void set_query(uint32_t row) {
    query_ = row;
    values_ = rows_.row(row, query_memory_);
  }
  bool lengths_differ() const { return rows_.lengths_differ(); }
  float added(uint32_t row) const { return rows_.added(row); }
  void prefetch(uint32_t row) const { rows_.prefetch(row); }
  void distances(const uint32_t* rows, size_t count, float* out) const {
    for (size_t i = 0; i < count; ++i) {
      out[i] = rows_.l2_squared(values_, query_, rows_.row(rows[i], row_memory_), rows[i]);
      if (by_product_) out[i] = by_product(out[i], added(query_), added(rows[i]));
    }
  }

 private:
  const EuclideanRows& rows_;
  uint32_t query_ = 0;
  bool by_product_ = false;
  const float* values_ = nullptr;
  std::vector<float> query_memory_;
  mutable std::vector<float> row_memory_;
};

class CodedPoints {
 public:
  CodedPoints(const ScalarCodes& codes, bool lengths_differ)
      : codes_(codes), lengths_differ_(lengths_differ) {}

  void set_measure(Measure measure) { query_.by_product = measure == Measure::product; }
  void set_query(uint32_t row) { codes_.encode_row(row, query_); }
  bool lengths_differ() const { return lengths_differ_; }
  float added(uint32_t row) const { return codes_.added(row); }
  void prefetch(uint32_t row) const { codes_.prefetch(row); }
  void distances(const uint32_t* rows, size_t count, float* out) const {
    codes_.distances(query_, rows, count, out);
  }

 private:
  const ScalarCodes& codes_;
  bool lengths_differ_;
  EncodedQuery query_;
};

// `target` is to have a link to a row on this level, if it is worth it.
struct BackLink {
  uint32_t target;
  uint32_t level;
  Candidate to;
  friend auto operator<=>(const BackLink&, const BackLink&) = default;
};

// What one worker does, with memory of its own, on cache lines of its own.
template <class Points>
class alignas(64) Linker {
 public:
  Linker(HnswGraph& graph, const Points& points)
      : graph_(graph),
        from_row_(points),
        from_kept_(points),
        by_product_too_(points.lengths_differ()),
        back_links_(buckets) {}

  // Links `row` to neighbours in the graph and among `mates`, which are on at least as many
  // levels and may be without links. Writes none but the row's own, of which nobody knows yet.
  void link(uint32_t row, std::span<const uint32_t> mates) {
    from_row_.set_query(row);
    mate_distances_.resize(mates.size());
    from_row_.distances(mates.data(), mates.size(), mate_distances_.data());
    std::optional<Candidate> nearest, best;
    for (uint32_t level = graph_.levels(row); level-- > 0;) {
      find_near(level, graph_.ef_construction(), nearest);
      for (size_t i = 0; i < mates.size(); ++i) add_mate(Candidate(mate_distances_[i], mates[i]));
      near_.assign(memory_.beam.sorted().begin(), memory_.beam.sorted().end());
      if (by_product_too_) {
        from_row_.set_measure(Measure::product);
        find_near(level, graph_.ef_construction() / product_ef_share, best);
        for (size_t i = 0; i < mates.size(); ++i) {
          add_mate(Candidate(product(mate_distances_[i], row, mates[i]), mates[i]));
        }
        from_row_.set_measure(Measure::distance);
        add_to_near(memory_.beam.sorted());
      }
      link_on(row, level);
    }
  }

  std::vector<BackLink>& back_links(size_t bucket) { return back_links_[bucket]; }

  // Carries out links back, sorted, of which no other worker has some with the same target.
  void link_back(std::span<const BackLink> links) {
    for (size_t begin = 0, end; begin < links.size(); begin = end) {
      const BackLink& first = links[begin];
      end = begin + 1;
      while (end < links.size() && links[end].target == first.target &&
             links[end].level == first.level) {
        ++end;
      }
      if (end < links.size()) prefetch_others(links[end]);
      if (end + links_ahead < links.size()) prefetch(links[end + links_ahead]);
      link_back(first.target, first.level, links.subspan(begin, end - begin));
    }
  }

 private:
  // Links back to be carried out while that of one more is brought from memory.
  static constexpr size_t links_ahead = 4;

  float product(float distance, uint32_t a, uint32_t b) const {
    return by_product(distance, from_row_.added(a), from_row_.added(b));
  }

  // Up to `count` rows on this level that are near, by what is measured, to that which is to be
  // linked, in memory_.beam. `start`: the nearest on the level above; then that on this one.
  void find_near(uint32_t level, size_t count, std::optional<Candidate>& start) {
    if (graph_.entry_point < 0 || static_cast<int32_t>(level) > graph_.level_max) {
      memory_.beam.reset(count);
      return;
    }
    if (!start) start = descend(graph_, from_row_, static_cast<int32_t>(level), memory_);
    walk(graph_, from_row_, level, *start, count, SIZE_MAX, EveryRow(), memory_);
    // Anew: that in the beam is marked as walked on from.
    const Candidate& nearest = memory_.beam.sorted().front();
    start = Candidate(nearest.distance(), nearest.row());
  }

  // To what a walk found, if it is near enough.
  void add_mate(Candidate mate) {
    if (memory_.beam.wants(mate)) memory_.beam.insert(mate);
  }

  // With their distances.
  void add_to_near(std::span<const Candidate> found) {
    others_.clear();
    for (const Candidate& candidate : found) others_.push_back(candidate.row());
    distances_.resize(others_.size());
    from_row_.distances(others_.data(), others_.size(), distances_.data());
    // Anew: those of a walk are marked as walked on from.
    for (Candidate& candidate : near_) candidate = Candidate(candidate.distance(), candidate.row());
    for (size_t i = 0; i < others_.size(); ++i) near_.emplace_back(distances_[i], others_[i]);
    std::sort(near_.begin(), near_.end());
    near_.erase(std::unique(near_.begin(), near_.end()), near_.end());
  }

  // To those of near_ that are worth it.
  void link_on(uint32_t row, uint32_t level) {
    auto links = graph_.links(row, level);
    choose(row, links.size());
    for (size_t i = 0; i < near_.size(); ++i) {
      const uint32_t target = near_[i].row();
      links[i] = static_cast<int32_t>(target);
      back_links_[target % buckets].push_back({target, level, Candidate(near_[i].distance(), row)});
    }
  }

  void prefetch(const BackLink& next) const {
    if (next.level == 0) graph_.prefetch_links(next.target);
    from_kept_.prefetch(next.target);
  }
  // What the target has links to, as it is compared with those where there is no room for more.
  void prefetch_others(const BackLink& next) const {
    const auto links = std::as_const(graph_).links(next.target, next.level);
    if (links.back() < 0) return;
    for (int32_t link : links) from_kept_.prefetch(static_cast<uint32_t>(link));
  }

  void link_back(uint32_t from, uint32_t level, std::span<const BackLink> added) {
    auto links = graph_.links(from, level);
    auto free = std::find_if(links.begin(), links.end(), [](int32_t link) { return link < 0; });
    if (static_cast<size_t>(links.end() - free) >= added.size()) {
      for (const BackLink& link : added) *free++ = static_cast<int32_t>(link.to.row());
      return;
    }
    others_.assign(links.begin(), free);
    distances_.resize(others_.size());
    from_kept_.set_query(from);
    from_kept_.distances(others_.data(), others_.size(), distances_.data());
    near_.clear();
    for (const BackLink& link : added) near_.push_back(link.to);
    for (size_t i = 0; i < others_.size(); ++i) near_.emplace_back(distances_[i], others_[i]);
    std::sort(near_.begin(), near_.end());
    choose(from, links.size());
    for (size_t i = 0; i < links.size(); ++i) {
      links[i] = i < near_.size() ? static_cast<int32_t>(near_[i].row()) : -1;
    }
  }

  // Keeps of near_, which is in order, up to `count` rows for `row` to have links to. Where
  // products are looked at as well, half of them are the best of the others by product.
  void choose(uint32_t row, size_t count) {
    if (near_.size() < count) return;
    if (!by_product_too_) return select(row, near_, count);
    all_ = near_;
    select(row, near_, count / 2);
    best_.clear();
    std::set_difference(all_.begin(), all_.end(), near_.begin(), near_.end(),
                        std::back_inserter(best_));
    for (Candidate& candidate : best_) {
      const uint32_t other = candidate.row();
      candidate = Candidate(product(candidate.distance(), row, other), other);
    }
    std::sort(best_.begin(), best_.end());
    from_kept_.set_measure(Measure::product);
    select(row, best_, count - near_.size());
    from_kept_.set_measure(Measure::distance);
    for (const Candidate& candidate : all_) {
      const bool is_best = std::any_of(best_.begin(), best_.end(), [&](const Candidate& best) {
        return best.row() == candidate.row();
      });
      if (is_best) near_.push_back(candidate);
    }
  }

  // Keeps of `near`, in order, up to `count` that are nearer to `row`, which they are near to,
  // than to any kept before: the heuristic of the paper (algorithm 4). Each that is kept is
  // compared with all that are left at once.
  void select(uint32_t row, std::vector<Candidate>& near, size_t count) {
    if (near.size() < count) return;
    const bool mixed = mix_equal(row, near);
    size_t kept = 0;
    while (kept < near.size()) {
      ++kept;
      if (kept == count) break;
      others_.clear();
      for (size_t i = kept; i < near.size(); ++i) others_.push_back(near[i].row());
      distances_.resize(others_.size());
      from_kept_.set_query(near[kept - 1].row());
      from_kept_.distances(others_.data(), others_.size(), distances_.data());
      size_t left = kept;
      for (size_t i = kept; i < near.size(); ++i) {
        Candidate candidate = near[i];
        near[left] = candidate;
        left += distances_[i - kept] < candidate.distance() ? 0 : 1;
      }
      near.resize(left);
    }
    near.resize(kept);
    if (mixed) std::sort(near.begin(), near.end());
  }

  // Those that are equally near come in an order that is another for each row. In that of their
  // numbers all rows would have links to the same few, and none would lead to the others, where
  // many are equally far from each other. True: there were some.
  static bool mix_equal(uint32_t row, std::vector<Candidate>& near) {
    bool mixed = false;
    for (size_t begin = 0, end; begin < near.size(); begin = end) {
      end = begin + 1;
      while (end < near.size() && near[end].distance() == near[begin].distance()) ++end;
      if (end == begin + 1) continue;
      mixed = true;
      Random random(row);
      for (size_t i = end - begin - 1; i > 0; --i) {
        std::swap(near[begin + i], near[begin + random.below(i + 1)]);
      }
    }
    return mixed;
  }

  HnswGraph& graph_;
  Points from_row_, from_kept_;
  const bool by_product_too_;
  WalkMemory memory_;
  std::vector<float> mate_distances_;
  std::vector<Candidate> near_, all_, best_;
  std::vector<uint32_t> others_;
  std::vector<float> distances_;
  std::vector<std::vector<BackLink>> back_links_;  // by bucket
};

// Links rows batch by batch.
template <class Points>
class Builder {
 public:
  Builder(HnswGraph& graph, Points points, Workers* workers, const std::atomic<bool>* cancel)
      : graph_(graph), points_(std::move(points)), workers_(workers), cancel_(cancel) {
    // All of them before anybody looks at those of others. Most of the memory that one needs
    // comes with its first walk.
    for (uint32_t i = 0; i < count_of(workers); ++i) linkers_.emplace_back(graph_, points_);
  }

  // In this order, of levels that do not rise; `linked` others are in the graph already. False:
  // cancelled.
  bool link_all(std::span<const uint32_t> order, size_t linked) {
    while (!order.empty()) {
      size_t count = std::clamp<size_t>(linked / batch_share, 1, batch_rows_max);
      // What is above all others becomes the entry point, for those after it to come by.
      if (is_above(order.front())) count = 1;
      count = std::min(count, order.size());
      link_batch(order.first(count));
      if (cancelled()) return false;
      linked += count;
      order = order.subspan(count);
    }
    return true;
  }

 private:
  bool cancelled() const { return is_cancelled(cancel_); }
  bool is_above(uint32_t row) const {
    return static_cast<int32_t>(graph_.levels(row)) - 1 > graph_.level_max;
  }
  void link_batch(std::span<const uint32_t> batch) {
    run_ranges(workers_, batch.size(), 1, [&](uint32_t worker, size_t begin, size_t) {
      if (!cancelled()) linkers_[worker].link(batch[begin], batch.first(begin));
    });
    // Of few rows, by one.
    size_t step = batch.size() == 1 ? buckets : 1;
    run_ranges(workers_, buckets, step, [&](uint32_t worker, size_t begin, size_t end) {
      for (size_t bucket = begin; bucket < end && !cancelled(); ++bucket) link_back(worker, bucket);
    });
    if (is_above(batch.front())) {
      graph_.level_max = static_cast<int32_t>(graph_.levels(batch.front())) - 1;
      graph_.entry_point = static_cast<int32_t>(batch.front());
    }
  }

  // Which worker wished what is chance, so that they are put in order.
  void link_back(uint32_t worker, size_t bucket) {
    std::vector<BackLink> links;
    for (auto& linker : linkers_) {
      auto& wished = linker.back_links(bucket);
      links.insert(links.end(), wished.begin(), wished.end());
      wished.clear();
    }
    std::sort(links.begin(), links.end());
    linkers_[worker].link_back(links);
  }

  HnswGraph& graph_;
  const Points points_;
  Workers* workers_;
  const std::atomic<bool>* cancel_;
  std::vector<Linker<Points>> linkers_;  // by worker
};

template <class Points>
bool link_all(HnswGraph& graph, std::span<const uint32_t> order, size_t linked, Points points,
              Workers* workers, const std::atomic<bool>* cancel) {
  return Builder<Points>(graph, std::move(points), workers, cancel).link_all(order, linked);
}

void append_bytes(std::string& out, float value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Steps 1, b, b², ... by which a ring of `count` is gone round: at most `steps_max` of them, with
// the least b of which so many reach every place.
std::vector<size_t> ring_steps(size_t count, size_t steps_max) {
  std::vector<size_t> out;
  for (size_t base = 2; out.empty(); ++base) {
    for (size_t step = 1; step < count; step *= base) out.push_back(step);
    if (out.size() > steps_max) out.clear();
    if (count == 1) break;
  }
  return out;
}

// By what rows are compared.
std::string_view compared_bytes(const EuclideanRows& rows, const ScalarCodes* codes, uint32_t row,
                                std::string& memory) {
  if (codes != nullptr) {
    auto code = codes->code(row);
    memory.assign(code.begin(), code.end());
    if (rows.has_added()) append_bytes(memory, codes->added(row));
    return memory;
  }
  std::vector<float> values;
  const float* from = rows.row(row, values);
  memory.assign(reinterpret_cast<const char*>(from), rows.dimension() * sizeof(float));
  if (rows.has_added()) append_bytes(memory, rows.added(row));
  return memory;
}

// Links rows from `linked` on that are equal to `same.first`, which is in the graph, and have no
// links yet. They stand in a ring, in which each leads to a few at growing distances, so that all
// are soon found whatever a filter leaves out; one that has been found before leads to it. All of
// them are on level 0 only.
void link_copies(HnswGraph& graph, const RowCopies& same, uint32_t linked) {
  const auto first_new = std::lower_bound(same.copies.begin(), same.copies.end(), linked);
  const std::span<const uint32_t> ring(first_new, same.copies.end());
  if (ring.empty()) return;
  // An older copy has room, where there is one; else one of the longest links makes it, not
  // always the last, lest all rows that are equally far give up the same one.
  uint32_t host = same.first;
  for (auto old = same.copies.begin(); old != first_new; ++old) {
    if (graph.links(*old, 0).back() < 0) host = *old;
  }
  auto of_host = graph.links(host, 0);
  auto free = std::find_if(of_host.begin(), of_host.end(), [](int32_t link) { return link < 0; });
  if (free == of_host.end()) {
    free -= 1 + static_cast<ptrdiff_t>(Random(host).below((of_host.size() + 3) / 4));
  }
  *free = static_cast<int32_t>(ring.front());
  const auto steps = ring_steps(ring.size(), of_host.size() - 1);
  for (size_t i = 0; i < ring.size(); ++i) {
    auto links = graph.links(ring[i], 0);
    size_t next = 0;
    links[next++] = static_cast<int32_t>(same.first);
    for (size_t step : steps) {
      links[next++] = static_cast<int32_t>(ring[(i + step) % ring.size()]);
    }
  }
}

}  // namespace

bool add_rows(HnswGraph& graph, const EuclideanRows& rows, const ScalarCodes* codes, uint64_t seed,
              Workers* workers, const std::atomic<bool>* cancel) {
  uint32_t old = graph.rows(), n = rows.rows();
  if (n <= old) return true;
  JADE_ASSERT(n <= static_cast<uint32_t>(INT32_MAX));
  const auto equal = find_copies(n, workers, cancel, [&](uint32_t row, std::string& memory) {
    return compared_bytes(rows, codes, row, memory);
  });
  std::vector<bool> is_copy(n - old);
  for (const RowCopies& same : equal) {
    for (uint32_t row : same.copies) {
      if (row >= old) is_copy[row - old] = true;
    }
  }
  Random random(seed ^ old);
  const auto probabilities = level_probabilities(graph.m());
  graph.reserve(n);
  for (uint32_t i = old; i < n; ++i) {
    const uint32_t levels = random_levels(random, probabilities);
    graph.add_row(is_copy[i - old] ? 1 : levels);
  }

  // Highest levels first: later rows find the long links ready. Otherwise shuffled, as
  // rows often come in clusters.
  std::vector<uint32_t> order(n - old);
  std::iota(order.begin(), order.end(), old);
  for (size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return graph.levels(a) > graph.levels(b); });
  std::erase_if(order, [&](uint32_t row) { return is_copy[row - old]; });
  bool done =
      codes != nullptr
          ? link_all(graph, order, old, CodedPoints(*codes, rows.lengths_differ()), workers, cancel)
          : link_all(graph, order, old, ExactPoints(rows), workers, cancel);
  if (!done || is_cancelled(cancel)) return false;
  for (const RowCopies& same : equal) link_copies(graph, same, old);
  return true;
}

}  // namespace jade
