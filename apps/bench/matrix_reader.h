// Rows in memory, read as `jade import` reads them from a file.
#pragma once

#include "apps/data/vector_reader.h"

namespace jade {

class MatrixReader final : public VectorReader {
 public:
  // The matrix outlives the reader.
  explicit MatrixReader(const Matrix& matrix) : matrix_(matrix) {}

  FileFormat format() const override { return FileFormat::fbin; }
  ElementType element_type() const override { return ElementType::f32; }
  uint32_t dimension() const override { return matrix_.dimension; }
  std::optional<uint64_t> rows() const override { return matrix_.rows; }
  uint64_t bytes_read() const override { return next_ * matrix_.dimension * 4; }
  Status skip(uint64_t rows) override;
  Result<RowPiece> read(size_t rows_max, size_t bytes_max) override;

 private:
  const Matrix& matrix_;
  size_t next_ = 0;
};

}  // namespace jade
