#include "index/lexical_idf.h"

#include <algorithm>
#include <iterator>

namespace jade {
namespace {

struct Entry {
  std::string_view word;
  uint8_t idf;
};

// Sorted by word, which the test checks. Made by index/make_lexical_idf.
constexpr Entry table[] = {
#include "index/lexical_idf.inc"
};

}  // namespace

uint32_t lexical_idf(std::string_view word) {
  const Entry* found = std::lower_bound(
      std::begin(table), std::end(table), word,
      [](const Entry& entry, std::string_view wanted) { return entry.word < wanted; });
  return found != std::end(table) && found->word == word ? found->idf : lexical_idf_max;
}

}  // namespace jade
