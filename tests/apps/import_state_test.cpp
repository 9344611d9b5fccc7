#include "apps/import/import_state.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <sstream>
#include <vector>

#include "tests/apps/scratch_dir.h"

namespace jade {
namespace {

namespace fs = std::filesystem;

// A home of its own for the state, and a file to import.
struct Home {
  ScratchDir dir;
  std::string file = dir.write("rows", "some rows");
  Home() { setenv("XDG_STATE_HOME", dir.path("home").c_str(), 1); }
  ~Home() { unsetenv("XDG_STATE_HOME"); }

  ImportState state(const std::string& url = "http://a", const std::string& database = "db",
                    uint64_t skip = 0) const {
    return ImportState(url, database, file, skip);
  }
  std::vector<fs::path> saved() const {
    std::vector<fs::path> out;
    if (!fs::exists(dir.path("home"))) return out;
    for (const auto& entry : fs::recursive_directory_iterator(dir.path("home"))) {
      if (entry.is_regular_file()) out.push_back(entry.path());
    }
    return out;
  }
};

std::string read(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

TEST_CASE_FIXTURE(Home, "an import's progress is kept until it is forgotten") {
  CHECK(state().exists_for_file());
  CHECK(state().rows() == 0);
  CHECK(saved().empty());
  for (uint64_t rows : {uint64_t{7}, uint64_t{0}, UINT64_MAX, uint64_t{12345}}) {
    REQUIRE(state().save(rows).ok());
    CHECK(state().rows() == rows);
    // What was written on the way is gone.
    CHECK(saved().size() == 1);
  }
  state().forget();
  CHECK(state().rows() == 0);
  CHECK(saved().empty());
  state().forget();
}

TEST_CASE_FIXTURE(Home, "another file, a changed file, another database or skip starts anew") {
  REQUIRE(state().save(5).ok());
  CHECK(state("http://b").rows() == 0);
  CHECK(state("http://a", "other").rows() == 0);
  CHECK(state("http://a", "db", 1).rows() == 0);
  std::string other = dir.write("others", "some rows");
  CHECK(ImportState("http://a", "db", other, 0).rows() == 0);
  CHECK(state().rows() == 5);

  auto changed = fs::last_write_time(file);
  dir.write("rows", "some more rows");
  fs::last_write_time(file, changed);
  CHECK(state().rows() == 0);
  dir.write("rows", "some rows");
  fs::last_write_time(file, changed + std::chrono::nanoseconds(1000));
  CHECK(state().rows() == 0);
  fs::last_write_time(file, changed);
  CHECK(state().rows() == 5);
}

TEST_CASE_FIXTURE(Home, "a file is known under each of its names in the file system") {
  REQUIRE(state().save(5).ok());
  auto before = fs::current_path();
  fs::current_path(fs::path(file).parent_path());
  CHECK(ImportState("http://a", "db", "rows", 0).rows() == 5);
  fs::current_path(before);
}

TEST_CASE_FIXTURE(Home, "a state that is damaged anywhere starts anew") {
  REQUIRE(state().save(12345).ok());
  fs::path path = saved().at(0);
  std::string good = read(path);
  for (size_t i = 0; i < good.size(); ++i) {
    CAPTURE(i);
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    write(path, bad);
    CHECK(state().rows() == 0);
    write(path, good.substr(0, i));
    CHECK(state().rows() == 0);
  }
  for (const char* bad : {"", "12345", "12345\n", "-1\n", "\n", "rows\n"}) {
    write(path, bad);
    CHECK(state().rows() == 0);
  }
  write(path, good + "more");
  CHECK(state().rows() == 0);
  write(path, good);
  CHECK(state().rows() == 12345);
  // The next progress takes its place.
  write(path, "damaged");
  REQUIRE(state().save(6).ok());
  CHECK(state().rows() == 6);
}

TEST_CASE_FIXTURE(Home, "the state of another import under the same name does not count") {
  REQUIRE(state().save(5).ok());
  fs::path path = saved().at(0);
  std::string text = read(path);
  REQUIRE(state("http://b").save(7).ok());
  for (const fs::path& other : saved()) {
    if (other != path) fs::rename(other, path);
  }
  CHECK(read(path) != text);
  CHECK(state().rows() == 0);
}

TEST_CASE_FIXTURE(Home, "what cannot be saved is said, and what has no state says nothing") {
  write(dir.path("home"), "a file in the way");
  Status saved_nowhere = state().save(5);
  CHECK(saved_nowhere.code() == Code::io_error);
  CHECK(saved_nowhere.message().find("would start anew") != std::string::npos);
  CHECK(state().rows() == 0);

  for (const std::string& name : {std::string("-"), dir.path("missing")}) {
    ImportState none("http://a", "db", name, 0);
    CHECK(!none.exists_for_file());
    CHECK(none.save(5).ok());
    CHECK(none.rows() == 0);
    none.forget();
  }
}

}  // namespace jade
