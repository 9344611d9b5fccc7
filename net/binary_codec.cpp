#include "net/binary_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "index/half.h"
#include "storage/crc32c.h"

namespace jade {
namespace {

static_assert(std::endian::native == std::endian::little, "the body is little-endian");

constexpr std::string_view magic = "JVB1";
enum class Kind : uint8_t { upsert = 1, search = 2, search_reply = 3 };
enum class IdKind : uint8_t { integers = 0, strings = 1, mixed = 2, none = 3 };
enum Flag : uint8_t {
  flag_metadata = 1,
  flag_checksum = 2,
  flag_values = 4,
  flag_named = 8,
  flags_all = 15
};
enum Extra : uint8_t {
  extra_timeout = 1,
  extra_min_recall = 2,
  extra_explain = 4,
  extra_using = 8,
  extras_all = 15
};
enum IncludeBit : uint8_t { include_metadata_bit = 1, include_values_bit = 2 };

struct Header {
  Kind kind;
  ElementType type = ElementType::f32;
  IdKind ids = IdKind::none;
  uint8_t flags = 0;
  uint32_t dimension = 0;
  uint32_t rows = 0;
};

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_header(std::string& out, const Header& header) {
  out.append(magic);
  put(out, header.kind);
  put(out, header.type);
  put(out, header.ids);
  put(out, header.flags);
  put(out, header.dimension);
  put(out, header.rows);
}

// `text(i)` is the i-th of n: n + 1 offsets, then the bytes.
template <class Text>
void put_table(std::string& out, size_t n, Text text) {
  size_t table = out.size();
  out.resize(table + (n + 1) * sizeof(uint32_t));
  size_t start = out.size();
  for (size_t i = 0; i <= n; ++i) {
    size_t offset = out.size() - start;
    JADE_ASSERT(offset <= std::numeric_limits<uint32_t>::max());
    auto offset32 = static_cast<uint32_t>(offset);
    std::memcpy(out.data() + table + i * sizeof(uint32_t), &offset32, sizeof offset32);
    if (i < n) out.append(text(i));
  }
}

// `id(i)` is the i-th of n.
template <class Id>
IdKind id_kind(size_t n, Id id) {
  size_t integers = 0;
  for (size_t i = 0; i < n; ++i) integers += id(i).is_integer();
  if (integers == n) return IdKind::integers;
  return integers == 0 ? IdKind::strings : IdKind::mixed;
}

template <class Id>
void put_ids(std::string& out, IdKind kind, size_t n, Id id) {
  switch (kind) {
    case IdKind::integers:
      for (size_t i = 0; i < n; ++i) put<uint64_t>(out, id(i).integer());
      return;
    case IdKind::strings:
      put_table(out, n, [&](size_t i) -> std::string_view { return id(i).text(); });
      return;
    case IdKind::mixed: put_table(out, n, [&](size_t i) { return id(i).key(); }); return;
    case IdKind::none: return;
  }
}

void finish(std::string& out, uint8_t flags) {
  if (flags & flag_checksum) put(out, crc32c(out));
}

// Takes pieces from the front, never more than there is.
class Cursor {
 public:
  explicit Cursor(std::string_view body) : body_(body) {}

  size_t offset() const { return offset_; }
  size_t left() const { return body_.size() - offset_; }

  Status fail(const std::string& what) const {
    return invalid_argument("binary body, byte " + std::to_string(offset_) + ": " + what);
  }

  Status take(uint64_t bytes, std::string_view what, std::string_view& out) {
    if (bytes > left()) {
      return fail(std::string(what) + " would take " + std::to_string(bytes) + " bytes and " +
                  std::to_string(left()) + " are left");
    }
    out = body_.substr(offset_, bytes);
    offset_ += bytes;
    return {};
  }

  // Neither factor exceeds 2^33, so that the product cannot overflow.
  Status take(uint64_t count, uint32_t size, std::string_view what, std::string_view& out) {
    return take(count * size, what, out);
  }

  template <class T>
  Status read(std::string_view what, T& out) {
    std::string_view bytes;
    JADE_RETURN_IF_ERROR(take(sizeof(T), what, bytes));
    std::memcpy(&out, bytes.data(), sizeof(T));
    return {};
  }

  Status end() const {
    return left() == 0 ? Status() : fail(std::to_string(left()) + " bytes more than announced");
  }

 private:
  std::string_view body_;
  size_t offset_ = 0;
};

template <class T>
T load(std::string_view bytes, size_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

// Reads and checks the header and, where there is one, the checksum; leaves `body`
// without it.
Status read_header(std::string_view& body, Kind kind, Header& header, Cursor& cursor) {
  std::string_view found;
  uint8_t raw[4] = {};
  JADE_RETURN_IF_ERROR(cursor.take(4, "the magic", found));
  if (found != magic) return invalid_argument("binary body: it does not start with \"JVB1\"");
  for (uint8_t& byte : raw) JADE_RETURN_IF_ERROR(cursor.read("the header", byte));
  JADE_RETURN_IF_ERROR(cursor.read("the header", header.dimension));
  JADE_RETURN_IF_ERROR(cursor.read("the header", header.rows));
  auto bad = [](int byte, const char* name, int value, const char* right) {
    return invalid_argument("binary body, byte " + std::to_string(byte) + ": " + name + " is " +
                            std::to_string(value) + "; it must be " + right);
  };
  if (raw[0] != static_cast<uint8_t>(kind)) {
    return bad(4, "kind", raw[0],
               kind == Kind::upsert   ? "1 (upsert)"
               : kind == Kind::search ? "2 (search)"
                                      : "3 (search reply)");
  }
  if (raw[1] > 2) return bad(5, "element type", raw[1], "0 (f32), 1 (f16) or 2 (u8)");
  if (raw[2] > 3) return bad(6, "id kind", raw[2], "0 to 3");
  if (raw[3] > flags_all) return bad(7, "flags", raw[3], "0 to 15");
  header = {kind,
            static_cast<ElementType>(raw[1]),
            static_cast<IdKind>(raw[2]),
            raw[3],
            header.dimension,
            header.rows};
  if (!(header.flags & flag_checksum)) return {};
  if (cursor.left() < 4) return cursor.fail("the checksum is missing");
  auto expected = load<uint32_t>(body.substr(body.size() - 4), 0);
  body.remove_suffix(4);
  if (crc32c(body) != expected) {
    return invalid_argument("binary body: its checksum does not match; it was damaged on the way");
  }
  Cursor rest(body);
  std::string_view skipped;
  JADE_RETURN_IF_ERROR(rest.take(cursor.offset(), "the header", skipped));
  cursor = rest;
  return {};
}

// `on_text(i, text)` → Status for each of n.
template <class OnText>
Status read_table(Cursor& cursor, uint32_t n, const std::string& what, OnText on_text) {
  std::string_view offsets, bytes;
  JADE_RETURN_IF_ERROR(cursor.take(uint64_t{n} + 1, 4u, what + " offsets", offsets));
  auto total = load<uint32_t>(offsets, n);
  JADE_RETURN_IF_ERROR(cursor.take(total, what, bytes));
  uint32_t start = load<uint32_t>(offsets, 0);
  if (start != 0) return cursor.fail("the first of the " + what + " offsets is not 0");
  for (uint32_t i = 0; i < n; ++i) {
    auto end = load<uint32_t>(offsets, i + 1);
    if (end < start || end > total) {
      return cursor.fail("the " + what + " offsets of row " + std::to_string(i) +
                         " do not ascend within the table");
    }
    JADE_RETURN_IF_ERROR(on_text(i, bytes.substr(start, end - start)));
    start = end;
  }
  return {};
}

// `add(id)` for each of n.
template <class Add>
Status read_ids(Cursor& cursor, IdKind kind, uint32_t n, Add add) {
  if (kind == IdKind::none) return cursor.fail("id kind 3 (none) is only for searches");
  if (kind == IdKind::integers) {
    std::string_view bytes;
    JADE_RETURN_IF_ERROR(cursor.take(n, 8, "the ids", bytes));
    for (uint32_t i = 0; i < n; ++i) add(VectorId(load<uint64_t>(bytes, i)));
    return {};
  }
  return read_table(cursor, n, "id", [&](uint32_t i, std::string_view text) -> Status {
    std::string row = "row " + std::to_string(i);
    VectorId id{std::string(kind == IdKind::strings ? text : "")};
    if (kind == IdKind::mixed) {
      auto parsed = VectorId::from_key(text);
      if (!parsed) return cursor.fail("the id of " + row + " is not the key form of an id");
      id = *std::move(parsed);
    }
    if (Status status = id.is_integer() ? Status() : id.validate(); !status) {
      return status.with_context(row);
    }
    add(std::move(id));
    return {};
  });
}

void to_floats(std::string_view bytes, ElementType type, size_t n, char* out) {
  if (type == ElementType::f32) {
    if (n > 0) std::memcpy(out, bytes.data(), n * sizeof(float));
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    float value = type == ElementType::f16 ? half_to_float(load<uint16_t>(bytes, i))
                                           : static_cast<float>(load<uint8_t>(bytes, i));
    std::memcpy(out + i * sizeof(float), &value, sizeof value);
  }
}

// All finite when no exponent is all ones: one pass that vectorises. row_of(i): the row of the
// body whose values are the i-th.
template <class RowOf>
Status check_finite(std::string_view values, uint32_t dimension, RowOf row_of) {
  size_t n = values.size() / sizeof(float);
  uint32_t worst = 0;
  for (size_t i = 0; i < n; ++i) {
    worst = std::max(worst, load<uint32_t>(values, i) & 0x7fffffffu);
  }
  if (worst < 0x7f800000u) return {};
  size_t i = 0;
  while ((load<uint32_t>(values, i) & 0x7fffffffu) < 0x7f800000u) ++i;
  return invalid_argument("binary body: value " + std::to_string(i % dimension) + " of row " +
                          std::to_string(row_of(i / dimension)) + " is not a finite number");
}
Status check_finite(std::string_view values, uint32_t dimension) {
  return check_finite(values, dimension, [](size_t i) { return i; });
}

// ---- named vectors ----------------------------------------------------------------

// `rows`: of the n that have it, ascending; empty: all.
void put_name(std::string& out, std::string_view name, ElementType type, uint32_t dimension,
              std::span<const uint32_t> rows, size_t n) {
  JADE_ASSERT(!name.empty() && name.size() <= std::numeric_limits<uint8_t>::max());
  put(out, static_cast<uint8_t>(name.size()));
  put(out, type);
  put<uint8_t>(out, rows.empty() ? 0 : 1);
  put(out, dimension);
  out.append(name);
  if (rows.empty()) return;
  size_t bitmap = out.size();
  out.resize(bitmap + (n + 7) / 8);
  for (uint32_t row : rows) {
    JADE_ASSERT(row < n);
    out[bitmap + row / 8] = static_cast<char>(out[bitmap + row / 8] | 1 << row % 8);
  }
}

// The rows whose bits are set.
Status read_bitmap(Cursor& cursor, uint32_t n, const std::string& what,
                   std::vector<uint32_t>& rows) {
  std::string_view bits;
  JADE_RETURN_IF_ERROR(cursor.take((uint64_t{n} + 7) / 8, "the rows of " + what, bits));
  for (size_t i = 0; i < bits.size() * 8; ++i) {
    if ((static_cast<uint8_t>(bits[i / 8]) >> i % 8 & 1) == 0) continue;
    if (i >= n) {
      return cursor.fail("the rows of " + what + " have a bit beyond the last of " +
                         std::to_string(n) + " rows");
    }
    rows.push_back(static_cast<uint32_t>(i));
  }
  return rows.empty() ? cursor.fail("no row has " + what) : Status();
}

Status read_column(Cursor& cursor, uint32_t n, VectorColumn& column) {
  uint8_t length = 0, type = 0, some = 0;
  std::string_view name, bytes;
  JADE_RETURN_IF_ERROR(cursor.read("a named vector", length));
  JADE_RETURN_IF_ERROR(cursor.read("a named vector", type));
  JADE_RETURN_IF_ERROR(cursor.read("a named vector", some));
  JADE_RETURN_IF_ERROR(cursor.read("a named vector", column.dimension));
  if (length == 0) return cursor.fail("the name of a vector is empty");
  JADE_RETURN_IF_ERROR(cursor.take(length, "the name of a vector", name));
  column.name.assign(name);
  const std::string what = "vector \"" + column.name + "\"";
  if (type > 2) {
    return cursor.fail("the element type of " + what + " is " + std::to_string(type) +
                       "; it must be 0 (f32), 1 (f16) or 2 (u8)");
  }
  if (some > 1) return cursor.fail("whether only some rows have " + what + " must be 0 or 1");
  if (column.dimension == 0 || column.dimension > dimension_max) {
    return cursor.fail("the dimension of " + what + " is " + std::to_string(column.dimension) +
                       "; it must be 1 to " + std::to_string(dimension_max));
  }
  if (some == 1) JADE_RETURN_IF_ERROR(read_bitmap(cursor, n, what, column.rows));
  const uint64_t rows = some == 1 ? column.rows.size() : n;
  const auto element = static_cast<ElementType>(type);
  const uint64_t elements = rows * column.dimension;  // < 2^32 * 2^15
  JADE_RETURN_IF_ERROR(cursor.take(elements * size_bytes(element), "the values of " + what, bytes));
  // The body holds a byte of each row at least, so that this is no more memory than it has.
  for (uint32_t row = 0; some == 0 && row < n; ++row) column.rows.push_back(row);
  column.values.resize(elements * sizeof(float));
  to_floats(bytes, element, elements, column.values.data());
  Status finite =
      check_finite(column.values, column.dimension, [&](size_t i) { return column.rows[i]; });
  return finite.ok() ? finite : finite.with_context(what);
}

// Of n rows.
Status read_named(Cursor& cursor, uint32_t n, std::vector<VectorColumn>& out) {
  uint8_t vectors = 0;
  JADE_RETURN_IF_ERROR(cursor.read("the number of named vectors", vectors));
  if (vectors == 0 || vectors > Limits::named_vectors_max) {
    return cursor.fail("it has " + std::to_string(vectors) + " named vectors; it must have 1 to " +
                       std::to_string(Limits::named_vectors_max));
  }
  out.resize(vectors);
  for (VectorColumn& column : out) {
    JADE_RETURN_IF_ERROR(read_column(cursor, n, column));
    auto same = std::find_if(out.begin(), out.end(),
                             [&](const VectorColumn& other) { return other.name == column.name; });
    if (&*same != &column) return cursor.fail("vector \"" + column.name + "\" is given twice");
  }
  return {};
}

// Those that have names tell of each its own type and dimension.
Status check_named_header(const Header& header) {
  if (header.type != ElementType::f32) {
    return invalid_argument("binary body, byte 5: element type must be 0 with flag 8 (named)");
  }
  if (header.dimension == 0) return {};
  return invalid_argument("binary body, byte 8: dimension must be 0 with flag 8 (named)");
}

Status check_shape(const Header& header, uint32_t rows_max) {
  if (header.flags & flag_named) {
    JADE_RETURN_IF_ERROR(check_named_header(header));
  } else if (header.dimension == 0 || header.dimension > dimension_max) {
    return invalid_argument("binary body, byte 8: dimension is " +
                            std::to_string(header.dimension) + "; it must be 1 to " +
                            std::to_string(dimension_max));
  }
  if (header.rows == 0) return invalid_argument("binary body, byte 12: it has no rows");
  if (header.rows > rows_max) {
    return Status(Code::too_large, "binary body, byte 12: it has " + std::to_string(header.rows) +
                                       " rows; at most " + std::to_string(rows_max) +
                                       " are allowed in one request");
  }
  return {};
}

struct SearchOptions {
  SearchRequest request;
  uint32_t filter_bytes = 0;
  uint32_t token_bytes = 0;
  uint32_t using_bytes = 0;
  std::optional<uint32_t> timeout_ms;
};

Status read_search_options(Cursor& cursor, SearchOptions& out) {
  uint32_t ef_search = 0, nprobe = 0;
  float threshold = 0;
  uint8_t consistency = 0, include = 0, exact = 0, extras = 0;
  SearchRequest& request = out.request;
  size_t at = cursor.offset();
  std::string_view all;
  JADE_RETURN_IF_ERROR(Cursor(cursor).take(28, "the search options", all));
  JADE_RETURN_IF_ERROR(cursor.read("k", request.k));
  JADE_RETURN_IF_ERROR(cursor.read("ef_search", ef_search));
  JADE_RETURN_IF_ERROR(cursor.read("nprobe", nprobe));
  JADE_RETURN_IF_ERROR(cursor.read("score_threshold", threshold));
  JADE_RETURN_IF_ERROR(cursor.read("consistency", consistency));
  JADE_RETURN_IF_ERROR(cursor.read("include", include));
  JADE_RETURN_IF_ERROR(cursor.read("exact", exact));
  JADE_RETURN_IF_ERROR(cursor.read("extras", extras));
  JADE_RETURN_IF_ERROR(cursor.read("filter length", out.filter_bytes));
  JADE_RETURN_IF_ERROR(cursor.read("token length", out.token_bytes));
  auto bad = [&](size_t byte, const std::string& what) {
    return invalid_argument("binary body, byte " + std::to_string(at + byte) + ": " + what);
  };
  if (request.k == 0 || request.k > Limits::k_max) {
    return bad(0, "k is " + std::to_string(request.k) + "; it must be 1 to " +
                      std::to_string(Limits::k_max));
  }
  if (std::isinf(threshold)) return bad(12, "score_threshold is infinite; NaN means none");
  if (consistency > 2) return bad(16, "consistency must be 0 to 2");
  if (include > 3) return bad(17, "include must be 0 to 3");
  if (exact > 1) return bad(18, "exact must be 0 or 1");
  if (extras > extras_all) return bad(19, "extras must be 0 to 15");
  if ((extras & extra_timeout) != 0) {
    uint32_t timeout_ms = 0;
    JADE_RETURN_IF_ERROR(cursor.read("timeout_ms", timeout_ms));
    if (timeout_ms == 0 || timeout_ms > Limits::timeout_ms_max) {
      return bad(28, "timeout_ms is " + std::to_string(timeout_ms) + "; it must be 1 to " +
                         std::to_string(Limits::timeout_ms_max));
    }
    out.timeout_ms = timeout_ms;
  }
  if ((extras & extra_min_recall) != 0) {
    size_t byte = cursor.offset() - at;
    double& least = request.min_recall.emplace();
    JADE_RETURN_IF_ERROR(cursor.read("min_recall", least));
    Status status = check_min_recall("min_recall", least);
    if (!status.ok()) return bad(byte, status.message());
  }
  if ((extras & extra_using) != 0) {
    size_t byte = cursor.offset() - at;
    JADE_RETURN_IF_ERROR(cursor.read("the length of using", out.using_bytes));
    if (out.using_bytes == 0) return bad(byte, "using is empty; name a vector");
    if (out.using_bytes > Limits::name_bytes_max) {
      return bad(byte, "using has " + std::to_string(out.using_bytes) + " bytes; at most " +
                           std::to_string(Limits::name_bytes_max) + " are allowed");
    }
  }
  request.explain = (extras & extra_explain) != 0;
  if (ef_search != 0) request.ef_search = ef_search;
  if (nprobe != 0) request.nprobe = nprobe;
  if (!std::isnan(threshold)) request.score_threshold = threshold;
  request.consistency = static_cast<Consistency>(consistency);
  request.include_metadata = (include & include_metadata_bit) != 0;
  request.include_values = (include & include_values_bit) != 0;
  request.exact = exact == 1;
  return {};
}

}  // namespace

std::string encode_upsert(const UpsertView& upsert) {
  JADE_ASSERT(upsert.metadata.empty() || upsert.metadata.size() == upsert.ids.size());
  size_t n = upsert.ids.size();
  JADE_ASSERT(n <= std::numeric_limits<uint32_t>::max());
  auto id = [&](size_t i) -> const VectorId& { return upsert.ids[i]; };
  const bool named = !upsert.named.empty();
  JADE_ASSERT(upsert.named.size() <= Limits::named_vectors_max);
  JADE_ASSERT(!named || (upsert.dimension == 0 && upsert.values == nullptr));
  Header header{
      Kind::upsert, upsert.type, id_kind(n, id), 0, upsert.dimension, static_cast<uint32_t>(n)};
  if (named) header.flags |= flag_named;
  if (!upsert.metadata.empty()) header.flags |= flag_metadata;
  if (upsert.checksum) header.flags |= flag_checksum;
  size_t value_bytes = n * upsert.dimension * size_bytes(upsert.type);
  std::string out;
  out.reserve(32 + n * 8 + value_bytes);
  put_header(out, header);
  put_ids(out, header.ids, n, id);
  if (value_bytes > 0) out.append(static_cast<const char*>(upsert.values), value_bytes);
  if (named) put(out, static_cast<uint8_t>(upsert.named.size()));
  for (const NamedView& vector : upsert.named) {
    put_name(out, vector.name, vector.type, vector.dimension, vector.rows, n);
    size_t rows = vector.rows.empty() ? n : vector.rows.size();
    out.append(static_cast<const char*>(vector.values),
               rows * vector.dimension * size_bytes(vector.type));
  }
  if (header.flags & flag_metadata) {
    put_table(out, n, [&](size_t i) -> std::string_view { return upsert.metadata[i]; });
  }
  finish(out, header.flags);
  return out;
}

std::string encode_search(const SearchRequest& options, const float* queries, uint32_t n,
                          uint32_t dimension, bool checksum) {
  Header header{Kind::search, ElementType::f32, IdKind::none, 0, dimension, n};
  if (checksum) header.flags |= flag_checksum;
  std::string out;
  size_t value_bytes = size_t{n} * dimension * sizeof(float);
  out.reserve(64 + value_bytes + options.filter.size() + options.token.size());
  put_header(out, header);
  put<uint32_t>(out, options.k);
  put<uint32_t>(out, options.ef_search.value_or(0));
  put<uint32_t>(out, options.nprobe.value_or(0));
  put<float>(out, options.score_threshold.value_or(std::numeric_limits<float>::quiet_NaN()));
  put(out, options.consistency);
  put<uint8_t>(out, static_cast<uint8_t>((options.include_metadata ? include_metadata_bit : 0) |
                                         (options.include_values ? include_values_bit : 0)));
  put<uint8_t>(out, options.exact ? 1 : 0);
  put<uint8_t>(out, static_cast<uint8_t>((options.timeout_ms ? extra_timeout : 0) |
                                         (options.min_recall ? extra_min_recall : 0) |
                                         (options.explain ? extra_explain : 0) |
                                         (options.vector_name.empty() ? 0 : extra_using)));
  put<uint32_t>(out, static_cast<uint32_t>(options.filter.size()));
  put<uint32_t>(out, static_cast<uint32_t>(options.token.size()));
  if (options.timeout_ms) put<uint32_t>(out, *options.timeout_ms);
  if (options.min_recall) put<double>(out, *options.min_recall);
  if (!options.vector_name.empty()) {
    put<uint32_t>(out, static_cast<uint32_t>(options.vector_name.size()));
  }
  if (value_bytes > 0) out.append(reinterpret_cast<const char*>(queries), value_bytes);
  out.append(options.filter);
  out.append(options.token);
  out.append(options.vector_name);
  finish(out, header.flags);
  return out;
}

Result<UpsertRequest> decode_upsert(std::string_view body) {
  Header header{};
  Cursor cursor(body);
  JADE_RETURN_IF_ERROR(read_header(body, Kind::upsert, header, cursor));
  JADE_RETURN_IF_ERROR(check_shape(header, Limits::vectors_per_upsert_max));
  if (header.flags & flag_values) return cursor.fail("flag 4 is only for search replies");
  UpsertRequest request;
  request.dimension = header.dimension;
  JADE_RETURN_IF_ERROR(read_ids(cursor, header.ids, header.rows,
                                [&](VectorId id) { request.ids.push_back(std::move(id)); }));
  if (header.flags & flag_named) {
    JADE_RETURN_IF_ERROR(read_named(cursor, header.rows, request.named));
  } else {
    std::string_view bytes;
    uint64_t elements = uint64_t{header.rows} * header.dimension;  // < 2^17 * 2^15
    JADE_RETURN_IF_ERROR(cursor.take(elements * size_bytes(header.type), "the values", bytes));
    request.values.resize(elements * sizeof(float));
    to_floats(bytes, header.type, elements, request.values.data());
    JADE_RETURN_IF_ERROR(check_finite(request.values, header.dimension));
  }
  if (header.flags & flag_metadata) {
    request.metadata.resize(header.rows);
    JADE_RETURN_IF_ERROR(
        read_table(cursor, header.rows, "metadata", [&](uint32_t i, std::string_view text) {
          if (text.size() > Limits::metadata_bytes_max) {
            return Status(Code::too_large, "the metadata of row " + std::to_string(i) + " is " +
                                               std::to_string(text.size()) + " bytes; at most " +
                                               std::to_string(Limits::metadata_bytes_max) +
                                               " are allowed");
          }
          request.metadata[i].assign(text);
          return Status();
        }));
  }
  JADE_RETURN_IF_ERROR(cursor.end());
  return request;
}

Result<SearchBatchRequest> decode_search(std::string_view body) {
  Header header{};
  Cursor cursor(body);
  JADE_RETURN_IF_ERROR(read_header(body, Kind::search, header, cursor));
  if (header.flags & ~flag_checksum) return cursor.fail("the only flag of a search is 2");
  JADE_RETURN_IF_ERROR(check_shape(header, Limits::searches_per_batch_max));
  if (header.ids != IdKind::none) return cursor.fail("the id kind of a search must be 3 (none)");
  SearchOptions options;
  JADE_RETURN_IF_ERROR(read_search_options(cursor, options));
  std::string_view bytes, filter, token, vector_name;
  uint64_t elements = uint64_t{header.rows} * header.dimension;
  JADE_RETURN_IF_ERROR(cursor.take(elements * size_bytes(header.type), "the queries", bytes));
  JADE_RETURN_IF_ERROR(cursor.take(options.filter_bytes, "the filter", filter));
  JADE_RETURN_IF_ERROR(cursor.take(options.token_bytes, "the token", token));
  JADE_RETURN_IF_ERROR(cursor.take(options.using_bytes, "using", vector_name));
  JADE_RETURN_IF_ERROR(cursor.end());
  if (filter.size() > Limits::metadata_bytes_max) {
    return Status(Code::too_large, "the filter is longer than " +
                                       std::to_string(Limits::metadata_bytes_max) + " bytes");
  }
  std::string values(elements * sizeof(float), '\0');
  to_floats(bytes, header.type, elements, values.data());
  JADE_RETURN_IF_ERROR(check_finite(values, header.dimension));
  options.request.filter.assign(filter);
  options.request.token.assign(token);
  options.request.vector_name.assign(vector_name);
  SearchBatchRequest batch;
  batch.timeout_ms = options.timeout_ms;
  batch.searches.assign(header.rows, options.request);
  size_t row_bytes = header.dimension * sizeof(float);
  for (size_t i = 0; i < header.rows; ++i) {
    auto& vector = batch.searches[i].vector;
    vector.resize(header.dimension);
    std::memcpy(vector.data(), values.data() + i * row_bytes, row_bytes);
  }
  return batch;
}

namespace {

// The named vectors of hits, as columns; the hits own the values.
struct NamedHits {
  struct Column {
    std::string_view name;
    std::vector<uint32_t> rows;
    std::vector<const std::vector<float>*> values;
  };

  explicit NamedHits(std::span<const SearchHit* const> hits) {
    for (uint32_t row = 0; row < hits.size(); ++row) {
      for (const NamedValues& one : hits[row]->named) {
        Column& column = of(one.name);
        column.rows.push_back(row);
        column.values.push_back(&one.values);
      }
    }
  }

  void put(std::string& out, size_t n) const {
    JADE_ASSERT(columns.size() <= Limits::named_vectors_max);
    jade::put(out, static_cast<uint8_t>(columns.size()));
    for (const Column& column : columns) {
      const auto dimension = static_cast<uint32_t>(column.values.front()->size());
      const bool all = column.rows.size() == n;
      put_name(out, column.name, ElementType::f32, dimension,
               all ? std::span<const uint32_t>() : column.rows, n);
      for (const std::vector<float>* values : column.values) {
        JADE_ASSERT(values->size() == dimension);
        out.append(reinterpret_cast<const char*>(values->data()), dimension * sizeof(float));
      }
    }
  }

  std::vector<Column> columns;

 private:
  Column& of(std::string_view name) {
    for (Column& column : columns) {
      if (column.name == name) return column;
    }
    columns.push_back({name, {}, {}});
    return columns.back();
  }
};

// Gives the hits what belongs to them.
void share_out(const std::vector<VectorColumn>& columns, std::vector<SearchHit>& hits) {
  for (const VectorColumn& column : columns) {
    for (size_t i = 0; i < column.rows.size(); ++i) {
      std::vector<float> values(column.dimension);
      const size_t bytes = values.size() * sizeof(float);
      std::memcpy(values.data(), column.values.data() + i * bytes, bytes);
      hits[column.rows[i]].named.push_back({column.name, std::move(values)});
    }
  }
}

}  // namespace

std::string encode_search_reply(const TimedSearchReply& reply) {
  std::vector<const SearchHit*> hits;
  for (const SearchReply& one : reply.results) {
    for (const SearchHit& hit : one.results) hits.push_back(&hit);
  }
  size_t n = hits.size();
  auto id = [&](size_t i) -> const VectorId& { return hits[i]->id; };
  Header header{Kind::search_reply,
                ElementType::f32,
                id_kind(n, id),
                0,
                0,
                static_cast<uint32_t>(reply.results.size())};
  bool any_metadata =
      std::any_of(hits.begin(), hits.end(), [](auto* hit) { return !hit->metadata.empty(); });
  if (any_metadata) header.flags |= flag_metadata;
  if (n > 0 && !hits[0]->values.empty()) {
    header.flags |= flag_values;
    header.dimension = static_cast<uint32_t>(hits[0]->values.size());
  }
  const NamedHits named(hits);
  if (!named.columns.empty()) header.flags |= flag_named;
  std::string out;
  put_header(out, header);
  put<uint64_t>(out, reply.took_us);
  put<uint32_t>(out, static_cast<uint32_t>(n));
  for (const SearchReply& one : reply.results) {
    put<uint32_t>(out, static_cast<uint32_t>(one.results.size()));
  }
  for (auto* hit : hits) put<float>(out, hit->score);
  put_ids(out, header.ids, n, id);
  if (header.flags & flag_values) {
    for (auto* hit : hits) {
      JADE_ASSERT(hit->values.size() == header.dimension);
      out.append(reinterpret_cast<const char*>(hit->values.data()),
                 hit->values.size() * sizeof(float));
    }
  }
  if (header.flags & flag_named) named.put(out, n);
  if (any_metadata) {
    put_table(out, n, [&](size_t i) -> std::string_view { return hits[i]->metadata; });
  }
  return out;
}

Result<TimedSearchReply> decode_search_reply(std::string_view body) {
  Header header{};
  Cursor cursor(body);
  JADE_RETURN_IF_ERROR(read_header(body, Kind::search_reply, header, cursor));
  TimedSearchReply reply;
  uint32_t n = 0;
  std::string_view counts, scores, values;
  JADE_RETURN_IF_ERROR(cursor.read("the time", reply.took_us));
  JADE_RETURN_IF_ERROR(cursor.read("the number of hits", n));
  JADE_RETURN_IF_ERROR(cursor.take(header.rows, 4, "the counts", counts));
  JADE_RETURN_IF_ERROR(cursor.take(n, 4, "the scores", scores));
  uint64_t total = 0;
  for (uint32_t i = 0; i < header.rows; ++i) total += load<uint32_t>(counts, i);
  if (total != n) return cursor.fail("the counts do not add up to the number of hits");
  // Each hit has shown its score by now, so that n is no more than the body holds.
  std::vector<SearchHit> hits;
  JADE_RETURN_IF_ERROR(read_ids(cursor, header.ids, n, [&](VectorId id) {
    hits.emplace_back().id = std::move(id);
    hits.back().score = load<float>(scores, hits.size() - 1);
  }));
  if ((header.flags & flag_values) && (header.flags & flag_named)) {
    return cursor.fail("values have names (flag 8) or not (flag 4), not both");
  }
  if (header.flags & flag_named) {
    std::vector<VectorColumn> columns;
    JADE_RETURN_IF_ERROR(check_named_header(header));
    JADE_RETURN_IF_ERROR(read_named(cursor, n, columns));
    share_out(columns, hits);
  }
  if (header.flags & flag_values) {
    if (header.dimension == 0 || header.dimension > dimension_max) {
      return cursor.fail("the dimension of the values is out of range");
    }
    uint32_t row_bytes = header.dimension * uint32_t{sizeof(float)};
    JADE_RETURN_IF_ERROR(cursor.take(n, row_bytes, "the values", values));
    for (size_t i = 0; i < n; ++i) {
      hits[i].values.resize(header.dimension);
      std::memcpy(hits[i].values.data(), values.data() + i * size_t{row_bytes}, row_bytes);
    }
  }
  if (header.flags & flag_metadata) {
    JADE_RETURN_IF_ERROR(read_table(cursor, n, "metadata", [&](uint32_t i, std::string_view text) {
      hits[i].metadata.assign(text);
      return Status();
    }));
  }
  JADE_RETURN_IF_ERROR(cursor.end());
  reply.results.resize(header.rows);
  auto next = hits.begin();
  for (uint32_t i = 0; i < header.rows; ++i) {
    auto end = next + load<uint32_t>(counts, i);
    reply.results[i].results.assign(std::make_move_iterator(next), std::make_move_iterator(end));
    next = end;
  }
  return reply;
}

}  // namespace jade
