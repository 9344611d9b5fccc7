#include "storage/vector_id.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace jade {

TEST_CASE("keys order as ids do: integers by number, then strings by byte") {
  std::vector<VectorId> ids{uint64_t{0},
                            uint64_t{1},
                            uint64_t{255},
                            uint64_t{256},
                            UINT64_MAX,
                            std::string("0"),
                            std::string("1"),
                            std::string("10"),
                            std::string("a"),
                            std::string("a\x01"),
                            std::string("ab"),
                            std::string("\xc3\xa9"),
                            std::string("\xf0\x9f\x98\x80")};
  std::mt19937_64 random(1);
  for (int i = 0; i < 100; ++i) {
    ids.emplace_back(random() >> random() % 64);
    ids.emplace_back(std::string(1 + random() % 9, static_cast<char>('a' + random() % 3)));
  }
  for (const VectorId& a : ids) {
    for (const VectorId& b : ids) {
      REQUIRE((a < b) == (a.key() < b.key()));
      REQUIRE((a == b) == (a.key() == b.key()));
    }
  }
}

TEST_CASE("an id comes back from its key") {
  for (const VectorId& id :
       {VectorId(uint64_t{0}), VectorId(UINT64_MAX), VectorId(std::string("a")),
        VectorId(std::string(VectorId::size_bytes_max, 'x'))}) {
    auto back = VectorId::from_key(id.key());
    REQUIRE(back.ok());
    CHECK(*back == id);
    CHECK(back->hash() == id.hash());
  }
  // The number 7 and the text "7" are different ids.
  CHECK(!(VectorId(uint64_t{7}) == VectorId(std::string("7"))));
  CHECK(VectorId(uint64_t{7}).to_string() == "7");
  CHECK(VectorId(std::string("7")).to_string() == "\"7\"");
}

TEST_CASE("keys of no known form are corruption or no valid id") {
  using namespace std::string_literals;
  for (const std::string& key : {""s, "\x01"s, "\x01\x00\x00\x00\x00\x00\x00\x00"s,
                                 "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"s, "\x02"s, "\x03 abc"s,
                                 "abc"s, "\x02\xff"s, "\x02 a\0z"s}) {
    CHECK(!VectorId::from_key(key).ok());
  }
}

TEST_CASE("text ids are non-empty UTF-8 of at most 512 bytes without NUL") {
  using namespace std::string_literals;
  CHECK(VectorId().validate().ok());
  for (const std::string& good : {"a"s, std::string(512, 'a'), "\x7f"s, "\xc2\x80"s, "\xdf\xbf"s,
                                  "\xe0\xa0\x80"s, "\xed\x9f\xbf"s, "\xee\x80\x80"s,
                                  "\xef\xbf\xbf"s, "\xf0\x90\x80\x80"s, "\xf4\x8f\xbf\xbf"s}) {
    CHECK(VectorId(good).validate().ok());
  }
  for (const std::string& bad : {""s,
                                 std::string(513, 'a'),
                                 "a\0b"s,
                                 "\x80"s,
                                 "\xbf"s,
                                 "\xc0\x80"s,
                                 "\xc1\xbf"s,
                                 "\xc2"s,
                                 "\xc2 "s,
                                 "\xe0\x9f\xbf"s,
                                 "\xed\xa0\x80"s,
                                 "\xed\xbf\xbf"s,
                                 "\xe2\x82"s,
                                 "\xf0\x8f\xbf\xbf"s,
                                 "\xf4\x90\x80\x80"s,
                                 "\xf5\x80\x80\x80"s,
                                 "\xf8\x88\x80\x80\x80"s,
                                 "\xfe"s,
                                 "\xff"s,
                                 "ok \xf0\x9f\x98"s}) {
    CAPTURE(bad.size());
    CHECK(VectorId(bad).validate().code() == Code::invalid_argument);
  }
}

TEST_CASE("hashes are fixed for ever and spread neighbours evenly") {
  // Shards are chosen by these: a change would lose data.
  CHECK(VectorId(uint64_t{0}).hash() == VectorId().hash());
  CHECK(VectorId(uint64_t{42}).hash() == 0x33168a0aec46f7b8u);
  CHECK(VectorId(std::string("doc-42")).hash() == 0x54bf053b1b29a32au);
  for (uint64_t shards : {2, 3, 8}) {
    std::map<uint64_t, int> counts;
    for (uint64_t i = 0; i < 8000; ++i) ++counts[VectorId(i).hash() % shards];
    for (const auto& [shard, count] : counts) {
      CHECK(count > 0.85 * 8000 / static_cast<double>(shards));
      CHECK(count < 1.15 * 8000 / static_cast<double>(shards));
    }
  }
}

}  // namespace jade
