#include "storage/wal_check.h"

#include <memory>
#include <vector>

#include "storage/crc32c.h"
#include "storage/env.h"

namespace jade {
namespace {

constexpr size_t block_bytes = 32768;
constexpr size_t header_bytes = 7;
enum RecordType : uint8_t { full = 1, first = 2, middle = 3, last = 4 };

uint32_t load_u32(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}

uint32_t unmask(uint32_t masked) {
  uint32_t rotated = masked - 0xa282ead8u;
  return rotated >> 17 | rotated << 15;
}

// The fragment at `at`: its type, and where it ends. Type 0: none.
struct Fragment {
  uint8_t type = 0;
  size_t end = 0;
};

Fragment fragment_at(std::string_view file, size_t at) {
  size_t left_in_block = block_bytes - at % block_bytes;
  if (left_in_block < header_bytes || at + header_bytes > file.size()) return {};
  size_t length = static_cast<unsigned char>(file[at + 4]) |
                  static_cast<size_t>(static_cast<unsigned char>(file[at + 5])) << 8;
  auto type = static_cast<uint8_t>(file[at + 6]);
  if (type < full || type > last) return {};
  if (header_bytes + length > left_in_block || at + header_bytes + length > file.size()) return {};
  uint32_t crc = crc32c(file.substr(at + 6, 1 + length));
  if (crc != unmask(load_u32(file.substr(at, 4)))) return {};
  return {type, at + header_bytes + length};
}

size_t skip_trailer(size_t at) {
  size_t left = block_bytes - at % block_bytes;
  return left < header_bytes ? at + left : at;
}

Status read_file(leveldb::Env* env, const std::string& path, std::string* out) {
  leveldb::SequentialFile* opened = nullptr;
  leveldb::Status status = env->NewSequentialFile(path, &opened);
  if (!status.ok()) return from_leveldb(status, "reading " + path);
  std::unique_ptr<leveldb::SequentialFile> file(opened);
  std::vector<char> scratch(1u << 20);
  for (;;) {
    leveldb::Slice part;
    status = file->Read(scratch.size(), &part, scratch.data());
    if (!status.ok()) return from_leveldb(status, "reading " + path);
    if (part.empty()) return {};
    out->append(part.data(), part.size());
  }
}

Status replace_file(leveldb::Env* env, const std::string& path, std::string_view bytes) {
  std::string temporary = path + ".mended";
  leveldb::WritableFile* opened = nullptr;
  leveldb::Status status = env->NewWritableFile(temporary, &opened);
  if (!status.ok()) return from_leveldb(status, "writing " + temporary);
  std::unique_ptr<leveldb::WritableFile> file(opened);
  status = file->Append(leveldb::Slice(bytes.data(), bytes.size()));
  if (status.ok()) status = file->Sync();
  if (status.ok()) status = file->Close();
  if (status.ok()) status = env->RenameFile(temporary, path);
  if (!status.ok()) env->RemoveFile(temporary);
  return from_leveldb(status, "writing " + temporary);
}

bool is_append_only(const std::string& name) {
  bool log = name.size() > 4 && name.compare(name.size() - 4, 4, ".log") == 0;
  return log || name.compare(0, 9, "MANIFEST-") == 0;
}

}  // namespace

WalExtent scan_wal(std::string_view file) {
  WalExtent out;
  size_t at = 0;
  bool inside = false;  // between a first and a last fragment
  bool lost = false;
  while (at < file.size()) {
    if (!lost || inside) at = skip_trailer(at);
    Fragment fragment = fragment_at(file, at);
    bool in_place = fragment.type == full || fragment.type == first ? !inside || lost
                                                                    : inside && fragment.type != 0;
    if (fragment.type == 0 || (!in_place && !lost)) {
      if (at >= file.size()) break;
      // Lost: from here on only look whether anything whole follows, at every
      // offset, as a damaged length tells nothing of where the next record is.
      lost = true;
      out.damaged = true;
      inside = false;
      ++at;
      continue;
    }
    bool completes = fragment.type == full || (fragment.type == last && inside);
    inside = fragment.type == first || (fragment.type == middle && inside);
    at = fragment.end;
    if (!completes) continue;
    if (lost) {
      out.more_follows = true;
      return out;
    }
    out.good_bytes = at;
  }
  // A record that was begun and never completed.
  if (!lost && out.good_bytes < file.size()) out.damaged = true;
  return out;
}

Result<uint64_t> check_wal(leveldb::Env* env, const std::string& dir) {
  uint64_t dropped = 0;
  std::vector<std::string> names;
  // No such directory: nothing to check; opening will say what is wrong.
  if (!env->GetChildren(dir, &names).ok()) return dropped;
  for (const std::string& name : names) {
    if (!is_append_only(name)) continue;
    std::string path = dir + "/" + name;
    std::string bytes;
    JADE_RETURN_IF_ERROR(read_file(env, path, &bytes));
    WalExtent extent = scan_wal(bytes);
    if (extent.damaged) {
      // A cut is for ever: make sure that the disk says the same twice.
      std::string again;
      JADE_RETURN_IF_ERROR(read_file(env, path, &again));
      if (again != bytes) {
        return Status(Code::io_error, path + " reads differently each time; the disk is failing");
      }
    }
    if (extent.more_follows) {
      return corruption(path + " is damaged at offset " + std::to_string(extent.good_bytes) +
                        ", before its end");
    }
    if (!extent.damaged) continue;
    dropped += bytes.size() - extent.good_bytes;
    JADE_RETURN_IF_ERROR(
        replace_file(env, path, std::string_view(bytes).substr(0, extent.good_bytes)));
  }
  return dropped;
}

}  // namespace jade
