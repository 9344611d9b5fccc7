#include "apps/import/import_state.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "storage/crc32c.h"

namespace jade {
namespace {

namespace fs = std::filesystem;

fs::path state_directory() {
  if (const char* home = std::getenv("XDG_STATE_HOME"); home != nullptr && *home != '\0') {
    return fs::path(home) / "jade";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return fs::path(home) / ".local" / "state" / "jade";
  }
  return {};
}

}  // namespace

ImportState::ImportState(const std::string& url, const std::string& database,
                         const std::string& file, uint64_t skip) {
  fs::path directory = state_directory();
  struct stat about {};
  if (file == "-" || directory.empty() || stat(file.c_str(), &about) != 0) return;
  std::error_code error;
  std::string key = url + "\n" + database + "\n" + fs::absolute(file, error).string() + "\n" +
                    std::to_string(about.st_size) + "\n" + std::to_string(about.st_mtim.tv_sec) +
                    "." + std::to_string(about.st_mtim.tv_nsec) + "\n" + std::to_string(skip);
  char name[64];
  std::snprintf(name, sizeof name, "import-%08x-%08x", crc32c(key), crc32c(key, 0x5eed));
  path_ = (directory / name).string();
}

uint64_t ImportState::rows() const {
  std::ifstream in(path_);
  uint64_t rows = 0;
  return path_.empty() || !(in >> rows) ? 0 : rows;
}

Status ImportState::save(uint64_t rows) const {
  if (path_.empty()) return {};
  std::error_code error;
  fs::create_directories(fs::path(path_).parent_path(), error);
  std::string temporary = path_ + ".new";
  std::ofstream out(temporary, std::ios::trunc);
  out << rows << "\n";
  out.close();
  if (out) fs::rename(temporary, path_, error);
  if (!out || error) {
    return Status(Code::io_error, "the progress cannot be saved in " + path_ +
                                      "; an interrupted import would start anew");
  }
  return {};
}

void ImportState::forget() const {
  std::error_code error;
  if (!path_.empty()) fs::remove(path_, error);
}

}  // namespace jade
