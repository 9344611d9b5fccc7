// Scenarios of the simulator as TOML files.
#pragma once

#include <string>

#include "sim/simulation.h"
#include "storage/status.h"

namespace jade {

// Puts what the file says into `options` and `seconds`. invalid_argument names the
// file, the line and what would be right; nothing is changed then.
Status read_scenario(const std::string& path, sim::SimulationOptions& options, double& seconds);

// "crash, power_loss, ..."
std::string fault_list();
Status unknown_fault(const std::string& name);

}  // namespace jade
