// What `jade bench` finds: lines for people, and the same facts for programs.
#pragma once

#include <boost/json.hpp>
#include <functional>
#include <string>
#include <string_view>

#include "apps/bench/measure.h"

namespace jade {

// "1 client", "2 clients".
std::string clients_text(uint32_t clients);

class Report {
 public:
  explicit Report(std::function<void(std::string_view)> print) : print_(std::move(print)) {}

  void section(const std::string& title);
  void text(const std::string& line);
  // In the JSON: the number.
  void fact(const std::string& key, double value, std::string_view unit);
  // {"median", "min", "max"} over the rounds.
  void ratio(const std::string& key, const Spread& ratio, std::string_view unit);
  // An array of points by beam width, each with the rates of its rounds.
  void curve(const Curve& curve);
  // In the JSON only.
  void note(const std::string& key, boost::json::value value) { facts_[key] = std::move(value); }

  const boost::json::object& facts() const { return facts_; }

 private:
  std::function<void(std::string_view)> print_;
  boost::json::object facts_;
};

}  // namespace jade
