// What the values of a record are: one vector or, by name, several, of which it may lack some.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/row_format.h"

namespace jade {

// Where there is one vector without a name, the stored values are that vector. Otherwise
// they are all vectors in their order, zeros in the place of one that the record lacks, and
// a byte whose bit i says that it has the i-th. Equal records are equal bytes. Immutable.
class RecordFormat {
 public:
  static constexpr size_t vectors_max = 8;

  struct Vector {
    std::string name;  // "": the only one, of a database without names
    RowFormat format;

    friend bool operator==(const Vector&, const Vector&) = default;
  };

  // One vector without a name.
  explicit RecordFormat(const RowFormat& format);
  // 1 to vectors_max with different names, or one without.
  explicit RecordFormat(std::vector<Vector> vectors);

  bool named() const { return named_; }
  size_t size() const { return vectors_.size(); }
  const RowFormat& format(size_t vector) const { return vectors_[vector].format; }
  const std::string& name(size_t vector) const { return vectors_[vector].name; }
  // Of the stored values.
  size_t row_bytes() const { return ends_.back() + (named_ ? 1 : 0); }

  // As what log entries have them: so many elements of this datatype.
  uint32_t stored_dimension() const;
  Datatype stored_datatype() const;

  // Whether these are stored values of this format: of their length, and not without any
  // vector. What follows needs such.
  bool fits(std::string_view stored) const;
  bool has(std::string_view stored, size_t vector) const;
  // The bytes of the vector, as its format says, unaligned; null: the record lacks it.
  const char* find(std::string_view stored, size_t vector) const;
  // `stored`: row_bytes(), at first zeros. `values`: format(vector).dimension() floats that
  // can be stored. Returns where they are, as find() does.
  const char* put(char* stored, size_t vector, const float* values) const;
  // `stored` with the vectors of `set`, and not those of `without` (bit i: the i-th), of
  // which `set` has none. Each may be "": no vector. Has none where nothing is left, unless
  // there is one without a name.
  std::string merge(std::string_view stored, std::string_view set, uint8_t without) const;
  // Back, where has().
  std::vector<float> load(std::string_view stored, size_t vector) const;

  friend bool operator==(const RecordFormat&, const RecordFormat&) = default;

 private:
  size_t begin(size_t vector) const { return vector == 0 ? 0 : ends_[vector - 1]; }

  std::vector<Vector> vectors_;
  std::vector<size_t> ends_;  // of the vectors, in bytes
  bool named_;
};

}  // namespace jade
