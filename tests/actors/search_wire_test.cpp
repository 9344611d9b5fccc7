// Searches between nodes, as bytes.
#include "actors/search_wire.h"

#include <doctest/doctest.h>

#include "actors/messages.h"
#include "storage/bytes.h"

namespace jade {
namespace {

// With another value in each field that is sent.
ShardSearch any_search() {
  ShardSearch search;
  search.route.group = 1ull << 60;
  search.route.node = UINT64_MAX;
  search.route.hops = 2;
  search.route.waits = 3;
  search.route.budget_ms = 40'000;
  search.queries = std::string("\0\1\2\3", 4);
  search.dimension = 5;
  search.vector = 6;
  search.k = 7;
  search.ef_search = 8;
  search.nprobe = 9;
  search.min_recall = 0.95;
  search.filter = R"({"a":1})";
  search.exact = true;
  search.include_metadata = false;
  search.include_values = true;
  search.has_threshold = true;
  search.distance_max = 0.5f;
  search.applied_min = 11;
  search.last_child = 12;
  search.router = 13;
  search.consistency = Consistency::eventual;
  search.explain = true;
  return search;
}

ShardHits any_hits() {
  ShardHits hits;
  hits.applied_index = 1ull << 40;
  hits.after = {{2, 3}, {4, 5}};
  hits.queries = {{{"key", 0.25f, R"({"b":2})", "values"}, {"", -1, "", ""}}, {}};
  return hits;
}

// Whether bytes of T that are wrong in any way are refused.
template <class T>
void check_damaged(const T& value) {
  const std::string packed = pack(value);
  for (size_t size = 0; size < packed.size(); ++size) {
    T out;
    CHECK(unpack(std::string_view(packed).substr(0, size), out) != "");
  }
  T out;
  CHECK(unpack(packed + '\0', out) == "more bytes than it says");
  // Whatever else is in them, they are read or refused, and what was read can be packed.
  for (size_t i = 0; i < packed.size(); ++i) {
    for (char wrong : {'\0', '\1', '\x7f', '\x80', '\xff'}) {
      std::string damaged = packed;
      damaged[i] = wrong;
      T other;
      if (unpack(damaged, other).empty()) CHECK(pack(other).size() == packed.size());
    }
  }
}

}  // namespace

TEST_CASE("a search is read as it was packed, in every field") {
  const ShardSearch sent = any_search();
  ShardSearch got;
  REQUIRE(unpack(pack(sent), got) == "");
  CHECK(got.route.group == sent.route.group);
  CHECK(got.route.node == sent.route.node);
  CHECK(got.route.hops == 2);
  CHECK(got.route.waits == 3);
  CHECK(got.route.budget_ms == 40'000);
  CHECK(got.queries == sent.queries);
  CHECK(got.dimension == 5);
  CHECK(got.vector == 6);
  CHECK(got.k == 7);
  CHECK(got.ef_search == 8);
  CHECK(got.nprobe == 9);
  CHECK(got.min_recall == 0.95);
  CHECK(got.filter == sent.filter);
  CHECK(got.exact);
  CHECK(!got.include_metadata);
  CHECK(got.include_values);
  CHECK(got.has_threshold);
  CHECK(got.distance_max == 0.5f);
  CHECK(got.applied_min == 11);
  CHECK(got.last_child == 12);
  CHECK(got.router == 13);
  CHECK(got.consistency == Consistency::eventual);
  CHECK(got.explain);
}

TEST_CASE("hits are read as they were packed") {
  const ShardHits sent = any_hits();
  ShardHits got;
  got.after = {{9, 9}};
  REQUIRE(unpack(pack(sent), got) == "");
  CHECK(got.applied_index == sent.applied_index);
  CHECK(got.after == sent.after);
  REQUIRE(got.queries.size() == 2);
  REQUIRE(got.queries[0].size() == 2);
  CHECK(got.queries[0][0].id == "key");
  CHECK(got.queries[0][0].distance == 0.25f);
  CHECK(got.queries[0][0].metadata == sent.queries[0][0].metadata);
  CHECK(got.queries[0][0].values == "values");
  CHECK(got.queries[0][1].distance == -1);
  CHECK(got.queries[1].empty());
}

TEST_CASE("bytes of a search that are damaged are refused, or read as another") {
  check_damaged(any_search());
  check_damaged(any_hits());
}

TEST_CASE("lists that cannot be there are refused before memory is taken for them") {
  ShardHits out;
  std::string bytes;
  append_u64(bytes, 0);
  append_u32(bytes, UINT32_MAX);  // entries of `after`
  CHECK(unpack(bytes, out) == "4294967295 elements in 0 bytes");
  bytes.resize(8);
  append_u32(bytes, 0);
  append_u32(bytes, 3);  // queries, in the room of two
  append_u64(bytes, 0);
  CHECK(unpack(bytes, out) == "3 elements in 8 bytes");
  bytes.resize(12);
  append_u32(bytes, 1);
  append_u32(bytes, UINT32_MAX);  // hits
  CHECK(unpack(bytes, out) == "4294967295 elements in 0 bytes");
}

}  // namespace jade
