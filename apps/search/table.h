// Rows of text as an aligned table for a terminal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace jade {

struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;  // each as long as the header
  std::vector<bool> right_aligned;             // numbers; as long as the header
};

// At most `width` columns wide: the last column is cut with "…" where it must be
// (but keeps at least ten characters). Control characters and bytes that are not
// UTF-8 become spaces, so that data cannot steer the terminal.
std::string render(const Table& table, size_t width);

// Tab-separated, for scripts, with a header; tabs and line breaks become spaces.
std::string render_tsv(const Table& table);

// Of the terminal on standard output; 120 where there is none.
size_t terminal_width();

}  // namespace jade
