#include "apps/catalogue/catalogue.h"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <sstream>

#include "apps/search/utf8.h"

namespace jade {

TEST_CASE("packages are read from stanzas") {
  std::istringstream in(
      "\n\nPackage: ffmpeg\n"
      "Version: 7:5.1\n"
      "Installed-Size: 2388\n"
      "Description: Tools for transcoding\n"
      " Long text: of several\n"
      " .\n"
      "  lines.\n"
      "Tag: role::program, use::converting,\n"
      " works-with::video\n"
      "Section: video\n"
      "\n"
      "Package: nameless\n"
      "Section: none\n"
      "\n"
      "Package: gone\n"
      "Status: deinstall ok config-files\n"
      "Description: removed\n"
      "\n"
      "Package: here\n"
      "Status: install ok installed\n"
      "Description-en: last, without a blank line after it");
  auto ffmpeg = read_debian_package(in);
  REQUIRE(ffmpeg);
  CHECK(ffmpeg->name == "ffmpeg");
  CHECK(ffmpeg->section == "video");
  CHECK(ffmpeg->installed_size_kib == 2388);
  CHECK(ffmpeg->summary == "Tools for transcoding");
  CHECK(ffmpeg->text ==
        "ffmpeg. Tools for transcoding\nLong text: of several\nlines. converting video");
  auto here = read_debian_package(in);
  REQUIRE(here);
  CHECK(here->name == "here");
  CHECK(here->installed_size_kib == 0);
  CHECK_FALSE(read_debian_package(in));
}

TEST_CASE("what is no list of packages gives none") {
  for (std::string text : {"", "\n\n\n", "no colon here\n", " indented\n", ":\n", "Package:\n\n"}) {
    std::istringstream in(text);
    CHECK_FALSE(read_debian_package(in));
  }
}

TEST_CASE("manual pages are read from the lines of man -k") {
  std::istringstream in(
      "nothing appropriate\n"
      "ls (1)               - list directory contents\n"
      "git-add(1) - add (some) files\n"
      "broken - no (section)\n"
      "(1) - no name\n"
      "[ (1) - evaluate expressions\n");
  auto ls = read_man_page(in);
  REQUIRE(ls);
  CHECK(ls->name == "ls(1)");
  CHECK(ls->section == "1");
  CHECK(ls->summary == "list directory contents");
  CHECK(ls->text == "ls. list directory contents");
  CHECK(read_man_page(in)->name == "git-add(1)");
  CHECK(read_man_page(in)->name == "[(1)");
  CHECK_FALSE(read_man_page(in));
}

TEST_CASE("rows are JSON whatever is in the descriptions") {
  CatalogueEntry entry{"x\"y", "ga\xFFmes", 12, "line\nbreak \xC3", "text \\ \x01"};
  std::string line = to_ndjson(entry);
  CHECK(line.find('\n') == line.size() - 1);
  boost::json::value row = boost::json::parse(line);
  CHECK(row.at("id").as_string() == "x\"y");
  CHECK(row.at("text").as_string() == "text \\ \x01");
  CHECK(row.at("metadata").at("section").as_string() == "ga\uFFFDmes");
  CHECK(row.at("metadata").at("summary").as_string() == "line\nbreak \uFFFD");
  CHECK(row.at("metadata").at("installed_size").to_number<int>() == 12);
  entry.installed_size_kib = 0;
  CHECK_FALSE(
      boost::json::parse(to_ndjson(entry)).at("metadata").as_object().contains("installed_size"));
}

TEST_CASE("only well-formed UTF-8 counts") {
  CHECK(repaired_utf8("aé日😀") == "aé日😀");
  CHECK(repaired_utf8("\xC0\xAF") == "\uFFFD\uFFFD");            // overlong
  CHECK(repaired_utf8("\xE0\x80\x80") == "\uFFFD\uFFFD\uFFFD");  // overlong
  CHECK(repaired_utf8("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");  // surrogate
  CHECK(repaired_utf8("\xF4\x90\x80\x80") == "\uFFFD\uFFFD\uFFFD\uFFFD");
  CHECK(repaired_utf8("a\xE2\x82") == "a\uFFFD\uFFFD");
}

}  // namespace jade
