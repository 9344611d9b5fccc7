#include "apps/up/back_off.h"

#include <algorithm>

namespace jade {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds first = 500ms;
constexpr std::chrono::milliseconds longest = 30s;
constexpr std::chrono::milliseconds a_while = 60s;

}  // namespace

std::chrono::milliseconds BackOff::next(std::chrono::milliseconds ran) {
  last_ = ran >= a_while ? first : std::clamp(2 * last_, first, longest);
  return last_;
}

}  // namespace jade
