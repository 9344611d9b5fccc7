// Texts that a machine has anyway, as rows for `jade import`: its catalogue of
// Debian packages and its index of manual pages.
#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <optional>
#include <string>
#include <string_view>

namespace jade {

struct CatalogueEntry {
  std::string name;
  std::string section;
  uint64_t installed_size_kib = 0;  // 0: not known
  std::string summary;              // one line
  std::string text;                 // what is embedded: name, description, purposes
};

// The next package of `in`, stanzas as `apt-cache dumpavail` and dpkg's status file
// have them (deb822: "Field: value" lines, continuations indented, a blank line
// between). None at the end. Stanzas without a name or description, or of a package
// that was removed, are passed over.
std::optional<CatalogueEntry> read_debian_package(std::istream& in);

// The next page of `in`, lines as `man -k .` prints them: "ls (1) - list files".
// Lines of another shape are passed over.
std::optional<CatalogueEntry> read_man_page(std::istream& in);

// One line of NDJSON, with its line break: {"id":"ffmpeg","text":"...","metadata":
// {"name","section","installed_size" (KiB; absent where not known),"summary"}}.
std::string to_ndjson(const CatalogueEntry& entry);

}  // namespace jade
