// Rules of the source tree that a compiler does not check. JADE_SOURCE_DIR is
// the root of the tree.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct SourceFile {
  std::string path;  // from the root, "actors/shard.cpp"
  std::string text;
  std::string code;  // the text with the inside of comments blanked out

  std::string folder() const { return path.substr(0, path.find('/')); }
  bool is_header() const { return path.ends_with(".h"); }
};

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Blanks // and /* */ comments; line breaks and string literals stay.
std::string without_comments(const std::string& text) {
  std::string code = text;
  enum { plain, line_comment, block_comment, literal } state = plain;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (state == plain && c == '/' && next == '/') state = line_comment;
    if (state == plain && c == '/' && next == '*') state = block_comment;
    if (state == line_comment && c == '\n') state = plain;
    if (state == block_comment && c == '*' && next == '/') {
      code[i] = code[i + 1] = ' ';
      ++i;
      state = plain;
      continue;
    }
    // A ' between digits separates them, as in 1'000.
    bool digit_separator =
        c == '\'' && i > 0 && std::isalnum(static_cast<unsigned char>(text[i - 1]));
    if (state == literal && c == '\\') {
      ++i;
    } else if (state == literal && c == quote) {
      state = plain;
    } else if (state == plain && (c == '"' || c == '\'') && !digit_separator) {
      state = literal;
      quote = c;
    } else if ((state == line_comment || state == block_comment) && c != '\n') {
      code[i] = ' ';
    }
  }
  return code;
}

std::vector<SourceFile> read_sources() {
  static const std::vector<std::string> folders = {"storage", "index", "actors", "net",
                                                   "sim",     "apps",  "tests"};
  std::vector<SourceFile> files;
  fs::path root(JADE_SOURCE_DIR);
  for (const std::string& folder : folders) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      std::string extension = entry.path().extension();
      if (!entry.is_regular_file() || (extension != ".h" && extension != ".cpp")) continue;
      SourceFile file;
      file.path = fs::relative(entry.path(), root).generic_string();
      file.text = read(entry.path());
      file.code = without_comments(file.text);
      files.push_back(std::move(file));
    }
  }
  std::sort(files.begin(), files.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
  return files;
}

const std::vector<SourceFile>& sources() {
  static const std::vector<SourceFile> files = read_sources();
  return files;
}

size_t line_of(const std::string& text, size_t pos) {
  return 1 +
         static_cast<size_t>(std::count(text.begin(), text.begin() + static_cast<long>(pos), '\n'));
}

// The files of the project that `file` includes.
std::vector<std::string> includes_of(const SourceFile& file) {
  static const std::regex include("#include \"([^\"]+)\"");
  std::vector<std::string> found;
  for (std::sregex_iterator it(file.code.begin(), file.code.end(), include), end; it != end; ++it) {
    found.push_back((*it)[1]);
  }
  return found;
}

// What only the files listed may use, in the folders whose code must run the same
// under the simulator: each is the seam that production and simulation replace.
struct Owned {
  std::string what;
  std::string pattern;
  std::set<std::string> owners;
};

const std::vector<Owned>& owned() {
  static const std::vector<Owned> rules = {
      {"a clock",
       R"(\b(system_clock|steady_clock|high_resolution_clock|gettimeofday|clock_gettime)\b|\bstd::time\()",
       {"actors/connection_loop.cpp", "actors/scheduler.cpp", "actors/tls_listener.cpp"}},
      {"a sleep", R"(\b(sleep_for|sleep_until|nanosleep|usleep)\b)", {}},
      {"entropy",
       R"(\b(random_device|getrandom|getentropy)\b|\bs?rand\(|\bstd::s?rand\b)",
       {"actors/jade.cpp"}},
      {"a thread",
       R"(\bstd::(jthread|thread|async)\b(?!::hardware_concurrency))",
       {"actors/connection_loop.cpp", "actors/tls_listener.h", "actors/tls_listener.cpp",
        "index/worker_pool.h", "index/worker_pool.cpp"}},
      {"the environment", R"(\b(getenv|setenv)\b)", {}},
  };
  return rules;
}

}  // namespace

TEST_CASE("the tree is there") {
  CHECK(sources().size() > 40);
  CHECK(without_comments("a // b\n/* c */ \"// d\" 1'000 // e") ==
        "a     \n        \"// d\" 1'000     ");
}

TEST_CASE("clocks, sleeps, entropy and threads are used only by the file that owns them") {
  for (const SourceFile& file : sources()) {
    if (file.folder() != "storage" && file.folder() != "index" && file.folder() != "actors")
      continue;
    for (const Owned& rule : owned()) {
      if (rule.owners.contains(file.path)) continue;
      std::smatch match;
      if (std::regex_search(file.code, match, std::regex(rule.pattern))) {
        size_t line = line_of(file.code, static_cast<size_t>(match.position()));
        FAIL_CHECK(file.path, ":", line, ": uses ", rule.what, " (", match.str(),
                   "); take it from the outside instead, or list the file here as its owner");
      }
    }
  }
}

TEST_CASE("owners still use what they own") {
  for (const Owned& rule : owned()) {
    for (const std::string& owner : rule.owners) {
      bool uses = std::any_of(sources().begin(), sources().end(), [&](const SourceFile& file) {
        return file.path == owner && std::regex_search(file.code, std::regex(rule.pattern));
      });
      CHECK_MESSAGE(uses, owner, " is listed as owner of ", rule.what, " but does not use it");
    }
  }
}

TEST_CASE("dependencies point one way") {
  const std::map<std::string, std::set<std::string>> may_include = {
      {"storage", {"storage"}},
      {"index", {"index", "storage"}},
      {"actors", {"actors", "index", "storage"}},
      {"net", {"net", "actors", "index", "storage"}},
      {"sim", {"sim", "actors", "index", "storage"}},
      {"apps", {"apps", "net", "sim", "actors", "index", "storage"}},
      {"tests", {"tests", "apps", "net", "sim", "actors", "index", "storage"}},
  };
  for (const SourceFile& file : sources()) {
    if (file.path.starts_with("apps/embedding-example/")) continue;  // sees installed headers
    for (const std::string& included : includes_of(file)) {
      std::string folder = included.substr(0, included.find('/'));
      CHECK_MESSAGE(may_include.at(file.folder()).contains(folder), file.path, " includes ",
                    included);
    }
  }
}

TEST_CASE("the parts of the simulator depend on each other one way") {
  std::map<std::string, std::set<std::string>> needs;  // by part: a header and its source
  auto part_of = [](const std::string& path) { return path.substr(0, path.rfind('.')); };
  for (const SourceFile& file : sources()) {
    if (file.folder() != "sim") continue;
    for (const std::string& included : includes_of(file)) {
      if (included.starts_with("sim/")) needs[part_of(file.path)].insert(part_of(included));
    }
    needs[part_of(file.path)].erase(part_of(file.path));
  }
  // Takes away what needs nothing that is left, until nothing or a circle is.
  auto is_free = [&](const auto& part) {
    return std::none_of(part.second.begin(), part.second.end(),
                        [&](const std::string& other) { return needs.contains(other); });
  };
  CHECK(needs.size() > 10);
  while (std::erase_if(needs, is_free) > 0) {
  }
  for (const auto& [part, others] : needs) FAIL_CHECK(part, " is in a circle, or needs one");
}

TEST_CASE("every header is used by more than its own source") {
  std::set<std::string> used;
  for (const SourceFile& file : sources()) {
    std::string own_header = file.path.substr(0, file.path.rfind('.')) + ".h";
    for (const std::string& included : includes_of(file)) {
      if (included != own_header) used.insert(included);
    }
  }
  for (const SourceFile& file : sources()) {
    if (file.is_header()) CHECK_MESSAGE(used.contains(file.path), file.path, " is used by nobody");
  }
}

TEST_CASE("every source lies where the build looks for it") {
  const std::regex compiled(
      "(storage|index|actors|net|sim)/[^/]+\\.cpp|apps/main\\.cpp|apps/[^/]+/[^/]+\\.cpp|"
      "tests/(test_main|tidy_test|tsan_libraries|shifted_clock)\\.cpp|tests/[^/]+/[^/]+\\.cpp");
  for (const SourceFile& file : sources()) {
    if (!file.is_header()) CHECK_MESSAGE(std::regex_match(file.path, compiled), file.path);
  }
}

TEST_CASE("every header guards itself") {
  for (const SourceFile& file : sources()) {
    if (file.is_header()) {
      CHECK_MESSAGE(file.code.find("#pragma once") != std::string::npos, file.path);
    }
  }
}

TEST_CASE("nothing is left for later") {
  // In two pieces, so that this file does not find itself.
  const std::regex marks(
      "\\b(TO"
      "DO|FIX"
      "ME|X"
      "XX)\\b");
  for (const SourceFile& file : sources()) {
    std::smatch match;
    if (std::regex_search(file.text, match, marks)) {
      FAIL_CHECK(file.path, ":", line_of(file.text, static_cast<size_t>(match.position())), ": ",
                 match.str());
    }
  }
}
