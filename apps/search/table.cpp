#include "apps/search/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "apps/search/utf8.h"

namespace jade {
namespace {

constexpr size_t last_column_min = 10;
constexpr std::string_view gap = "  ";

// Characters to print, each one code point.
std::vector<std::string> printable(std::string_view text) {
  std::vector<std::string> characters;
  for (size_t pos = 0; pos < text.size();) {
    size_t length = utf8_length(text, pos);
    auto lead = static_cast<uint8_t>(text[pos]);
    bool control = length == 1 ? lead < 0x20 || lead == 0x7F
                               : lead == 0xC2 && static_cast<uint8_t>(text[pos + 1]) < 0xA0;
    characters.push_back(length == 0 || control ? " " : std::string(text.substr(pos, length)));
    pos += std::max<size_t>(length, 1);
  }
  return characters;
}

std::string cell(std::string_view text, size_t width, bool right_aligned, bool pad) {
  std::vector<std::string> characters = printable(text);
  if (characters.size() > width) {
    characters.resize(width - 1);
    characters.push_back("…");
  }
  std::string out;
  for (const std::string& character : characters) out += character;
  std::string spaces(width - characters.size(), ' ');
  if (right_aligned) return spaces + out;
  return pad ? out + spaces : out;
}

std::vector<size_t> column_widths(const Table& table, size_t width) {
  std::vector<size_t> widths;
  for (size_t column = 0; column < table.header.size(); ++column) {
    size_t widest = printable(table.header[column]).size();
    for (const auto& row : table.rows) widest = std::max(widest, printable(row[column]).size());
    widths.push_back(widest);
  }
  size_t before_last = 0;
  for (size_t i = 0; i + 1 < widths.size(); ++i) before_last += widths[i] + gap.size();
  size_t left = width > before_last ? width - before_last : 0;
  if (!widths.empty()) widths.back() = std::min(widths.back(), std::max(left, last_column_min));
  return widths;
}

}  // namespace

std::string render(const Table& table, size_t width) {
  std::vector<size_t> widths = column_widths(table, width);
  std::string out;
  auto add_row = [&](const std::vector<std::string>& row) {
    for (size_t i = 0; i < row.size(); ++i) {
      bool last = i + 1 == row.size();
      out += cell(row[i], widths[i], table.right_aligned[i], !last);
      out += last ? "\n" : std::string(gap);
    }
  };
  add_row(table.header);
  std::vector<std::string> rule;
  for (size_t column_width : widths) rule.push_back(std::string(column_width, '-'));
  add_row(rule);
  for (const auto& row : table.rows) add_row(row);
  return out;
}

std::string render_tsv(const Table& table) {
  std::string out;
  auto add_row = [&out](const std::vector<std::string>& row) {
    for (size_t i = 0; i < row.size(); ++i) {
      for (const std::string& character : printable(row[i])) out += character;
      out += i + 1 == row.size() ? '\n' : '\t';
    }
  };
  add_row(table.header);
  for (const auto& row : table.rows) add_row(row);
  return out;
}

size_t terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 120;
  return size.ws_col;
}

}  // namespace jade
