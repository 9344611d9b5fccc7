#include "apps/import/read_ahead.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <string>
#include <utility>

namespace jade {
namespace {

namespace json = boost::json;

class ReadAhead final : public VectorReader {
 public:
  ReadAhead(std::unique_ptr<VectorReader> reader, RowPiece first)
      : reader_(std::move(reader)), first_(std::move(first)) {}

  FileFormat format() const override { return reader_->format(); }
  ElementType element_type() const override { return reader_->element_type(); }
  uint32_t dimension() const override { return reader_->dimension(); }
  std::optional<uint64_t> rows() const override { return reader_->rows(); }
  uint64_t bytes_read() const override { return reader_->bytes_read(); }

  Result<RowPiece> read(size_t rows_max, size_t bytes_max) override {
    if (!first_) return reader_->read(rows_max, bytes_max);
    return *std::exchange(first_, std::nullopt);
  }
  // What is before the first rows has been skipped.
  Status skip(uint64_t rows) override {
    if (!first_) return reader_->skip(rows);
    if (rows == first_->first_row) return {};
    return Status(Code::internal, "other rows were read ahead");
  }

 private:
  std::unique_ptr<VectorReader> reader_;
  std::optional<RowPiece> first_;
};

Status check_values(const json::object& object, uint32_t dimension) {
  const json::value* values = object.if_contains("values");
  const json::array* array = values == nullptr ? nullptr : values->if_array();
  if (array == nullptr || array->size() == dimension) return {};
  return invalid_argument("has " + std::to_string(array->size()) + " values; the dimension is " +
                          std::to_string(dimension));
}

Status check_line(const std::string& line, uint32_t dimension) {
  auto value = parse_line(line);
  if (!value.ok()) return value.status();
  return check_values(value->get_object(), dimension);
}

}  // namespace

Result<std::unique_ptr<VectorReader>> read_ahead(std::unique_ptr<VectorReader> reader,
                                                 const ImportOptions& options, uint32_t dimension) {
  JADE_RETURN_IF_ERROR(check_import(*reader, options));
  if (options.rows_max == 0) return reader;
  JADE_RETURN_IF_ERROR(reader->skip(options.first_row));
  auto first =
      reader->read(std::min<uint64_t>(options.batch_rows, options.rows_max), options.batch_bytes);
  if (!first.ok()) return first.status();
  for (size_t i = 0; i < first->lines.size() && !options.count_bad_rows; ++i) {
    Status status = check_line(first->lines[i], dimension);
    if (!status.ok()) {
      return invalid_argument("line " + std::to_string(first->line_numbers[i]) + ": " +
                              status.message());
    }
  }
  return std::unique_ptr<VectorReader>(new ReadAhead(std::move(reader), *std::move(first)));
}

}  // namespace jade
