// Where actors say what happened. Injected, so that the simulator can put it in
// its trace and a host program in its own log. Called from any thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "actors/jade.h"

namespace jade {

using LogSink = std::function<void(LogLevel, std::string_view component, std::string_view message)>;

}  // namespace jade
