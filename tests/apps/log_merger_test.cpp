#include "apps/up/log_merger.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace jade {
namespace {

struct Merged {
  std::string text;
  LogMerger merger;

  explicit Merged(const std::vector<std::string>& names, bool coloured = false)
      : merger(names, coloured, [this](std::string_view lines) { text += lines; }) {}
};

}  // namespace

TEST_CASE("lines of a log have their node's name, aligned") {
  Merged merged({"node-1", "up"});
  merged.merger.add(0, "one\ntwo\n");
  merged.merger.add(1, "three\n");
  merged.merger.add(0, "\n");
  CHECK(merged.text ==
        "node-1 | one\n"
        "node-1 | two\n"
        "up     | three\n"
        "node-1 | \n");
}

TEST_CASE("a line waits for its end while others are written") {
  Merged merged({"a", "b"});
  merged.merger.add(0, "one ");
  merged.merger.add(1, "two\nth");
  CHECK(merged.text == "b | two\n");
  merged.merger.add(0, "line\nfo");
  merged.merger.add(1, "ree\n");
  CHECK(merged.text == "b | two\na | one line\nb | three\n");
}

TEST_CASE("what a source wrote before it died is a line") {
  Merged merged({"a"});
  merged.merger.finish(0);
  CHECK(merged.text.empty());
  merged.merger.add(0, "torn");
  merged.merger.finish(0);
  merged.merger.finish(0);
  merged.merger.add(0, "new\n");
  CHECK(merged.text == "a | torn\na | new\n");
}

TEST_CASE("a line without an end is written before it fills the memory") {
  Merged merged({"a"});
  std::string part(10'000, 'x');
  for (int i = 0; i < 100; ++i) merged.merger.add(0, part);
  CHECK(merged.text.size() > 900'000);
  merged.merger.finish(0);
  CHECK(std::count(merged.text.begin(), merged.text.end(), 'x') == 1'000'000);
}

TEST_CASE("colours end with the name") {
  Merged merged({"a", "b"}, true);
  merged.merger.add(0, "one\n");
  merged.merger.add(1, "two\n");
  CHECK(merged.text == "\x1B[36ma |\x1B[0m one\n\x1B[32mb |\x1B[0m two\n");
}

TEST_CASE("lines of several threads are whole") {
  Merged merged({"a", "b"});
  auto write = [&](size_t source) {
    for (int i = 0; i < 1000; ++i) {
      merged.merger.add(source, "some");
      merged.merger.add(source, "thing\n");
    }
  };
  std::thread other([&] { write(1); });
  write(0);
  other.join();
  size_t lines = 0;
  for (size_t begin = 0; begin < merged.text.size(); ++lines) {
    size_t end = merged.text.find('\n', begin);
    std::string line = merged.text.substr(begin, end - begin);
    REQUIRE((line == "a | something" || line == "b | something"));
    begin = end + 1;
  }
  CHECK(lines == 2000);
}

}  // namespace jade
