#include "index/calibration.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>

#include "index/hnsw_graph.h"
#include "index/ivf.h"
#include "index/scoring.h"
#include "index/sealed_segment.h"
#include "index/top_k.h"

namespace jade {
namespace {

// What is measured for one of them holds for those between it and the one before: of more
// neighbours, fewer are found with the same effort.
constexpr uint32_t measured_k[] = {1, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000};
constexpr uint32_t efforts[] = {1,   2,   4,   8,   12,  16,  24,   32,   48,   64,   96,
                                128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096};
// Neighbours to be found altogether, and queries: a share of them has some accuracy.
constexpr uint32_t sampled_neighbours = 2000;
constexpr uint32_t sampled_queries_min = 50;
constexpr uint32_t sampled_queries_max = 250;
// From here on a wider beam finds nothing more to speak of.
constexpr double nearly_all = 0.9995;
// Rows that may die, as a share, before what was measured counts no more.
constexpr double stale_share = 0.1;
// How many standard errors `least` is below the mean: one in twenty samples is farther off.
constexpr double standard_errors = 1.645;

uint32_t measured_for(uint32_t k) {
  auto found = std::lower_bound(std::begin(measured_k), std::end(measured_k), k);
  return found == std::end(measured_k) ? *std::rbegin(measured_k) : *found;
}

const SealedSegment* as_indexed(const SegmentView& view) {
  const auto* sealed = dynamic_cast<const SealedSegment*>(view.segment.get());
  return sealed != nullptr && sealed->kind() != IndexKind::flat ? sealed : nullptr;
}

bool is_stale(const Calibration& calibration, const SegmentView& view) {
  auto died = static_cast<double>(view.dead_count) - static_cast<double>(calibration.dead_count);
  return died > stale_share * view.visible;
}

class Measurement {
 public:
  Measurement(const SegmentView& view, const SealedSegment& segment, uint32_t k, Stopper* stop,
              Workers* workers)
      : view_(view), segment_(segment), k_(k), stop_(stop), workers_(workers) {}

  // Nothing where it was stopped.
  Result<std::optional<Calibration::Curve>> run() {
    JADE_RETURN_IF_ERROR(take_sample());
    JADE_RETURN_IF_ERROR(find_neighbours());
    Calibration::Curve curve{k_, {}};
    for (uint32_t effort : efforts) {
      // A beam is as wide as k asks for anyhow.
      if (segment_.graph() != nullptr && effort < std::min(k_, efforts[std::size(efforts) - 1])) {
        continue;
      }
      if (segment_.lists() != nullptr && effort > segment_.lists()->lists()) break;
      auto point = measure(effort);
      if (!point.ok()) return point.status();
      if (stopped()) break;
      curve.points.push_back(*point);
      if (point->least >= nearly_all) break;
    }
    if (stopped()) return std::optional<Calibration::Curve>();
    return std::optional(std::move(curve));
  }

 private:
  bool stopped() const { return stop_ != nullptr && stop_->stopped(); }
  // The calling thread asks, and tells the others.
  bool stopped_now() {
    if (stop_ != nullptr && stop_->check()) over_ = true;
    return over_;
  }
  bool may_be_sampled(uint32_t row) const {
    // Those above the lowest level lead walks from afar, which no client's query does.
    return !view_.is_dead(row) &&
           (segment_.graph() == nullptr || segment_.graph()->levels(row) == 1);
  }
  // Evenly spaced, so that the same segment gives the same sample.
  Status take_sample() {
    uint64_t rows = 0;
    for (uint32_t row = 0; row < view_.visible; ++row) rows += may_be_sampled(row) ? 1 : 0;
    const auto wanted = std::min<uint64_t>(
        std::clamp(sampled_neighbours / k_, sampled_queries_min, sampled_queries_max), rows);
    uint64_t seen = 0;
    for (uint32_t row = 0; row < view_.visible && sample_.size() < wanted; ++row) {
      if (!may_be_sampled(row)) continue;
      if (seen++ >= sample_.size() * rows / wanted) sample_.push_back(row);
    }
    queries_.resize(sample_.size() * segment_.dimension());
    for (size_t q = 0; q < sample_.size(); ++q) {
      JADE_RETURN_IF_ERROR(
          segment_.read_vector(sample_[q], queries_.data() + q * segment_.dimension()));
    }
    return {};
  }
  const float* query(size_t q) const { return queries_.data() + q * segment_.dimension(); }

  // The rows from `begin` up to `end`, and their scales, until it is called again.
  Result<const char*> read_rows(uint32_t begin, uint32_t end) {
    const RowFormat& format = segment_.format();
    const char* rows = nullptr;
    if (segment_.stored() == nullptr) {
      rows = segment_.row(begin);
    } else {
      block_.resize((end - begin) * format.row_bytes());
      JADE_RETURN_IF_ERROR(segment_.stored()->read(
          begin, end - begin, segment_.columns().row_numbers.data() + begin, block_.data()));
      rows = block_.data();
    }
    scales_.clear();
    for (uint32_t i = 0; i < end - begin; ++i) {
      scales_.push_back(format.scale(rows + i * format.row_bytes()));
    }
    return rows;
  }

  // By comparing each with every row; rows once for several queries, as memory is slower, and
  // disks more so.
  Status find_neighbours() {
    std::vector<TopK<uint32_t>> nearest(sample_.size(), TopK<uint32_t>(k_));
    std::vector<RowDistance> distances;
    for (size_t q = 0; q < sample_.size(); ++q) distances.emplace_back(segment_.format(), query(q));
    const auto block_rows = static_cast<uint32_t>(
        std::max<size_t>(tile_rows, block_bytes / segment_.format().row_bytes()));
    for (uint32_t begin = 0, end = 0; begin < view_.visible; begin = end) {
      if (stopped_now()) return {};
      end = begin + std::min(view_.visible - begin, block_rows);
      auto values = read_rows(begin, end);
      if (!values.ok()) return values.status();
      run_ranges(workers_, sample_.size(), shared_queries,
                 [&](uint32_t worker, size_t first, size_t last) {
                   if (worker == 0 ? stopped_now() : over_.load()) return;
                   compare(*values, begin, end, first, last, distances, nearest);
                 });
    }
    for (auto& of : nearest) {
      neighbours_.push_back(of.size());
      farthest_.push_back(
          of.size() == 0 ? 0 : shown_distance(segment_.metric(), of.take_sorted().back().first));
    }
    return {};
  }

  // The rows from `begin` up to `end`, which are at `values`, with the queries `first` to `last`.
  void compare(const char* values, uint32_t begin, uint32_t end, size_t first, size_t last,
               const std::vector<RowDistance>& distances,
               std::vector<TopK<uint32_t>>& nearest) const {
    const size_t row_bytes = segment_.format().row_bytes();
    for (uint32_t tile = begin; tile < end; tile += tile_rows) {
      const uint32_t tile_end = tile + std::min(end - tile, tile_rows);
      for (size_t q = first; q < last; ++q) {
        for (uint32_t row = tile; row < tile_end; ++row) {
          if (view_.is_dead(row) || row == sample_[q]) continue;
          nearest[q].push(distances[q](values + (row - begin) * row_bytes, scales_[row - begin]),
                          row);
        }
      }
    }
  }

  // What one of the sample found.
  struct Found {
    Status status;
    double share = 0;
    double cost = 0;
  };

  // No point to use where it was stopped.
  Result<Calibration::Point> measure(uint32_t effort) {
    std::vector<Found> found(sample_.size());
    run_ranges(workers_, sample_.size(), 1, [&](uint32_t worker, size_t q, size_t) {
      if (over_) return;
      // That of the caller is for one thread only.
      Stopper told([&] { return over_.load(); });
      found[q] = search_one(q, effort, worker == 0 || stop_ == nullptr ? stop_ : &told);
      if (worker == 0) stopped_now();
    });
    double sum = 0, squares = 0, cost = 0;
    for (const Found& one : found) {
      JADE_RETURN_IF_ERROR(one.status);
      sum += one.share;
      squares += one.share * one.share;
      cost += one.cost;
    }
    auto n = static_cast<double>(std::max<size_t>(sample_.size(), 1));
    double mean = sample_.empty() ? 1 : sum / n;
    double variance = std::max(0.0, squares / n - mean * mean);
    double error = standard_errors * std::sqrt(variance / n);
    return Calibration::Point{effort, mean, mean - error, cost / n};
  }

  Found search_one(size_t q, uint32_t effort, Stopper* stop) const {
    SearchOptions options;
    options.stop = stop;
    options.k = k_;
    options.ef_search = options.nprobe = effort;
    options.left_out = {0, sample_[q]};
    std::vector<SegmentExplanation> done;
    auto found_all = search_all({&view_, 1}, segment_.metric(), segment_.dimension(),
                                {query(q), segment_.dimension()}, options, &done);
    if (!found_all.ok()) return {found_all.status()};
    const std::vector<Hit>& hits = found_all->front();
    // What is as near as the last of them is found in its place.
    auto found = std::count_if(hits.begin(), hits.end(),
                               [&](const Hit& hit) { return hit.distance <= farthest_[q]; });
    double share =
        neighbours_[q] == 0 ? 1 : static_cast<double>(found) / static_cast<double>(neighbours_[q]);
    return {{}, share, static_cast<double>(done.front().distances())};
  }

  // So many rows, from memory or disk, are compared with the sample at once; of them so many
  // are at hand for one query after another; by each worker with so many queries.
  static constexpr size_t block_bytes = size_t{4} << 20;
  static constexpr uint32_t tile_rows = 64;
  static constexpr size_t shared_queries = 8;

  const SegmentView& view_;
  const SealedSegment& segment_;
  uint32_t k_;
  Stopper* stop_;
  Workers* workers_;
  std::atomic<bool> over_ = false;  // stopped, for all workers
  std::vector<uint32_t> sample_;    // rows, ascending
  std::vector<float> queries_;      // their values
  std::vector<char> block_;         // of rows that are not in memory
  std::vector<float> scales_;       // of the rows at hand
  std::vector<size_t> neighbours_;  // how many each has
  std::vector<float> farthest_;     // the distance of the last of them
};

}  // namespace

const Calibration::Curve* Calibration::find(uint32_t k) const {
  for (const Curve& curve : curves) {
    if (curve.k == measured_for(k)) return &curve;
  }
  return nullptr;
}

const Calibration::Point* Calibration::suffices(double min_recall, uint32_t k) const {
  const Curve* curve = find(k);
  if (curve == nullptr) return nullptr;
  const Point* best = nullptr;
  for (const Point& point : curve->points) {
    if (point.least < min_recall) continue;
    if (best == nullptr || point.cost < best->cost) best = &point;
  }
  return best;
}

std::optional<double> Calibration::recall_at(uint32_t effort, uint32_t k) const {
  const Curve* curve = find(k);
  if (curve == nullptr) return std::nullopt;
  std::optional<double> out;
  for (const Point& point : curve->points) {
    if (point.effort <= effort || !out) out = point.recall;
  }
  return out;
}

uint32_t usual_effort(const SealedSegment& segment) {
  if (segment.graph() != nullptr) return segment.options().ef_search;
  const uint32_t nprobe = segment.options().nprobe;
  return nprobe > 0 ? nprobe : default_nprobe(segment.lists()->lists());
}

std::optional<double> measured_recall(const SealedSegment& segment, const IndexOptions& defaults) {
  constexpr uint32_t k = 10;
  auto known = segment.calibration();
  if (!known || known->find(k) == nullptr) return std::nullopt;
  if (defaults.min_recall > 0) {
    const auto* point = known->suffices(defaults.min_recall, k);
    return point != nullptr ? point->recall : 1;  // then all rows are compared
  }
  uint32_t effort = segment.graph() != nullptr ? defaults.ef_search : defaults.nprobe;
  if (effort == 0) effort = usual_effort(segment);
  return known->recall_at(effort, k);
}

bool wants_calibration(const SegmentView& view, uint32_t k) {
  const SealedSegment* segment = as_indexed(view);
  if (segment == nullptr || view.live() == 0) return false;
  auto known = segment->calibration();
  return !known || known->find(k) == nullptr || is_stale(*known, view);
}

Status calibrate(const SegmentView& view, uint32_t k, Stopper* stop, Workers* workers) {
  const SealedSegment* segment = as_indexed(view);
  if (segment == nullptr) return {};
  auto measured = Measurement(view, *segment, measured_for(k), stop, workers).run();
  if (!measured.ok()) return measured.status();
  std::optional<Calibration::Curve>& curve = *measured;
  if (!curve) return {};
  auto next = std::make_shared<Calibration>();
  next->dead_count = view.dead_count;
  if (auto known = segment->calibration(); known && !is_stale(*known, view)) {
    // What is older counts from its own time on.
    next->dead_count = known->dead_count;
    next->curves = known->curves;
    std::erase_if(next->curves, [&](const auto& other) { return other.k == curve->k; });
  }
  next->curves.push_back(std::move(*curve));
  segment->set_calibration(std::move(next));
  return {};
}

}  // namespace jade
