// A file system in memory, and a way past the stores' checksums to the LevelDB
// underneath.
#pragma once

#include <doctest/doctest.h>
#include <leveldb/db.h>
#include <leveldb/helpers/memenv.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace jade {

inline std::unique_ptr<leveldb::Env> memory_env() {
  return std::unique_ptr<leveldb::Env>(leveldb::NewMemEnv(leveldb::Env::Default()));
}

// The store in `dir` must be closed.
inline std::unique_ptr<leveldb::DB> open_raw(leveldb::Env* env, const std::string& dir) {
  leveldb::Options options;
  options.env = env;
  options.compression = leveldb::kNoCompression;
  leveldb::DB* db = nullptr;
  REQUIRE(leveldb::DB::Open(options, dir, &db).ok());
  return std::unique_ptr<leveldb::DB>(db);
}

inline std::vector<std::string> raw_keys(leveldb::Env* env, const std::string& dir) {
  auto db = open_raw(env, dir);
  std::unique_ptr<leveldb::Iterator> at(db->NewIterator({}));
  std::vector<std::string> keys;
  for (at->SeekToFirst(); at->Valid(); at->Next()) keys.push_back(at->key().ToString());
  return keys;
}

// Changes a stored value as LevelDB itself would never notice.
inline void change_raw(leveldb::Env* env, const std::string& dir, const std::string& key,
                       const std::function<void(std::string& value)>& change) {
  auto db = open_raw(env, dir);
  std::string value;
  REQUIRE(db->Get({}, key, &value).ok());
  change(value);
  REQUIRE(db->Put({}, key, value).ok());
}

inline void erase_raw(leveldb::Env* env, const std::string& dir, const std::string& key) {
  REQUIRE(open_raw(env, dir)->Delete({}, key).ok());
}

}  // namespace jade
