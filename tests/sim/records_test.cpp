#include "sim/records.h"

#include <doctest/doctest.h>

namespace jade::sim {

TEST_CASE("vectors and metadata of a version are the same for ever and differ between versions") {
  CHECK(vector_of(1, 2, 8) == vector_of(1, 2, 8));
  CHECK(vector_of(1, 2, 8) != vector_of(1, 3, 8));
  CHECK(vector_of(1, 2, 8) != vector_of(2, 2, 8));
  CHECK(vector_of(1, 2, 8).size() == 8);
  CHECK(bucket_of(4, 5) < 10);
  std::string bucket = std::to_string(bucket_of(4, 5));
  CHECK(revision_of(4, 5) == "{\"version\":5,\"bucket\":" + bucket + "}");
  CHECK(metadata_of(4, 5, 6) == "{\"version\":5,\"bucket\":" + bucket + ",\"mark\":6}");
  std::optional<RecordState> state = state_of(4, metadata_of(4, 5, 6));
  REQUIRE(state);
  CHECK(state->version == 5);
  CHECK(state->mark == 6);
  CHECK(!state_of(3, metadata_of(4, 5, 6)));
  CHECK(!state_of(4, revision_of(4, 5)));
  CHECK(!state_of(4, ""));
}

TEST_CASE("what is read back of a record is what was written, and of no other version") {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    SimulationOptions options;
    options.seed = seed;
    Run run(options);
    Records records(options, run);
    StoredVector found;
    for (size_t v = 0; v < records.vectors().size(); ++v) {
      if (!Records::has_vector(4, 5, v)) continue;
      auto values = records.stored(4, 5, v);
      if (records.vectors()[v].name.empty()) {
        found.values = values;
      } else {
        found.named.push_back({records.vectors()[v].name, values});
      }
    }
    CHECK(records.holds(found, 4, 5));
    CHECK(!records.holds(found, 4, 6));
    CHECK(!records.holds(found, 3, 5));
    CHECK(!records.holds(StoredVector(), 4, 5));
  }
}

}  // namespace jade::sim
