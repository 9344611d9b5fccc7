#include "actors/examples.h"

#include <cmath>

#include "actors/named_vectors.h"
#include "actors/shard_key.h"
#include "index/scoring.h"

namespace jade {
namespace {

// What a search is for.
struct Target {
  const DatabaseSpec& spec;
  VectorSpec vector;
};

Result<Target> target_of(const DatabaseSpec& spec, const SearchRequest& search) {
  auto vector = find_vector(spec, search.vector_name);
  if (!vector.ok()) return vector.status();
  return Target{spec, vectors_of(spec)[*vector]};
}

Status check_vector(const Target& target, const std::vector<float>& vector) {
  if (vector.size() != target.vector.dimension) {
    return invalid_argument("has " + std::to_string(vector.size()) + " values; " +
                            title_of(target.spec, target.vector) + " has dimension " +
                            std::to_string(target.vector.dimension));
  }
  for (size_t i = 0; i < vector.size(); ++i) {
    if (!std::isfinite(vector[i])) {
      return invalid_argument("[" + std::to_string(i) + "] is not a finite number");
    }
  }
  return {};
}

Status check_examples(const Target& target, const char* field,
                      const std::vector<Example>& examples) {
  if (examples.size() > Limits::examples_max) {
    return invalid_argument(std::string(field) + " has " + std::to_string(examples.size()) +
                            " elements; at most " + std::to_string(Limits::examples_max) +
                            " are allowed");
  }
  for (size_t i = 0; i < examples.size(); ++i) {
    const Example& example = examples[i];
    Status valid = example.id ? example.id->validate() : check_vector(target, example.vector);
    if (!valid.ok()) return valid.with_context(std::string(field) + "[" + std::to_string(i) + "]");
  }
  return {};
}

// Adds the mean of the examples, times `weight`. `stored`: of those that are ids, from
// `next` on.
void add_mean(Metric metric, const std::vector<Example>& examples, double weight,
              const std::vector<std::vector<float>>& stored, size_t& next,
              std::vector<double>& sum) {
  for (const Example& example : examples) {
    std::vector<float> values = example.id ? stored[next++] : example.vector;
    if (metric == Metric::cosine) normalise(values.data(), values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      sum[i] += weight * values[i] / static_cast<double>(examples.size());
    }
  }
}

}  // namespace

bool has_examples(const SearchRequest& search) {
  return search.id || !search.positive.empty() || !search.negative.empty();
}

Status check_question(const DatabaseSpec& spec, const SearchRequest& search) {
  int ways = (search.vector.empty() ? 0 : 1) + (search.text.empty() ? 0 : 1) + (search.id ? 1 : 0) +
             (search.positive.empty() ? 0 : 1);
  if (ways != 1) return invalid_argument("give exactly one of vector, text, id and positive");
  if (!search.negative.empty() && search.positive.empty()) {
    return invalid_argument("negative is given without positive, to which it is the contrary");
  }
  if (search.id) JADE_RETURN_IF_ERROR(search.id->validate().with_context("id"));
  auto target = target_of(spec, search);
  if (!target.ok()) return target.status();
  JADE_RETURN_IF_ERROR(check_examples(*target, "positive", search.positive));
  JADE_RETURN_IF_ERROR(check_examples(*target, "negative", search.negative));
  if (ids_of_examples(search).empty()) return {};
  return check_key(spec, search.key, true);
}

std::vector<VectorId> ids_of_examples(const SearchRequest& search) {
  std::vector<VectorId> ids;
  if (search.id) ids.push_back(*search.id);
  for (const auto* examples : {&search.positive, &search.negative}) {
    for (const Example& example : *examples) {
      if (example.id) ids.push_back(*example.id);
    }
  }
  return ids;
}

Status combine_examples(const DatabaseSpec& spec, SearchRequest& search,
                        const std::vector<std::vector<float>>& stored) {
  auto target = target_of(spec, search);
  if (!target.ok()) return target.status();
  const Metric metric = target->vector.metric;
  for (const auto& values : stored) {
    // The database may be another of the same name by now.
    JADE_RETURN_IF_ERROR(check_vector(*target, values));
  }
  if (search.id) {
    search.vector = stored.front();
    search.id.reset();
    return {};
  }
  std::vector<double> sum(target->vector.dimension);
  size_t next = 0;
  bool contrary = !search.negative.empty();
  add_mean(metric, search.positive, contrary ? 2 : 1, stored, next, sum);
  add_mean(metric, search.negative, -1, stored, next, sum);
  search.vector.assign(sum.begin(), sum.end());
  search.positive.clear();
  search.negative.clear();
  double norm = 0;
  for (float value : search.vector) norm += static_cast<double>(value) * value;
  // What is left of the rounding of directions that cancel out is no direction.
  if (metric == Metric::cosine && norm < 1e-10) {
    return invalid_argument(
        "the examples are 0 or cancel each other out; no direction is left to search");
  }
  return {};
}

}  // namespace jade
