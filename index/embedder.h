// Turns text into vectors, so that a database can be given text.
//
// There is one built-in embedder, "lexical". It is lexical, not semantic: texts
// are near each other when they share words ("video"), stems ("convert",
// "converting") or, more weakly, parts of words ("vidoe"), never because different
// words mean the same ("film"). It needs no model, no network and no training, and
// gives the same bits on every machine and in every version that calls it
// "lexical"; the method is described in index/lexical_embedder.h. For meaning,
// bring vectors of a model of your own.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "storage/status.h"

namespace jade {

class Embedder {
 public:
  static constexpr uint32_t dimension_default = 384;

  virtual ~Embedder() = default;
  virtual std::string_view name() const = 0;
  virtual uint32_t dimension() const = 0;
  // Writes dimension() floats of L2 norm 1 to `out`. Text that holds no letter or
  // digit is invalid_argument; bytes that are not UTF-8 separate words. Callable
  // from any thread. Time and memory are linear in the text.
  virtual Status embed(std::string_view text, float* out) const = 0;
};

// Why there is no embedder `name` of `dimension` ("lexical": 64 to
// dimension_max); ok when there is.
Status check_embedder(std::string_view name, uint32_t dimension);

// Null where check_embedder() fails. Cheap: no state is built.
std::shared_ptr<const Embedder> find_embedder(std::string_view name, uint32_t dimension);

}  // namespace jade
