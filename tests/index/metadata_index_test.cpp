#include "index/metadata_index.h"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <random>

#include "index/geo.h"
#include "index/metadata.h"
#include "index/sealed_segment.h"
#include "index/timestamp.h"

namespace jade {
namespace {

namespace json = boost::json;

// Rows and filters of few names and values, so that they meet.
class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  uint32_t below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

  json::value scalar() {
    static const std::string texts[] = {"", "a", "ab", "b", "\"q\\\n", "é", "日本", "z\u007f"};
    constexpr int64_t two_53 = int64_t{1} << 53;
    switch (below(16)) {
      case 0: return nullptr;
      case 1: return below(2) == 0;
      case 2: return static_cast<int64_t>(below(50)) - 25;
      case 3: return 0.5 * static_cast<double>(below(50)) - 12;
      case 4: return two_53 + static_cast<int64_t>(below(4)) - 1;
      case 5: return -two_53 - static_cast<int64_t>(below(4)) + 1;
      case 6: return static_cast<double>(two_53 + 2 * below(2));
      case 7: return UINT64_MAX - below(3);
      case 8: return below(2) == 0 ? INT64_MIN : INT64_MAX;
      case 9: return below(2) == 0 ? -0.0 : below(2) == 0 ? 1.8446744073709552e19 : -1e300;
      case 10: return json::string(std::string(255 + below(3), 'x'));
      case 11: return json::string("n" + std::to_string(below(100)));
      case 12:
      case 13: return json::string(moment());
      default: return json::string(texts[below(8)]);
    }
  }
  // Few moments, written in many ways, some of which are none.
  std::string moment() {
    static const std::string times[] = {"",           "T00:00:00Z",      "T01:00:00+01:00",
                                        " 00:00:00",  "T00:00:00.0001Z", "t23:30:00-00:30",
                                        "T00:00:60Z", "T24:00:00Z"};
    return "2024-0" + std::to_string(2 + below(2)) + "-0" + std::to_string(below(4)) +
           times[below(8)];
  }
  double coordinate(double most) {
    switch (below(6)) {
      case 0: return below(2) == 0 ? most : -most;
      case 1: return most - 1e-9 * below(4);
      case 2: return most / 2;
      default: return (static_cast<double>(below(2001)) / 1000 - 1) * most;
    }
  }
  // Sometimes none on the globe.
  json::object place() {
    json::object out;
    out["lat"] = coordinate(below(20) == 0 ? 100 : 90);
    out["lon"] = below(20) == 0 ? json::value("x") : json::value(coordinate(180));
    if (below(4) == 0) out["name"] = scalar();
    return out;
  }
  json::object area() {
    json::object out;
    auto corner = [this](double lat) {
      return json::object{{"lat", lat}, {"lon", coordinate(180)}};
    };
    if (below(2) == 0) {
      double a = coordinate(90), b = coordinate(90);
      out["$geoBox"] = {{"top_left", corner(std::max(a, b))},
                        {"bottom_right", corner(std::min(a, b))}};
    } else {
      static constexpr double radii[] = {0, 0.5, 2000, 1e6, 7e6, 2.1e7};
      out["$geoRadius"] = corner(coordinate(90));
      out["$geoRadius"].as_object()["meters"] = radii[below(6)];
    }
    return out;
  }
  json::value date() { return json::object{{"$date", valid_moment()}}; }

  json::value value(int depth) {
    uint32_t which = depth > 0 ? below(9) : 9;
    if (which == 0) return object(depth - 1);
    if (which == 8) return place();
    if (which <= 2) {
      json::array out;
      uint32_t n = below(60) == 0 ? 255 + below(3) : below(4);
      for (; n > 0; --n) out.push_back(value(depth - 1));
      return out;
    }
    return scalar();
  }
  std::string name() {
    static const std::string names[] = {"a", "b", "c\"", "a.b", "é"};
    return names[below(5)];
  }
  json::object object(int depth) {
    json::object out;
    for (uint32_t n = below(5); n > 0; --n) out[name()] = value(depth);
    return out;
  }
  json::object filter(int depth) {
    json::object out;
    for (uint32_t n = 1 + below(2); n > 0; --n) {
      uint32_t which = below(8);
      if (depth > 0 && which == 0) {
        out["$not"] = filter(depth - 1);
      } else if (depth > 0 && which <= 2) {
        json::array parts;
        for (uint32_t m = 1 + below(3); m > 0; --m) parts.push_back(filter(depth - 1));
        out[which == 1 ? "$and" : "$or"] = parts;
      } else {
        std::string path = name();
        if (below(3) == 0) path += "." + name();
        out[path] = below(4) == 0 ? value(1) : json::value(operators(depth));
      }
    }
    return out;
  }

 private:
  std::string valid_moment() {
    std::string out = moment();
    while (!parse_timestamp(out)) out = moment();
    return out;
  }
  json::object operators(int depth) {
    if (below(6) == 0) return area();
    json::object out;
    static constexpr const char* ordering[] = {"$gt", "$gte", "$lt", "$lte"};
    for (uint32_t n = 1 + below(2); n > 0; --n) {
      switch (below(6)) {
        case 0: out[below(2) == 0 ? "$eq" : "$ne"] = below(4) == 0 ? date() : value(1); break;
        case 1:
          out[below(2) == 0 ? "$in" : "$nin"] = {value(1), scalar(),
                                                 below(4) == 0 ? date() : scalar()};
          break;
        case 2: out["$exists"] = below(2) == 0; break;
        case 3:
          if (depth > 0) {
            out["$not"] = operators(depth - 1);
            break;
          }
          [[fallthrough]];
        default: {
          json::value bound = below(3) == 0 ? date() : scalar();
          while (!bound.is_object() && !bound.is_number() && !bound.is_string()) bound = scalar();
          out[ordering[below(4)]] = bound;
        }
      }
    }
    return out;
  }

  std::mt19937 random_;
};

Filter filter_of(const std::string& text) {
  auto filter = parse_filter(text);
  CAPTURE(text);
  REQUIRE(filter.ok());
  return *filter;
}

TextColumn column_of(const std::vector<std::string>& rows) {
  TextColumn out;
  for (const std::string& row : rows) out.append(row.empty() ? row : *canonical_metadata(row));
  return out;
}

std::vector<size_t> rows_of(const Bitmap& bits) {
  std::vector<size_t> out;
  bits.visit([&](size_t row) { out.push_back(row); });
  return out;
}

// All rows that match; all must be decided.
std::vector<size_t> selected(const MetadataIndex& index, const std::string& filter) {
  Selection found = index.select(filter_of(filter));
  CAPTURE(filter);
  CHECK(!found.maybe);
  return rows_of(found.sure);
}

}  // namespace

TEST_CASE("The index selects the rows that each by itself matches") {
  uint64_t decided = 0, undecided = 0, matched = 0;
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    Generator generator(seed);
    std::vector<std::string> rows(1 + generator.below(seed % 3 == 0 ? 2000 : 300));
    // Fields that most rows have, with few values and with many, beside any.
    for (std::string& row : rows) {
      json::object object = generator.object(2);
      auto value = [&] { return generator.below(seed < 6 ? 3 : 1000); };
      if (generator.below(20) != 0) object["k"] = value();
      // So that values have rows in common.
      if (seed % 2 == 0 && generator.below(3) == 0) object["k"] = json::array{value(), value()};
      if (generator.below(3) != 0) object["at"] = json::string(generator.moment());
      if (generator.below(3) != 0) object["place"] = generator.place();
      if (generator.below(10) != 0) row = json::serialize(object);
    }
    TextColumn column = column_of(rows);
    MetadataIndex index(column);
    for (int i = 0; i < 400; ++i) {
      json::object object = generator.filter(2);
      if (generator.below(3) == 0) {
        object["k"] = {{"$gte", generator.below(500)}, {"$lt", generator.below(1000)}};
      }
      if (generator.below(6) == 0) {
        object = {{"at", {{generator.below(2) == 0 ? "$gte" : "$lt", generator.date()}}}};
      }
      if (generator.below(6) == 0) object = {{"place", generator.area()}};
      std::string text = json::serialize(object);
      CAPTURE(text);
      Filter filter = filter_of(text);
      Selection found = index.select(filter);
      for (uint32_t row = 0; row < rows.size(); ++row) {
        bool expected = filter.matches(column[row]);
        bool sure = found.sure.test(row), maybe = found.widest().test(row);
        CAPTURE(column[row]);
        if (sure ? !expected : expected && !maybe) REQUIRE(sure == expected);
        if (sure && !maybe) REQUIRE(maybe);
        ++(sure == maybe ? decided : undecided);
        matched += expected;
      }
    }
  }
  CHECK(decided > 9 * undecided);
  CHECK(matched > decided / 10);
  CHECK(matched < decided * 9 / 10);
}

TEST_CASE("Numbers are in order exactly, whatever their kind") {
  TextColumn column = column_of({R"({"a":9007199254740992})", R"({"a":9007199254740993})",
                                 R"({"a":9007199254740992.0})", R"({"a":18446744073709551615})",
                                 R"({"a":1.8446744073709552e19})", R"({"a":-9223372036854775808})",
                                 R"({"a":-0.0})", R"({"a":[0.5,"x",-1]})"});
  MetadataIndex index(column);
  using Rows = std::vector<size_t>;
  CHECK(selected(index, R"({"a":9007199254740993})") == Rows{1});
  CHECK(selected(index, R"({"a":{"$lte":9007199254740992,"$gt":1}})") == Rows{0, 2});
  CHECK(selected(index, R"({"a":{"$gt":18446744073709551615}})") == Rows{4});
  CHECK(selected(index, R"({"a":{"$gt":18446744073709551614}})") == Rows{3, 4});
  CHECK(selected(index, R"({"a":{"$lt":-9223372036854775807}})") == Rows{5});
  CHECK(selected(index, R"({"a":0})") == Rows{6});
  CHECK(selected(index, R"({"a":{"$gt":0,"$lt":0}})") == Rows{7});
  CHECK(selected(index, R"({"a":{"$ne":"x"}})") == Rows{0, 1, 2, 3, 4, 5, 6});
  CHECK(selected(index, R"({"b":{"$exists":false}})").size() == 8);
}

TEST_CASE("Areas select places; only those at their edge are undecided") {
  std::mt19937 random(11);
  std::vector<std::string> rows;
  auto uniform = [&](double most) {
    return (static_cast<double>(random()) / 4294967295.0 * 2 - 1) * most;
  };
  for (int i = 0; i < 20000; ++i) {
    json::object place{{"lat", uniform(90)}, {"lon", uniform(180)}};
    rows.push_back(
        json::serialize(json::object{{"p", i % 3 == 0 ? json::value{place, 1} : place}}));
  }
  TextColumn column = column_of(rows);
  MetadataIndex index(column);
  uint64_t undecided = 0, matched = 0;
  for (int i = 0; i < 60; ++i) {
    json::object area{
        {"lat", uniform(90)}, {"lon", uniform(180)}, {"meters", std::pow(10.0, 3 + i % 5)}};
    std::string text = json::serialize(json::object{{"p", {{"$geoRadius", area}}}});
    Filter filter = filter_of(text);
    Selection found = index.select(filter);
    for (size_t row = 0; row < rows.size(); ++row) {
      bool matches = filter.matches(column[row]);
      matched += matches;
      REQUIRE((!found.sure.test(row) || matches));
      REQUIRE((found.widest().test(row) || !matches));
    }
    undecided += found.widest().count() - found.sure.count();
  }
  CHECK(matched > 10000);
  CHECK(undecided < 20);
}

TEST_CASE("What is not in the index is undecided, and nothing else is") {
  std::vector<std::string> rows(400, R"({"text":"short","n":[1,2]})");
  std::string text(1000, 'x'), many = "1";
  for (int i = 0; i < 300; ++i) many += "," + std::to_string(i);
  rows[7] = "{\"text\":\"" + text + "\",\"n\":1}";
  rows[9] = "{\"text\":\"y\",\"n\":[" + many + "]}";
  rows[20] = R"({"text":"short","n":[1,2])";
  for (int i = 0; i < 300; ++i) rows[20] += ",\"f" + std::to_string(i) + "\":1";
  rows[20] += "}";
  TextColumn column = column_of(rows);
  MetadataIndex index(column);
  auto undecided = [&](const std::string& filter) {
    Selection found = index.select(filter_of(filter));
    if (!found.maybe) return std::vector<size_t>();
    found.maybe->remove(found.sure);
    return rows_of(*found.maybe);
  };
  CHECK(undecided(R"({"text":{"$gt":"a"}})") == std::vector<size_t>{7});
  CHECK(undecided(R"({"n":299})") == std::vector<size_t>{9});
  CHECK(undecided(R"({"$not":{"n":299}})") == std::vector<size_t>{9});
  CHECK(undecided(R"({"n":[1,2]})").size() == 400);
  CHECK(undecided(R"({"text":"short","n":{"$gte":1}})").size() <= 2);
  CHECK(undecided(R"({"f3":1})").empty());
  CHECK(undecided(R"({"f299":1})").size() == 400);
  // A name with a dot, which may be among those that are not there, too.
  rows.push_back(R"({"o":{"p":1},"o.p":1})");
  rows[8] = R"({"o":{"p":1}})";
  rows[3] = R"({"text":"short","n":1,"o.q":1})";
  TextColumn more = column_of(rows);
  MetadataIndex dotted(more);
  Selection found = dotted.select(filter_of(R"({"o.p":1})"));
  CHECK(rows_of(found.sure) == std::vector<size_t>{8, 400});
  CHECK(found.widest().count() == 401);
  CHECK(rows_of(dotted.select(filter_of(R"({"o.p":{"$exists":false}})")).widest()).size() == 399);
}

TEST_CASE("Memory is bounded by the values; what is no JSON does no harm") {
  TextColumn shared, different, damaged;
  for (uint32_t i = 0; i < 16000; ++i) {
    shared.append("{\"a\":" + std::to_string(i % 5) + "}");
    different.append("{\"a\":\"id-" + std::to_string(i * 7919 % 16000) + "\"}");
  }
  CHECK(MetadataIndex(shared).memory_bytes() < 16000 * 2);
  CHECK(MetadataIndex(different).memory_bytes() < 16000 * 21);
  std::mt19937 random(3);
  for (int i = 0; i < 3000; ++i) {
    std::string text = R"({"a":{"b":[1,"x\"",null,{"c":true}]},"d":"é"})";
    for (uint32_t n = random() % 4; n > 0; --n) {
      text[random() % text.size()] = "{}[]\",:\\a1"[random() % 10];
    }
    if (random() % 2 == 0) text.resize(random() % text.size());
    damaged.append(text);
  }
  MetadataIndex index(damaged);
  index.select(filter_of(R"({"a.b":{"$gt":"w"},"d":{"$ne":"é"}})"));
  TextColumn nothing;
  CHECK(MetadataIndex(nothing).select(filter_of("{}")).sure.size() == 0);
}

}  // namespace jade
