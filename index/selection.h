// What an index of metadata says of a filter.
#pragma once

#include <optional>

#include "index/bitmap.h"

namespace jade {

// Rows that match a filter.
struct Selection {
  Bitmap sure;                  // these do
  std::optional<Bitmap> maybe;  // none outside of these does; nothing: all is decided

  const Bitmap& widest() const { return maybe ? *maybe : sure; }
};

}  // namespace jade
