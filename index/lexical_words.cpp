#include "index/lexical_words.h"

#include <algorithm>

namespace jade {
namespace {

constexpr uint32_t no_character = 0xFFFFFFFF;

// Decodes one code point at `pos` and moves past it; past one byte where the
// bytes are no UTF-8 (overlong forms and surrogates included).
uint32_t next_code_point(std::string_view text, size_t& pos) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  uint8_t lead = byte(pos);
  if (lead < 0x80) {
    ++pos;
    return lead;
  }
  size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0;
  if (length == 0 || lead > 0xF4 || pos + length > text.size()) {
    ++pos;
    return no_character;
  }
  uint32_t code = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    uint8_t next = byte(pos + i);
    if ((next & 0xC0) != 0x80) {
      ++pos;
      return no_character;
    }
    code = code << 6 | (next & 0x3Fu);
  }
  bool valid = !(length == 3 && code < 0x800) && !(length == 4 && code < 0x10000) &&
               !(code >= 0xD800 && code < 0xE000) && code < 0x110000;
  pos += valid ? length : 1;
  return valid ? code : no_character;
}

uint32_t lower_case(uint32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  if (c >= 0xC0 && c <= 0xDE && c != 0xD7) return c + 32;     // Latin-1
  if (c >= 0x100 && c <= 0x137) return c | 1;                 // Latin Extended-A, in pairs
  if (c >= 0x391 && c <= 0x3A9 && c != 0x3A2) return c + 32;  // Greek
  if (c >= 0x410 && c <= 0x42F) return c + 32;                // Cyrillic
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  return c;
}

bool is_word_character(uint32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  if (c < 0xC0 || c == no_character || c == 0xD7 || c == 0xF7) return false;
  bool punctuation = (c >= 0x2000 && c <= 0x2BFF) || (c >= 0x3000 && c <= 0x3004) ||
                     (c >= 0x3008 && c <= 0x3020) || (c >= 0xFE00 && c <= 0xFE6F) ||
                     (c >= 0xFF00 && c <= 0xFF0F) || (c >= 0xFF1A && c <= 0xFF20) ||
                     (c >= 0xFF3B && c <= 0xFF40) || (c >= 0xFF5B && c <= 0xFF65) ||
                     (c >= 0xE000 && c <= 0xF8FF) || c >= 0xE0000;
  return !punctuation;
}

void append_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

bool cut(std::string& word, std::string_view suffix, size_t length_min) {
  if (!word.ends_with(suffix) || word.size() - suffix.size() < length_min) return false;
  word.resize(word.size() - suffix.size());
  return true;
}

void cut_plural(std::string& word) {
  if (cut(word, "ies", 2)) {
    word += 'y';
  } else if (word.ends_with("sses") || word.ends_with("xes") || word.ends_with("shes") ||
             word.ends_with("ches")) {
    word.resize(word.size() - 2);
  } else if (!word.ends_with("ss") && !word.ends_with("us") && !word.ends_with("is")) {
    cut(word, "s", 3);
  }
}

// "stopp" to "stop"; "ss", "ll" and "zz" are mostly part of the word.
void undouble(std::string& word) {
  size_t n = word.size();
  if (n < 4 || word[n - 1] != word[n - 2]) return;
  if (std::string_view("aeioulsz").find(word[n - 1]) == std::string_view::npos) word.pop_back();
}

}  // namespace

std::vector<std::string> lexical_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  size_t chars = 0;
  auto finish = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
    chars = 0;
  };
  for (size_t pos = 0; pos < text.size();) {
    uint32_t c = lower_case(next_code_point(text, pos));
    if (!is_word_character(c)) {
      finish();
      continue;
    }
    append_utf8(word, c);
    if (++chars == lexical_word_chars_max) finish();
  }
  finish();
  return words;
}

std::string lexical_stem(std::string_view word) {
  std::string stem(word);
  bool letters = std::all_of(word.begin(), word.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  if (!letters || word.size() < 4) return stem;
  cut_plural(stem);
  if (cut(stem, "ing", 3) || cut(stem, "ed", 3) || cut(stem, "er", 4) || cut(stem, "or", 4)) {
    undouble(stem);
  }
  if (stem.size() > 3 && stem.back() == 'e') stem.pop_back();
  if (stem.size() > 2 && stem.back() == 'y') stem.back() = 'i';
  return stem;
}

}  // namespace jade
