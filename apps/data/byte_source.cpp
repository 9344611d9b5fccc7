#include "apps/data/byte_source.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace jade {

Result<std::unique_ptr<ByteSource>> ByteSource::open(const std::string& path) {
  std::unique_ptr<ByteSource> source(new ByteSource());
  source->name_ = path == "-" ? "standard input" : path;
  source->file_ = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  if (source->file_ == nullptr) {
    return Status(errno == ENOENT ? Code::not_found : Code::io_error,
                  path + " cannot be opened: " + std::strerror(errno));
  }
  struct stat about {};
  if (fstat(fileno(source->file_), &about) == 0) {
    if (S_ISDIR(about.st_mode)) return invalid_argument(path + " is a directory");
    if (S_ISREG(about.st_mode) && path != "-") source->size_ = static_cast<uint64_t>(about.st_size);
  }
  return source;
}

ByteSource::~ByteSource() {
  if (file_ != nullptr && file_ != stdin) std::fclose(file_);
}

Result<size_t> ByteSource::read(void* out, size_t n) {
  size_t got = std::fread(out, 1, n, file_);
  position_ += got;
  if (got < n && std::ferror(file_) != 0) {
    return Status(Code::io_error, "reading " + name_ + " failed: " + std::strerror(errno));
  }
  return got;
}

Result<std::optional<std::string>> ByteSource::read_line(size_t bytes_max) {
  std::string line;
  int next = 0;
  while ((next = getc_unlocked(file_)) != EOF) {
    ++position_;
    if (next == '\n') break;
    if (line.size() >= bytes_max) {
      return Status(Code::too_large,
                    name_ + " has a line of more than " + std::to_string(bytes_max) + " bytes");
    }
    line.push_back(static_cast<char>(next));
  }
  if (next == EOF) {
    if (std::ferror(file_) != 0) return Status(Code::io_error, "reading " + name_ + " failed");
    if (line.empty()) return std::optional<std::string>();
  }
  while (!line.empty() && line.back() == '\r') line.pop_back();
  return std::optional<std::string>(std::move(line));
}

int ByteSource::peek() {
  int next = std::fgetc(file_);
  if (next != EOF) std::ungetc(next, file_);
  return next == EOF ? -1 : next;
}

Status ByteSource::skip(uint64_t n) {
  if (size_ && fseeko(file_, static_cast<off_t>(n), SEEK_CUR) == 0) {
    position_ += n;
    return {};
  }
  std::vector<char> scratch(1u << 16);
  while (n > 0) {
    auto got = read(scratch.data(), std::min<uint64_t>(n, scratch.size()));
    if (!got.ok()) return got.status();
    if (*got == 0) return invalid_argument(name_ + " ends before the rows to be skipped");
    n -= *got;
  }
  return {};
}

}  // namespace jade
