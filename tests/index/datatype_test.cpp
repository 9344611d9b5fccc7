#include "index/datatype.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace jade {
namespace {

// What is wrong with `value` as the second of three; "" where nothing is.
std::string wrong_with(Datatype datatype, float value) {
  const float values[] = {1, value, 2};
  size_t at = 0;
  const char* found = refusal(datatype, values, 3, at);
  CHECK(at == (found == nullptr ? 3 : 1));
  return found == nullptr ? "" : found;
}

}  // namespace

TEST_CASE("Datatypes have names and sizes") {
  for (Datatype datatype : {Datatype::float32, Datatype::float16, Datatype::uint8}) {
    CHECK(*parse_datatype(to_string(datatype)) == datatype);
  }
  CHECK(parse_datatype("int8").status().message() ==
        "datatype \"int8\" is unknown; use \"float32\", \"float16\" or \"uint8\"");
  CHECK(element_bytes(Datatype::float32) == 4);
  CHECK(element_bytes(Datatype::float16) == 2);
  CHECK(element_bytes(Datatype::uint8) == 1);
}

TEST_CASE("Values that a datatype does not have are refused") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (Datatype datatype : {Datatype::float32, Datatype::float16, Datatype::uint8}) {
    for (float value : {infinity, -infinity, std::nanf("")}) {
      CHECK(wrong_with(datatype, value) == "is not a finite number");
    }
    CHECK(wrong_with(datatype, 0) == "");
    CHECK(wrong_with(datatype, -0.0f) == "");
    CHECK(wrong_with(datatype, 255) == "");
  }
  CHECK(wrong_with(Datatype::float32, 3e38f) == "");
  for (float value : {65504.0f, -65504.0f, 1e-30f})
    CHECK(wrong_with(Datatype::float16, value) == "");
  for (float value : {65505.0f, -65504.01f, 1e30f}) {
    CHECK(wrong_with(Datatype::float16, value) ==
          "is not between -65504 and 65504, as datatype \"float16\" asks for");
  }
  for (float value : {-1.0f, 256.0f, 0.5f, 254.99999f, 1e30f, -1e-30f}) {
    CHECK(wrong_with(Datatype::uint8, value) ==
          "is not a whole number from 0 to 255, as datatype \"uint8\" asks for");
  }
}

TEST_CASE("What is stored is the nearest value, and is loaded again") {
  std::vector<float> values = {1.5f, -0.1f, 65504, 1.0f + 1.0f / 2048, 6e-8f, 0};
  std::string stored(1 + 2 * values.size(), 'x');
  store_values(Datatype::float16, values.data(), values.size(), stored.data() + 1);
  std::vector<float> loaded(values.size());
  load_values(Datatype::float16, stored.data() + 1, loaded.size(), loaded.data());
  CHECK(loaded == std::vector<float>{1.5f, -0.0999755859375f, 65504, 1, 0x1p-24f, 0});

  for (int i = 0; i < 256; ++i) {
    auto value = static_cast<float>(i);
    char byte = 0;
    store_values(Datatype::uint8, &value, 1, &byte);
    CHECK(static_cast<uint8_t>(byte) == i);
    float again = -1;
    load_values(Datatype::uint8, &byte, 1, &again);
    CHECK(again == value);
  }
}

}  // namespace jade
