#include "apps/data/vector_reader.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "apps/data/byte_source.h"
#include "index/half.h"
#include "index/metric.h"

static_assert(std::endian::native == std::endian::little, "the formats are little-endian");

namespace jade {
namespace {

constexpr size_t line_bytes_max = 4u << 20;
constexpr uint64_t rows_max_of_header = uint64_t{1} << 40;

Status damaged(const ByteSource& source, const std::string& what) {
  return invalid_argument(source.name() + ": " + what);
}

// Rows of one width; for .fvecs and .bvecs each has its dimension in front.
class FixedReader final : public VectorReader {
 public:
  FixedReader(std::unique_ptr<ByteSource> source, FileFormat format, ElementType type,
              uint32_t dimension, std::optional<uint64_t> rows, bool prefixed)
      : source_(std::move(source)),
        format_(format),
        type_(type),
        dimension_(dimension),
        rows_(rows),
        prefixed_(prefixed) {}

  FileFormat format() const override { return format_; }
  ElementType element_type() const override { return type_; }
  uint32_t dimension() const override { return dimension_; }
  std::optional<uint64_t> rows() const override { return rows_; }
  uint64_t bytes_read() const override { return source_->position(); }

  Result<RowPiece> read(size_t rows_max, size_t bytes_max) override {
    size_t width = row_bytes();
    size_t wanted = std::max<size_t>(1, std::min(rows_max, bytes_max / width));
    if (rows_) wanted = std::min<uint64_t>(wanted, *rows_ - next_);
    RowPiece piece;
    piece.first_row = next_;
    if (wanted == 0) return piece;
    size_t stride = width + (prefixed_ ? 4 : 0);
    // The first prefix of the file was read when it was opened.
    size_t begun = prefixed_ && next_ == 0 ? 4 : 0;
    std::string raw(wanted * stride, '\0');
    if (begun > 0) std::memcpy(raw.data(), &dimension_, 4);
    auto got = source_->read(raw.data() + begun, raw.size() - begun);
    if (!got.ok()) return got.status();
    size_t have = *got + begun;
    if (have % stride != 0 || (rows_ && have < raw.size())) {
      return damaged(*source_, "row " + std::to_string(next_ + have / stride) + " is cut short");
    }
    piece.rows = have / stride;
    if (!prefixed_) {
      raw.resize(have);
      piece.values = std::move(raw);
    } else {
      piece.values.reserve(piece.rows * width);
      for (size_t i = 0; i < piece.rows; ++i) {
        uint32_t dimension = 0;
        std::memcpy(&dimension, raw.data() + i * stride, 4);
        if (dimension != dimension_) {
          return damaged(*source_, "row " + std::to_string(next_ + i) + " has dimension " +
                                       std::to_string(dimension) + ", the first has " +
                                       std::to_string(dimension_));
        }
        piece.values.append(raw, i * stride + 4, width);
      }
    }
    next_ += piece.rows;
    return piece;
  }

  Status skip(uint64_t rows) override {
    if (rows == 0) return {};
    if (rows_ && rows > *rows_ - next_) {
      return damaged(*source_, "has only " + std::to_string(*rows_) + " rows");
    }
    uint64_t bytes = rows * (row_bytes() + (prefixed_ ? 4 : 0));
    if (prefixed_ && next_ == 0) bytes -= 4;
    next_ += rows;
    return source_->skip(bytes);
  }

 private:
  size_t row_bytes() const { return dimension_ * size_bytes(type_); }

  std::unique_ptr<ByteSource> source_;
  FileFormat format_;
  ElementType type_;
  uint32_t dimension_;
  std::optional<uint64_t> rows_;
  bool prefixed_;
  uint64_t next_ = 0;
};

class LineReader final : public VectorReader {
 public:
  explicit LineReader(std::unique_ptr<ByteSource> source) : source_(std::move(source)) {}

  FileFormat format() const override { return FileFormat::ndjson; }
  ElementType element_type() const override { return ElementType::f32; }
  uint32_t dimension() const override { return 0; }
  std::optional<uint64_t> rows() const override { return std::nullopt; }
  uint64_t bytes_read() const override { return source_->position(); }

  Result<RowPiece> read(size_t rows_max, size_t bytes_max) override {
    RowPiece piece;
    piece.first_row = next_;
    size_t bytes = 0;
    while (piece.rows < rows_max && bytes < bytes_max) {
      auto line = source_->read_line(line_bytes_max);
      if (!line.ok()) {
        return line.status().with_context("after line " + std::to_string(lines_));
      }
      if (!line->has_value()) break;
      ++lines_;
      if ((*line)->find_first_not_of(" \t") == std::string::npos) continue;
      bytes += (*line)->size();
      piece.lines.push_back(std::move(**line));
      piece.line_numbers.push_back(lines_);
      ++piece.rows;
      ++next_;
    }
    return piece;
  }

  Status skip(uint64_t rows) override {
    while (rows > 0) {
      auto piece = read(std::min<uint64_t>(rows, 4096), SIZE_MAX);
      if (!piece.ok()) return piece.status();
      if (piece->rows == 0) return damaged(*source_, "ends before the rows to be skipped");
      rows -= piece->rows;
    }
    return {};
  }

 private:
  std::unique_ptr<ByteSource> source_;
  uint64_t next_ = 0;
  uint64_t lines_ = 0;
};

Result<uint32_t> read_u32(ByteSource& source, const char* what) {
  uint32_t value = 0;
  auto got = source.read(&value, sizeof value);
  if (!got.ok()) return got.status();
  if (*got == 0 && source.position() == 0) return damaged(source, "is empty");
  if (*got != sizeof value) return damaged(source, std::string("ends within its ") + what);
  return value;
}

Status check_shape(const ByteSource& source, uint64_t rows, uint64_t dimension, size_t element,
                   uint64_t header) {
  if (dimension < 1 || dimension > dimension_max) {
    return damaged(source, "claims dimension " + std::to_string(dimension) + "; 1 to " +
                               std::to_string(dimension_max) +
                               " are possible. Is the format right?");
  }
  if (rows > rows_max_of_header) return damaged(source, "claims an impossible number of rows");
  uint64_t expected = header + rows * dimension * element;
  if (source.size() && *source.size() != expected) {
    return damaged(source, "claims " + std::to_string(rows) + " rows of dimension " +
                               std::to_string(dimension) + ", which is " +
                               std::to_string(expected) + " bytes, but has " +
                               std::to_string(*source.size()));
  }
  return {};
}

Result<std::unique_ptr<VectorReader>> open_prefixed(std::unique_ptr<ByteSource> source,
                                                    FileFormat format) {
  ElementType type = format == FileFormat::fvecs ? ElementType::f32 : ElementType::u8;
  auto dimension = read_u32(*source, "first dimension");
  if (!dimension.ok()) return dimension.status();
  if (*dimension < 1 || *dimension > dimension_max) {
    return damaged(*source, "begins with dimension " + std::to_string(*dimension) + "; 1 to " +
                                std::to_string(dimension_max) +
                                " are possible. Is the format right?");
  }
  uint64_t stride = 4 + uint64_t{*dimension} * size_bytes(type);
  std::optional<uint64_t> rows;
  if (source->size()) {
    if (*source->size() % stride != 0) {
      return damaged(*source, "is not a whole number of rows of dimension " +
                                  std::to_string(*dimension) +
                                  "; it is cut short or of another format");
    }
    rows = *source->size() / stride;
  }
  return std::unique_ptr<VectorReader>(
      new FixedReader(std::move(source), format, type, *dimension, rows, true));
}

Result<std::unique_ptr<VectorReader>> open_counted(std::unique_ptr<ByteSource> source,
                                                   FileFormat format) {
  ElementType type = format == FileFormat::fbin ? ElementType::f32 : ElementType::u8;
  auto rows = read_u32(*source, "header");
  if (!rows.ok()) return rows.status();
  auto dimension = read_u32(*source, "header");
  if (!dimension.ok()) return dimension.status();
  JADE_RETURN_IF_ERROR(check_shape(*source, *rows, *dimension, size_bytes(type), 8));
  return std::unique_ptr<VectorReader>(
      new FixedReader(std::move(source), format, type, *dimension, *rows, false));
}

// The value of a key in the header of a .npy file: a Python dict literal.
std::string npy_value(const std::string& header, const std::string& key) {
  size_t at = header.find("'" + key + "'");
  if (at == std::string::npos) return "";
  at = header.find(':', at);
  if (at == std::string::npos) return "";
  at = header.find_first_not_of(' ', at + 1);
  if (at == std::string::npos) return "";
  size_t end = header[at] == '(' ? header.find(')', at) : header.find_first_of(",}", at);
  if (end == std::string::npos) return "";
  return header.substr(at, end - at + (header[at] == '(' ? 1 : 0));
}

Result<std::unique_ptr<VectorReader>> open_npy(std::unique_ptr<ByteSource> source) {
  unsigned char start[8] = {};
  auto got = source->read(start, sizeof start);
  if (!got.ok()) return got.status();
  if (*got == 0) return damaged(*source, "is empty");
  if (*got != sizeof start || std::memcmp(start, "\x93NUMPY", 6) != 0) {
    return damaged(*source, "is not a .npy file");
  }
  uint32_t length = 0;
  size_t length_bytes = start[6] == 1 ? 2 : 4;
  if (start[6] < 1 || start[6] > 3) {
    return damaged(*source, "has .npy version " + std::to_string(start[6]) + "; 1 to 3 are known");
  }
  got = source->read(&length, length_bytes);
  if (!got.ok()) return got.status();
  if (*got != length_bytes || length > (1u << 16)) return damaged(*source, "has no .npy header");
  std::string header(length, '\0');
  got = source->read(header.data(), length);
  if (!got.ok()) return got.status();
  if (*got != length) return damaged(*source, "ends within its header");

  std::string descr = npy_value(header, "descr"), order = npy_value(header, "fortran_order");
  std::string shape = npy_value(header, "shape");
  std::optional<ElementType> type;
  if (descr == "'<f4'") type = ElementType::f32;
  if (descr == "'<f2'") type = ElementType::f16;
  if (descr == "'|u1'" || descr == "'<u1'") type = ElementType::u8;
  if (!type) {
    return damaged(*source, "has elements of type " + descr +
                                "; float16, float32 and uint8 (little-endian) are supported");
  }
  if (order != "False") return damaged(*source, "is in Fortran order; save it in C order");
  uint64_t rows = 0, dimension = 0;
  const char* end = shape.data() + shape.size();
  const char* at = shape.data() + std::min<size_t>(1, shape.size());
  auto first = std::from_chars(at, end, rows);
  bool good = first.ec == std::errc() && first.ptr != end && *first.ptr == ',';
  if (good) {
    at = first.ptr + 1;
    while (at != end && *at == ' ') ++at;
    auto second = std::from_chars(at, end, dimension);
    good = second.ec == std::errc() && second.ptr != end && *second.ptr == ')';
  }
  if (!good) return damaged(*source, "has shape " + shape + "; two dimensions are needed");
  uint64_t header_bytes = 8 + length_bytes + length;
  JADE_RETURN_IF_ERROR(check_shape(*source, rows, dimension, size_bytes(*type), header_bytes));
  return std::unique_ptr<VectorReader>(new FixedReader(
      std::move(source), FileFormat::npy, *type, static_cast<uint32_t>(dimension), rows, false));
}

}  // namespace

std::string_view to_string(FileFormat format) {
  switch (format) {
    case FileFormat::fvecs: return "fvecs";
    case FileFormat::bvecs: return "bvecs";
    case FileFormat::fbin: return "fbin";
    case FileFormat::u8bin: return "u8bin";
    case FileFormat::npy: return "npy";
    case FileFormat::ndjson: return "ndjson";
  }
  return "unknown";
}

Result<FileFormat> parse_file_format(std::string_view name) {
  for (auto format : {FileFormat::fvecs, FileFormat::bvecs, FileFormat::fbin, FileFormat::u8bin,
                      FileFormat::npy, FileFormat::ndjson}) {
    if (name == to_string(format)) return format;
  }
  return invalid_argument("format \"" + std::string(name) +
                          "\" is unknown; use fvecs, bvecs, fbin, u8bin, npy or ndjson");
}

std::optional<FileFormat> format_of_path(std::string_view path) {
  size_t dot = path.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  std::string_view extension = path.substr(dot + 1);
  if (extension == "jsonl") return FileFormat::ndjson;
  auto format = parse_file_format(extension);
  if (!format.ok()) return std::nullopt;
  return *format;
}

Result<std::unique_ptr<VectorReader>> open_vectors(const std::string& path,
                                                   std::optional<FileFormat> format) {
  auto source = ByteSource::open(path);
  if (!source.ok()) return source.status();
  if (!format) format = format_of_path(path);
  if ((*source)->peek() < 0) return damaged(**source, "is empty");
  if (!format && (*source)->peek() == '{') format = FileFormat::ndjson;
  if (!format) {
    return damaged(**source,
                   "does not say its format; give --format fvecs, bvecs, fbin, u8bin, "
                   "npy or ndjson");
  }
  switch (*format) {
    case FileFormat::fvecs:
    case FileFormat::bvecs: return open_prefixed(std::move(*source), *format);
    case FileFormat::fbin:
    case FileFormat::u8bin: return open_counted(std::move(*source), *format);
    case FileFormat::npy: return open_npy(std::move(*source));
    case FileFormat::ndjson: break;
  }
  return std::unique_ptr<VectorReader>(new LineReader(std::move(*source)));
}

Result<Matrix> load_matrix(const std::string& path, size_t rows_max) {
  auto reader = open_vectors(path, std::nullopt);
  if (!reader.ok()) return reader.status();
  if ((*reader)->format() == FileFormat::ndjson) {
    return invalid_argument(path + ": NDJSON cannot be loaded as a matrix");
  }
  Matrix out;
  out.dimension = (*reader)->dimension();
  while (out.rows < rows_max) {
    auto piece = (*reader)->read(rows_max - out.rows, 4u << 20);
    if (!piece.ok()) return piece.status();
    if (piece->rows == 0) break;
    size_t n = piece->rows * out.dimension;
    size_t old = out.values.size();
    out.values.resize(old + n);
    for (size_t i = 0; i < n; ++i) {
      float& value = out.values[old + i];
      switch ((*reader)->element_type()) {
        case ElementType::f32: std::memcpy(&value, piece->values.data() + i * 4, 4); break;
        case ElementType::u8: value = static_cast<unsigned char>(piece->values[i]); break;
        case ElementType::f16: {
          uint16_t half = 0;
          std::memcpy(&half, piece->values.data() + i * 2, 2);
          value = half_to_float(half);
        }
      }
    }
    out.rows += piece->rows;
  }
  return out;
}

Result<Neighbours> load_neighbours(const std::string& path) {
  auto opened = ByteSource::open(path);
  if (!opened.ok()) return opened.status();
  ByteSource& source = **opened;
  bool prefixed = path.size() > 6 && path.compare(path.size() - 6, 6, ".ivecs") == 0;
  if (!source.size()) return invalid_argument(path + " must be a regular file");
  auto first = read_u32(source, "header");
  if (!first.ok()) return first.status();
  Neighbours out;
  uint64_t rows = *first;
  if (prefixed) {
    out.columns = *first;
    rows = out.columns == 0 ? 0 : *source.size() / (4 + uint64_t{out.columns} * 4);
  } else {
    auto columns = read_u32(source, "header");
    if (!columns.ok()) return columns.status();
    out.columns = *columns;
  }
  uint64_t width = uint64_t{out.columns} * 4 + (prefixed ? 4 : 0);
  uint64_t header = prefixed ? 0 : 8;
  if (out.columns == 0 || out.columns > (1u << 20) || rows > (1u << 30) ||
      header + rows * width != *source.size()) {
    return damaged(source,
                   "is not a file of neighbours (.ibin or .ivecs): its counts do not fit "
                   "its size");
  }
  out.rows = rows;
  out.ids.resize(rows * out.columns);
  for (size_t i = 0; i < rows; ++i) {
    if (prefixed && i > 0) {
      auto columns = read_u32(source, "row");
      if (!columns.ok()) return columns.status();
      if (*columns != out.columns) {
        return damaged(source, "row " + std::to_string(i) + " has " + std::to_string(*columns) +
                                   " neighbours, the first has " + std::to_string(out.columns));
      }
    }
    auto got = source.read(out.ids.data() + i * out.columns, size_t{out.columns} * 4);
    if (!got.ok()) return got.status();
    if (*got != size_t{out.columns} * 4) return damaged(source, "is cut short");
  }
  return out;
}

}  // namespace jade
