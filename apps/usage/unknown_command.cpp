#include "apps/usage/unknown_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>

namespace jade {
namespace {

constexpr size_t edits_max = 2;

size_t edits_between(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> edits(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        edits[i][j] = i + j;
        continue;
      }
      size_t replaced = edits[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      edits[i][j] = std::min({replaced, edits[i - 1][j] + 1, edits[i][j - 1] + 1});
      bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) edits[i][j] = std::min(edits[i][j], edits[i - 2][j - 2] + 1);
    }
  }
  return edits[a.size()][b.size()];
}

}  // namespace

std::string nearest_word(std::string_view typed, const std::vector<std::string>& words) {
  std::string nearest;
  size_t fewest = std::min(edits_max, typed.size() / 2) + 1;
  for (const std::string& word : words) {
    size_t edits = edits_between(typed, word);
    if (edits >= fewest) continue;
    fewest = edits;
    nearest = word;
  }
  return nearest;
}

std::string unknown_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* at = &app;
  std::string path = app.get_name();
  for (const std::string& argument : arguments) {
    if (argument.empty() || argument[0] == '-') return "";
    const CLI::App* next = nullptr;
    std::vector<std::string> names;
    for (const CLI::App* command : at->get_subcommands({})) {
      // Groups of options are subcommands without a name.
      if (command->get_name().empty()) continue;
      names.push_back(command->get_name());
      if (command->check_name(argument)) next = command;
    }
    if (names.empty()) return "";
    if (next == nullptr) {
      std::string nearest = nearest_word(argument, names);
      return path + ": there is no command \"" + argument + "\"" +
             (nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?") + "\n`" + path +
             " --help` lists the commands\n";
    }
    path += " " + next->get_name();
    at = next;
  }
  return "";
}

}  // namespace jade
