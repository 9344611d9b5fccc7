#include "storage/data_dir.h"

#include <algorithm>
#include <vector>

#include "storage/bytes.h"
#include "storage/crc32c.h"
#include "storage/env.h"

namespace jade {
namespace {

constexpr char version_text[] = "jadevectordb 1\n";
constexpr size_t cluster_id_bytes_max = 128;

// A few lines each.
constexpr uint64_t file_bytes_max = 1 << 20;

// Fails at the first directory that is not there and cannot be made.
leveldb::Status create_with_parents(leveldb::Env* env, const std::string& path) {
  size_t slash = 0;
  do {
    slash = path.find('/', slash + 1);
    std::string part = path.substr(0, slash);
    leveldb::Status made = env->CreateDir(part);
    if (!made.ok() && !env->FileExists(part)) return made;
  } while (slash != std::string::npos);
  return {};
}

std::string encode(const DataDirectory::Identity& identity) {
  std::string out;
  append_u64(out, identity.node_id);
  out += identity.cluster_id;
  std::string sealed;
  append_u32(sealed, crc32c(out));
  return sealed + out;
}

std::vector<std::string> children(leveldb::Env* env, const std::string& path) {
  std::vector<std::string> names;
  env->GetChildren(path, &names);
  std::erase_if(names, [](const std::string& name) { return name == "." || name == ".."; });
  return names;
}

}  // namespace

Result<std::unique_ptr<DataDirectory>> DataDirectory::open(leveldb::Env* env,
                                                           const std::string& path,
                                                           const Identity& fresh) {
  if (auto made = create_with_parents(env, path); !made.ok()) {
    return from_leveldb(made, "data directory " + path + " cannot be created");
  }
  std::vector<std::string> found;
  if (auto read = env->GetChildren(path, &found); !read.ok()) {
    return Status(Code::io_error, "data directory " + path + " cannot be read: " + read.ToString());
  }
  // Look before the lock file is made: what is not ours stays as it is.
  auto names = children(env, path);
  bool initialised = std::count(names.begin(), names.end(), "VERSION") > 0;
  auto ours = [](const std::string& name) {
    return name == "LOCK" || name == "IDENTITY" || name == "VERSION.new" ||
           name == "IDENTITY.new" || name == "lost+found";
  };
  if (!initialised && !std::all_of(names.begin(), names.end(), ours)) {
    return Status(Code::failed_precondition,
                  path + " is not empty and is not a JadeVectorDB data directory; name another");
  }
  std::unique_ptr<DataDirectory> directory(new DataDirectory(env, path));
  leveldb::Status locked = env->LockFile(path + "/LOCK", &directory->lock_);
  if (!locked.ok()) {
    std::string message = locked.ToString();
    bool denied = message.find("Permission denied") != std::string::npos ||
                  message.find("Read-only") != std::string::npos;
    if (denied) {
      return Status(Code::io_error, "data directory " + path + " is not writable: " + message);
    }
    bool held = message.find("already held") != std::string::npos ||
                message.find("temporarily unavailable") != std::string::npos;
    if (!held) return from_leveldb(locked, "locking data directory " + path);
    return Status(Code::failed_precondition,
                  "data directory " + path + " is in use by another process");
  }
  JADE_RETURN_IF_ERROR(directory->load(fresh));
  return directory;
}

Status DataDirectory::load(const Identity& fresh) {
  std::string version_path = path_ + "/VERSION", identity_path = path_ + "/IDENTITY";
  if (!env_->FileExists(version_path)) {
    // The version comes last: a directory without one is begun anew.
    JADE_RETURN_IF_ERROR(write_file(env_, identity_path, encode(fresh)));
    JADE_RETURN_IF_ERROR(write_file(env_, version_path, version_text));
    identity_ = fresh;
    return {};
  }
  auto version = read_file(env_, version_path, file_bytes_max);
  if (!version.ok()) return version.status();
  if (*version != version_text) {
    std::string found = version->substr(0, version->find('\n')).substr(0, 64);
    return Status(Code::failed_precondition, "data directory " + path_ + " has format \"" + found +
                                                 "\"; this program reads \"jadevectordb 1\"");
  }
  auto bytes = read_file(env_, identity_path, file_bytes_max);
  if (!bytes.ok()) return bytes.status();
  ByteReader reader(*bytes);
  auto crc = reader.u32();
  if (!crc || crc32c(reader.rest()) != *crc) return corruption(identity_path + " is damaged");
  auto node = reader.u64();
  if (!node || reader.rest().size() > cluster_id_bytes_max) {
    return corruption(identity_path + " is damaged");
  }
  identity_ = {std::string(reader.rest()), *node};
  return {};
}

DataDirectory::~DataDirectory() {
  if (lock_ != nullptr) env_->UnlockFile(lock_);
}

Status store_identity(leveldb::Env* env, const std::string& path,
                      const DataDirectory::Identity& identity) {
  return write_file(env, path + "/IDENTITY", encode(identity));
}

Status clear_directory(leveldb::Env* env, const std::string& path) {
  for (const std::string& name : children(env, path)) {
    std::string child = path + "/" + name;
    if (env->RemoveFile(child).ok()) continue;
    JADE_RETURN_IF_ERROR(remove_tree(env, child));
  }
  return {};
}

Status remove_tree(leveldb::Env* env, const std::string& path) {
  std::vector<std::string> names;
  if (!env->GetChildren(path, &names).ok()) return {};
  JADE_RETURN_IF_ERROR(clear_directory(env, path));
  return from_leveldb(env->RemoveDir(path), "removing " + path);
}

}  // namespace jade
