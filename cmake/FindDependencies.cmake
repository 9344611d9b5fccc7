# Everything that the whole tree is built from: the libraries' dependencies and
# those of the server, the commands and the tests.
include(JadeDependencies)

jade_import(cli CLI/CLI.hpp)
jade_import(doctest doctest/doctest.h)
jade_import(hnswlib hnswlib/hnswlib.h)
jade_import(prometheus prometheus/registry.h LIBRARIES prometheus-cpp-core)
jade_import(simdjson simdjson.h LIBRARIES simdjson)
jade_import(spdlog spdlog/spdlog.h LIBRARIES spdlog fmt)
target_compile_definitions(jade::spdlog INTERFACE SPDLOG_SHARED_LIB SPDLOG_COMPILED_LIB
  SPDLOG_FMT_EXTERNAL FMT_SHARED)
jade_import(toml toml++/toml.h)

set(Dependencies_FOUND TRUE)
