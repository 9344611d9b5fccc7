#include "storage/data_dir.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/storage/fault_env.h"

namespace jade {
namespace {

namespace fs = std::filesystem;

// A directory of its own for each test, gone afterwards.
struct Fixture {
  fs::path root = make_root();
  leveldb::Env* env = leveldb::Env::Default();
  const DataDirectory::Identity fresh{"cluster-a", 3};

  ~Fixture() { fs::remove_all(root); }

  static fs::path make_root() {
    std::string pattern = (fs::temp_directory_path() / "jade-data-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    return pattern;
  }
  std::string path() const { return (root / "data").string(); }
  auto open() const { return DataDirectory::open(env, path(), fresh); }
  void write(const std::string& name, const std::string& bytes) const {
    fs::create_directories(path());
    std::ofstream(fs::path(path()) / name, std::ios::binary) << bytes;
  }
  std::string read(const std::string& name) const {
    std::ostringstream out;
    out << std::ifstream(fs::path(path()) / name, std::ios::binary).rdbuf();
    return out.str();
  }
  size_t count() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(path()), fs::directory_iterator()));
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a new directory is made with its parents and keeps its identity") {
  std::string deep = path() + "/a/b";
  {
    auto made = DataDirectory::open(env, deep, fresh);
    REQUIRE_MESSAGE(made.ok(), made.status().to_string());
    CHECK((*made)->identity().cluster_id == "cluster-a");
    CHECK((*made)->identity().node_id == 3);
  }
  auto again = DataDirectory::open(env, deep, {"other", 9});
  REQUIRE(again.ok());
  CHECK((*again)->identity().cluster_id == "cluster-a");
  CHECK((*again)->identity().node_id == 3);
}

TEST_CASE_FIXTURE(Fixture, "a directory in use is refused until it is free") {
  auto first = open();
  REQUIRE(first.ok());
  auto second = open();
  REQUIRE(!second.ok());
  CHECK(second.status().code() == Code::failed_precondition);
  CHECK(second.status().message() == "data directory " + path() + " is in use by another process");
  first = Status(Code::internal, "closed");
  CHECK(open().ok());
}

TEST_CASE_FIXTURE(Fixture, "another format version is refused and named") {
  REQUIRE(open().ok());
  write("VERSION", "jadevectordb 2\n");
  auto refused = open();
  CHECK(refused.status().code() == Code::failed_precondition);
  CHECK(refused.status().message().find("\"jadevectordb 2\"") != std::string::npos);
  CHECK(read("VERSION") == "jadevectordb 2\n");
  write("VERSION", std::string(100'000, 'x'));
  refused = open();
  CHECK(refused.status().code() == Code::failed_precondition);
  CHECK(refused.status().message().size() < 500);
  write("VERSION", "");
  CHECK(open().status().code() == Code::failed_precondition);
}

TEST_CASE_FIXTURE(Fixture, "what is not a database stays as it is") {
  write("thesis.txt", "years of work");
  auto refused = open();
  CHECK(refused.status().code() == Code::failed_precondition);
  CHECK(refused.status().message().find("is not empty") != std::string::npos);
  CHECK(count() == 1);
  CHECK(read("thesis.txt") == "years of work");
}

TEST_CASE_FIXTURE(Fixture, "a file where the directory should be is an error") {
  std::ofstream(path()) << "a file";
  CHECK(open().status().code() == Code::io_error);
}

TEST_CASE_FIXTURE(Fixture, "a start that was interrupted before the version is begun anew") {
  write("IDENTITY", "half");
  write("VERSION.new", "jade");
  write("LOCK", "");
  auto opened = open();
  REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
  CHECK((*opened)->identity().node_id == 3);
}

TEST_CASE_FIXTURE(Fixture, "any damage to the identity is corruption") {
  REQUIRE(open().ok());
  std::string good = read("IDENTITY");
  for (size_t at = 0; at < good.size(); ++at) {
    CAPTURE(at);
    std::string damaged = good;
    damaged[at] ^= 8;
    write("IDENTITY", damaged);
    REQUIRE(open().status().code() == Code::corruption);
    write("IDENTITY", good.substr(0, at));
    REQUIRE(open().status().code() == Code::corruption);
  }
  fs::remove(fs::path(path()) / "IDENTITY");
  CHECK(!open().ok());
  write("IDENTITY", good);
  CHECK(open().ok());
}

TEST_CASE_FIXTURE(Fixture, "a tree is removed with all it holds, and only once") {
  fs::create_directories(path() + "/a/b/c");
  write("one", "1");
  std::ofstream(path() + "/a/b/two") << "2";
  std::ofstream(root / "beside") << "3";
  CHECK(remove_tree(env, path()).ok());
  CHECK(!fs::exists(path()));
  CHECK(fs::exists(root / "beside"));
  CHECK(remove_tree(env, path()).ok());
}

TEST_CASE("why a lock file cannot be made is said") {
  auto refused = [](const char* why) {
    FaultEnv env;
    env.on_lock = [why](const std::string& path) { return leveldb::Status::IOError(path, why); };
    return DataDirectory::open(&env, "/data", {"c", 1}).status();
  };
  CHECK(refused("No space left on device").code() == Code::disk_full);
  CHECK(refused("Permission denied").code() == Code::io_error);
  CHECK(refused("Read-only file system").message().find("is not writable") != std::string::npos);
  CHECK(refused("Too many open files").code() == Code::io_error);
  CHECK(refused("Resource temporarily unavailable").code() == Code::failed_precondition);
  CHECK(refused("already held by process").code() == Code::failed_precondition);
}

}  // namespace jade
