#include "index/metadata.h"

#include <doctest/doctest.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "index/filter.h"

namespace jade {
namespace {

std::string canonical(const std::string& json) {
  auto out = canonical_metadata(json);
  CAPTURE(json);
  REQUIRE(out.ok());
  return *out;
}

std::string nested(size_t arrays) {
  return "{\"a\":" + std::string(arrays, '[') + std::string(arrays, ']') + "}";
}

}  // namespace

TEST_CASE("Metadata has one text") {
  CHECK(canonical(" { } ") == "{}");
  CHECK(canonical("{ \"b\" : [ 1 , true , null ] , \"a\" : { \"x\" : \"\\u0041\\/\" } }") ==
        R"({"b":[1,true,null],"a":{"x":"A/"}})");
  CHECK(canonical(R"({"a":18446744073709551615,"b":-9223372036854775808})") ==
        R"({"a":18446744073709551615,"b":-9223372036854775808})");
  CHECK(canonical(R"({"a":0.1,"b":1e300,"c":9007199254740993})") ==
        R"({"a":0.1,"b":1e+300,"c":9007199254740993})");
  CHECK(canonical("{\"a\":\"\\u0000\\n\\t\\\"\\\\\xc3\xa9\"}") ==
        "{\"a\":\"\\u0000\\n\\t\\\"\\\\\xc3\xa9\"}");
  for (const char* json :
       {R"({"a":5.0})", R"({"a":-0.0})", R"({"a":-0})", R"({"a":1e5})", R"({"a":1e22})",
        R"({"a":5e-324})", R"({"a":12345678901234567890.0})", R"({"a":123456789012345678901})"}) {
    std::string once = canonical(json);
    CAPTURE(once);
    CHECK(canonical(once) == once);
  }
}

TEST_CASE("What is no metadata is refused") {
  for (std::string json :
       {std::string(), std::string("[]"), std::string("1"), std::string("null"), std::string("{"),
        std::string("{}x"), std::string("{\"a\":NaN}"), std::string("{\"a\":1e999}"),
        std::string("{\"a\":[-1e999]}"), std::string("{\"a\":\"\xff\"}"),
        std::string("{\"a\":\"\\ud800\"}"), std::string("{\"a\":1,}"), std::string("{'a':1}"),
        nested(16), nested(100000)}) {
    CAPTURE(json.substr(0, 40));
    auto out = canonical_metadata(json);
    REQUIRE(!out.ok());
    CHECK(out.status().code() == Code::invalid_argument);
    CHECK(!out.status().message().empty());
  }
  CHECK(canonical(nested(15)) == nested(15));
}

TEST_CASE("Fields of a patch take the place of those of their names") {
  auto merged = [](const char* metadata, const char* patch) {
    std::string out = merge_metadata(metadata, patch);
    CHECK((out.empty() || canonical(out) == out));
    return out;
  };
  CHECK(merged(R"({"a":1,"b":2})", R"({"c":3,"a":[1,"}"]})") == R"({"a":[1,"}"],"b":2,"c":3})");
  CHECK(merged(R"({"a":1,"b":2})", R"({"a":null,"x":null})") == R"({"b":2})");
  CHECK(merged(R"({"a":1})", R"({"a":null})") == "{}");
  CHECK(merged("", R"({"a":null})") == "");
  CHECK(merged("{}", R"({"a":null})") == "{}");
  CHECK(merged("", R"({"a":{"b":null}})") == R"({"a":{"b":null}})");
  // Only the fields of the object itself are merged, and a null that was stored stays.
  CHECK(merged(R"({"a":{"b":1,"c":2},"n":null})", R"({"a":{"c":3}})") ==
        R"({"a":{"c":3},"n":null})");
  CHECK(merged(R"({"a\"":1,"":2})", R"({"":null,"a\"":"x"})") == R"({"a\"":"x"})");
}

TEST_CASE("Merging two patches into one is merging one after the other") {
  std::mt19937 random(3);
  auto object = [&](bool nulls) {
    std::string out;
    for (char name = 'a'; name < 'g'; ++name) {
      if (random() % 2 == 0) continue;
      bool null = nulls && random() % 2 == 0;
      out += (out.empty() ? "{\"" : ",\"") + std::string(1, name) +
             "\":" + (null ? "null" : std::to_string(random() % 9));
    }
    return out.empty() ? "{}" : out + "}";
  };
  for (int i = 0; i < 1000; ++i) {
    std::string first = object(true), second = object(true), both = object(false);
    CAPTURE(first);
    CAPTURE(second);
    std::string at_once = merge_metadata(both, merge_metadata(first, second, true));
    std::string in_turn = merge_metadata(merge_metadata(both, first), second);
    // But for the order of their fields.
    CHECK(at_once.size() == in_turn.size());
    for (char name = 'a'; name < 'g'; ++name) {
      std::string field = canonical_string(std::string(1, name));
      CHECK(find_field(at_once, field) == find_field(in_turn, field));
    }
  }
}

TEST_CASE("Fields are found whatever they hold") {
  std::string object =
      canonical(R"({"a":"}]\",","b":[{"c":"]"},[]],"":7,"c\"d":{"e":{}},"last":-1.5})");
  CHECK(find_field(object, "\"a\"") == R"("}]\",")");
  CHECK(find_field(object, "\"b\"") == R"([{"c":"]"},[]])");
  CHECK(find_field(object, "\"\"") == "7");
  CHECK(find_field(object, canonical_string("c\"d")) == R"({"e":{}})");
  CHECK(find_field(object, "\"last\"") == "-1.5");
  CHECK(!find_field(object, "\"c\""));
  CHECK(!find_field(object, "\"e\""));
  CHECK(!find_field("{}", "\"a\""));
  CHECK(!find_field("", "\"a\""));
}

TEST_CASE("A text is added where there is none") {
  CHECK(*metadata_with_text("", "x\"y") == R"({"text":"x\"y"})");
  CHECK(*metadata_with_text("{}", "x") == R"({"text":"x"})");
  CHECK(*metadata_with_text(R"({"a":1})", "x") == R"({"a":1,"text":"x"})");
  CHECK(*metadata_with_text(R"({"text":1})", "x") == R"({"text":1})");
  CHECK(*metadata_with_text(R"({"a":{"text":1}})", "x") == R"({"a":{"text":1},"text":"x"})");
  CHECK(!metadata_with_text("", "\xff").ok());
}

TEST_CASE("Reading a field of any bytes does no harm") {
  std::mt19937 random(6);
  const std::string alphabet = "{}[]\",:\\a1n";
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = "{\"a\"";
    bytes.resize(random() % 5);
    for (uint32_t n = random() % 8; n > 0; --n) bytes += alphabet[random() % alphabet.size()];
    (void)find_field(bytes, "\"a\"");
    CHECK(skip_value(bytes, 0) <= bytes.size());
  }
}

TEST_CASE("Numbers come back as they were given, to the last bit") {
  std::mt19937_64 random(17);
  for (int i = 0; i < 20'000; ++i) {
    double number = std::bit_cast<double>(random());
    if (i % 2 == 0) number = static_cast<double>(random() >> 11) * 0x1p-53;
    if (!std::isfinite(number)) continue;
    char shortest[40];
    auto [end, error] = std::to_chars(shortest, shortest + sizeof shortest, number);
    const std::string text(shortest, end);
    CAPTURE(text);
    auto metadata = canonical_metadata("{\"x\": [" + text + "]}");
    REQUIRE(metadata.ok());
    double back = 0;
    std::from_chars(metadata->data() + 6, metadata->data() + metadata->size(), back);
    REQUIRE(back == number);
    if (i % 100 != 0) continue;
    auto filter = parse_filter("{\"x\": {\"$lte\": " + text + "}}");
    REQUIRE(filter.ok());
    CHECK(filter->matches("{\"x\":" + text + "}"));
    const double above = std::nextafter(number, std::numeric_limits<double>::max());
    auto [above_end, above_error] = std::to_chars(shortest, shortest + sizeof shortest, above);
    if (above > number) CHECK(!filter->matches("{\"x\":" + std::string(shortest, above_end) + "}"));
  }
  // Too small to be told from 0.
  CHECK(*canonical_metadata("{\"x\":1e-999}") == "{\"x\":0}");
  CHECK(!canonical_metadata("{\"x\":1e999}").ok());
  CHECK(*canonical_metadata(" {\"x\": 0.1 } \n") == "{\"x\":0.1}");
  CHECK(!canonical_metadata("{\"x\":1} 2").ok());
  CHECK(!canonical_metadata("{\"x\":1").ok());
  CHECK(!canonical_metadata("").ok());
}

}  // namespace jade
