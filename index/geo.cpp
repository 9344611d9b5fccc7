#include "index/geo.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "index/filter_tree.h"
#include "index/metadata.h"

namespace jade {
namespace {

constexpr double earth_radius_meters = 6371008.8;
constexpr double radians = std::numbers::pi / 180;
// What rounding a point into a cell, and the distance to it, may be off by.
constexpr double margin_degrees = 1e-9;
constexpr double margin_meters = 1;

bool is_on_globe(GeoPoint point) {
  return std::fabs(point.lat) <= 90 && std::fabs(point.lon) <= 180;
}

Status check_on_globe(GeoPoint point) {
  auto wrong = [](const char* name, double value, const char* range) {
    return invalid_argument(std::string(name) + " is " + std::to_string(value) +
                            "; on the globe it is " + range);
  };
  if (!(std::fabs(point.lat) <= 90)) return wrong("lat", point.lat, "-90 to 90");
  if (!(std::fabs(point.lon) <= 180)) return wrong("lon", point.lon, "-180 to 180");
  return {};
}

std::optional<double> read_number(std::string_view object, std::string_view name) {
  auto text = find_field(object, name);
  if (!text || text->empty()) return std::nullopt;
  FilterValue value = read_filter_value(*text);
  if (const auto* i = std::get_if<int64_t>(&value)) return static_cast<double>(*i);
  if (const auto* u = std::get_if<uint64_t>(&value)) return static_cast<double>(*u);
  if (const auto* d = std::get_if<double>(&value)) return *d;
  return std::nullopt;
}

// The bits of a number apart, one place free before each.
uint64_t spread(uint32_t value) {
  uint64_t bits = value;
  bits = (bits | bits << 16) & 0x0000ffff0000ffffu;
  bits = (bits | bits << 8) & 0x00ff00ff00ff00ffu;
  bits = (bits | bits << 4) & 0x0f0f0f0f0f0f0f0fu;
  bits = (bits | bits << 2) & 0x3333333333333333u;
  return (bits | bits << 1) & 0x5555555555555555u;
}

uint32_t gather(uint64_t bits) {
  bits &= 0x5555555555555555u;
  bits = (bits | bits >> 1) & 0x3333333333333333u;
  bits = (bits | bits >> 2) & 0x0f0f0f0f0f0f0f0fu;
  bits = (bits | bits >> 4) & 0x00ff00ff00ff00ffu;
  bits = (bits | bits >> 8) & 0x0000ffff0000ffffu;
  return static_cast<uint32_t>(bits | bits >> 16);
}

constexpr double cells_a_side = 4294967296.0;

// `share`: of the side, 0 to 1.
uint32_t cell_at(double share) {
  return static_cast<uint32_t>(std::clamp(share * cells_a_side, 0.0, cells_a_side - 1));
}

}  // namespace

std::optional<GeoPoint> read_geo_point(std::string_view value) {
  if (!value.starts_with('{')) return std::nullopt;
  auto lat = read_number(value, "\"lat\"");
  if (!lat) return std::nullopt;
  auto lon = read_number(value, "\"lon\"");
  if (!lon || !is_on_globe({*lat, *lon})) return std::nullopt;
  return GeoPoint{*lat, *lon};
}

double distance_meters(GeoPoint a, GeoPoint b) {
  double lat = std::sin((b.lat - a.lat) * radians / 2);
  double lon = std::sin((b.lon - a.lon) * radians / 2);
  double h = lat * lat + std::cos(a.lat * radians) * std::cos(b.lat * radians) * lon * lon;
  return 2 * earth_radius_meters * std::asin(std::sqrt(std::min(h, 1.0)));
}

uint64_t geo_cell(GeoPoint point) {
  double lon = point.lon >= 180 ? -180 : point.lon;
  return spread(cell_at((point.lat + 90) / 180)) << 1 | spread(cell_at((lon + 180) / 360));
}

GeoRect geo_rect(uint64_t cell, uint32_t level) {
  if (level < 32) cell = level == 0 ? 0 : cell >> (64 - 2 * level) << (64 - 2 * level);
  double side = std::ldexp(1.0, -static_cast<int>(level));
  double south = gather(cell >> 1) / cells_a_side, west = gather(cell) / cells_a_side;
  return {south * 180 - 90, (south + side) * 180 - 90, west * 360 - 180, (west + side) * 360 - 180};
}

Result<GeoArea> GeoArea::circle(GeoPoint centre, double radius_meters) {
  JADE_RETURN_IF_ERROR(check_on_globe(centre));
  if (!(radius_meters >= 0)) {
    return invalid_argument("meters is " + std::to_string(radius_meters) +
                            "; it must be at least 0");
  }
  GeoArea out;
  out.circle_ = true;
  out.centre_ = centre;
  out.radius_meters_ = radius_meters;
  return out;
}

Result<GeoArea> GeoArea::box(GeoPoint top_left, GeoPoint bottom_right) {
  JADE_RETURN_IF_ERROR(check_on_globe(top_left).with_context("top_left"));
  JADE_RETURN_IF_ERROR(check_on_globe(bottom_right).with_context("bottom_right"));
  if (top_left.lat < bottom_right.lat) {
    return invalid_argument("top_left is south of bottom_right: lat " +
                            std::to_string(top_left.lat) + " is less than " +
                            std::to_string(bottom_right.lat));
  }
  GeoArea out;
  out.south_ = bottom_right.lat;
  out.north_ = top_left.lat;
  double west = top_left.lon, east = bottom_right.lon;
  auto add = [&out](double from, double to) { out.ranges_[out.range_count_++] = {from, to}; };
  if (west > east) {
    add(west, 180);
    add(-180, east);
  } else {
    add(west, east);
    // Points on that meridian count as those of -180.
    if (east == 180) add(-180, -180);
  }
  return out;
}

bool GeoArea::contains(GeoPoint point) const {
  if (circle_) return distance_meters(centre_, point) <= radius_meters_;
  if (point.lat < south_ || point.lat > north_) return false;
  if (std::fabs(point.lat) == 90) return true;  // all meridians meet there
  double lon = point.lon == 180 ? -180 : point.lon;
  return std::any_of(ranges_.begin(), ranges_.begin() + range_count_,
                     [lon](Longitudes range) { return lon >= range.west && lon <= range.east; });
}

GeoArea::Overlap GeoArea::overlap(const GeoRect& rect) const {
  return circle_ ? overlap_circle(rect) : overlap_box(rect);
}

GeoArea::Overlap GeoArea::overlap_circle(const GeoRect& rect) const {
  GeoPoint middle{(rect.south + rect.north) / 2, (rect.west + rect.east) / 2};
  // No point of it is farther from its middle than along the meridian and then along the
  // parallel, the longest of which is nearest to the equator.
  bool on_equator = rect.south <= 0 && rect.north >= 0;
  double nearest_lat = std::min(std::fabs(rect.south), std::fabs(rect.north));
  double widest = on_equator ? 1 : std::cos(nearest_lat * radians);
  double reach = earth_radius_meters * radians *
                     ((rect.north - rect.south) / 2 + (rect.east - rect.west) / 2 * widest) +
                 margin_meters;
  double to_middle = distance_meters(centre_, middle);
  if (to_middle + reach <= radius_meters_) return Overlap::all;
  return to_middle - reach > radius_meters_ ? Overlap::none : Overlap::some;
}

GeoArea::Overlap GeoArea::overlap_box(const GeoRect& rect) const {
  double south = std::max(rect.south - margin_degrees, -90.0);
  double north = std::min(rect.north + margin_degrees, 90.0);
  double west = std::max(rect.west - margin_degrees, -180.0);
  double east = std::min(rect.east + margin_degrees, 180.0);
  if (north < south_ || south > north_) return Overlap::none;
  bool inside = false, beside = true;
  for (size_t i = 0; i < range_count_; ++i) {
    inside = inside || (ranges_[i].west <= west && ranges_[i].east >= east);
    beside = beside && (ranges_[i].east < west || ranges_[i].west > east);
  }
  if (inside && south_ <= south && north_ >= north) return Overlap::all;
  bool pole = north == 90 || south == -90;
  return beside && !pole ? Overlap::none : Overlap::some;
}

}  // namespace jade
