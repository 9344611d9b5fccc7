#include "actors/token.h"

#include <doctest/doctest.h>

#include <random>

namespace jade {

TEST_CASE("a token says which entries of which groups, and comes back") {
  CHECK(encode_token({}) == "");
  CHECK(encode_token({{4, 17}, {3, 42}}) == "3:42,4:17");
  std::mt19937_64 random(1);
  for (int i = 0; i < 200; ++i) {
    AppliedIndexes indexes;
    for (auto n = random() % 6; n > 0; --n) indexes[random() >> random() % 64] = random();
    auto back = decode_token(encode_token(indexes));
    REQUIRE(back.ok());
    CHECK(*back == indexes);
  }
  CHECK(decode_token("18446744073709551615:18446744073709551615").ok());
}

TEST_CASE("what no write returned is refused") {
  for (const char* garbage : {" ",
                              ",",
                              ":",
                              "1",
                              "1:",
                              ":1",
                              "1:2,",
                              ",1:2",
                              "1:2,,3:4",
                              "1:2,3",
                              "1:2 ",
                              " 1:2",
                              "1;2",
                              "1:2;3:4",
                              "a:b",
                              "1:b",
                              "-1:2",
                              "1:-2",
                              "+1:2",
                              "0x1:2",
                              "1.5:2",
                              "1:2:3",
                              "18446744073709551616:1",
                              "1:18446744073709551616",
                              "1:2,\xff"}) {
    CAPTURE(garbage);
    auto decoded = decode_token(garbage);
    REQUIRE(!decoded.ok());
    CHECK(decoded.status().code() == Code::invalid_argument);
  }
}

TEST_CASE("any change to a token gives another token or none, never a crash") {
  std::mt19937 random(2);
  const std::string token = "3:42,4:17,123456789:987654321";
  for (int i = 0; i < 5000; ++i) {
    std::string changed = token;
    for (auto n = 1 + random() % 3; n > 0; --n) {
      size_t at = random() % changed.size();
      if (random() % 3 == 0) {
        changed.erase(at, 1);
      } else {
        changed[at] = static_cast<char>(random());
      }
    }
    auto decoded = decode_token(changed);
    if (decoded.ok()) CHECK(decode_token(encode_token(*decoded)).value() == *decoded);
  }
}

}  // namespace jade
