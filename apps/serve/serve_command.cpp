#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "apps/commands.h"
#include "apps/serve/serve.h"
#include "apps/serve/serve_config.h"

namespace jade {
namespace {

constexpr const char* footer = R"(
Each option can also be an environment variable or a key of the file: --log-level
is JADE_LOG_LEVEL and log_level. Flags win over variables, those over the file.
  jade serve --print-config > jade.toml     the configuration, as a file to edit
  jade serve --config jade.toml
The URL is printed on standard output when the node answers there; alone, it is ready
then. In a cluster that may depend on others: GET URL/readyz is 200 and the log says
"ready" once it is a member and its shards serve, and until then both say why not. Logs
go to standard error. SIGTERM and SIGINT stop it cleanly; a second one stops it at once.)";

struct ServeArguments {
  std::string config_file;
  bool print_config = false;
  SettingValues flags;
};

Status run(const ServeArguments& arguments) {
  auto config = config_of_process(arguments.config_file, arguments.flags);
  if (!config) return config.status();
  if (!arguments.print_config) return serve(*config);
  std::printf("%s", to_toml(*config).c_str());
  return {};
}

}  // namespace

void add_serve_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("serve", "Run a node that serves the HTTP API");
  command->footer(footer);
  auto arguments = std::make_shared<ServeArguments>();
  command->add_option("--config", arguments->config_file, "TOML file with settings (JADE_CONFIG)")
      ->type_name("FILE");
  command->add_flag("--print-config", arguments->print_config,
                    "Print the resulting configuration as TOML and exit");
  ServeConfig defaults;
  for (const ServeSetting& setting : serve_settings()) {
    command
        ->add_option_function<std::string>(
            setting.flag(),
            [arguments, key = setting.key](const std::string& value) {
              arguments->flags[key] = value;
            },
            setting.help)
        ->type_name(setting.value_name)
        ->default_str(setting.get(defaults));
  }
  command->callback([arguments, &exit_code] {
    Status status = run(*arguments);
    if (status.ok()) return;
    std::fprintf(stderr, "jade serve: %s\n", status.message().c_str());
    exit_code = 1;
  });
}

}  // namespace jade
