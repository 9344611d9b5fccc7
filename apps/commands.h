// The subcommands of `jade`. Each function adds its subcommand with its options,
// help and callback to `app`; the callback leaves the process's exit code in
// `exit_code` (0: done, 1: failed with a message on stderr). `exit_code` must
// outlive `app`. Wrong usage is reported by CLI11 and exits with its own codes.
#pragma once

namespace CLI {
class App;
}

namespace jade {

void add_serve_command(CLI::App& app, int& exit_code);
void add_certs_command(CLI::App& app, int& exit_code);
void add_import_command(CLI::App& app, int& exit_code);
void add_catalogue_command(CLI::App& app, int& exit_code);
void add_node_command(CLI::App& app, int& exit_code);
void add_shard_command(CLI::App& app, int& exit_code);
void add_search_command(CLI::App& app, int& exit_code);
void add_bench_command(CLI::App& app, int& exit_code);
void add_sim_command(CLI::App& app, int& exit_code);
void add_status_command(CLI::App& app, int& exit_code);
void add_up_command(CLI::App& app, int& exit_code);

}  // namespace jade
