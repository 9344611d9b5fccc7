// jade: one binary that serves, loads, asks, measures and simulates.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "apps/commands.h"
#include "apps/usage/unknown_command.h"
#include "storage/env.h"

namespace {

constexpr const char* footer = R"(Examples:
  jade serve --data ./jade-data                       a node on http://127.0.0.1:8080
  jade up --nodes 3                                   a cluster on this machine
  jade status                                         its nodes, shards and tasks
  jade certs --dir certs --node n1=10.0.0.1           TLS between nodes on several machines
  jade import base.fvecs --database sift --create     load a file of vectors
  jade search --database packages --text "convert video files"
  jade bench --base base.fvecs --queries query.fvecs --truth groundtruth.ivecs
  jade sim --seed 1 --seeds 100                       look for bugs on virtual time
`jade COMMAND --help` explains each option.)";

// The allocator keeps eight heaps a core, and what threads free of each other's stays in small
// pieces in all of them: after every vector had been replaced twice, a fifth of the memory. As
// threads keep what they have freed lately by themselves, one a core is as fast.
void keep_few_heaps() {
#ifdef M_ARENA_MAX
  mallopt(M_ARENA_MAX, static_cast<int>(std::max(2u, std::thread::hardware_concurrency())));
#endif
}

}  // namespace

int main(int argc, char** argv) {
  keep_few_heaps();
  jade::raise_open_files_max();
  CLI::App app{"JadeVectorDB, a vector database: stores vectors and finds the nearest ones.",
               "jade"};
  app.set_version_flag("--version", "jade " JADE_VERSION);
  app.footer(footer);
  app.require_subcommand(1);
  int exit_code = 0;
  jade::add_serve_command(app, exit_code);
  jade::add_up_command(app, exit_code);
  jade::add_status_command(app, exit_code);
  jade::add_certs_command(app, exit_code);
  jade::add_import_command(app, exit_code);
  jade::add_catalogue_command(app, exit_code);
  jade::add_search_command(app, exit_code);
  jade::add_node_command(app, exit_code);
  jade::add_shard_command(app, exit_code);
  jade::add_bench_command(app, exit_code);
  jade::add_sim_command(app, exit_code);
  const std::string unknown =
      jade::unknown_command(app, std::vector<std::string>(argv + 1, argv + argc));
  if (!unknown.empty()) {
    std::fputs(unknown.c_str(), stderr);
    return static_cast<int>(CLI::ExitCodes::ExtrasError);
  }
  CLI11_PARSE(app, argc, argv);
  return exit_code;
}
