#include "index/embedder.h"

#include <string>

#include "index/lexical_embedder.h"
#include "index/metric.h"

namespace jade {

Status check_embedder(std::string_view name, uint32_t dimension) {
  if (name != LexicalEmbedder::name_of_kind) {
    return invalid_argument("there is no embedder \"" + std::string(name) +
                            "\"; there is \"lexical\"");
  }
  if (dimension < LexicalEmbedder::dimension_min || dimension > dimension_max) {
    return invalid_argument("embedder \"lexical\" makes vectors of dimension " +
                            std::to_string(LexicalEmbedder::dimension_min) + " to " +
                            std::to_string(dimension_max) + ", not " + std::to_string(dimension));
  }
  return {};
}

std::shared_ptr<const Embedder> find_embedder(std::string_view name, uint32_t dimension) {
  if (!check_embedder(name, dimension).ok()) return nullptr;
  return std::make_shared<LexicalEmbedder>(dimension);
}

}  // namespace jade
