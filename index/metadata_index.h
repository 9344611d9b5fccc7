// Which rows of a sealed segment have which values: an inverted index over the
// metadata of all its rows, for every field without being told of any.
//
// A field is a path through objects ("a.b"), or several of one name (field a.b, and field b of
// object a). Its values, and the elements of arrays,
// are sorted: null, false, true, numbers (exactly, whatever their kind), strings
// (bytewise), and moments, which are the strings that name one, once more (by time). Behind them
// are the rows of each value, one list after another, so that a range of values is one piece of it.
// Values and runs of values that are on more than one row in 32 are sets of bits instead, so that
// large ranges are put together from few of them: the bins of Wu, Otoo and Shoshani, "Optimizing
// bitmap indices with efficient compression", 2006. Sets that follow one another are summed up, so
// that any range of them is the difference of two. Places, which are objects with numbers "lat"
// and "lon", are sorted by their cells (index/geo.h), so that an area is pieces of that order;
// those at its edge are undecided.
//
// Not everything is in it; what is not is reported as undecided, never wrongly:
// - comparisons with objects and arrays,
// - rows whose value is a string of more than string_bytes_max, or an array of more
//   than elements_max, in that field,
// - paths beyond the first fields_max that occur.
//
// Memory: at most about 4 + 4 bytes for each value of a row, and 12 for each different
// value of a field; less for values that many rows share. As much again for moments, and 12
// bytes for each place of a row.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/filter.h"
#include "index/selection.h"

namespace jade {

class GeoArea;      // index/geo.h
struct TextColumn;  // index/sealed_segment.h

// Immutable: any thread may read.
class MetadataIndex {
 public:
  static constexpr size_t fields_max = 256;
  static constexpr size_t string_bytes_max = 256;
  static constexpr size_t elements_max = 256;

  // `metadata`: canonical (index/metadata.h) or "" of each row; it outlives this. What
  // is not canonical gives an index that is no use, but nothing worse.
  explicit MetadataIndex(const TextColumn& metadata);
  ~MetadataIndex();

  // As Filter::matches of each row.
  Selection select(const Filter& filter) const;

  size_t memory_bytes() const;

 private:
  class Builder;
  struct Field;

  std::span<const Field> find(const std::string& name) const;
  Selection evaluate(const Filter::Node& node) const;
  Selection evaluate_fields(const Filter::Node& node) const;
  Selection evaluate_field(const Field& field, const Filter::Node& node) const;
  Selection evaluate_area(const Field& field, const GeoArea& area) const;

  uint32_t rows_;
  bool all_fields_ = true;     // there are no others
  bool dotted_ = false;        // names with a dot occur: others may be of the name of these
  std::string escaped_;        // strings that differ from their canonical text
  std::vector<Field> fields_;  // by name
  const TextColumn& metadata_;
};

}  // namespace jade
