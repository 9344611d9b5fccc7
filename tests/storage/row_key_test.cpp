#include "storage/row_key.h"

#include <doctest/doctest.h>

#include <vector>

namespace jade {

TEST_CASE("a row's key gives its id back, and the shard key alone tells the shard") {
  std::vector<VectorId> ids = {VectorId(uint64_t{0}), VectorId(uint64_t{0x0300000000000000}),
                               VectorId("a"), VectorId("\x03x"), VectorId(UINT64_MAX)};
  for (const VectorId& id : ids) {
    CHECK(row_key(std::nullopt, id) == id.key());
    CHECK(*id_of_row_key(id.key()) == id);
    CHECK(*shard_key_of_row_key(id.key()) == std::nullopt);
    CHECK(hash_of_row_key(id.key()) == VectorId::hash_of_key(id.key()));
    for (const VectorId& shard_key : ids) {
      std::string key = row_key(shard_key, id);
      CHECK(key.substr(0, row_key_prefix(shard_key).size()) == row_key_prefix(shard_key));
      CHECK(*id_of_row_key(key) == id);
      CHECK(*shard_key_of_row_key(key) == shard_key);
      CHECK(hash_of_row_key(key) == hash_of_row_key(row_key_prefix(shard_key)));
      for (const VectorId& other : ids) {
        CHECK((row_key(other, id) == key) == (other == shard_key));
        // The ids of a shard key keep their order.
        CHECK((row_key(shard_key, other) < key) == (other < id));
      }
    }
  }
}

TEST_CASE("what is no key of a row is corruption") {
  for (const char* bad : {"", "\x03", "\x03\x01", "\x03\x02", "\x03\x02name", "\x04"}) {
    CHECK(id_of_row_key(bad).status().code() == Code::corruption);
    hash_of_row_key(bad);
    (void)shard_key_of_row_key(bad);
  }
}

}  // namespace jade
