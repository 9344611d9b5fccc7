// A node's data directory: its lock, its format version and whose it is.
//
//   LOCK      held while a process uses the directory
//   VERSION   "jadevectordb 1": the format of everything in it
//   IDENTITY  cluster and node, with a checksum
//   log/      all Raft logs (storage/log_store.h)
//   shards/N  a shard's replica (actors/shard_files.h)
#pragma once

#include <leveldb/env.h>

#include <memory>
#include <string>

#include "storage/status.h"

namespace jade {

class DataDirectory {
 public:
  struct Identity {
    std::string cluster_id;  // "": not a member of one yet
    uint64_t node_id = 0;
  };

  // Creates the directory, with its parents, where it is missing; it gets
  // `fresh` then, and keeps what it has otherwise. failed_precondition when
  // another process uses it, when it holds another format version or something
  // that is not a database; nothing is changed then.
  static Result<std::unique_ptr<DataDirectory>> open(leveldb::Env* env, const std::string& path,
                                                     const Identity& fresh);
  ~DataDirectory();
  DataDirectory(const DataDirectory&) = delete;
  DataDirectory& operator=(const DataDirectory&) = delete;

  const Identity& identity() const { return identity_; }

 private:
  DataDirectory(leveldb::Env* env, std::string path) : env_(env), path_(std::move(path)) {}
  Status load(const Identity& fresh);

  leveldb::Env* env_;
  std::string path_;
  leveldb::FileLock* lock_ = nullptr;
  Identity identity_;
};

// Gives the directory at `path`, which the caller has open, another identity.
Status store_identity(leveldb::Env* env, const std::string& path,
                      const DataDirectory::Identity& identity);

// Deletes a directory with all it holds; ok where there is none.
Status remove_tree(leveldb::Env* env, const std::string& path);
// The same of all that is in a directory, which stays.
Status clear_directory(leveldb::Env* env, const std::string& path);

}  // namespace jade
