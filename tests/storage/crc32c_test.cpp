#include "storage/crc32c.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

namespace jade {

TEST_CASE("CRC-32C gives the published values") {
  std::string ascending, descending;
  for (char i = 0; i < 32; ++i) ascending.push_back(i);
  for (char i = 31; i >= 0; --i) descending.push_back(i);
  // RFC 3720, B.4, and the usual check value.
  struct {
    std::string bytes;
    uint32_t crc;
  } known[] = {{"", 0},
               {"a", 0xc1d04330},
               {"123456789", 0xe3069283},
               {std::string(32, '\0'), 0x8a9136aa},
               {std::string(32, '\xff'), 0x62a8ab43},
               {ascending, 0x46dd794e},
               {descending, 0x113fdb5c}};
  for (const auto& [bytes, crc] : known) {
    CAPTURE(bytes.size());
    CHECK(crc32c(bytes) == crc);
    CHECK(crc32c_portable(bytes) == crc);
  }
}

TEST_CASE("the instruction and the table agree for all lengths, alignments and seeds") {
  std::mt19937 random(1);
  std::string bytes;
  for (int i = 0; i < 4096; ++i) bytes.push_back(static_cast<char>(random()));
  for (int i = 0; i < 3000; ++i) {
    size_t begin = random() % 64;
    auto part = std::string_view(bytes).substr(begin, i < 200 ? i : random() % 4000);
    auto seed = static_cast<uint32_t>(random());
    REQUIRE(crc32c(part, seed) == crc32c_portable(part, seed));
  }
}

TEST_CASE("a checksum may be taken in parts") {
  std::string bytes = "the quick brown fox jumps over the lazy dog";
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    auto all = std::string_view(bytes);
    CHECK(crc32c(all.substr(cut), crc32c(all.substr(0, cut))) == crc32c(all));
  }
}

}  // namespace jade
