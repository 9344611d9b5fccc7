#include "apps/catalogue/catalogue.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <map>

#include "apps/search/utf8.h"

namespace jade {
namespace {

// Longer descriptions are cut: the beginning says what a package is.
constexpr size_t description_bytes_max = 4000;

using Stanza = std::map<std::string, std::string, std::less<>>;

std::string_view trimmed(std::string_view text) {
  size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// Empty at the end of the input.
Stanza read_stanza(std::istream& in) {
  Stanza stanza;
  std::string line;
  std::string* last = nullptr;
  while (std::getline(in, line)) {
    if (trimmed(line).empty()) {
      if (!stanza.empty()) break;
    } else if (line[0] == ' ' || line[0] == '\t') {
      if (last && trimmed(line) != ".") *last += "\n" + std::string(trimmed(line));
    } else if (size_t colon = line.find(':'); colon != std::string::npos) {
      last = &stanza[line.substr(0, colon)];
      *last = trimmed(std::string_view(line).substr(colon + 1));
    } else {
      last = nullptr;
    }
  }
  return stanza;
}

std::string_view field(const Stanza& stanza, std::string_view name) {
  auto found = stanza.find(name);
  return found == stanza.end() ? std::string_view() : found->second;
}

// The values of the debtags that say what a package is for: "use::converting,
// works-with::video, role::program" gives " converting video".
std::string purposes(std::string_view tags) {
  static constexpr std::array facets = {
      "use",    "works-with", "works-with-format", "game", "field", "sound", "web", "mail",
      "office", "admin",      "security"};
  std::string words;
  while (!tags.empty()) {
    size_t comma = std::min(tags.find(','), tags.size());
    std::string_view tag = tags.substr(0, comma);
    while (!tag.empty() && (tag.front() == ' ' || tag.front() == '\n')) tag.remove_prefix(1);
    size_t colons = tag.find("::");
    if (colons != std::string_view::npos &&
        std::find(facets.begin(), facets.end(), tag.substr(0, colons)) != facets.end()) {
      words += ' ';
      words += tag.substr(colons + 2);
    }
    tags.remove_prefix(std::min(comma + 1, tags.size()));
  }
  return words;
}

std::optional<CatalogueEntry> entry_of(const Stanza& stanza) {
  std::string_view description = field(stanza, "Description");
  if (description.empty()) description = field(stanza, "Description-en");
  std::string_view status = field(stanza, "Status");
  CatalogueEntry entry;
  entry.name = field(stanza, "Package");
  if (entry.name.empty() || description.empty()) return std::nullopt;
  if (!status.empty() && !status.ends_with(" installed")) return std::nullopt;
  entry.section = field(stanza, "Section");
  std::string_view size = field(stanza, "Installed-Size");
  std::from_chars(size.data(), size.data() + size.size(), entry.installed_size_kib);
  entry.summary = description.substr(0, description.find('\n'));
  entry.text = entry.name + ". " + std::string(description.substr(0, description_bytes_max)) +
               purposes(field(stanza, "Tag"));
  return entry;
}

}  // namespace

std::optional<CatalogueEntry> read_debian_package(std::istream& in) {
  for (;;) {
    Stanza stanza = read_stanza(in);
    if (stanza.empty()) return std::nullopt;
    if (auto entry = entry_of(stanza)) return entry;
  }
}

std::optional<CatalogueEntry> read_man_page(std::istream& in) {
  std::string line;
  while (std::getline(in, line)) {
    size_t dash = line.find(" - ");
    size_t open = line.find('(');
    size_t close = line.find(')');
    if (dash == std::string::npos || open == std::string::npos || close == std::string::npos ||
        open > close || close > dash) {
      continue;
    }
    CatalogueEntry entry;
    std::string_view view = line;
    entry.section = trimmed(view.substr(open + 1, close - open - 1));
    std::string_view name = trimmed(view.substr(0, open));
    entry.summary = trimmed(view.substr(dash + 3));
    if (name.empty() || entry.section.empty() || entry.summary.empty()) continue;
    entry.name = std::string(name) + "(" + entry.section + ")";
    entry.text = std::string(name) + ". " + entry.summary;
    return entry;
  }
  return std::nullopt;
}

std::string to_ndjson(const CatalogueEntry& entry) {
  boost::json::object metadata;
  metadata["name"] = repaired_utf8(entry.name);
  metadata["section"] = repaired_utf8(entry.section);
  if (entry.installed_size_kib != 0) metadata["installed_size"] = entry.installed_size_kib;
  metadata["summary"] = repaired_utf8(entry.summary);
  boost::json::object row;
  row["id"] = repaired_utf8(entry.name);
  row["text"] = repaired_utf8(entry.text);
  row["metadata"] = std::move(metadata);
  return boost::json::serialize(row) + "\n";
}

}  // namespace jade
