#include "index/filter.h"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <random>

#include "index/metadata.h"

namespace jade {
namespace {

namespace json = boost::json;

// The same meaning, written from the description over parsed values.
bool meets(const json::object& row, const json::object& filter);

using Found = std::vector<const json::value*>;

// Of all ways to read the dots of a path, as between names or within them.
Found at_path(const json::value& value, std::string_view path) {
  Found out;
  const json::object* object = value.if_object();
  for (size_t end = 0; object != nullptr && end <= path.size(); ++end) {
    if (end < path.size() && path[end] != '.') continue;
    const json::value* found = object->if_contains({path.data(), end});
    if (found == nullptr) continue;
    if (end == path.size()) {
      out.push_back(found);
    } else {
      for (const json::value* inner : at_path(*found, path.substr(end + 1))) out.push_back(inner);
    }
  }
  return out;
}

// Only of small numbers, for which double is exact.
int order(const json::value& a, const json::value& b, bool* comparable) {
  *comparable = true;
  if (a.is_number() && b.is_number()) {
    auto x = a.to_number<double>(), y = b.to_number<double>();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (a.is_string() && b.is_string()) return a.get_string().compare(b.get_string());
  *comparable = false;
  return 0;
}

bool equal(const json::value& a, const json::value& b) {
  bool comparable = false;
  int o = order(a, b, &comparable);
  return comparable ? o == 0 : a == b;
}

template <class Test>
bool any_of(const Found& found, Test test) {
  for (const json::value* value : found) {
    if (test(*value)) return true;
    if (!value->is_array()) continue;
    for (const json::value& element : value->get_array()) {
      if (test(element)) return true;
    }
  }
  return false;
}

bool meets_condition(const Found& found, const json::value& condition) {
  const json::object* operators = condition.if_object();
  if (operators == nullptr || operators->empty() || operators->begin()->key().substr(0, 1) != "$") {
    return any_of(found, [&](const json::value& v) { return equal(v, condition); });
  }
  for (const auto& [name, operand_value] : *operators) {
    const json::value& operand = operand_value;
    auto compared = [&](auto accept) {
      return any_of(found, [&](const json::value& v) {
        bool comparable = false;
        int o = order(v, operand, &comparable);
        return comparable && accept(o);
      });
    };
    auto equals = [&](const json::value& other) {
      return any_of(found, [&](const json::value& v) { return equal(v, other); });
    };
    auto in = [&] {
      for (const json::value& other : operand.get_array()) {
        if (equals(other)) return true;
      }
      return false;
    };
    bool met = name == "$eq"       ? equals(operand)
               : name == "$ne"     ? !equals(operand)
               : name == "$gt"     ? compared([](int o) { return o > 0; })
               : name == "$gte"    ? compared([](int o) { return o >= 0; })
               : name == "$lt"     ? compared([](int o) { return o < 0; })
               : name == "$lte"    ? compared([](int o) { return o <= 0; })
               : name == "$in"     ? in()
               : name == "$nin"    ? !in()
               : name == "$exists" ? !found.empty() == operand.get_bool()
                                   : !meets_condition(found, operand);
    if (!met) return false;
  }
  return true;
}

bool meets(const json::object& row, const json::object& filter) {
  json::value whole(row);
  for (const auto& [name, value] : filter) {
    bool met = false;
    if (name == "$not") {
      met = !meets(row, value.get_object());
    } else if (name == "$and" || name == "$or") {
      met = name == "$and";
      for (const json::value& part : value.get_array()) {
        bool part_met = meets(row, part.get_object());
        met = name == "$and" ? met && part_met : met || part_met;
      }
    } else {
      met = meets_condition(at_path(whole, {name.data(), name.size()}), value);
    }
    if (!met) return false;
  }
  return true;
}

class Generator {
 public:
  json::value scalar() {
    switch (random_() % 7) {
      case 0: return nullptr;
      case 1: return random_() % 2 == 0;
      case 2: return static_cast<int64_t>(random_() % 5) - 2;
      case 3: return 0.5 * static_cast<double>(random_() % 9) - 2;
      case 4: return json::string(std::string(random_() % 3, 'a'));
      case 5: return "b\"\n";
      default: return uint64_t{1} + random_() % 2;
    }
  }
  json::value value(int depth) {
    if (depth > 0 && random_() % 4 == 0) return object(depth - 1);
    if (depth > 0 && random_() % 3 == 0) {
      json::array out;
      for (uint32_t n = random_() % 3; n > 0; --n) out.push_back(value(depth - 1));
      return out;
    }
    return scalar();
  }
  json::object object(int depth) {
    json::object out;
    for (uint32_t n = random_() % 4; n > 0; --n) out[name()] = value(depth);
    return out;
  }
  json::object filter(int depth) {
    json::object out;
    for (uint32_t n = random_() % 3; n > 0; --n) {
      uint32_t which = random_() % 8;
      if (depth > 0 && which == 0) {
        out["$not"] = filter(depth - 1);
      } else if (depth > 0 && which <= 2) {
        json::array parts{filter(depth - 1)};
        if (random_() % 2 == 0) parts.push_back(filter(depth - 1));
        out[which == 1 ? "$and" : "$or"] = parts;
      } else {
        std::string path = name();
        if (random_() % 3 == 0) path += "." + name();
        out[path] = random_() % 4 == 0 ? value(1) : json::value(operators(depth));
      }
    }
    return out;
  }

 private:
  std::string name() {
    if (random_() % 8 == 0) return "p.q";
    return std::string(1, static_cast<char>('p' + random_() % 3));
  }
  json::object operators(int depth) {
    json::object out;
    static constexpr const char* ordering[] = {"$gt", "$gte", "$lt", "$lte"};
    static constexpr const char* equality[] = {"$eq", "$ne"};
    static constexpr const char* membership[] = {"$in", "$nin"};
    for (uint32_t n = 1 + random_() % 2; n > 0; --n) {
      switch (random_() % 5) {
        case 0: out[equality[random_() % 2]] = value(1); break;
        case 1: out[membership[random_() % 2]] = json::array{value(1), scalar()}; break;
        case 2: out["$exists"] = random_() % 2 == 0; break;
        case 3:
          if (depth > 0) {
            out["$not"] = operators(depth - 1);
            break;
          }
          [[fallthrough]];
        default:
          out[ordering[random_() % 4]] =
              random_() % 3 == 0 ? json::value("a") : json::value(int64_t{0});
      }
    }
    return out;
  }

  std::mt19937 random_{11};
};

bool matches(const std::string& filter, const std::string& row) {
  auto parsed = parse_filter(filter);
  CAPTURE(filter);
  REQUIRE(parsed.ok());
  return parsed->matches(row.empty() ? row : *canonical_metadata(row));
}

std::string error_of(const std::string& filter) {
  auto parsed = parse_filter(filter);
  CAPTURE(filter.substr(0, 60));
  REQUIRE(!parsed.ok());
  CHECK(parsed.status().code() == Code::invalid_argument);
  return parsed.status().message();
}

}  // namespace

TEST_CASE("Filters mean what their description says") {
  Generator generator;
  int matched = 0;
  for (int i = 0; i < 20000; ++i) {
    json::object filter = generator.filter(2), row = generator.object(2);
    std::string filter_text = json::serialize(filter), row_text = json::serialize(row);
    bool expected = meets(row, filter);
    matched += expected;
    CAPTURE(filter_text);
    CAPTURE(row_text);
    REQUIRE(matches(filter_text, row_text) == expected);
  }
  CHECK(matched > 4000);
  CHECK(matched < 16000);
}

TEST_CASE("Integers and doubles compare exactly") {
  CHECK(!matches(R"({"a":9007199254740993})", R"({"a":9007199254740992.0})"));
  CHECK(matches(R"({"a":{"$gt":9007199254740992.0}})", R"({"a":9007199254740993})"));
  CHECK(matches(R"({"a":{"$lt":18446744073709551616.0}})", R"({"a":18446744073709551615})"));
  CHECK(matches(R"({"a":{"$gt":-9223372036854775809}})", R"({"a":-9223372036854775808})") ==
        false);  // rounds to the same double
  CHECK(matches(R"({"a":{"$gt":-3.5,"$lt":-2.5}})", R"({"a":-3})"));
  CHECK(matches(R"({"a":-0.0})", R"({"a":0})"));
  CHECK(matches(R"({"a":{"$lt":9223372036854775808}})", R"({"a":-1})"));
}

TEST_CASE("Rows without metadata") {
  CHECK(matches("{}", ""));
  CHECK(!matches(R"({"a":null})", ""));
  CHECK(matches(R"({"a":{"$ne":1}})", ""));
  CHECK(matches(R"({"a":{"$exists":false}})", ""));
  CHECK(!matches(R"({"a":{"$in":[]}})", R"({"a":1})"));
}

TEST_CASE("What is no filter is refused, with its place") {
  CHECK(error_of("").find("JSON") != std::string::npos);
  CHECK(error_of("[]").find("filter must be an object") != std::string::npos);
  CHECK(error_of(R"({"a":{"$foo":1}})").find("filter.a.$foo") != std::string::npos);
  CHECK(error_of(R"({"$nor":[]})").find("$nor") != std::string::npos);
  CHECK(error_of(R"({"$or":[]})").find("filter.$or") != std::string::npos);
  CHECK(error_of(R"({"$or":[{"a":{"$in":3}}]})").find("filter.$or[0].a.$in") != std::string::npos);
  CHECK(error_of(R"({"a":{"$gt":[1]}})").find("filter.a.$gt") != std::string::npos);
  CHECK(error_of(R"({"a":{"$exists":1}})").find("filter.a.$exists") != std::string::npos);
  CHECK(error_of(R"({"a":{"$gt":1,"b":2}})").find("filter.a.b") != std::string::npos);
  CHECK(error_of(R"({"":1})").find("empty") != std::string::npos);
  std::string deep = "{}", many = R"({"a":{"$in":[0)";
  for (int i = 0; i < 17; ++i) deep = "{\"$not\":" + deep + "}";
  error_of(deep);
  error_of(std::string(100000, '['));
  for (int i = 0; i < 1024; ++i) many += ",1";
  CHECK(error_of(many + "]}}").find("1024") != std::string::npos);
}

TEST_CASE("A name that is given twice in one object is refused, with its place") {
  auto repeated = [](const std::string& filter) {
    std::string error = error_of(filter);
    size_t end = error.find(" is given more than once");
    CAPTURE(error);
    REQUIRE(end != std::string::npos);
    return error.substr(0, end);
  };
  CHECK(repeated(R"({"year":{"$gt":1},"year":{"$lt":5}})") == "filter.year");
  CHECK(repeated(R"({"year":1,"b":[{"c":[]}], "year" : 1})") == "filter.year");
  CHECK(repeated(R"({"year":{"$gt":1,"$lt":5,"$gt":2}})") == "filter.year.$gt");
  CHECK(repeated(R"({"ye\u0061r":1,"year":2})") == "filter.year");
  CHECK(repeated(R"({"a.b":1,"c":2,"a.b":2})") == "filter.a.b");
  CHECK(repeated(R"({"$and":[{"a":1}],"$and":[{"b":1}]})") == "filter.$and");
  CHECK(repeated(R"({"$or":[{"a":1},{"b":{"$not":{"$gt":1,"$gt":2}}}]})") ==
        "filter.$or[1].b.$not.$gt");
  CHECK(repeated(R"({"a":{"$in":["x",{"y":1,"y":2}]}})") == "filter.a.$in[1].y");
  // The same name in different objects, or as a value.
  CHECK(matches(R"({"$or":[{"a":1},{"a":2}],"$not":{"a":3}})", R"({"a":2})"));
  CHECK(matches(R"({"a":{"$gt":"a","$ne":"$gt"},"b":["a","a","a",{"a":"a"}]})",
                R"({"a":"b","b":["a","a","a",{"a":"a"}]})"));
  CHECK(matches(R"({"a":"x\",\"a","b":"{"})", R"({"a":"x\",\"a","b":"{"})"));
}

TEST_CASE("Operators are told from the fields of an object") {
  CHECK(matches(R"({"a":{"":1}})", R"({"a":{"":1}})"));
  CHECK(matches(R"({"a":{"x":1}})", R"({"a":{"x":1}})"));
  CHECK(matches(R"({"a":{}})", R"({"a":{}})"));
  CHECK(error_of(R"({"a":{"x":1,"$gt":2}})").find("filter.a.x") != std::string::npos);
}

TEST_CASE("An operand that metadata cannot hold is refused") {
  std::string deep = std::string(20, '[') + std::string(20, ']');
  CHECK(error_of("{\"a\":" + deep + "}").find("filter.a") != std::string::npos);
  CHECK(error_of("{\"a\":{\"$in\":[" + deep + "]}}").find("filter.a.$in") != std::string::npos);
}

TEST_CASE("Numbers beyond those of floats are refused, and those too near to 0 are 0") {
  const std::string why = " is out of the range of a 64-bit float";
  for (const char* number : {"1e400", "-1e400", "[1e999]", "{\"$gt\":1e309}", "1e99999999999"}) {
    std::string error = error_of(std::string("{\"a\":") + number + "}");
    CHECK_MESSAGE(error.find("the number at byte ") == 0, error);
    CHECK_MESSAGE(error.find(why) != std::string::npos, error);
    Status refused = canonical_metadata(std::string("{\"a\":") + number + "}").status();
    CHECK_MESSAGE(refused.message().find(why) != std::string::npos, refused.message());
  }
  CHECK(matches(R"({"a":1e-400})", R"({"a":0})"));
  CHECK(matches(R"({"a":0})", R"({"a":0e999})"));
  CHECK(error_of(R"({"a":01})").find("not a JSON object: ") == 0);
  CHECK(error_of(R"({"a":1e})").find(" at byte ") != std::string::npos);
}

TEST_CASE("A dot is between names or within one, and of two values one suffices") {
  CHECK(matches(R"({"a.b":1})", R"({"a.b":1})"));
  CHECK(matches(R"({"a.b":{"$exists":true}})", R"({"a.b":null})"));
  CHECK(!matches(R"({"a.b":{"$exists":false}})", R"({"a.b":null})"));
  for (const char* row :
       {R"({"a.b.c":1})", R"({"a.b":{"c":1}})", R"({"a":{"b.c":1}})", R"({"a":{"b":{"c":1}}})"}) {
    CAPTURE(row);
    CHECK(matches(R"({"a.b.c":1})", row));
    CHECK(!matches(R"({"a.b.c":{"$ne":1}})", row));
    CHECK(!matches(R"({"a.b":1})", row));
  }
  const std::string both = R"({"a":{"b":2},"a.b":1})";
  CHECK(matches(R"({"a.b":1})", both));
  CHECK(matches(R"({"a.b":2})", both));
  CHECK(!matches(R"({"a.b":{"$nin":[2,3]}})", both));
  CHECK(matches(R"({"a\".\n":1})", R"({"a\".\n":1})"));
  CHECK(matches(R"({"a.":1,".":2})", R"({"a":{"":1},".":2})"));
}

TEST_CASE("Objects are equal whatever the order of their fields") {
  CHECK(matches(R"({"a":{"x":1,"y":2}})", R"({"a":{"y":2,"x":1}})"));
  CHECK(matches(R"({"a":{"$in":[{"x":[{"p":"}","q":"b"}],"y":{}}]}})",
                R"({"a":[3,{"y":{},"x":[{"q":"b","p":"}"}]}]})"));
  CHECK(!matches(R"({"a":{"$ne":{"x":1,"y":2}}})", R"({"a":{"y":2,"x":1}})"));
  CHECK(!matches(R"({"a":{"x":1,"y":2}})", R"({"a":{"y":1,"x":2}})"));
  CHECK(!matches(R"({"a":[1,2]})", R"({"a":[2,1]})"));
  CHECK(with_fields_sorted(R"({"b":[],"a":[{},{"d":1,"c":[2,{"z":"","y":null}]}]})") ==
        R"({"a":[{},{"c":[2,{"y":null,"z":""}],"d":1}],"b":[]})");
}

TEST_CASE("Moments compare by time, and only with $date") {
  const std::string row = R"({"at":"2024-01-31T12:00:00+01:00","n":5,"all":["x","2024-01-01"]})";
  CHECK(matches(R"({"at":{"$date":"2024-01-31T11:00:00Z"}})", row));
  CHECK(matches(R"({"at":{"$eq":{"$date":"2024-01-31 11:00:00"}}})", row));
  CHECK(matches(R"({"at":{"$gte":{"$date":"2024-01-31"},"$lt":{"$date":"2024-02-01"}}})", row));
  CHECK(!matches(R"({"at":{"$gt":{"$date":"2024-01-31T11:00:00Z"}}})", row));
  CHECK(matches(R"({"at":{"$in":[1,{"$date":"2024-01-31T10:00:00-01:00"}]}})", row));
  CHECK(!matches(R"({"at":{"$nin":[{"$date":"2024-01-31T10:00:00-01:00"}]}})", row));
  CHECK(matches(R"({"at":{"$not":{"$lt":{"$date":"2000-01-01"}}}})", row));
  CHECK(matches(R"({"all":{"$lte":{"$date":"2024-01-01"}}})", row));
  // Strings stay strings, and nothing else is a moment.
  CHECK(!matches(R"({"at":"2024-01-31T11:00:00Z"})", row));
  CHECK(matches(R"({"at":{"$gt":"2024-01-31T11:30:00Z"}})", row));
  CHECK(!matches(R"({"n":{"$gt":{"$date":"0000-01-01"}}})", row));
  CHECK(!matches(R"({"gone":{"$lt":{"$date":"9999-01-01"}}})", row));
  CHECK(matches(R"({"gone":{"$ne":{"$date":"2024-01-01"}}})", row));
}

TEST_CASE("What is no moment of a filter is refused, with its place") {
  CHECK(error_of(R"({"at":{"$gte":{"$date":"2024-13-01"}}})") ==
        "filter.at.$gte: $date is \"2024-13-01\"; it must be a date or a date-time of RFC 3339, "
        "such as \"2024-01-31T12:30:00Z\"");
  CHECK(error_of(R"({"at":{"$date":1704067200}})") == "filter.at: $date must be a string");
  CHECK(error_of(R"({"at":{"$in":[{"$date":"yesterday"}]}})").find("filter.at.$in: $date is") == 0);
  CHECK(error_of(R"({"at":{"$date":"2024-01-01","$gt":1}})").find("filter.at.$date must stand") ==
        0);
  CHECK(error_of(R"({"at":{"$lt":{"$data":"2024-01-01"}}})") ==
        "filter.at.$lt must be a number, a string or {\"$date\": ...}");
}

TEST_CASE("Operators without their sign are refused, other objects compared with") {
  CHECK(error_of(R"({"year":{"gte":2000,"lt":2010}})") ==
        "filter.year.gte: operators begin with $: use $gte, or $eq to compare with an object of "
        "that field");
  CHECK(error_of(R"({"$not":{"id":{"eq":"s1"}}})").find("use $eq") != std::string::npos);
  const std::string row = R"({"size":{"gte":1,"unit":"m"},"odd":{"in":3}})";
  CHECK(matches(R"({"size":{"gte":1,"unit":"m"}})", row));
  CHECK(matches(R"({"odd":{"$eq":{"in":3}}})", row));
  CHECK(!matches(R"({"odd":{}})", row));
}

TEST_CASE("Places are matched by areas") {
  const std::string row =
      R"({"place":{"lat":48.2,"lon":16.37,"name":"Vienna"},"stops":[1,{"lat":0,"lon":-179.9}],)"
      R"("off":{"lat":98,"lon":0},"odd":{"lat":"48.2","lon":16}})";
  CHECK(matches(R"({"place":{"$geoRadius":{"lat":48.2,"lon":16.4,"meters":5000}}})", row));
  CHECK(!matches(R"({"place":{"$geoRadius":{"lat":48.2,"lon":16.4,"meters":500}}})", row));
  CHECK(matches(R"({"stops":{"$geoRadius":{"lat":0,"lon":179.9,"meters":30000}}})", row));
  const std::string box = R"({"$geoBox":{"top_left":{"lat":49,"lon":16},)"
                          R"("bottom_right":{"lat":48,"lon":17}}})";
  CHECK(matches("{\"place\":" + box + "}", row));
  CHECK(!matches("{\"stops\":" + box + "}", row));
  CHECK(matches("{\"$not\":{\"stops\":" + box + "}}", row));
  CHECK(
      matches(R"({"place":{"$exists":true,"$geoRadius":{"lat":48,"lon":16,"meters":1e6}}})", row));
  const std::string all = R"({"$geoRadius":{"lat":0,"lon":0,"meters":3e7}})";
  for (const char* no_place : {"off", "odd", "place.lat", "place.name", "gone"}) {
    CHECK(!matches("{\"" + std::string(no_place) + "\":" + all + "}", row));
  }
}

TEST_CASE("What is no area is refused, with its place") {
  CHECK(error_of(R"({"a":{"$geoRadius":{"lat":91,"lon":0,"meters":1}}})") ==
        "filter.a.$geoRadius: lat is 91.000000; on the globe it is -90 to 90");
  CHECK(error_of(R"({"a":{"$geoRadius":{"lat":0,"lon":0}}})") ==
        "filter.a.$geoRadius: meters is missing");
  CHECK(error_of(R"({"a":{"$geoRadius":{"lat":0,"lon":0,"meters":-5}}})").find("at least 0") !=
        std::string::npos);
  CHECK(error_of(R"({"a":{"$geoRadius":{"lat":"0","lon":0,"meters":5}}})") ==
        "filter.a.$geoRadius: lat must be a number");
  CHECK(error_of(R"({"a":{"$geoRadius":{"lat":0,"lon":0,"meters":5,"km":1}}})") ==
        "filter.a.$geoRadius: field \"km\" is not known");
  CHECK(error_of(R"({"a":{"$geoRadius":[0,0,5]}})") == "filter.a.$geoRadius: must be an object");
  CHECK(error_of(R"({"a":{"$geoBox":{"top_left":{"lat":1,"lon":0}}}})") ==
        "filter.a.$geoBox: bottom_right is missing");
  CHECK(error_of(R"({"a":{"$geoBox":{"top_left":{"lat":1},"bottom_right":{"lat":0,"lon":1}}}})") ==
        "filter.a.$geoBox: top_left: lon is missing");
  CHECK(error_of(R"({"a":{"$geoBox":{"top_left":{"lat":0,"lon":0},)"
                 R"("bottom_right":{"lat":1,"lon":1}}}})")
            .find("filter.a.$geoBox: top_left is south of bottom_right") == 0);
  CHECK(error_of(R"({"a":{"$geoBox":{"top_left":{"lat":1,"lon":181},)"
                 R"("bottom_right":{"lat":0,"lon":1}}}})") ==
        "filter.a.$geoBox: top_left: lon is 181.000000; on the globe it is -180 to 180");
}

TEST_CASE("Bytes that are no metadata do no harm") {
  std::mt19937 random(6);
  const std::string alphabet = "{}[]\",:\\a1n";
  auto filter = parse_filter(R"({"a":"x"})");
  REQUIRE(filter.ok());
  CHECK(filter->matches(R"({"a":"x"})"));
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = "{\"a\":\"x";
    bytes.resize(random() % 8);
    for (uint32_t n = random() % 8; n > 0; --n) bytes += alphabet[random() % alphabet.size()];
    CHECK_NOTHROW((void)filter->matches(bytes));
  }
}

}  // namespace jade
