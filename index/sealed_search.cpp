#include "index/sealed_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "index/calibration.h"
#include "index/hnsw_matching.h"
#include "index/ivf.h"
#include "index/list_search.h"
#include "index/sealed_segment.h"

namespace jade {
namespace {

// What a row in the beam of a walk costs, in rows of a scan of those that match: it is
// somewhere else in memory, and where to go next is only known then. Measured by
// `jade bench`, as are the powers of the share below.
constexpr double walk_cost = 25;
// A walk from match to match compares about so many rows for one in its beam, and finds them in
// so many nanoseconds at most, whatever a row has.
constexpr double matching_compared = 12;
constexpr double matching_found_ns = 2700;
// What comparing a row takes, in nanoseconds: that of many bytes is bound by how fast they come
// from memory, one by `pq` by looking each of them up. Measured with 128 to 3,136 bytes; only
// ratios count.
double compare_ns(size_t bytes, double byte_ns) { return 8 + byte_ns * static_cast<double>(bytes); }
double value_ns(const SealedSegment& segment) {
  return compare_ns(segment.format().row_bytes(), 0.05);
}
double code_ns(const RowCodes& codes) {
  return compare_ns(codes.code_bytes(), codes.kind() == Quantization::pq ? 0.7 : 0.05);
}
// Whether a scan goes by codes: not where values, which are exact, are compared about as fast.
bool scans_codes(const SealedSegment& segment) {
  const RowCodes* codes = segment.codes();
  if (codes == nullptr) return false;
  return segment.stored() != nullptr || value_ns(segment) > 1.25 * code_ns(*codes);
}
// Of a walk that compares so many rows for one in its beam and takes so many nanoseconds more, for
// one in its beam: in rows of a scan.
double cost_of(const SealedSegment& segment, double compared, double found_ns) {
  const RowCodes* codes = segment.codes();
  const double walk_ns = codes != nullptr ? code_ns(*codes) : value_ns(segment);
  const double scan_ns = scans_codes(segment) ? walk_ns : value_ns(segment);
  return (compared * walk_ns + found_ns) / scan_ns;
}
double matching_walk_cost(const SealedSegment& segment, double share) {
  // Where many match they are found nearer by: walk_matching() then gathers fewer, likewise.
  return cost_of(segment, matching_compared,
                 matching_found_ns * std::min(1.0, 0.43 / std::sqrt(share)));
}
// A walk among all rows compares about so many rows for one in its beam, and takes so many
// nanoseconds more, whatever a row has.
constexpr double near_compared = 20;
constexpr double near_found_ns = 500;
// Rows that a walk meets for one in its beam, at most: about the links of a row.
constexpr double visits_per_result = 32;
// Matching rows, from all over a segment, that a walk from match to match begins at.
constexpr size_t seeds_max = 16;
// Rows of so many bytes are compared with one query after another, from the first cache.
constexpr size_t block_bytes = 24u << 10;

// How many times as wide the beam is where what matches lies around what does not, and how many
// of the nearer rows may be missing, of those that are looked for: of 30,000 SIFT rows, where what
// matches was anywhere, near the query or far from it, it seemed to be at most 2.7 times as many.
constexpr size_t wider_around = 8;
constexpr double nearer_max = 4;
// How much narrower the beam of a walk from match to match is, where such a share of all rows
// matches: measured, so that recall stays above 0.95 where what matches is far from the query.
double narrower_beam(double share) {
  return std::min(std::pow(share, 0.3), std::max(std::pow(share, 0.41), 0.46));
}
// As ExactRows, but of vectors that are read for it.
class StoredRows {
 public:
  // `failed`: gets the first failure; all are infinitely far from then on.
  StoredRows(const SealedSegment& segment, const RowDistance& distance, Status& failed)
      : stored_(*segment.stored()),
        row_numbers_(segment.columns().row_numbers.data()),
        distance_(distance),
        failed_(failed) {}

  void prefetch(uint32_t row) const {
    // One that follows another is read with it.
    if (row != hinted_ + 1) stored_.will_read(row);
    hinted_ = row;
  }
  float error(float) const { return 0; }
  void distances(const uint32_t* rows, size_t count, float* out) const {
    const RowFormat& format = distance_.format();
    const size_t row_bytes = format.row_bytes();
    thread_local std::vector<char> values;
    for (size_t done = 0, run; done < count; done += run) {
      // Those that lie one after another are read at once.
      for (run = 1; done + run < count && rows[done + run] == rows[done] + run;) ++run;
      if (values.size() < run * row_bytes) values.resize(run * row_bytes);
      if (failed_.ok()) {
        failed_ = stored_.read(rows[done], static_cast<uint32_t>(run), row_numbers_ + rows[done],
                               values.data());
      }
      for (size_t i = 0; i < run; ++i) {
        const char* row = values.data() + i * row_bytes;
        out[done + i] = failed_.ok() ? distance_(row, format.scale(row))
                                     : std::numeric_limits<float>::infinity();
      }
    }
  }

 private:
  const StoredVectors& stored_;
  const uint64_t* row_numbers_;
  const RowDistance& distance_;
  Status& failed_;
  mutable uint32_t hinted_ = UINT32_MAX - 1;
};
// Rows that count how many were compared.
template <class Rows>
class Counted {
 public:
  Counted(const Rows& rows, uint64_t& compared, std::optional<uint32_t> left_out)
      : rows_(rows), compared_(compared), left_out_(left_out) {}
  void prefetch(uint32_t row) const { rows_.prefetch(row); }
  float error(float distance) const { return rows_.error(distance); }
  void distances(const uint32_t* rows, size_t count, float* out) const {
    compared_ += count;
    rows_.distances(rows, count, out);
    if (left_out_) hide(*left_out_, rows, count, out);
  }

 private:
  static void hide(uint32_t row, const uint32_t* rows, size_t count, float* out) {
    const uint32_t* found = std::find(rows, rows + count, row);
    if (found != rows + count) out[found - rows] = std::numeric_limits<float>::infinity();
  }

  const Rows& rows_;
  uint64_t& compared_;
  std::optional<uint32_t> left_out_;
};

// How many standard deviations a distance by codes may be too large for a row not to be looked
// at. Few are off by more, and those rows are off by more than others: of rows that are as normal
// numbers three lost up to 0.014 of the neighbours with pq.
constexpr double deviations_max = 4;
// As many as the error that a kind of codes knows of itself stands for, about.
constexpr double deviations_known = 3;
// Results for which default_nprobe() and what a build measures hold (index/ivf.h).
constexpr uint32_t usual_results = 10;
// Of a walk's beam, how much is looked at in any case where a kind of codes says nothing of its
// error: so that a wider beam finds more, however codes are off.
constexpr size_t least_of_beam = 4;
// The least of these by which no more than 1 - recall of normally distributed numbers are off:
// by the bound of exp(-x² / 2) / 2 for those beyond x.
double deviations_for(double recall) { return std::sqrt(-2 * std::log(2 * (1 - recall))); }

// By how much distances by codes are too large, at most. Where their kind cannot say, by what
// those of rows were off that are best by codes: as those rows are chosen for small distances,
// they are off by more than others.
class CodeError {
 public:
  CodeError(const RowCodes& codes, const EncodedQuery& query) : codes_(codes), query_(query) {}

  bool is_known() const { return codes_.error(query_, 0) < infinity; }
  void add(float by_codes, float by_values) {
    const double off = static_cast<double>(by_codes) - static_cast<double>(by_values);
    if (!std::isfinite(off)) return;
    squares_ += off * off;
    ++seen_;
  }
  // Of a row at this true distance, as codes have it: so many standard deviations.
  float at(float distance, double deviations) const {
    const float known = codes_.error(query_, distance);
    if (known < infinity) return known * static_cast<float>(deviations / deviations_known);
    if (seen_ == 0) return infinity;
    return static_cast<float>(deviations * std::sqrt(squares_ / static_cast<double>(seen_)));
  }

 private:
  static constexpr float infinity = std::numeric_limits<float>::infinity();

  const RowCodes& codes_;
  const EncodedQuery& query_;
  double squares_ = 0;  // of what they are off
  uint64_t seen_ = 0;
};

// One search in one sealed segment.
class SealedSearch : public ListSearch {
 public:
  SealedSearch(const SegmentView& view, uint32_t position, const RowDistance& distance,
               const SearchOptions& options, double part, Nearest& nearest, const Matches* matches,
               bool explained)
      : ListSearch(view, position, distance, options, part, nearest, matches),
        segment_(dynamic_cast<const SealedSegment&>(*view.segment)),
        query_(distance.query()),
        explained_(explained) {}

  // Several queries, with the same options in the same segment. Returns how many of them were
  // begun, which are all unless it was to stop or one has failed.
  static size_t run(std::span<SealedSearch> searches) {
    if (searches.size() > 1 && searches.front().scans_values()) {
      const bool any = std::all_of(searches.begin(), searches.end(),
                                   [](SealedSearch& search) { return search.begin(); });
      // They share what matches, so that what is read of it is charged to the first.
      if (any) searches.front().counting_reads([&] { scan_together(searches); });
      return searches.size();
    }
    size_t begun = 0;
    for (SealedSearch& search : searches) {
      ++begun;
      if (search.begin()) search.counting_reads([&] { search.run(); });
      if (search.stopped() || !search.failed_.ok()) break;
    }
    return begun;
  }

  // Why what was found does not count.
  const Status& failed() const { return failed_; }

 private:
  bool compares_all() const { return options_.exact || segment_.kind() == IndexKind::flat; }
  // Whether run() compares the query with all rows that match, by their values in memory.
  bool scans_values() const { return segment_.stored() == nullptr && compares_all(); }

  void run() {
    if (compares_all() || !choose_effort()) return scan_all();
    if (options_.min_recall > 0 && may_leave_out_longest()) return scan_matching();
    bool found = segment_.graph() != nullptr ? search_graph() : probe_lists();
    if (found || stopped()) return;
    done_.fell_back = done_.plan != SegmentPlan::none;
    scan_matching();
  }

  // use(rows) with the rows of the segment by their values.
  template <class Use>
  auto with_values(Use use) {
    if (segment_.stored() == nullptr) {
      return use(ExactRows(segment_.columns().vectors.data(), segment_.scales(), distance_));
    }
    return use(StoredRows(segment_, distance_, failed_));
  }

  bool all_match() const { return matches_ == nullptr && view_.live() == view_.visible; }
  bool matches(uint32_t row) const {
    return matches_ != nullptr ? matches_->test(row) : row < view_.visible && is_there(row);
  }

  // Under dot the longest rows are nearest to most queries, and the graph leads there. Where a
  // filter leaves them out, walks find less among the others, and distances do not tell, as in
  // leaves_out_nearer().
  bool may_leave_out_longest() const { return matches_ != nullptr && segment_.lengths_differ(); }

  // Whether of the rows near the query fewer match than chance would have it, of this share.
  bool leaves_out_near(Beam& near) const {
    const auto rows = near.sorted();
    const auto n = static_cast<double>(rows.size());
    const auto match = static_cast<double>(std::count_if(
        rows.begin(), rows.end(), [this](Candidate found) { return matches(found.row()); }));
    constexpr double deviations = 3;
    return match + 1 < share() * n - deviations * std::sqrt(n * share() * (1 - share()));
  }

  // By values.
  void scan_all() {
    if (segment_.stored() == nullptr) return scan_together({this, 1});
    plan(matches_ != nullptr ? SegmentPlan::matching_rows : SegmentPlan::scan);
    Stage stage(options_, done_.scan_ns);
    compare_candidates(StoredRows(segment_, distance_, failed_), 0, done_.distances_by_values,
                       [&](Candidate found) { reach(found); });
  }

  // By values in memory: some rows with all of the queries while they are in the cache.
  static void scan_together(std::span<SealedSearch> searches) {
    SealedSearch& first = searches.front();
    const size_t in_cache = block_bytes / first.view_.segment->format().row_bytes();
    // So that stopping is asked about as often as by each alone.
    const size_t rows_max = std::max<size_t>(
        rows_at_once, std::min<size_t>(in_cache, Stopper::interval / searches.size()));
    uint64_t scan_ns = 0;
    {
      Stage stage(first.options_, scan_ns);
      thread_local std::vector<uint32_t> rows;
      rows.clear();
      auto compare = [&] {
        for (SealedSearch& search : searches) search.compare_values(rows);
      };
      first.visit_candidates(0, [&](uint32_t row) {
        rows.push_back(row);
        if (rows.size() < rows_max) return true;
        compare();
        rows.clear();
        return !first.stopped_after(rows_max * searches.size());
      });
      compare();
    }
    for (SealedSearch& search : searches) {
      search.plan(search.matches_ != nullptr ? SegmentPlan::matching_rows : SegmentPlan::scan);
      search.done_.scan_ns += scan_ns / searches.size();
    }
  }

  void compare_values(std::span<const uint32_t> rows) {
    ExactRows exact(segment_.columns().vectors.data(), segment_.scales(), distance_);
    float distances[rows_at_once];
    for (size_t i = 0; i < rows.size(); i += rows_at_once) {
      for (size_t j = i + rows_at_once; j < std::min(rows.size(), i + 2 * rows_at_once); ++j) {
        // Of rows that follow one another the processor fetches the next by itself, and better.
        if (rows[j] != rows[j - 1] + 1) exact.prefetch(rows[j]);
      }
      const size_t count = std::min(rows_at_once, rows.size() - i);
      exact.distances(rows.data() + i, count, distances);
      for (size_t j = 0; j < count; ++j) reach(Candidate(distances[j], rows[i + j]));
    }
    done_.distances_by_values += rows.size();
    done_.rows_visited += rows.size();
  }

  void reach(Candidate found) {
    if (nearest_.wants(found.distance()) && check(found.row())) push(found);
  }

  // By codes where that is faster, and by values those that may be among the best.
  void scan_matching() {
    WalkMemory& memory = WalkMemory::of_this_thread();
    const RowCodes* codes = segment_.codes();
    if (!scans_codes(segment_) || done_.matching <= codes->rescored_min(options_.k) ||
        !codes->encode(query_, memory.query)) {
      return scan_all();
    }
    plan(matches_ != nullptr ? SegmentPlan::matching_rows : SegmentPlan::scan);
    memory.beam.reset(codes->rescored_min(options_.k));
    {
      Stage stage(options_, done_.scan_ns);
      CodedRows rows(*codes, memory.query);
      compare_candidates(rows, 0, done_.distances_by_codes, [&](Candidate found) {
        if (memory.beam.wants(found) && check(found.row())) memory.beam.insert(found);
      });
    }
    CodeError error(*codes, memory.query);
    rescore(memory, error, 0, deviations_max);
    if (!stopped() && memory.beam.limit() <= reach_by_codes(error, deviations_max)) {
      scan_within_reach(memory, error, deviations_max);
    }
  }

  // The distance of codes up to which a row may still be among the best.
  float reach_by_codes(const CodeError& error, double deviations) const {
    const auto worst = nearest_.worst();
    if (!worst) return std::numeric_limits<float>::infinity();
    const float scale = segment_.metric() == Metric::cosine ? 2 : 1;  // of distances by codes
    return scale * *worst + error.at(scale * *worst, deviations);
  }

  // Compares by values the rows of the beam, best first, while they may be among the best: the
  // order by codes is nearly that by values. `least`: so many anyhow, where no error is known.
  void rescore(WalkMemory& memory, CodeError& error, size_t least, double deviations) {
    Stage stage(options_, done_.rescore_ns);
    with_values([&](const auto& exact) { rescore_by(exact, memory, error, least, deviations); });
  }
  template <class Rows>
  void rescore_by(const Rows& exact, WalkMemory& memory, CodeError& error, size_t least,
                  double deviations) {
    least = error.is_known() ? 0 : std::max(least, segment_.codes()->rescored_min(options_.k));
    auto candidates = memory.beam.sorted();
    // So many at once that memory is not waited for, and that few are in vain.
    constexpr size_t batch = 8;
    size_t fetched = 0;
    for (size_t done = 0, count; done < candidates.size(); done += count) {
      const bool enough = done >= least;
      if (enough && candidates[done].distance() > reach_by_codes(error, deviations)) break;
      // And the next while these are compared.
      for (; fetched < std::min(candidates.size(), done + 2 * batch); ++fetched) {
        exact.prefetch(candidates[fetched].row());
      }
      count = std::min({batch, candidates.size() - done, enough ? batch : least - done});
      compare_coded(exact, candidates.subspan(done, count), memory, &error);
    }
  }

  // `error`: learns from them; may be null.
  template <class Rows>
  void compare_coded(const Rows& exact, std::span<const Candidate> candidates, WalkMemory& memory,
                     CodeError* error) {
    const float scale = segment_.metric() == Metric::cosine ? 2 : 1;
    auto& rows = memory.fresh;
    rows.clear();
    for (Candidate found : candidates) rows.push_back(found.row());
    memory.distances.resize(rows.size());
    exact.distances(rows.data(), rows.size(), memory.distances.data());
    done_.distances_by_values += rows.size();
    done_.rescored += rows.size();
    for (size_t i = 0; i < rows.size(); ++i) {
      if (error != nullptr) error->add(candidates[i].distance(), scale * memory.distances[i]);
      push(Candidate(memory.distances[i], rows[i]));
    }
  }

  // Compares by values whatever matches and may be among the best, but for the rows of the beam,
  // which were.
  void scan_within_reach(WalkMemory& memory, const CodeError& error, double deviations) {
    Stage stage(options_, done_.scan_ns);
    std::vector<uint32_t> compared;
    for (Candidate found : memory.beam.sorted()) compared.push_back(found.row());
    std::sort(compared.begin(), compared.end());
    std::vector<Candidate> within;
    float reach = reach_by_codes(error, deviations);
    with_values([&](const auto& exact) {
      auto flush = [&] {
        compare_coded(exact, within, memory, nullptr);
        within.clear();
        reach = reach_by_codes(error, deviations);
      };
      CodedRows rows(*segment_.codes(), memory.query);
      compare_candidates(rows, 0, done_.distances_by_codes, [&](Candidate found) {
        if (found.distance() > reach || !check(found.row()) ||
            std::binary_search(compared.begin(), compared.end(), found.row())) {
          return;
        }
        exact.prefetch(found.row());
        within.push_back(found);
        if (within.size() == rows_at_once) flush();
      });
      flush();
    });
  }

  // How wide a beam, or how many lists. False where no effort that was measured suffices
  // for the recall that is asked for.
  bool choose_effort() {
    const bool graph = segment_.graph() != nullptr;
    const uint32_t asked = graph ? options_.ef_search : options_.nprobe;
    const uint32_t usual = usual_effort(segment_);
    effort_ = asked > 0 ? asked : usual;
    // That of lists was measured for fewer results. The more are wanted, the more lists have some
    // of them, as where a filter leaves a share of the rows.
    if (!graph && asked == 0 && options_.k > usual_results) {
      const double more = static_cast<double>(options_.k) / usual_results;
      effort_ = static_cast<uint32_t>(std::ceil(effort_ * std::sqrt(more)));
    }
    done_.min_recall = options_.min_recall;
    if (options_.min_recall <= 0) return true;
    auto calibration = segment_.calibration();
    done_.calibrated = calibration != nullptr && calibration->find(options_.k) != nullptr;
    is_measured_ = done_.calibrated && matches_ == nullptr;
    if (!done_.calibrated) {
      effort_ = usual * uncalibrated_factor;
      return true;
    }
    const auto* point = calibration->suffices(options_.min_recall, options_.k);
    if (point == nullptr) return false;
    // Nothing is measured of the rows that a filter leaves, and a walk among them finds less
    // with the same beam.
    effort_ = matches_ != nullptr ? 4 * std::max(point->effort, 2 * options_.k) : point->effort;
    if (matches_ == nullptr) done_.measured_recall = point->recall;
    return true;
  }

  // False where a scan is cheaper, or the walk did not find k rows.
  bool search_graph() {
    const size_t k = options_.k;
    const uint32_t ef = effort_;
    done_.ef_search = ef;
    // An undecided row is not to be read for every row that it is next to.
    bool skips = matches_ != nullptr && matches_->exact() &&
                 share() >= matching_share_min(*segment_.graph());
    // The beam holds rows that match. Among fewer rows a narrower one does; and where
    // others are walked through, it is 1 / share wider in all rows.
    const bool narrower = matches_ == nullptr || options_.min_recall <= 0;
    double scaled = ef;
    if (narrower) scaled *= skips ? narrower_beam(share()) : std::sqrt(share());
    // What a recall takes was measured for this segment alone.
    if (options_.min_recall <= 0) scaled *= effort_share();
    auto at_least_k = [&](double rows) {
      return std::max(
          {k + k / 2, static_cast<size_t>(std::round(rows)), std::min<size_t>(ef, 2 * k)});
    };
    size_t beam = at_least_k(scaled);
    const RowCodes* codes = segment_.codes();
    double cost = static_cast<double>(beam) *
                  (skips ? matching_walk_cost(segment_, share()) : walk_cost / share());
    // Where enough rows match, those near the query are looked at, and what matches among them.
    const size_t near = at_least_k(ef * effort_share());
    const double near_wanted = static_cast<double>(rows_per_nearer * k) / share();
    const double near_cost = std::max(static_cast<double>(near), near_wanted) *
                             cost_of(segment_, near_compared, near_found_ns);
    const bool looks_near = options_.min_recall <= 0 && !all_match() && !left_out() &&
                            (matches_ == nullptr || matches_->exact()) &&
                            near_wanted <= static_cast<double>(near_beam(near)) &&
                            near_cost <= static_cast<double>(done_.matching);
    done_.walk_cost = looks_near ? near_cost : cost;
    if (done_.walk_cost > static_cast<double>(done_.matching)) return false;
    WalkMemory& memory = WalkMemory::of_this_thread();
    auto collect_matches = [&](const auto& rows, uint64_t& computed) {
      const HnswGraph& graph = *segment_.graph();
      std::optional<Candidate> start;  // near the query
      const bool wider = may_leave_out_longest();
      if (looks_near) {
        plan(SegmentPlan::walk);
        done_.ef = static_cast<uint32_t>(near);
        done_.raised = near > ef;
        if (collect_near(graph, rows, computed, near, start, memory)) return true;
        if (stopped() || cost > static_cast<double>(done_.matching)) return false;
        done_.plan = SegmentPlan::none;  // which is another
      }
      auto collect_with = [&] {
        plan(skips ? SegmentPlan::walk_matching : SegmentPlan::walk);
        done_.ef = static_cast<uint32_t>(beam);
        done_.raised = beam > ef;
        return collect(graph, rows, computed, beam, skips, start, memory);
      };
      if (!wider) {
        if (!collect_with()) return false;
        if (!leaves_out_nearer(memory.beam.sorted())) return true;
      }
      // A scan misses none, and is worth some more.
      if (2 * wider_around * cost > static_cast<double>(done_.matching)) return false;
      beam *= wider_around;
      return collect_with();
    };
    if (codes == nullptr || !codes->encode(query_, memory.query)) {
      bool ended = with_values(
          [&](const auto& rows) { return collect_matches(rows, done_.distances_by_values); });
      if (!ended) return false;
      for (Candidate found : memory.beam.sorted()) push(found);
      return true;
    }
    CodedRows rows(*codes, memory.query);
    if (!collect_matches(rows, done_.distances_by_codes)) return false;
    CodeError error(*codes, memory.query);
    const double most = error.is_known() ? deviations_known : deviations_max;
    rescore(memory, error, beam / least_of_beam, most);
    if (options_.min_recall <= 0 || is_measured_ || stopped()) return true;
    // Where it is not measured what a walk finds, and more rows than its beam holds may be among
    // the best, all are looked at.
    const double deviations = std::min(deviations_for(options_.min_recall), most);
    if (memory.beam.full() && memory.beam.limit() <= reach_by_codes(error, deviations)) {
      done_.fell_back = true;
      scan_within_reach(memory, error, deviations);
    }
    return true;
  }

  // Whether what was found lies around many rows that the filter leaves out, on all sides of the
  // query: a beam as wide as usual then sees only some of these sides. Of rows that fill m
  // dimensions evenly, those within a distance grow in number by its m-th power: if there are n
  // nearer ones that do not match, distances grow from the a-th to the b-th that does as
  // (n + b)^(1/m) to (n + a)^(1/m), in numbers of what matches.
  bool leaves_out_nearer(std::span<const Candidate> found) const {
    const double m = segment_.columns().intrinsic_dimension;
    const size_t b = found.size(), a = std::max<size_t>(options_.k, b / 8);
    if (matches_ == nullptr || m == 0 || a == 0 || a >= b) return false;
    const double nearer = found[a - 1].distance(), farther = found[b - 1].distance();
    if (nearer <= 0 || farther <= nearer) return false;
    const double growth = std::pow(farther / nearer, m / 2);  // they are squared
    const double n = (static_cast<double>(b) - growth * static_cast<double>(a)) / (growth - 1);
    return n > nearer_max * static_cast<double>(a);
  }

  // The row that walks must not come by, as it is as if it were not there. Not one that leads to
  // rows that equal it: no other does (index/row_copies.h).
  template <class Rows>
  std::optional<uint32_t> hidden(const HnswGraph& graph, const Rows& rows) const {
    const auto row = left_out();
    if (!row) return row;
    std::vector<uint32_t> compared{*row};
    for (int32_t link : graph.links(*row, 0)) {
      if (link < 0) break;
      compared.push_back(static_cast<uint32_t>(link));
    }
    std::vector<float> distances(compared.size());
    rows.distances(compared.data(), compared.size(), distances.data());
    const bool leads_to_equal =
        std::count(distances.begin() + 1, distances.end(), distances[0]) > 0;
    return leads_to_equal ? std::nullopt : row;
  }

  static size_t near_beam(size_t near) { return 2 * near; }

  // By a walk among all rows near the query. False where too few of these match, and then `start`
  // is one of them, or where it was to stop.
  template <class Rows>
  bool collect_near(const HnswGraph& graph, const Rows& all_rows, uint64_t& computed, size_t near,
                    std::optional<Candidate>& start, WalkMemory& memory) {
    Stage stage(options_, done_.walk_ns);
    Counted rows(all_rows, computed, std::nullopt);
    const uint64_t computed_before = computed;
    auto match = [&](uint32_t row) { return matches(row); };
    NearOptions options;
    options.k = options_.k;
    // As many as are compared by values.
    const RowCodes* codes = segment_.codes();
    options.width = codes == nullptr
                        ? options_.k
                        : std::max(codes->rescored_min(options_.k), near / least_of_beam);
    options.near = near;
    options.beam = near_beam(near);
    options.dimensions = horizon_dimensions();
    NearMatches bound(rows, match, options, memory.found);
    walk(graph, rows, 0, descend(graph, rows, 0, memory), options.beam, view_.visible, EveryRow(),
         memory, options_.stop, bound);
    if (explained_) done_.rows_visited += memory.visited();
    // Of many short walks together.
    if (stopped_after(computed - computed_before)) return false;
    if (bound.few(memory.beam) || (segment_.lengths_differ() && leaves_out_near(memory.beam))) {
      start = memory.beam.sorted().front();
      return false;
    }
    std::swap(memory.beam, memory.found);
    return true;
  }

  // False where the walk did not find k rows. `start`: nothing where it is to descend to one.
  template <class Rows>
  bool collect(const HnswGraph& graph, const Rows& all_rows, uint64_t& computed, size_t beam,
               bool skips, std::optional<Candidate> start, WalkMemory& memory) {
    Stage stage(options_, done_.walk_ns);
    Counted rows(all_rows, computed, hidden(graph, all_rows));
    const uint64_t computed_before = computed;
    // What matches may all be far from the query: then a scan is next.
    auto most = static_cast<size_t>(static_cast<double>(beam) / share() * visits_per_result);
    size_t visits_max = all_match() ? view_.visible : std::max<size_t>(most, view_.visible / 4);
    if (matches_ != nullptr && !skips) {
      // Nor is more compared in vain than the scan compares.
      visits_max = std::min(visits_max, matches_->widest().count());
    }
    if (!start) start = descend(graph, rows, 0, memory);
    bool ended = skips ? walk_through_matches(graph, rows, *start, beam, memory)
                       : walk_all(graph, rows, *start, beam, visits_max, memory);
    if (explained_) done_.rows_visited += memory.visited();
    // Of many short walks together.
    if (stopped_after(computed - computed_before)) return false;
    return ended && memory.beam.sorted().size() >= std::min<uint64_t>(options_.k, wanted());
  }

  // How many times as far as the k-th nearest, squared, a walk with a beam of so many rows
  // looks; nothing where it is to go to the end of its beam.
  std::optional<float> stretch(size_t beam) const {
    const double m = horizon_dimensions();
    if (m == 0) return std::nullopt;
    // Of rows that fill m dimensions evenly, so far are as many as the beam would hold.
    const double farther = std::pow(static_cast<double>(beam) / options_.k, 1 / m);
    return static_cast<float>(std::min(farther * farther, walk_stretch_max));
  }

  // That rows fill, by which walks may end; 0 where they may not.
  double horizon_dimensions() const {
    const RowCodes* codes = segment_.codes();
    // By coarser codes what is farther is told too badly from what is nearer.
    const bool fine = codes == nullptr || codes->kind() == Quantization::sq8;
    return fine ? segment_.columns().intrinsic_dimension : 0;
  }

  // Through whatever does not match, too.
  template <class Rows>
  bool walk_all(const HnswGraph& graph, const Rows& rows, Candidate start, size_t beam,
                size_t visits_max, WalkMemory& memory) {
    auto far = matches_ == nullptr ? stretch(beam) : std::nullopt;
    auto go = [&](size_t width, const auto& bound) {
      auto accepting = [&](const auto& accept) {
        return walk(graph, rows, 0, start, width, visits_max, accept, memory, options_.stop, bound);
      };
      if (all_match() && !left_out()) return accepting(EveryRow());
      return accepting([&](uint32_t row) { return matches(row); });
    };
    return far ? go(2 * beam, Horizon<Rows>(rows, options_.k, *far)) : go(beam, Unbounded());
  }

  template <class Rows>
  bool walk_through_matches(const HnswGraph& graph, const Rows& rows, Candidate start, size_t beam,
                            WalkMemory& memory) {
    const Bitmap& matching = matches_->widest();
    uint32_t seeds[seeds_max];
    size_t count = 0;
    for (size_t i = 0; i < seeds_max; ++i) {
      size_t row = matching.next(i * view_.visible / seeds_max);
      if (row < matching.size()) seeds[count++] = static_cast<uint32_t>(row);
    }
    auto match = [&](uint32_t row) { return matching.test(row); };
    auto far = stretch(beam);
    // Beyond so many rows a scan would have been faster. The beam is no wider than it would be: far
    // from all that matches, many rows are nearly as near as the best.
    auto go = [&](const auto& bound) {
      return walk_matching(graph, rows, start, {seeds, count}, share(), beam, done_.matching, match,
                           memory, options_.stop, bound);
    };
    return far ? go(Horizon<Rows>(rows, options_.k, *far)) : go(Unbounded());
  }

  // The same of inverted lists.
  bool probe_lists() {
    const InvertedLists& lists = *segment_.lists();
    const GrowingLists* coded = segment_.coded_lists();
    const double wide = std::ceil(effort_ / std::sqrt(share()));
    const double rows_met = wide / lists.lists() * view_.visible;
    // Whether an undecided row matches costs more than its distance.
    const bool decided = matches_ == nullptr || matches_->exact();
    done_.walk_cost = decided ? rows_met * probed_row_cost() : rows_met;
    if (wide * 2 > lists.lists() || done_.walk_cost > static_cast<double>(done_.matching)) {
      return false;
    }
    thread_local CodedQuery query;
    if (coded == nullptr || !coded->encode(query_, query)) return false;
    listed_ = view_.visible;
    return search_lists(*coded, query, static_cast<uint32_t>(wide), false);
  }

  const SealedSegment& segment_;
  const float* query_;
  bool explained_;
  uint32_t effort_ = 0;      // ef_search or nprobe
  bool is_measured_ = true;  // that this finds the least recall, where one is asked for
  Status failed_;
};
}  // namespace

Status search_sealed(const SegmentView& view, uint32_t position, double part,
                     const SearchOptions& options, std::span<QuerySearch> queries,
                     const Matches* matches, std::vector<SegmentExplanation>* explain) {
  std::vector<SealedSearch> searches;
  searches.reserve(queries.size());
  for (QuerySearch& query : queries) {
    searches.emplace_back(view, position, query.distance, options, part, query.nearest, matches,
                          explain != nullptr);
  }
  const size_t begun = SealedSearch::run(searches);
  if (!searches[begun - 1].failed().ok()) return searches[begun - 1].failed();
  for (size_t q = 0; explain != nullptr && q < begun; ++q) explain->push_back(searches[q].done());
  return {};
}

}  // namespace jade
