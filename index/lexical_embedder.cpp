#include "index/lexical_embedder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <unordered_map>
#include <vector>

#include "index/lexical_idf.h"
#include "index/lexical_words.h"

namespace jade {
namespace {

// Weights of the kinds of features; a word's n-grams share theirs. Judged by
// queries over package descriptions, which are not sensitive to them.
constexpr int64_t stem_share = 64;
constexpr int64_t word_share = 16;
constexpr int64_t pair_share = 24;
constexpr int64_t gram_share = 48;
constexpr int positions_per_feature = 8;

// The kind of a feature is part of its hash: the stem "play" is not the word.
enum class Kind : uint8_t { stem = 1, word = 2, pair = 3, gram = 4 };

// FNV-1a, finished by splitmix64's mixer for well-spread low bits.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

uint64_t hash_feature(Kind kind, std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325u ^ static_cast<uint64_t>(kind);
  for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  return mix(hash);
}

// 256·(1 + ln tf), up to the last entry for larger tf.
constexpr int64_t tf_weights[] = {0,   256, 433, 537, 611, 668, 715, 754, 788,
                                  818, 845, 870, 892, 913, 932, 949, 966};
constexpr uint32_t tf_max = std::size(tf_weights) - 1;

// 1024/sqrt(n), so that a word's n-grams weigh as much however many they are.
int64_t gram_weight(size_t n) { return std::llround(1024.0 / std::sqrt(static_cast<double>(n))); }

// 16·sqrt(idf): both texts bring their factor, so a dot product holds idf once.
// With idf on each side one rare word outweighs all the others that match. Stop
// words keep a trace, so that a text of nothing else still has a direction.
int64_t word_weight(uint32_t idf) {
  return 1 + std::llround(16.0 * std::sqrt(static_cast<double>(idf)));
}

struct Feature {
  int64_t weight = 0;  // of one occurrence
  uint32_t tf = 0;
};

// Their order does not matter: sums of integers commute.
using Features = std::unordered_map<uint64_t, Feature>;

void add(Features& features, uint64_t hash, int64_t weight) {
  Feature& feature = features[hash];
  feature.weight = std::max(feature.weight, weight);
  feature.tf = std::min(feature.tf + 1, tf_max);
}

// Byte offsets of the code points of "<word>", and its end.
std::vector<size_t> character_starts(std::string_view bounded) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < bounded.size(); ++i) {
    if ((static_cast<uint8_t>(bounded[i]) & 0xC0) != 0x80) starts.push_back(i);
  }
  starts.push_back(bounded.size());
  return starts;
}

void add_grams(Features& features, const std::string& word, int64_t telling) {
  std::string bounded = "<" + word + ">";
  std::vector<size_t> starts = character_starts(bounded);
  size_t chars = starts.size() - 1;
  size_t count = 0;
  for (size_t n = 3; n <= 5; ++n) count += chars >= n ? chars - n + 1 : 0;
  if (count == 0) return;
  int64_t weight = telling * gram_share * gram_weight(count);
  for (size_t n = 3; n <= 5; ++n) {
    for (size_t i = 0; i + n <= chars; ++i) {
      auto gram = std::string_view(bounded).substr(starts[i], starts[i + n] - starts[i]);
      add(features, hash_feature(Kind::gram, gram), weight);
    }
  }
}

Features features_of(const std::vector<std::string>& words) {
  Features features;
  std::string last_stem;
  int64_t last_telling = 0;
  for (const std::string& word : words) {
    std::string stem = lexical_stem(word);
    int64_t telling = word_weight(std::min(lexical_idf(word), lexical_idf(stem)));
    add(features, hash_feature(Kind::stem, stem), telling * stem_share * 1024);
    add(features, hash_feature(Kind::word, word), telling * word_share * 1024);
    add_grams(features, word, telling);
    if (!last_stem.empty()) {
      add(features, hash_feature(Kind::pair, last_stem + ' ' + stem),
          std::min(telling, last_telling) * pair_share * 1024);
    }
    last_stem = std::move(stem);
    last_telling = telling;
  }
  return features;
}

void project(const Features& features, std::vector<int64_t>& sums) {
  for (const auto& [hash, feature] : features) {
    int64_t weight = feature.weight * tf_weights[feature.tf] / 256;
    uint64_t random = hash;
    for (int i = 0; i < positions_per_feature; ++i) {
      random = mix(random);
      sums[(random >> 1) % sums.size()] += (random & 1) ? weight : -weight;
    }
  }
}

// Sums shifted so that the largest has at most 22 bits, which loses nothing that
// a float would keep and lets their squares be added exactly.
void shrink(std::vector<int64_t>& sums) {
  int64_t largest = 0;
  for (int64_t sum : sums) largest = std::max(largest, std::abs(sum));
  int64_t divisor = 1;
  while (largest / divisor >= int64_t{1} << 22) divisor *= 2;
  for (int64_t& sum : sums) sum /= divisor;
}

}  // namespace

Status LexicalEmbedder::embed(std::string_view text, float* out) const {
  std::vector<std::string> words = lexical_words(text);
  if (words.empty()) {
    return invalid_argument("text holds no letter or digit; it must hold at least one word");
  }
  std::vector<int64_t> sums(dimension_);
  project(features_of(words), sums);
  shrink(sums);
  int64_t squares = 0;
  for (int64_t sum : sums) squares += sum * sum;
  if (squares == 0) return internal_error("the features of the text cancel out");
  double norm = std::sqrt(static_cast<double>(squares));
  for (uint32_t i = 0; i < dimension_; ++i) {
    out[i] = static_cast<float>(static_cast<double>(sums[i]) / norm);
  }
  return {};
}

}  // namespace jade
