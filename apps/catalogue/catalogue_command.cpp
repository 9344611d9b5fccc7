#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "apps/catalogue/catalogue.h"
#include "apps/commands.h"

namespace jade {
namespace {

constexpr const char* footer = R"(
Examples:
  apt-cache dumpavail | jade catalogue | jade import - --format ndjson --database packages ...
  man -k . | jade catalogue --from man-pages)";

int run(const std::string& from) {
  auto read = from == "man-pages" ? read_man_page : read_debian_package;
  size_t rows = 0;
  while (auto entry = read(std::cin)) {
    std::cout << to_ndjson(*entry);
    ++rows;
  }
  if (!std::cout.flush()) {
    std::fprintf(stderr, "jade catalogue: writing to standard output failed\n");
    return 1;
  }
  if (rows == 0) std::fprintf(stderr, "jade catalogue: no %s on standard input\n", from.c_str());
  return rows == 0 ? 1 : 0;
}

}  // namespace

void add_catalogue_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand(
      "catalogue", "Turn a list of packages or manual pages (standard input) into rows to import");
  command->footer(footer);
  auto from = std::make_shared<std::string>("debian-packages");
  command
      ->add_option("--from", *from, "debian-packages (apt-cache dumpavail) or man-pages (man -k .)")
      ->check(CLI::IsMember({"debian-packages", "man-pages"}))
      ->capture_default_str();
  command->callback([from, &exit_code] { exit_code = run(*from); });
}

}  // namespace jade
