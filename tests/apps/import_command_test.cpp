// `jade import` by way of several nodes.
#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "apps/commands.h"
#include "tests/apps/scratch_dir.h"
#include "tests/apps/scripted_server.h"

namespace jade {

TEST_CASE("a database is created by a node that answers for databases, and once") {
  using Texts = std::vector<std::string>;
  ScratchDir dir;
  setenv("XDG_STATE_HOME", dir.path("state").c_str(), 1);
  const std::string file = dir.write("a.ndjson", "{\"values\":[1,2]}\n");
  auto import = [&](const std::string& urls) {
    CLI::App app;
    int exit_code = 0;
    add_import_command(app, exit_code);
    Texts arguments{"import",      file, "--database", "d",  "--create",
                    "--dimension", "2",  "--url",      urls, "--quiet"};
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
    return exit_code;
  };
  const Answer away = refusal(503, "unavailable", ""), none = refusal(404, "not_found", "");
  const Texts made{"GET /v1/databases/d", "POST /v1/databases"};

  ScriptedServer refuses({away, away}),
      answers({none, {201, "", "{}", false}, {200, "", R"({"vectors":0})", false}});
  CHECK(import(refuses.url() + "," + answers.url()) == 0);
  CHECK(refuses.targets() == Texts{made[0], made[0], "POST /v1/databases/d/vectors"});
  CHECK(answers.targets() == Texts{made[0], made[1], made[0]});

  ScriptedServer lost({none, {200, "", "", true}}), other({});
  CHECK(import(lost.url() + "," + other.url()) == 1);
  CHECK(lost.targets() == made);
  CHECK(other.targets().empty());
  unsetenv("XDG_STATE_HOME");
}

}  // namespace jade
