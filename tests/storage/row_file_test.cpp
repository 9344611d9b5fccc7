#include "storage/row_file.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <random>
#include <vector>

#include "storage/env.h"
#include "storage/segment_store.h"
#include "tests/storage/fault_env.h"
#include "tests/storage/raw_store.h"

namespace jade {
namespace {

constexpr size_t row_bytes = 52;

std::string row_of(uint64_t number) {
  std::mt19937_64 random(number);
  std::string out(row_bytes, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

// Numbers with gaps, not all ascending.
std::vector<uint64_t> numbers_of(uint32_t rows) {
  std::vector<uint64_t> out;
  for (uint64_t i = 0; i < rows; ++i) out.push_back(i % 10 == 3 ? 1'000'000 - i : 3 * i + 1);
  return out;
}

void write_rows(RowFile::Writer& writer, const std::vector<uint64_t>& numbers) {
  for (uint64_t number : numbers) REQUIRE(writer.append(number, row_of(number)).ok());
  REQUIRE(writer.finish().ok());
}

void check_rows(const RowFile& file, const std::vector<uint64_t>& numbers) {
  REQUIRE(file.rows() == numbers.size());
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    auto first = static_cast<uint32_t>(random() % numbers.size());
    auto most = static_cast<uint32_t>(numbers.size()) - first;
    uint32_t count = i % 2 == 0 ? 1 : static_cast<uint32_t>(random() % (most + 1));
    std::string out(count * row_bytes, '\0');
    file.will_read(first);
    REQUIRE(file.read(first, count, numbers.data() + first, out.data()).ok());
    for (uint32_t j = 0; j < count; ++j) {
      REQUIRE(out.substr(j * row_bytes, row_bytes) == row_of(numbers[first + j]));
    }
  }
  CHECK(!file.damaged());
}

}  // namespace

TEST_CASE("rows come back, in memory and on a real disk") {
  auto memory = memory_env();
  std::string dir = std::filesystem::temp_directory_path() / "jade_row_file_test";
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir + "/rows");
  for (leveldb::Env* env : {memory.get(), file_system()}) {
    for (uint32_t rows : {0u, 1u, 9u, 30'000u}) {
      CAPTURE(rows);
      const std::string path = dir + "/rows/7";
      auto numbers = numbers_of(rows);
      auto writer = RowFile::create(env, path, row_bytes);
      REQUIRE_MESSAGE(writer.ok(), writer.status().to_string());
      write_rows(**writer, numbers);
      auto file = RowFile::open(env, path, row_bytes, rows);
      REQUIRE_MESSAGE(file.ok(), file.status().to_string());
      if (rows > 0) check_rows(**file, numbers);
      // Another in its place: who has this one open keeps it.
      auto other = RowFile::create(env, path, row_bytes);
      REQUIRE(other.ok());
      write_rows(**other, {5});
      if (rows > 0) check_rows(**file, numbers);
      REQUIRE(env->RemoveFile(path).ok());
      if (rows > 0) check_rows(**file, numbers);
      CHECK(RowFile::open(env, path, row_bytes, 1).status().code() == Code::corruption);
    }
  }
  std::filesystem::remove_all(dir);
}

TEST_CASE("a row file that was written in part is not opened, and a damaged row not returned") {
  FaultEnv env;
  auto numbers = numbers_of(100);
  auto writer = RowFile::create(&env, "/7", row_bytes);
  REQUIRE(writer.ok());
  write_rows(**writer, numbers);
  for (uint32_t rows : {99u, 101u, 0u}) {
    CHECK(RowFile::open(&env, "/7", row_bytes, rows).status().code() == Code::corruption);
  }
  CHECK(!RowFile::open(&env, "/7", row_bytes + 4, 100).ok());
  for (size_t byte : {size_t{0}, size_t{3}, size_t{4}, size_t{55}}) {
    const uint32_t row = 17;
    env.flip("/7", row * 56 + byte);
    auto file = RowFile::open(&env, "/7", row_bytes, 100);
    REQUIRE(file.ok());
    std::string out(100 * row_bytes, '\0');
    CHECK((*file)->read(16, 1, &numbers[16], out.data()).ok());
    CHECK((*file)->read(18, 82, &numbers[18], out.data()).ok());
    CHECK(!(*file)->damaged());
    CHECK((*file)->read(row, 1, &numbers[row], out.data()).code() == Code::corruption);
    CHECK((*file)->read(0, 100, numbers.data(), out.data()).code() == Code::corruption);
    CHECK((*file)->damaged());
    env.flip("/7", row * 56 + byte);
  }
  // A row at the place of another.
  auto file = RowFile::open(&env, "/7", row_bytes, 100);
  std::string out(row_bytes, '\0');
  CHECK((*file)->read(4, 1, &numbers[4], out.data()).ok());
  CHECK((*file)->read(4, 1, &numbers[5], out.data()).code() == Code::corruption);
}

TEST_CASE("rows go with their segment") {
  auto env = memory_env();
  auto open = [&] {
    auto store = SegmentStore::open(env.get(), "/segments", nullptr);
    REQUIRE(store.ok());
    return *store;
  };
  auto store = open();
  auto numbers = numbers_of(50);
  auto write_segment = [&](uint64_t id, bool finish) {
    auto rows = store->create_rows(id, row_bytes);
    REQUIRE(rows.ok());
    write_rows(**rows, numbers);
    auto blob = store->create(id);
    REQUIRE(blob.ok());
    REQUIRE((*blob)->append("bytes").ok());
    if (finish) REQUIRE((*blob)->finish().ok());
  };
  write_segment(1, true);
  write_segment(2, false);
  write_segment(3, true);
  REQUIRE(store->remove(3).ok());
  CHECK(!store->open_rows(3, row_bytes, 50).ok());
  REQUIRE(store->open_rows(2, row_bytes, 50).ok());
  store.reset();
  store = open();
  auto kept = store->open_rows(1, row_bytes, 50);
  REQUIRE(kept.ok());
  check_rows(**kept, numbers);
  CHECK(!store->open_rows(2, row_bytes, 50).ok());
  // Replaced by one whose rows are in memory.
  auto blob = store->create(1);
  REQUIRE(blob.ok());
  REQUIRE((*blob)->finish().ok());
  REQUIRE(store->remove_rows(1).ok());
  REQUIRE(store->remove_rows(1).ok());
  CHECK(!store->open_rows(1, row_bytes, 50).ok());
  CHECK(store->read(1).ok());
}

}  // namespace jade
