#include "apps/usage/unknown_command.h"

#include <doctest/doctest.h>

#include <CLI/CLI.hpp>

namespace jade {

TEST_CASE("the nearest word is what was perhaps meant, and nothing else") {
  const std::vector<std::string> words = {"serve", "status", "search", "shard", "up"};
  CHECK(nearest_word("statsu", words) == "status");
  CHECK(nearest_word("stat", words) == "status");
  CHECK(nearest_word("sreve", words) == "serve");
  CHECK(nearest_word("shards", words) == "shard");
  CHECK(nearest_word("u", words).empty());
  CHECK(nearest_word("pu", words) == "up");
  CHECK(nearest_word("destroy", words).empty());
  CHECK(nearest_word("", words).empty());
}

TEST_CASE("an unknown command is named, also below another") {
  CLI::App app{"", "jade"};
  CLI::App* node = app.add_subcommand("node");
  node->add_subcommand("drain");
  CLI::App* status = app.add_subcommand("status");
  std::string value;
  status->add_option_group("url")->add_option("--url", value);
  CHECK(unknown_command(app, {"statsu"}) ==
        "jade: there is no command \"statsu\"; did you mean \"status\"?\n"
        "`jade --help` lists the commands\n");
  CHECK(unknown_command(app, {"node", "drian", "n1"}) ==
        "jade node: there is no command \"drian\"; did you mean \"drain\"?\n"
        "`jade node --help` lists the commands\n");
  CHECK(unknown_command(app, {"destroy"}) ==
        "jade: there is no command \"destroy\"\n`jade --help` lists the commands\n");
  for (const std::vector<std::string>& known : {std::vector<std::string>{},
                                                {"--help"},
                                                {"status"},
                                                {"status", "x"},
                                                {"node", "drain", "x"},
                                                {"node", "--help", "drian"}}) {
    CHECK(unknown_command(app, known).empty());
  }
}

}  // namespace jade
