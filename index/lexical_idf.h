// How telling a word is: a fixed table, never learned from the data, so that all
// nodes agree for ever and a vector made today compares with one made years ago.
#pragma once

#include <cstdint>
#include <string_view>

namespace jade {

// Inverse document frequency in sixteenths: 16·ln(documents / documents with the
// word) for the frequent words of software prose, 0 for English stop words, the
// maximum for all others. `word` is lower-case, as lexical_words() gives it.
inline constexpr uint32_t lexical_idf_max = 160;
uint32_t lexical_idf(std::string_view word);

}  // namespace jade
