// Searches by examples: near to some vectors, and away from others.
#pragma once

#include <vector>

#include "actors/api.h"

namespace jade {

// Whether `search` says in exactly one way what to look for, by what a database of
// `spec` has: its values are finite numbers of the right dimension, and the ids of its
// examples can be looked up. invalid_argument names the field.
Status check_question(const DatabaseSpec& spec, const SearchRequest& search);

// Whether stored vectors have to be looked up, or combined, before it can be searched.
bool has_examples(const SearchRequest& search);

// The ids of stored vectors that it names, in the order of the examples.
std::vector<VectorId> ids_of_examples(const SearchRequest& search);

// Puts one vector in the place of the examples: the mean of the positive ones, and as far
// again away from the mean of the negative ones as it is from that (Rocchio, "Relevance
// feedback in information retrieval", 1971). Under cosine examples count by direction
// only. `stored`: values of ids_of_examples(), in that order. invalid_argument: what is
// left is no vector, as the examples cancel each other out.
Status combine_examples(const DatabaseSpec& spec, SearchRequest& search,
                        const std::vector<std::vector<float>>& stored);

}  // namespace jade
