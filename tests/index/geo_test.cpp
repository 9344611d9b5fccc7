#include "index/geo.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>

namespace jade {
namespace {

GeoArea circle(double lat, double lon, double meters) {
  auto area = GeoArea::circle({lat, lon}, meters);
  REQUIRE(area.ok());
  return *area;
}

GeoArea box(double north, double west, double south, double east) {
  auto area = GeoArea::box({north, west}, {south, east});
  REQUIRE(area.ok());
  return *area;
}

}  // namespace

TEST_CASE("Distances are those of a sphere") {
  CHECK(distance_meters({0, 0}, {0, 0}) == 0);
  // A quarter and half of the way around.
  CHECK(distance_meters({0, 0}, {90, 17}) == doctest::Approx(10007557.2));
  CHECK(distance_meters({0, 10}, {0, -170}) == doctest::Approx(20015114.4));
  // Vienna to New York, and a step over the 180th meridian.
  CHECK(distance_meters({48.2082, 16.3738}, {40.7128, -74.0060}) ==
        doctest::Approx(6806000).epsilon(0.002));
  CHECK(distance_meters({0, 179.5}, {0, -179.5}) == doctest::Approx(111195).epsilon(0.001));
}

TEST_CASE("Places are read from objects that name them") {
  auto point = read_geo_point(R"({"name":"x","lat":48.5,"lon":-16})");
  REQUIRE(point);
  CHECK(point->lat == 48.5);
  CHECK(point->lon == -16);
  for (const char* text :
       {"", "1", "null", "[1,2]", R"("lat")", "{}", R"({"lat":1})", R"({"lon":1})",
        R"({"lat":"1","lon":2})", R"({"lat":90.001,"lon":0})", R"({"lat":0,"lon":-180.5})",
        R"({"lat":[1],"lon":2})", R"({"lat":18446744073709551615,"lon":2})"}) {
    CAPTURE(text);
    CHECK(!read_geo_point(text));
  }
}

TEST_CASE("Areas have edges, cross the 180th meridian and reach the poles") {
  GeoArea around = circle(0, 180, 120000);
  CHECK(around.contains({0, 179}));
  CHECK(around.contains({0, -179}));
  CHECK(around.contains({1, -180}));
  CHECK(!around.contains({0, 178.5}));
  CHECK(circle(90, 0, 120000).contains({89, -120}));
  CHECK(circle(10, 20, 0).contains({10, 20}));
  CHECK(circle(10, 20, 3e7).contains({-10, -160}));

  GeoArea plain = box(50, 10, 40, 20);
  CHECK(plain.contains({50, 10}));
  CHECK(plain.contains({40, 20}));
  CHECK(!plain.contains({50.0000001, 15}));
  CHECK(!plain.contains({45, 9.9999999}));
  GeoArea crossing = box(10, 170, -10, -170);
  CHECK(crossing.contains({0, 175}));
  CHECK(crossing.contains({0, 180}));
  CHECK(crossing.contains({0, -180}));
  CHECK(crossing.contains({0, -175}));
  CHECK(!crossing.contains({0, 0}));
  // The 180th meridian is one line, whichever way it is written.
  CHECK(box(10, 170, -10, 180).contains({0, -180}));
  CHECK(box(10, -180, -10, -170).contains({0, 180}));
  CHECK(!box(10, 170, -10, 179).contains({0, -180}));
  // And a pole is one point.
  CHECK(box(90, 0, 80, 10).contains({90, 77}));
  CHECK(box(-80, 0, -90, 10).contains({-90, 77}));
  CHECK(!box(89, 0, 80, 10).contains({90, 5}));
  CHECK(box(90, -180, -90, 180).contains({12, 34}));
}

TEST_CASE("What is not on the globe is refused") {
  CHECK(GeoArea::circle({90.5, 0}, 1).status().message() ==
        "lat is 90.500000; on the globe it is -90 to 90");
  CHECK(GeoArea::circle({0, -181}, 1).status().message() ==
        "lon is -181.000000; on the globe it is -180 to 180");
  CHECK(!GeoArea::circle({0, NAN}, 1).ok());
  CHECK(GeoArea::circle({0, 0}, -1).status().message() ==
        "meters is -1.000000; it must be at least 0");
  CHECK(!GeoArea::circle({0, 0}, NAN).ok());
  CHECK(GeoArea::box({0, 0}, {0, 200}).status().message().starts_with("bottom_right: lon is 200"));
  CHECK(GeoArea::box({0, 0}, {1, 0}).status().message().starts_with("top_left is south of"));
}

TEST_CASE("Cells are where their points are, and ranges of them are squares") {
  std::mt19937_64 random(2);
  auto uniform = [&](double most) {
    return (static_cast<double>(random() >> 11) / 9007199254740992.0 * 2 - 1) * most;
  };
  for (int i = 0; i < 5000; ++i) {
    GeoPoint point{uniform(90), uniform(180)};
    if (i % 10 == 0) point.lat = i % 20 == 0 ? 90 : -90;
    if (i % 7 == 0) point.lon = i % 14 == 0 ? 180 : -180;
    double lon = point.lon == 180 ? -180 : point.lon;
    for (uint32_t level : {0u, 1u, 5u, 31u, 32u}) {
      GeoRect rect = geo_rect(geo_cell(point), level);
      CHECK(rect.south <= point.lat + 1e-9);
      CHECK(rect.north >= point.lat - 1e-9);
      CHECK(rect.west <= lon + 1e-9);
      CHECK(rect.east >= lon - 1e-9);
      CHECK(rect.north - rect.south == doctest::Approx(std::ldexp(180.0, -int(level))));
    }
  }
}

TEST_CASE("What areas say of squares holds for all points in them") {
  std::mt19937_64 random(6);
  auto uniform = [&](double low, double high) {
    return low + static_cast<double>(random() >> 11) / 9007199254740992.0 * (high - low);
  };
  size_t told = 0;
  for (int i = 0; i < 20000; ++i) {
    double a = uniform(-90, 90), b = uniform(-90, 90);
    if (i % 5 == 0) a = 90;
    GeoArea area = i % 2 == 0 ? circle(a, uniform(-180, 180), std::pow(10, uniform(0, 7.4)))
                              : box(std::max(a, b), uniform(-180, 180), std::min(a, b),
                                    i % 3 == 0 ? 180 : uniform(-180, 180));
    GeoRect rect = geo_rect(random(), 1 + static_cast<uint32_t>(random() % 12));
    auto overlap = area.overlap(rect);
    if (overlap == GeoArea::Overlap::some) continue;
    ++told;
    for (int j = 0; j < 20; ++j) {
      GeoPoint point{uniform(rect.south, rect.north), uniform(rect.west, rect.east)};
      if (j < 4) point = {j % 2 == 0 ? rect.south : rect.north, j < 2 ? rect.west : rect.east};
      // That meridian is in the cells on its other side.
      if (point.lon == 180) continue;
      REQUIRE(area.contains(point) == (overlap == GeoArea::Overlap::all));
    }
  }
  CHECK(told > 10000);
}

}  // namespace jade
