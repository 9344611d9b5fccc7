#include "storage/bytes.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace jade {

TEST_CASE("values are little-endian and keys big-endian") {
  std::string out;
  append_u32(out, 0x01020304);
  CHECK(out == std::string("\x04\x03\x02\x01", 4));
  out.clear();
  append_u64(out, 0x0102030405060708);
  CHECK(out == std::string("\x08\x07\x06\x05\x04\x03\x02\x01", 8));
  out.clear();
  append_big_endian(out, 0x0102030405060708);
  CHECK(out == std::string("\x01\x02\x03\x04\x05\x06\x07\x08", 8));
  out.clear();
  append_big_endian32(out, 0x01020304);
  CHECK(out == std::string("\x01\x02\x03\x04", 4));
  CHECK(load_big_endian(out) == 0x01020304);
  CHECK(load_big_endian("") == 0);
  CHECK(load_big_endian("\xff\xff\xff\xff\xff\xff\xff\xff more") == UINT64_MAX);
}

TEST_CASE("a reader gives back what was appended and nothing past the end") {
  std::string out(1, '\xfe');
  append_u32(out, 0xfffffffe);
  append_u64(out, UINT64_MAX - 1);
  out += "tail";
  ByteReader reader(out);
  CHECK(reader.u8() == 0xfe);
  CHECK(reader.u32() == 0xfffffffe);
  CHECK(reader.u64() == UINT64_MAX - 1);
  CHECK(reader.bytes(2) == "ta");
  CHECK(reader.rest() == "il");
  // What does not fit is not taken.
  CHECK(!reader.bytes(3));
  CHECK(!reader.u32());
  CHECK(!reader.bytes(SIZE_MAX));
  CHECK(reader.bytes(2) == "il");
  CHECK(!reader.u8());
  CHECK(reader.bytes(0) == "");
}

TEST_CASE("keys sort as their numbers") {
  std::mt19937_64 random(2);
  std::vector<uint64_t> numbers{0, 1, 255, 256, UINT32_MAX, UINT64_MAX};
  for (int i = 0; i < 200; ++i) numbers.push_back(random() >> random() % 64);
  std::sort(numbers.begin(), numbers.end());
  std::string before;
  for (uint64_t number : numbers) {
    std::string key;
    append_big_endian(key, number);
    CHECK(before <= key);
    CHECK(load_big_endian(key) == number);
    before = key;
  }
}

}  // namespace jade
