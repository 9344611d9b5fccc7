#include "actors/grouping.h"

#include <algorithm>

#include "actors/answer_size.h"
#include "actors/shard_key.h"
#include "index/metadata.h"
#include "storage/row_key.h"

namespace jade {
namespace {

// Vectors of the best groups lie among others of the same groups.
constexpr size_t vectors_per_result = 4;
constexpr size_t vectors_per_round_min = 64;

// Of a field, whose name is given as canonical JSON: more than one where "a.b" is the name of a
// field, and object a has a field b.
std::vector<std::string_view> values_of(std::string_view metadata, std::string_view name) {
  std::vector<std::string_view> values;
  any_field(metadata, name.substr(1, name.size() - 2), [&](std::string_view found) {
    values.push_back(found);
    return false;
  });
  return values;
}

size_t bytes_of(const SearchHit& hit) {
  size_t floats = hit.values.size();
  for (const NamedValues& named : hit.named) floats += named.values.size();
  return hit.metadata.size() + floats * sizeof(float);
}

}  // namespace

Status check_grouping(const SearchRequest& search) {
  if (search.group_by.empty()) {
    if (search.group_size == 1) return {};
    return invalid_argument("group_size is given without group_by");
  }
  if (search.group_by.size() > Limits::group_by_bytes_max || search.group_by.front() == '$') {
    return invalid_argument(
        "group_by is no name of a metadata field: it must not begin with $, "
        "and have at most " +
        std::to_string(Limits::group_by_bytes_max) + " bytes");
  }
  if (search.group_size < 1 || search.group_size > Limits::group_size_max) {
    return invalid_argument("group_size is " + std::to_string(search.group_size) +
                            "; it must be 1 to " + std::to_string(Limits::group_size_max));
  }
  if (size_t{search.k} + search.offset > Limits::groups_max) {
    return invalid_argument("k + offset is " + std::to_string(size_t{search.k} + search.offset) +
                            " groups; with group_by it must be at most " +
                            std::to_string(Limits::groups_max));
  }
  return {};
}

Grouping::Grouping(SearchRequest search, const DatabaseSpec& spec, Metric metric)
    : search_(std::move(search)),
      spec_(spec),
      metric_(metric),
      field_(canonical_string(search_.group_by)) {}

// With a shard key, ids are unique within its values.
bool Grouping::is_same(const SearchHit& a, const SearchHit& b) const {
  return a.id == b.id && (spec_.shard_key.empty() || order_of(a) == order_of(b));
}

std::string Grouping::order_of(const SearchHit& hit) const {
  auto key = key_of_metadata(spec_, hit.metadata);
  return row_key(key.ok() ? *key : std::nullopt, hit.id);
}

bool Grouping::is_better(const SearchHit& a, const SearchHit& b) const {
  if (a.score != b.score) return metric_ == Metric::l2 ? a.score < b.score : a.score > b.score;
  return order_of(a) < order_of(b);
}

Grouping::Group* Grouping::find(const std::string& value) {
  for (Group& group : groups_) {
    if (group.found.value == value) return &group;
  }
  return nullptr;
}

SearchRequest Grouping::ask(uint32_t k, const std::vector<std::string>& conditions) const {
  SearchRequest round = search_;
  round.group_by.clear();
  round.group_size = 1;
  round.offset = 0;
  round.k = k;
  round.include_metadata = true;
  round.filter = "{\"$and\":[";
  if (!search_.filter.empty()) round.filter += search_.filter + ",";
  for (const std::string& condition : conditions) {
    round.filter += "{" + field_ + ":" + condition + "},";
  }
  round.filter.back() = ']';
  round.filter += '}';
  return round;
}

std::vector<SearchRequest> Grouping::next() {
  filled_.clear();
  if (!discovered_) {
    std::vector<std::string> conditions{"{\"$exists\":true}"};
    if (!groups_.empty()) {
      std::string known;
      for (const Group& group : groups_) known += group.found.value + ",";
      known.pop_back();
      conditions.push_back("{\"$nin\":[" + known + "]}");
    }
    size_t vectors = (wanted() - groups_.size()) * search_.group_size * vectors_per_result;
    vectors = std::max(vectors, vectors_per_round_min);
    asked_ = static_cast<uint32_t>(std::min<size_t>(vectors, asked_max_));
    return {ask(asked_, conditions)};
  }
  std::vector<SearchRequest> rounds;
  asked_ = search_.group_size;
  for (size_t i = 0; i < groups_.size() && filled_.size() < filled_max_; ++i) {
    if (groups_[i].complete || groups_[i].found.results.size() >= search_.group_size) continue;
    filled_.push_back(i);
    rounds.push_back(ask(asked_, {"{\"$eq\":" + groups_[i].found.value + "}"}));
  }
  return rounds;
}

bool Grouping::narrow() {
  if (!filled_.empty()) {
    filled_max_ = filled_.size() / 2;
    return filled_max_ > 0;
  }
  asked_max_ = asked_ / 2;
  return asked_max_ > 0;
}

Status Grouping::add(SearchHit hit) {
  const auto values = values_of(hit.metadata, field_);
  if (values.empty()) return {};
  const auto value = values.begin();
  if (std::count(values.begin(), values.end(), *value) < std::ssize(values)) {
    return invalid_argument("group_by: vector " + hit.id.to_string() + " has a field \"" +
                            search_.group_by +
                            "\" and another one in an object, with different values; groups are "
                            "told by one");
  }
  if (value->front() == '[' || value->front() == '{') {
    return invalid_argument("group_by: field \"" + search_.group_by + "\" of vector " +
                            hit.id.to_string() + " is an " +
                            (value->front() == '[' ? "array" : "object") +
                            "; groups are told by strings, numbers, true, false or null");
  }
  Group* group = find(std::string(*value));
  if (group == nullptr) {
    // Those after the best ones are not needed.
    if (discovered_ || groups_.size() == wanted()) return {};
    group = &groups_.emplace_back();
    group->found.value = *value;
  }
  auto& results = group->found.results;
  bool known = std::any_of(results.begin(), results.end(),
                           [&](const SearchHit& other) { return is_same(other, hit); });
  if (known) return {};
  auto place = std::find_if(results.begin(), results.end(),
                            [&](const SearchHit& other) { return is_better(hit, other); });
  // That of the others has told their groups.
  if (!search_.include_metadata && spec_.shard_key.empty()) hit.metadata.clear();
  bytes_ += bytes_of(hit);
  results.insert(place, std::move(hit));
  if (results.size() > search_.group_size) {
    bytes_ -= bytes_of(results.back());
    results.pop_back();
  }
  return AnswerSize::check(bytes_, Limits::answers_bytes_max);
}

Status Grouping::take(std::vector<SearchReply> replies) {
  size_t before = groups_.size();
  bool all = false;
  uint32_t last_round = round_;
  for (SearchReply& reply : replies) {
    missing_shards_.insert(reply.missing_shards.begin(), reply.missing_shards.end());
    shards_searched_ = std::max(shards_searched_, reply.shards_searched);
    shards_ = reply.shards;
    for (ShardExplanation& shard : reply.explanation) {
      shard.round += round_;
      last_round = std::max(last_round, shard.round);
      explanation_.push_back(std::move(shard));
    }
    all = reply.results.size() < asked_;
    for (SearchHit& hit : reply.results) JADE_RETURN_IF_ERROR(add(std::move(hit)));
  }
  round_ = last_round + 1;
  for (size_t i : filled_) groups_[i].complete = true;
  if (!filled_.empty()) return {};
  // All vectors of the groups that were not known before have been seen then.
  for (size_t i = before; i < groups_.size(); ++i) groups_[i].complete = all;
  discovered_ = all || groups_.size() == wanted() || groups_.size() == before;
  return {};
}

SearchReply Grouping::finish() {
  std::sort(groups_.begin(), groups_.end(), [this](const Group& a, const Group& b) {
    return is_better(a.found.results.front(), b.found.results.front());
  });
  SearchReply reply;
  for (size_t i = search_.offset; i < groups_.size(); ++i) {
    SearchGroup& group = reply.groups.emplace_back(std::move(groups_[i].found));
    for (SearchHit& hit : group.results) {
      if (!search_.include_metadata) hit.metadata.clear();
    }
  }
  reply.grouped = true;
  reply.explained = search_.explain;
  reply.explanation = std::move(explanation_);
  reply.missing_shards.assign(missing_shards_.begin(), missing_shards_.end());
  reply.shards_searched = shards_searched_;
  reply.shards = shards_;
  return reply;
}

}  // namespace jade
