// Text to words for the lexical embedder: the same on every machine, no locale.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace jade {

// Longer runs of letters and digits are cut into words of this many characters.
inline constexpr size_t lexical_word_chars_max = 32;

// Lower-cased runs of letters and digits as UTF-8, in order. ASCII, Latin-1,
// Greek and Cyrillic capitals are lower-cased; all code points from U+00C0 on
// count as letters, but for general punctuation, symbols and full-width
// punctuation. Bytes that are no UTF-8 separate words.
std::vector<std::string> lexical_words(std::string_view text);

// English suffixes off: "converts", "converting", "converted" and "converter"
// become "convert", "libraries" and "library" become "librari". Words with other
// than ASCII letters, and short ones, stay as they are. Much lighter than Porter's stemmer:
// it only has to map related forms to one string, which need not be a word.
std::string lexical_stem(std::string_view word);

}  // namespace jade
