// A file or standard input as a stream of bytes.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "storage/status.h"

namespace jade {

class ByteSource {
 public:
  static Result<std::unique_ptr<ByteSource>> open(const std::string& path);
  ~ByteSource();

  const std::string& name() const { return name_; }
  // Of a regular file.
  std::optional<uint64_t> size() const { return size_; }
  uint64_t position() const { return position_; }

  // Exactly n bytes, or, at the end, as many as there are.
  Result<size_t> read(void* out, size_t n);
  // The next line without its end; nothing at the end. At most bytes_max long.
  Result<std::optional<std::string>> read_line(size_t bytes_max);
  // The next byte without taking it; -1 at the end.
  int peek();
  // Forward only.
  Status skip(uint64_t n);

 private:
  ByteSource() = default;
  std::string name_;
  FILE* file_ = nullptr;
  std::optional<uint64_t> size_;
  uint64_t position_ = 0;
};

}  // namespace jade
