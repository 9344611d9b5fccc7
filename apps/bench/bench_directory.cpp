#include "apps/bench/bench_directory.h"

#include <stdlib.h>

#include "storage/status.h"

namespace jade {

namespace fs = std::filesystem;

BenchDirectory::BenchDirectory() {
  std::string name = (fs::temp_directory_path() / "jade-bench-XXXXXX").string();
  JADE_ASSERT(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

BenchDirectory::~BenchDirectory() {
  std::error_code error;
  fs::remove_all(path_, error);
}

}  // namespace jade
