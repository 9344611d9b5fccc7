#include "index/metric.h"

#include <doctest/doctest.h>

#include <functional>
#include <vector>

using namespace jade;

TEST_CASE("of an index changes what the bits of a record name, and no more") {
  IndexOptions other;
  // In the order of the bits, which are on disk.
  const std::vector<std::function<void(IndexOptions&)>> fields = {
      [](IndexOptions& o) { o.kind = IndexKind::ivf; },
      [](IndexOptions& o) { o.m = 20; },
      [](IndexOptions& o) { o.ef_construction = 150; },
      [](IndexOptions& o) { o.ef_search = 77; },
      [](IndexOptions& o) { o.nlist = 9; },
      [](IndexOptions& o) { o.nprobe = 3; },
      [](IndexOptions& o) { o.quantization = Quantization::pq; },
      [](IndexOptions& o) { o.vectors = VectorPlace::disk; },
      [](IndexOptions& o) { o.min_recall = 0.9; },
  };
  for (const auto& set : fields) set(other);
  const uint32_t all = (1u << fields.size()) - 1;
  for (uint32_t bits = 0; bits <= all; ++bits) {
    CAPTURE(bits);
    IndexChange change = IndexChange::of(other, bits);
    CHECK(change.fields() == bits);
    IndexOptions expected;
    for (size_t i = 0; i < fields.size(); ++i) {
      if ((bits >> i & 1) != 0) fields[i](expected);
    }
    CHECK(change.applied_to({}) == expected);
  }
  CHECK(IndexChange::of(other, ~all).fields() == 0);
}

TEST_CASE("of min_recall and other effort the newer wish counts") {
  IndexOptions index;
  index.min_recall = 0.9;
  IndexChange change;
  change.nprobe = 7;
  CHECK(change.applied_to(index).min_recall == 0);
  change = {};
  change.ef_search = 7;
  CHECK(change.applied_to(index).min_recall == 0);
  change.min_recall = 0.8;  // as a command on disk may say
  CHECK(change.applied_to(index).min_recall == 0.8);
  change = {};
  change.m = 20;
  CHECK(change.applied_to(index).min_recall == 0.9);
}
