// What to say to somebody who mistyped a command.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace jade {

// The word that is reached by the fewest insertions, deletions, replacements and swaps of
// neighbours (optimal string alignment), the first of several; "" where that takes more than two,
// or than half of the letters typed.
std::string nearest_word(std::string_view typed, const std::vector<std::string>& words);

// "" unless the arguments name a command that does not exist; then its name and what was perhaps
// meant. Options before a command are not known here: what follows one is let pass.
std::string unknown_command(const CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace jade
