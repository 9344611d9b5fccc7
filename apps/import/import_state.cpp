#include "apps/import/import_state.h"

#include <sys/stat.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

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

// The rows come first, then what they are rows of: the name of the file is only a
// hash of that. The last line tells damage, which could skip rows.
std::string text_of(uint64_t rows, const std::string& key) {
  std::string text = std::to_string(rows) + "\n" + key + "\n";
  char checksum[16];
  std::snprintf(checksum, sizeof checksum, "%08x\n", crc32c(text));
  return text + checksum;
}

}  // namespace

ImportState::ImportState(const std::string& url, const std::string& database,
                         const std::string& file, uint64_t skip) {
  fs::path directory = state_directory();
  struct stat about {};
  if (file == "-" || directory.empty() || stat(file.c_str(), &about) != 0) return;
  std::error_code error;
  key_ = url + "\n" + database + "\n" + fs::absolute(file, error).string() + "\n" +
         std::to_string(about.st_size) + "\n" + std::to_string(about.st_mtim.tv_sec) + "." +
         std::to_string(about.st_mtim.tv_nsec) + "\n" + std::to_string(skip);
  char name[32];
  std::snprintf(name, sizeof name, "import-%08x", crc32c(key_));
  path_ = (directory / name).string();
}

uint64_t ImportState::rows() const {
  if (path_.empty()) return 0;
  std::stringstream text;
  text << std::ifstream(path_, std::ios::binary).rdbuf();
  std::string saved = text.str();
  uint64_t rows = 0;
  std::from_chars(saved.data(), saved.data() + saved.size(), rows);
  return saved == text_of(rows, key_) ? rows : 0;
}

Status ImportState::save(uint64_t rows) const {
  if (path_.empty()) return {};
  std::error_code error;
  fs::create_directories(fs::path(path_).parent_path(), error);
  std::string temporary = path_ + ".new";
  std::ofstream out(temporary, std::ios::trunc);
  out << text_of(rows, key_);
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
