// Places on the globe, and areas that filters select them by.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "storage/status.h"

namespace jade {

// Degrees: north and east are positive. On the globe: -90 to 90 and -180 to 180.
struct GeoPoint {
  double lat = 0;
  double lon = 0;
};

// The place that a canonical value says: an object with numbers "lat" and "lon" that are on
// the globe. Nothing for anything else.
std::optional<GeoPoint> read_geo_point(std::string_view value);

// Along the surface of a sphere with the mean radius of the Earth, 6,371,008.8 m; at most
// 0.6 % off. Haversine: Sinnott, "Virtues of the haversine", 1984.
double distance_meters(GeoPoint a, GeoPoint b);

// A piece of the map; west is never east of east.
struct GeoRect {
  double south = 0, north = 0, west = 0, east = 0;
};

// Cells divide the map into 2^32 × 2^32; their numbers follow a Z-order curve (Morton,
// 1966), so that a quarter of the map, a quarter of that and so on are ranges of them.
// A point on the 180th meridian is in the cell of its western side.
uint64_t geo_cell(GeoPoint point);
// Of all cells that begin with the same 2 × level bits as this one, level 0 to 32.
GeoRect geo_rect(uint64_t cell, uint32_t level);

class GeoArea {
 public:
  // invalid_argument unless the point is on the globe and the radius at least 0.
  static Result<GeoArea> circle(GeoPoint centre, double radius_meters);
  // Its edges belong to it. Where its west is east of its east, it crosses the 180th
  // meridian. invalid_argument unless the corners are on the globe and north is not south
  // of south.
  static Result<GeoArea> box(GeoPoint top_left, GeoPoint bottom_right);

  // `point`: on the globe.
  bool contains(GeoPoint point) const;
  // Which points of a piece of the map are in it. `some` where it is too close to tell,
  // so that this agrees with contains() for points that were rounded into a cell.
  enum class Overlap { none, some, all };
  Overlap overlap(const GeoRect& rect) const;

 private:
  struct Longitudes {
    double west, east;
  };

  Overlap overlap_circle(const GeoRect& rect) const;
  Overlap overlap_box(const GeoRect& rect) const;

  bool circle_ = false;
  GeoPoint centre_;  // of a circle
  double radius_meters_ = 0;
  double south_ = 0, north_ = 0;        // of a box
  std::array<Longitudes, 2> ranges_{};  // of a box; the first `range_count_` of them
  size_t range_count_ = 0;
};

}  // namespace jade
