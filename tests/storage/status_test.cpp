#include "storage/status.h"

#include <doctest/doctest.h>
#include <leveldb/status.h>

#include <memory>
#include <set>

#include "storage/env.h"

namespace jade {
namespace {

Status first_failure(const Status& a, const Status& b) {
  JADE_RETURN_IF_ERROR(a);
  JADE_RETURN_IF_ERROR(b);
  return {};
}

}  // namespace

TEST_CASE("every code has a name of its own") {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(Code::internal); ++code) {
    names.insert(to_string(static_cast<Code>(code)));
  }
  CHECK(names.size() == static_cast<size_t>(Code::internal) + 1);
  CHECK(names.count("unknown") == 0);
  CHECK(to_string(static_cast<Code>(200)) == "unknown");
}

TEST_CASE("a status says code and message, and takes context in front") {
  CHECK(Status().ok());
  CHECK(Status().to_string() == "ok");
  CHECK(Status().with_context("nowhere").ok());
  Status full(Code::disk_full, "no space");
  CHECK(!full.ok());
  CHECK(full.to_string() == "disk_full: no space");
  CHECK(full.with_context("writing").to_string() == "disk_full: writing: no space");
  CHECK(full == Status(Code::disk_full, "no space"));
  CHECK(!(full == Status(Code::io_error, "no space")));
}

TEST_CASE("the first failure is returned") {
  CHECK(first_failure({}, {}).ok());
  CHECK(first_failure(not_found("a"), corruption("b")).message() == "a");
  CHECK(first_failure({}, corruption("b")).message() == "b");
}

TEST_CASE("a result holds a value or the reason why not; values may only move") {
  Result<std::unique_ptr<int>> value(std::make_unique<int>(3));
  REQUIRE(value.ok());
  CHECK(**value == 3);
  std::unique_ptr<int> taken = *std::move(value);
  CHECK(*taken == 3);
  Result<std::unique_ptr<int>> none(unavailable("no leader"));
  CHECK(!none.ok());
  CHECK(none.status().code() == Code::unavailable);
}

TEST_CASE("failures of LevelDB become ours") {
  CHECK(from_leveldb(leveldb::Status::OK(), "x").ok());
  auto code = [](const leveldb::Status& status) { return from_leveldb(status, "x").code(); };
  CHECK(code(leveldb::Status::IOError("a", "No space left on device")) == Code::disk_full);
  CHECK(code(leveldb::Status::IOError("a", "Disk quota exceeded")) == Code::disk_full);
  CHECK(code(leveldb::Status::IOError("a", "Input/output error")) == Code::io_error);
  CHECK(code(leveldb::Status::Corruption("a")) == Code::corruption);
  CHECK(code(leveldb::Status::NotFound("a")) == Code::corruption);
  CHECK(from_leveldb(leveldb::Status::Corruption("bad block"), "reading log").message() ==
        "reading log: Corruption: bad block");
}

}  // namespace jade
