// What a search of one segment for one query is made of, whatever the kind of the segment: for
// index/sealed_search.h and index/growing_search.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "index/hnsw_search.h"
#include "index/matches.h"
#include "index/row_format.h"
#include "index/scoring.h"
#include "index/shard_view.h"

namespace jade {

// Rows that a scan compares at once, so that memory is not waited for.
inline constexpr size_t rows_at_once = 16;

// The best k hits of all segments, in the order of what is shown: equal scores by id.
class Nearest {
 public:
  Nearest(std::span<const SegmentView> views, size_t k)
      : views_(views),
        k_(k),
        metric_(views.empty() ? Metric::dot : views.front().segment->metric()) {}

  // Whether a row at this distance could still be among them: asked before the
  // filter, which costs more than a distance.
  bool wants(float distance) const { return heap_.size() < k_ || distance <= limit_; }
  // No row that is farther away can be among k; nothing while there are fewer.
  std::optional<float> worst() const {
    if (heap_.size() < k_) return std::nullopt;
    return limit_;
  }
  void push(Hit hit) {
    hit.distance = shown_distance(metric_, hit.distance);
    auto order = [this](const Hit& a, const Hit& b) { return better(a, b); };
    if (heap_.size() < k_) {
      heap_.push_back(hit);
    } else if (better(hit, heap_.front())) {
      std::pop_heap(heap_.begin(), heap_.end(), order);
      heap_.back() = hit;
    } else {
      return;
    }
    std::push_heap(heap_.begin(), heap_.end(), order);
    // At least the greatest distance that shows the same score.
    const float worst = heap_.front().distance;
    limit_ =
        metric_ == Metric::l2 ? worst * (1 + 4 * std::numeric_limits<float>::epsilon()) : worst;
  }
  std::vector<Hit> take_sorted() {
    std::sort_heap(heap_.begin(), heap_.end(),
                   [this](const Hit& a, const Hit& b) { return better(a, b); });
    return std::move(heap_);
  }

 private:
  bool better(const Hit& a, const Hit& b) const {
    if (a.distance != b.distance) return a.distance < b.distance;
    std::string_view id_a = views_[a.segment].segment->id_view(a.offset);
    std::string_view id_b = views_[b.segment].segment->id_view(b.offset);
    if (id_a != id_b) return id_a < id_b;
    return std::pair(a.segment, a.offset) < std::pair(b.segment, b.offset);
  }

  std::span<const SegmentView> views_;
  size_t k_;
  Metric metric_;
  float limit_ = 0;
  std::vector<Hit> heap_;  // the worst on top
};

// One query, and the best for it so far.
struct QuerySearch {
  QuerySearch(const RowFormat& format, std::span<const float> query,
              std::span<const SegmentView> views, size_t k)
      : unit(unit_of(format, query)),
        distance(format, unit.empty() ? query.data() : unit.data()),
        nearest(views, k) {}

  // Normalised, under cosine; else empty.
  static std::vector<float> unit_of(const RowFormat& format, std::span<const float> query) {
    if (format.metric() != Metric::cosine) return {};
    std::vector<float> out(query.begin(), query.end());
    normalise(out.data(), out.size());
    return out;
  }

  std::vector<float> unit;
  RowDistance distance;
  Nearest nearest;
};

// Adds how long it lives to a total; nothing without a clock.
class Stage {
 public:
  Stage(const SearchOptions& options, uint64_t& total_ns)
      : clock_(options.clock_ns),
        total_ns_(total_ns),
        start_(clock_ != nullptr ? (*clock_)() : 0) {}
  ~Stage() {
    if (clock_ != nullptr) total_ns_ += (*clock_)() - start_;
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

 private:
  const std::function<uint64_t()>* clock_;
  uint64_t& total_ns_;
  uint64_t start_;
};

// One search in one segment, and what was done in it.
class SegmentQuery {
 public:
  // All must outlive it. `part`: of the rows of all segments, the share that is in this one.
  // `matches`: what the filter leaves; null where there is none, or where nobody knows.
  SegmentQuery(const SegmentView& view, uint32_t position, const RowDistance& distance,
               const SearchOptions& options, double part, Nearest& nearest, const Matches* matches)
      : view_(view),
        position_(position),
        distance_(distance),
        options_(options),
        part_(part),
        nearest_(nearest),
        matches_(matches) {}

  const SegmentExplanation& done() const { return done_; }

 protected:
  // False where there is nothing to be found.
  bool begin() {
    done_.segment = view_.id;
    done_.kind = view_.segment->kind();
    done_.rows = view_.visible;
    done_.live = view_.live();
    done_.matching = matches_ != nullptr ? matches_->count() : view_.live();
    done_.matching_exact = matches_ != nullptr ? matches_->exact() : options_.filter == nullptr;
    return view_.visible > 0 && (done_.matching > 0 || !done_.matching_exact);
  }
  // search(), and what it reads to find out what matches.
  template <class Search>
  void counting_reads(Search search) {
    const uint64_t before = matches_ != nullptr ? matches_->metadata_read() : 0;
    search();
    if (matches_ != nullptr) done_.metadata_read = matches_->metadata_read() - before;
  }

  void plan(SegmentPlan plan) {
    if (done_.plan == SegmentPlan::none) done_.plan = plan;
  }

  bool stopped() const { return options_.stop != nullptr && options_.stop->stopped(); }
  bool stopped_after(uint64_t rows) {
    return options_.stop != nullptr && options_.stop->after(rows);
  }

  // The row of this segment that is as if it were not there.
  std::optional<uint32_t> left_out() const {
    if (!options_.left_out || options_.left_out->first != position_) return std::nullopt;
    return options_.left_out->second;
  }
  bool is_there(uint32_t row) const { return !view_.is_dead(row) && row != left_out(); }
  // Of the effort that one segment with all rows would take. What is looked for is rarely in a
  // small one, and is found there with less; together they find as much as that would.
  double effort_share() const { return std::pow(part_, 0.25); }

  // How many rows are there to be found, at most.
  uint64_t wanted() const {
    uint64_t most = done_.matching_exact ? done_.matching : view_.live();
    return left_out() && most > 0 ? most - 1 : most;
  }

  // visit(row) of all from `begin` on that may match, in order, while it is true.
  template <class Visit>
  void visit_candidates(uint32_t begin, Visit visit) const {
    if (matches_ != nullptr) {
      return matches_->widest().visit_while(
          begin, [&](size_t row) { return visit(static_cast<uint32_t>(row)); });
    }
    for (uint32_t row = begin; row < view_.visible; ++row) {
      if (is_there(row) && !visit(row)) return;
    }
  }
  // Whether one of these does match.
  bool check(uint32_t row) {
    if (matches_ != nullptr) return matches_->check(row);
    if (options_.filter == nullptr) return true;
    ++done_.metadata_read;
    return options_.filter->matches(view_.segment->metadata(row));
  }
  // compared(candidate) with each of these. Counts them in `computed`.
  template <class Rows, class Compared>
  void compare_candidates(const Rows& rows, uint32_t begin, uint64_t& computed, Compared compared) {
    // Some are on their way from memory while those before them are compared.
    struct Batch {
      uint32_t rows[rows_at_once] = {};
      size_t count = 0;
    } fetched, fetching;
    auto flush = [&](Batch& batch) {
      float distances[rows_at_once];
      rows.distances(batch.rows, batch.count, distances);
      for (size_t i = 0; i < batch.count; ++i) {
        compared(Candidate(distances[i], batch.rows[i]));
      }
      computed += batch.count;
      done_.rows_visited += batch.count;
      batch.count = 0;
    };
    visit_candidates(begin, [&](uint32_t row) {
      rows.prefetch(row);
      fetching.rows[fetching.count++] = row;
      if (fetching.count < rows_at_once) return true;
      flush(fetched);
      std::swap(fetched, fetching);
      return !stopped_after(rows_at_once);
    });
    flush(fetched);
    flush(fetching);
  }

  void push(Candidate found) {
    if (nearest_.wants(found.distance())) nearest_.push({found.distance(), position_, found.row()});
  }

  const SegmentView& view_;
  uint32_t position_;
  const RowDistance& distance_;
  const SearchOptions& options_;
  double part_;
  Nearest& nearest_;
  const Matches* matches_;
  SegmentExplanation done_;
};

}  // namespace jade
