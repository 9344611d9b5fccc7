// Files of vectors, read in pieces of bounded size.
//
//   .fvecs .bvecs   u32 dimension, then float32 or uint8 values, row after row
//   .fbin .u8bin    u32 rows, u32 dimension, then the rows
//   .npy            NumPy: two-dimensional, C order, float16, float32 or uint8
//   .ndjson .jsonl  one object a line: {"id", "values" or "text", "metadata"}
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/binary_codec.h"
#include "storage/status.h"

namespace jade {

enum class FileFormat : uint8_t { fvecs, bvecs, fbin, u8bin, npy, ndjson };

std::string_view to_string(FileFormat format);
Result<FileFormat> parse_file_format(std::string_view name);
// By the extension of a path; nothing when it tells nothing.
std::optional<FileFormat> format_of_path(std::string_view path);

// Rows as they are in the file. Of a binary format: `values` and no `lines`. Of
// NDJSON: one line a row, and where it stands in the file.
struct RowPiece {
  uint64_t first_row = 0;
  size_t rows = 0;
  std::string values;  // rows × dimension elements
  std::vector<std::string> lines;
  std::vector<uint64_t> line_numbers;  // from 1
};

class VectorReader {
 public:
  virtual ~VectorReader() = default;

  virtual FileFormat format() const = 0;
  virtual ElementType element_type() const = 0;
  // 0 for NDJSON, whose rows need not agree.
  virtual uint32_t dimension() const = 0;
  // Where the file says or implies it.
  virtual std::optional<uint64_t> rows() const = 0;
  // Up to so many rows or bytes (at least one row); an empty piece at the end.
  // Fails, naming file and row or offset, where the file is not what it says.
  virtual Result<RowPiece> read(size_t rows_max, size_t bytes_max) = 0;
  virtual Status skip(uint64_t rows) = 0;
  virtual uint64_t bytes_read() const = 0;
};

// "-" is standard input, of the given format (NDJSON when none is given and it
// begins with '{').
Result<std::unique_ptr<VectorReader>> open_vectors(const std::string& path,
                                                   std::optional<FileFormat> format);

// A whole file of vectors in memory, as float32.
struct Matrix {
  size_t rows = 0;
  uint32_t dimension = 0;
  std::vector<float> values;

  const float* row(size_t i) const { return values.data() + i * dimension; }
};
Result<Matrix> load_matrix(const std::string& path, size_t rows_max);

// Exact neighbours: .ibin (u32 rows, u32 columns, int32) or .ivecs.
struct Neighbours {
  size_t rows = 0;
  uint32_t columns = 0;
  std::vector<int32_t> ids;

  const int32_t* row(size_t i) const { return ids.data() + i * columns; }
};
Result<Neighbours> load_neighbours(const std::string& path);

}  // namespace jade
