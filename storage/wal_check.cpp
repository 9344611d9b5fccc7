#include "storage/wal_check.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "storage/bytes.h"
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

// LevelDB begins another log at a few MB, and each start another manifest; a write has 64 MiB at
// most.
constexpr uint64_t wal_bytes_max = uint64_t{1} << 30;
// The name of a manifest.
constexpr uint64_t current_bytes_max = 4096;

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

// 12 of "000012.log"; nothing of other names.
std::optional<uint64_t> log_number(std::string_view name) {
  constexpr std::string_view suffix = ".log";
  if (name.size() <= suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  name.remove_suffix(suffix.size());
  uint64_t number = 0;
  for (char c : name) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return number;
}

std::string log_name(uint64_t number) {
  std::string digits = std::to_string(number);
  return std::string(6 - std::min<size_t>(6, digits.size()), '0') + digits + ".log";
}

bool is_table(std::string_view name) { return name.ends_with(".ldb") || name.ends_with(".sst"); }

std::optional<uint64_t> varint(ByteReader& reader) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    auto byte = reader.u8();
    if (!byte) return std::nullopt;
    value |= static_cast<uint64_t>(*byte & 0x7f) << shift;
    if (*byte < 0x80) return value;
  }
  return std::nullopt;
}

// The log number in one record of a manifest, LevelDB's VersionEdit: fields of a
// tag and what it takes, n for a number and s for a string with its length.
std::optional<uint64_t> log_number_of_edit(std::string_view record) {
  constexpr uint64_t log_number_tag = 2;
  constexpr std::string_view fields[] = {"", "s", "n", "n", "n", "ns", "nn", "nnnss", "", "n"};
  std::optional<uint64_t> out;
  ByteReader reader(record);
  while (!reader.rest().empty()) {
    auto tag = varint(reader);
    if (!tag || *tag >= std::size(fields) || fields[*tag].empty()) return std::nullopt;
    for (char kind : fields[*tag]) {
      auto number = varint(reader);
      if (!number || (kind == 's' && !reader.bytes(*number))) return std::nullopt;
      if (*tag == log_number_tag) out = number;
    }
  }
  return out;
}

// Logs before this one are in tables by what the manifest says, of which these are
// the whole records.
uint64_t first_live_log(std::string_view manifest) {
  uint64_t live = 0;
  std::string record;
  for (size_t at = 0; at < manifest.size();) {
    at = skip_trailer(at);
    Fragment fragment = fragment_at(manifest, at);
    if (fragment.type == 0) break;
    if (fragment.type == full || fragment.type == first) record.clear();
    record += manifest.substr(at + header_bytes, fragment.end - at - header_bytes);
    at = fragment.end;
    if (fragment.type != full && fragment.type != last) continue;
    if (auto number = log_number_of_edit(record)) live = *number;
  }
  return live;
}

// One append-only file as it was found.
struct Checked {
  std::string path;
  std::string good;    // its whole records, for manifests and where something is cut
  uint64_t bytes = 0;  // in all
  bool torn = false;
};

Result<Checked> check_file(leveldb::Env* env, const std::string& path, bool keep) {
  Checked out;
  out.path = path;
  JADE_RETURN_IF_ERROR(check_file_size(env, path, wal_bytes_max));
  JADE_RETURN_IF_ERROR(read_file(env, path, &out.good));
  WalExtent extent = scan_wal(out.good);
  if (extent.damaged) {
    // A cut is for ever: make sure that the disk says the same twice.
    std::string again;
    JADE_RETURN_IF_ERROR(read_file(env, path, &again));
    if (again != out.good) {
      return Status(Code::io_error, path + " reads differently each time; the disk is failing");
    }
  }
  if (extent.more_follows) {
    return corruption(path + " is damaged at offset " + std::to_string(extent.good_bytes) +
                      ", before its end");
  }
  out.bytes = out.good.size();
  out.torn = extent.damaged;
  out.good.resize(extent.good_bytes);
  if (!keep && !out.torn) std::string().swap(out.good);
  return out;
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

Result<std::vector<WalCut>> check_wal(leveldb::Env* env, const std::string& dir) {
  std::vector<WalCut> cuts;
  std::vector<std::string> names;
  // No such directory: nothing to check; opening will say what is wrong.
  if (!env->GetChildren(dir, &names).ok()) return cuts;
  std::vector<Checked> torn;

  std::string current;
  if (std::count(names.begin(), names.end(), "CURRENT") > 0) {
    JADE_RETURN_IF_ERROR(check_file_size(env, dir + "/CURRENT", current_bytes_max));
    JADE_RETURN_IF_ERROR(read_file(env, dir + "/CURRENT", &current));
  } else if (std::any_of(names.begin(), names.end(), is_table)) {
    // LevelDB would begin anew there, and remove what it does not know of.
    return corruption(dir + "/CURRENT is missing, although there are tables");
  }
  uint64_t live = 0;
  for (const std::string& name : names) {
    if (!name.starts_with("MANIFEST-")) continue;
    auto checked = check_file(env, dir + "/" + name, true);
    if (!checked.ok()) return checked.status();
    if (current == name + "\n") live = first_live_log(checked->good);
    if (checked->torn) torn.push_back(std::move(*checked));
  }

  std::map<uint64_t, std::string> logs;
  for (const std::string& name : names) {
    auto number = log_number(name);
    if (number && *number >= live) logs.emplace(*number, dir + "/" + name);
  }
  // It goes only when a manifest that names another is on disk.
  if (live > 0 && logs.count(live) == 0) {
    return corruption(dir + "/" + log_name(live) + " is missing, which " +
                      current.substr(0, current.size() - 1) +
                      " names as its log; either of them is damaged");
  }
  std::optional<Checked> torn_log;
  for (const auto& [number, path] : logs) {
    auto checked = check_file(env, path, false);
    if (!checked.ok()) return checked.status();
    if (torn_log && checked->bytes > 0) {
      return corruption(torn_log->path + " is damaged at offset " +
                        std::to_string(torn_log->good.size()) + ", although " + path +
                        " follows it");
    }
    if (checked->torn) torn_log = std::move(*checked);
  }
  if (torn_log) torn.push_back(std::move(*torn_log));

  for (const Checked& file : torn) {
    JADE_RETURN_IF_ERROR(replace_file(env, file.path, file.good));
    cuts.push_back({file.path, file.bytes - file.good.size()});
  }
  return cuts;
}

}  // namespace jade
