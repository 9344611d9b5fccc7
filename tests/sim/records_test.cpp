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

}  // namespace jade::sim
