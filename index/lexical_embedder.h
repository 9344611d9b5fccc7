// The embedder "lexical": hashed words, stems, word pairs and character n-grams,
// weighted by a fixed idf table and projected to any dimension.
//
//   features of a text   stem of each word                        what it is about
//                        the word itself                          exact form wins ties
//                        pair of neighbouring stems               phrases
//                        character 3- to 5-grams of "<word>"      typos, compounds
//   weight               sqrt(idf(word)) · (1 + ln tf) · weight of the kind of feature
//   projection           each feature adds ±weight at a few positions chosen by
//                        its hash (a sparse random projection: Achlioptas 2003,
//                        Li, Hastie and Church 2006), which keeps dot products to
//                        within about 1/sqrt(dimension)
//   then                 L2 norm 1
//
// Sums are of integers, and what is not an integer is one IEEE square root and
// one division, so the bits are the same whatever the compiler or processor.
#pragma once

#include "index/embedder.h"

namespace jade {

class LexicalEmbedder final : public Embedder {
 public:
  // What databases carry; its meaning never changes.
  static constexpr std::string_view name_of_kind = "lexical";
  static constexpr uint32_t dimension_min = 64;

  // `dimension` must pass check_embedder().
  explicit LexicalEmbedder(uint32_t dimension) : dimension_(dimension) {}

  std::string_view name() const override { return name_of_kind; }
  uint32_t dimension() const override { return dimension_; }
  Status embed(std::string_view text, float* out) const override;

 private:
  uint32_t dimension_;
};

}  // namespace jade
