#include "apps/bench/matrix_reader.h"

#include <algorithm>

namespace jade {

Status MatrixReader::skip(uint64_t rows) {
  next_ += rows;
  return {};
}

Result<RowPiece> MatrixReader::read(size_t rows_max, size_t bytes_max) {
  RowPiece piece;
  piece.first_row = next_;
  piece.rows = std::min({rows_max, bytes_max / (matrix_.dimension * 4) + 1, matrix_.rows - next_});
  piece.values.assign(reinterpret_cast<const char*>(matrix_.row(next_)),
                      piece.rows * matrix_.dimension * 4);
  next_ += piece.rows;
  return piece;
}

}  // namespace jade
