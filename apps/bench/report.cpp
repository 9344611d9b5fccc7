#include "apps/bench/report.h"

#include <cstdio>

namespace jade {
namespace {

// Names are printed as they are, however long; only the numbers are formatted.
template <class... Args>
std::string formatted(const char* format, Args... args) {
  char text[160];
  std::snprintf(text, sizeof text, format, args...);
  return text;
}

std::string padded(std::string key) {
  key.resize(std::max<size_t>(key.size(), 40), ' ');
  return "  " + key;
}

}  // namespace

std::string clients_text(uint32_t clients) {
  return std::to_string(clients) + (clients == 1 ? " client" : " clients");
}

void Report::section(const std::string& title) { print_("\n" + title + "\n"); }

void Report::text(const std::string& line) { print_("  " + line + "\n"); }

void Report::fact(const std::string& key, double value, std::string_view unit) {
  print_(padded(key) + formatted(value < 10 ? " %12.2f " : " %12.1f ", value) + std::string(unit) +
         "\n");
  facts_[key] = value;
}

void Report::ratio(const std::string& key, const Spread& ratio, std::string_view unit) {
  print_(padded(key) + formatted(" %12.2f (%.2f to %.2f) ", ratio.median, ratio.min, ratio.max) +
         std::string(unit) + "\n");
  facts_[key] = {{"median", ratio.median}, {"min", ratio.min}, {"max", ratio.max}};
}

void Report::curve(const Curve& curve) {
  print_("  " + curve.name + "\n      ef   recall     queries/s     p50 us   p95 us   p99 us\n");
  boost::json::array array;
  for (const Point& p : curve.points) {
    print_(formatted("  %6u   %.4f  %12.0f   %8.0f %8.0f %8.0f\n", p.ef, p.recall,
                     p.queries_per_second, p.p50_us, p.p95_us, p.p99_us));
    array.push_back({{"ef", p.ef},
                     {"recall", p.recall},
                     {"queries_per_second", p.queries_per_second},
                     {"rounds", boost::json::array(p.rates.begin(), p.rates.end())},
                     {"p50_us", p.p50_us},
                     {"p95_us", p.p95_us},
                     {"p99_us", p.p99_us}});
  }
  facts_[curve.name] = std::move(array);
}

}  // namespace jade
