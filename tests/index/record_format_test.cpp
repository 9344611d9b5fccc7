#include "index/record_format.h"

#include <doctest/doctest.h>

namespace jade {
namespace {

RecordFormat two() {
  return RecordFormat({{"a", RowFormat(Metric::l2, 3, Datatype::uint8)},
                       {"b", RowFormat(Metric::cosine, 2, Datatype::float32)}});
}

}  // namespace

TEST_CASE("one vector without a name is stored as itself") {
  for (Datatype datatype : {Datatype::float32, Datatype::float16, Datatype::uint8}) {
    RecordFormat format{RowFormat(Metric::dot, 3, datatype)};
    CHECK(!format.named());
    CHECK(format.size() == 1);
    CHECK(format.row_bytes() == 3 * element_bytes(datatype));
    CHECK(format.stored_dimension() == 3);
    CHECK(format.stored_datatype() == datatype);
    std::string stored(format.row_bytes(), '\0');
    CHECK(format.fits(stored));
    std::vector<float> values = {1, 0, 200};
    format.put(stored.data(), 0, values.data());
    CHECK(format.load(stored, 0) == values);
    CHECK(format.find(stored, 0) == stored.data());
    CHECK(!format.fits(stored + "x"));
  }
}

TEST_CASE("named vectors are stored one after another, with what says which are there") {
  RecordFormat format = two();
  CHECK(format.named());
  CHECK(format.row_bytes() == 3 + 8 + 1);
  CHECK(format.stored_dimension() == 12);
  CHECK(format.stored_datatype() == Datatype::uint8);
  std::string stored(format.row_bytes(), '\0');
  CHECK(!format.fits(stored));
  std::vector<float> a = {1, 2, 255}, b = {0.5f, -1};
  CHECK(format.put(stored.data(), 1, b.data()) == stored.data() + 3);
  CHECK(format.fits(stored));
  CHECK(!format.has(stored, 0));
  CHECK(format.find(stored, 0) == nullptr);
  CHECK(format.load(stored, 1) == b);
  CHECK(stored.substr(0, 3) == std::string(3, '\0'));
  CHECK(stored.back() == 2);
  format.put(stored.data(), 0, a.data());
  CHECK(stored.back() == 3);
  CHECK(stored.substr(0, 3) == "\x01\x02\xff");
  CHECK(format.load(stored, 0) == a);
  CHECK(format.load(stored, 1) == b);
  stored.back() = 7;  // a third one
  CHECK(!format.fits(stored));
  CHECK(!format.fits(stored.substr(1)));
}

TEST_CASE("the last of eight vectors has the last bit") {
  std::vector<RecordFormat::Vector> vectors;
  for (size_t i = 0; i < RecordFormat::vectors_max; ++i) {
    vectors.push_back({"v" + std::to_string(i), RowFormat(Metric::l2, 1, Datatype::uint8)});
  }
  RecordFormat format(vectors);
  std::string stored(format.row_bytes(), '\0');
  float value = 9;
  format.put(stored.data(), 7, &value);
  CHECK(stored == std::string("\0\0\0\0\0\0\0\x09\x80", 9));
  CHECK(format.fits(stored));
  CHECK(format.has(stored, 7));
  CHECK(!format.has(stored, 6));
}

TEST_CASE("vectors are set and taken away, and the others stay") {
  RecordFormat one(RowFormat(Metric::l2, 1, Datatype::float32));
  CHECK(one.merge("1234", "", 0) == "1234");
  CHECK(one.merge("1234", "5678", 0) == "5678");
  RecordFormat format({{"a", RowFormat(Metric::l2, 1, Datatype::uint8)},
                       {"b", RowFormat(Metric::l2, 2, Datatype::uint8)},
                       {"c", RowFormat(Metric::l2, 1, Datatype::uint8)}});
  auto bytes = [](const char* text) { return std::string(text, 5); };
  CHECK(format.merge(bytes("\1\2\2\0\3"), bytes("\0\0\0\7\4"), 0) == bytes("\1\2\2\7\7"));
  CHECK(format.merge(bytes("\1\2\2\7\7"), bytes("\5\0\0\0\1"), 2) == bytes("\5\0\0\7\5"));
  CHECK(format.merge(bytes("\1\2\2\7\7"), "", 5) == bytes("\0\2\2\0\2"));
  CHECK(format.merge(bytes("\1\0\0\0\1"), "", 6) == bytes("\1\0\0\0\1"));
  // What is set is not taken away.
  CHECK(format.merge(bytes("\1\0\0\0\1"), bytes("\3\0\0\0\1"), 1) == bytes("\3\0\0\0\1"));
  CHECK(!format.fits(format.merge(bytes("\1\0\0\0\1"), "", 1)));
  CHECK(format.merge("", bytes("\0\4\4\0\2"), 0) == bytes("\0\4\4\0\2"));
  CHECK(format.merge("", "", 2).empty());
}

}  // namespace jade
