#include "index/segment_io.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "index/hnsw_graph.h"
#include "index/ivf.h"
#include "storage/crc32c.h"

static_assert(std::endian::native == std::endian::little,
              "arrays are stored as they are in memory");

namespace jade {
namespace {

// The format, all numbers little-endian: the header; row numbers (u64); ids, then
// metadata: ends (u64) unless all are `width` long, then bytes; vectors (f32, f16 or u8)
// unless they are elsewhere. HNSW: levels (u8, from 1), links (i32; as many as the levels say),
// codes where they are stored. IVF: centres (f32), starts (u32), rows (u32). At the end the CRC-32C
// (u32) of all before.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t rows;
  uint32_t dimension;
  uint8_t metric;
  uint8_t built;         // the index there is
  uint8_t wanted;        // the kind of the options
  uint8_t quantization;  // in version 1: 0
  uint32_t m;
  uint32_t ef_construction;
  uint32_t ef_search;
  uint32_t nlist;
  uint32_t nprobe;
  uint32_t lists;  // of an IVF
  int32_t entry_point;
  int32_t level_max;
  uint64_t id_bytes;
  uint64_t id_width;
  uint64_t metadata_bytes;
  uint64_t metadata_width;
  uint64_t links;  // of an HNSW
};
static_assert(sizeof(Header) == 96);

// Follows from version 3 on.
struct Extension {
  uint8_t vectors;         // where they are: 0 here, 1 elsewhere
  uint8_t vectors_wanted;  // by the options
  uint8_t codes;           // 1: codes are stored
  uint8_t codes_kind;      // a Quantization
  uint8_t datatype;        // a Datatype; before version 4: 0
  uint8_t unused;
  uint16_t intrinsic_dimension;  // in sixteenths; 0: not known
  uint64_t code_bytes;
};
static_assert(sizeof(Extension) == 16);

constexpr char magic[8] = {'J', 'A', 'D', 'E', 'S', 'E', 'G', '\n'};
constexpr uint32_t format_version = 4;
// Read as well: 3, where all vectors are float32, 2, without the extension, and 1, without
// quantization, which was sq8.
constexpr uint32_t format_version_min = 1;
constexpr uint64_t widths_differ = UINT64_MAX;
constexpr size_t piece_bytes = 1 << 20;

class Output {
 public:
  explicit Output(const std::function<Status(std::string_view)>& sink) : sink_(sink) {}

  template <class T>
  void array(const T* values, size_t count) {
    std::string_view left(reinterpret_cast<const char*>(values), count * sizeof(T));
    while (status_.ok() && !left.empty()) {
      // In pieces, so that each is still in the cache for the sink.
      std::string_view piece = left.substr(0, piece_bytes);
      crc_ = crc32c(piece, crc_);
      status_ = sink_(piece);
      left.remove_prefix(piece.size());
    }
  }
  void text(const TextColumn& column) {
    array(column.ends.data(), column.ends.size());
    array(column.bytes.data(), column.bytes.size());
  }
  const Status& status() const { return status_; }
  Status finish() {
    uint32_t crc = crc_;
    array(&crc, 1);
    return status_;
  }

 private:
  const std::function<Status(std::string_view)>& sink_;
  Status status_;
  uint32_t crc_ = 0;
};

Status damaged(const char* what) {
  return corruption(std::string("a stored segment is damaged: ") + what);
}

class Input {
 public:
  explicit Input(const std::function<Result<size_t>(char*, size_t)>& source) : source_(source) {}

  template <class T>
  Status array(T* values, size_t count) {
    auto* at = reinterpret_cast<char*>(values);
    for (size_t left = count * sizeof(T); left > 0;) {
      size_t wanted = std::min(left, piece_bytes);
      auto got = source_(at, wanted);
      if (!got.ok()) return got.status();
      if (*got == 0 || *got > wanted) return damaged("it is cut short");
      crc_ = crc32c({at, *got}, crc_);
      at += *got;
      left -= *got;
    }
    return {};
  }
  template <class T>
  Status array(std::vector<T>& values, size_t count) {
    values.resize(count);
    return array(values.data(), count);
  }
  Status text(TextColumn& column, uint64_t rows, uint64_t bytes, uint64_t width) {
    column.rows = rows;
    if (width == widths_differ) {
      JADE_RETURN_IF_ERROR(array(column.ends, rows));
      if (!std::is_sorted(column.ends.begin(), column.ends.end()) || column.ends.back() != bytes) {
        return damaged("its texts do not end where they should");
      }
    } else {
      column.width = width;
    }
    column.bytes.resize(bytes);
    return array(column.bytes.data(), bytes);
  }
  uint32_t crc() const { return crc_; }

 private:
  const std::function<Result<size_t>(char*, size_t)>& source_;
  uint32_t crc_ = 0;
};

// A sum of products that stays at the largest number once it would be above.
class Size {
 public:
  void add(uint64_t count, uint64_t each) {
    uint64_t product = 0;
    if (__builtin_mul_overflow(count, each, &product) ||
        __builtin_add_overflow(total_, product, &total_)) {
      overflown_ = true;
    }
  }
  uint64_t total() const { return overflown_ ? UINT64_MAX : total_; }

 private:
  uint64_t total_ = 0;
  bool overflown_ = false;
};

uint64_t expected_size(const Header& header, const Extension& extension) {
  Size size;
  size.add(1, sizeof(Header) + sizeof(uint32_t));
  size.add(header.version >= 3 ? 1 : 0, sizeof(Extension));
  size.add(extension.code_bytes, 1);
  size.add(header.rows, sizeof(uint64_t));
  size.add(header.id_width == widths_differ ? header.rows : 0, sizeof(uint64_t));
  size.add(header.id_bytes, 1);
  size.add(header.metadata_width == widths_differ ? header.rows : 0, sizeof(uint64_t));
  size.add(header.metadata_bytes, 1);
  size.add(extension.vectors == 0 ? header.rows : 0,
           header.dimension * element_bytes(static_cast<Datatype>(extension.datatype)));
  if (header.built == static_cast<uint8_t>(IndexKind::hnsw)) {
    size.add(header.rows, 1);
    size.add(header.links, sizeof(int32_t));
  }
  if (header.built == static_cast<uint8_t>(IndexKind::ivf)) {
    size.add(header.lists, uint64_t{header.dimension} * sizeof(float));
    size.add(uint64_t{header.lists} + 1, sizeof(uint32_t));
    size.add(header.rows, sizeof(uint32_t));
  }
  return size.total();
}

bool text_fits(uint64_t rows, uint64_t bytes, uint64_t width) {
  if (width == widths_differ) return rows > 0;
  return width == 0 ? bytes == 0 : bytes % width == 0 && bytes / width == rows;
}

Status check_header(const Header& header, const IndexOptions& options) {
  if (std::memcmp(header.magic, magic, sizeof magic) != 0) return damaged("it begins otherwise");
  if (header.version < format_version_min || header.version > format_version) {
    return damaged("its version is unknown");
  }
  if (header.rows > INT32_MAX || header.dimension < 1 || header.dimension > dimension_max ||
      header.metric > 2 || header.built > 2 ||
      header.wanted > static_cast<uint8_t>(index_kind_max) ||
      header.quantization > (header.version == 1   ? 0
                             : header.version == 2 ? 2
                                                   : static_cast<int>(quantization_max)) ||
      !options.validate().ok() || header.lists > 65536 ||
      !text_fits(header.rows, header.id_bytes, header.id_width) ||
      !text_fits(header.rows, header.metadata_bytes, header.metadata_width)) {
    return damaged("its header is impossible");
  }
  return {};
}

Status check_extension(const Header& header, const Extension& extension) {
  const bool graph = header.built == static_cast<uint8_t>(IndexKind::hnsw);
  if (extension.vectors > 1 || extension.vectors_wanted > 1 || extension.codes > 1 ||
      extension.datatype > (header.version < 4 ? 0 : static_cast<uint8_t>(datatype_max)) ||
      extension.codes_kind > static_cast<uint8_t>(quantization_max) ||
      (extension.codes == 1 && !graph) || (extension.vectors == 1 && extension.codes == 0)) {
    return damaged("its header is impossible");
  }
  auto kind = static_cast<Quantization>(extension.codes_kind);
  uint64_t bytes = extension.codes == 0 ? 0
                                        : RowCodes::saved_bytes(kind, header.rows, header.dimension,
                                                                static_cast<Metric>(header.metric));
  if (extension.code_bytes != bytes || (extension.codes == 1 && bytes == 0)) {
    return damaged("its codes are of another size");
  }
  return {};
}

// Codes are stored where they cannot be made of vectors that are there, or not fast.
bool stores_codes(const SealedSegment& segment) {
  const RowCodes* codes = segment.codes();
  return codes != nullptr &&
         (segment.stored() != nullptr || codes->kind() == Quantization::rabitq ||
          codes->kind() == Quantization::pq);
}

Result<std::unique_ptr<HnswGraph>> read_graph(Input& in, const Header& header) {
  auto graph = std::make_unique<HnswGraph>(header.m, header.ef_construction);
  std::vector<uint8_t> levels;
  JADE_RETURN_IF_ERROR(in.array(levels, header.rows));
  const size_t levels_max = level_probabilities(header.m).size();
  uint64_t links = 0;
  for (uint8_t level : levels) {
    if (level < 1 || level > levels_max)
      return damaged("a row of its graph has an impossible level");
    links += (uint64_t{level} + 1) * header.m;
  }
  if (links != header.links) return damaged("its graph has too many or few links");
  graph->reserve(header.rows);
  for (uint8_t level : levels) graph->add_row(level);
  std::vector<int32_t> piece;
  for (uint32_t row = 0; row < header.rows; ++row) {
    JADE_RETURN_IF_ERROR(in.array(piece, (size_t{levels[row]} + 1) * header.m));
    auto at = piece.begin();
    for (uint32_t level = 0; level < levels[row]; ++level) {
      auto to = graph->links(row, level);
      std::copy_n(at, to.size(), to.begin());
      at += static_cast<std::ptrdiff_t>(to.size());
    }
  }
  graph->entry_point = header.entry_point;
  graph->level_max = header.level_max;
  JADE_RETURN_IF_ERROR(graph->check());
  return graph;
}

Result<std::unique_ptr<InvertedLists>> read_lists(Input& in, const Header& header) {
  auto lists = std::make_unique<InvertedLists>();
  JADE_RETURN_IF_ERROR(in.array(lists->centres, size_t{header.lists} * header.dimension));
  JADE_RETURN_IF_ERROR(in.array(lists->starts, size_t{header.lists} + 1));
  JADE_RETURN_IF_ERROR(in.array(lists->rows, header.rows));
  JADE_RETURN_IF_ERROR(lists->check(header.rows, header.dimension));
  return lists;
}

void write_graph(const HnswGraph& graph, Output& out) {
  std::vector<uint8_t> levels;
  levels.reserve(graph.rows());
  for (uint32_t row = 0; row < graph.rows(); ++row) {
    levels.push_back(static_cast<uint8_t>(graph.levels(row)));
  }
  out.array(levels.data(), levels.size());
  // Of each row, level after level.
  std::vector<int32_t> piece;
  for (uint32_t row = 0; row < graph.rows(); ++row) {
    for (uint32_t level = 0; level < graph.levels(row); ++level) {
      auto links = graph.links(row, level);
      piece.insert(piece.end(), links.begin(), links.end());
    }
    if (piece.size() * sizeof(piece[0]) < piece_bytes && row + 1 < graph.rows()) continue;
    out.array(piece.data(), piece.size());
    piece.clear();
  }
}

}  // namespace

Status serialize(const SealedSegment& segment,
                 const std::function<Status(std::string_view)>& sink) {
  const SegmentColumns& columns = segment.columns();
  const IndexOptions& options = segment.options();
  Header header{};
  std::memcpy(header.magic, magic, sizeof magic);
  header.version = format_version;
  header.rows = segment.rows();
  header.dimension = segment.dimension();
  header.metric = static_cast<uint8_t>(segment.metric());
  header.built = static_cast<uint8_t>(segment.kind());
  header.wanted = static_cast<uint8_t>(options.kind);
  header.quantization = static_cast<uint8_t>(options.quantization);
  header.m = options.m;
  header.ef_construction = options.ef_construction;
  header.ef_search = options.ef_search;
  header.nlist = options.nlist;
  header.nprobe = options.nprobe;
  header.id_bytes = columns.ids.bytes.size();
  header.id_width = columns.ids.ends.empty() ? columns.ids.width : widths_differ;
  header.metadata_bytes = columns.metadata.bytes.size();
  header.metadata_width = columns.metadata.ends.empty() ? columns.metadata.width : widths_differ;
  if (columns.lists) header.lists = columns.lists->lists();
  if (columns.graph) {
    header.entry_point = columns.graph->entry_point;
    header.level_max = columns.graph->level_max;
    header.links = columns.graph->link_slots();
  }
  Extension extension{};
  extension.vectors = segment.stored() != nullptr ? 1 : 0;
  extension.vectors_wanted = static_cast<uint8_t>(options.vectors);
  extension.datatype = static_cast<uint8_t>(segment.format().datatype());
  extension.intrinsic_dimension = static_cast<uint16_t>(columns.intrinsic_dimension * 16);
  if (stores_codes(segment)) {
    extension.codes = 1;
    extension.codes_kind = static_cast<uint8_t>(segment.codes()->kind());
    extension.code_bytes = RowCodes::saved_bytes(segment.codes()->kind(), segment.rows(),
                                                 segment.dimension(), segment.metric());
  }

  Output out(sink);
  out.array(&header, 1);
  out.array(&extension, 1);
  out.array(columns.row_numbers.data(), columns.row_numbers.size());
  out.text(columns.ids);
  out.text(columns.metadata);
  out.array(columns.vectors.data(), columns.vectors.size());
  if (columns.graph) {
    write_graph(*columns.graph, out);
  }
  if (extension.codes == 1) {
    JADE_RETURN_IF_ERROR(columns.codes->save([&](std::string_view part) {
      out.array(part.data(), part.size());
      return out.status();
    }));
  }
  if (columns.lists) {
    out.array(columns.lists->centres.data(), columns.lists->centres.size());
    out.array(columns.lists->starts.data(), columns.lists->starts.size());
    out.array(columns.lists->rows.data(), columns.lists->rows.size());
  }
  return out.finish();
}

Result<std::shared_ptr<const SealedSegment>> deserialize(
    uint64_t size, const std::function<Result<size_t>(char*, size_t)>& source,
    const OpenVectors& open_vectors) {
  if (size < sizeof(Header)) return damaged("it is cut short");
  Input in(source);
  Header header;
  JADE_RETURN_IF_ERROR(in.array(&header, 1));
  IndexOptions options;
  options.kind = static_cast<IndexKind>(header.wanted);
  options.quantization = static_cast<Quantization>(header.quantization);
  options.m = header.m;
  options.ef_construction = header.ef_construction;
  options.ef_search = header.ef_search;
  options.nlist = header.nlist;
  options.nprobe = header.nprobe;
  JADE_RETURN_IF_ERROR(check_header(header, options));
  Extension extension{};
  if (header.version >= 3) {
    if (size < sizeof(Header) + sizeof(Extension)) return damaged("it is cut short");
    JADE_RETURN_IF_ERROR(in.array(&extension, 1));
  }
  JADE_RETURN_IF_ERROR(check_extension(header, extension));
  options.vectors = static_cast<VectorPlace>(extension.vectors_wanted);
  if (!options.validate().ok()) return damaged("its header is impossible");
  // Once this holds, no array is larger than the bytes there are.
  if (expected_size(header, extension) != size) return damaged("its size is not that of its parts");

  const auto metric = static_cast<Metric>(header.metric);
  const RowFormat format(metric, header.dimension, static_cast<Datatype>(extension.datatype));
  SegmentColumns columns;
  columns.datatype = format.datatype();
  if (extension.intrinsic_dimension >= 16) {
    columns.intrinsic_dimension = static_cast<float>(extension.intrinsic_dimension) / 16;
  }
  JADE_RETURN_IF_ERROR(in.array(columns.row_numbers, header.rows));
  JADE_RETURN_IF_ERROR(in.text(columns.ids, header.rows, header.id_bytes, header.id_width));
  JADE_RETURN_IF_ERROR(
      in.text(columns.metadata, header.rows, header.metadata_bytes, header.metadata_width));
  if (extension.vectors == 0) {
    columns.vectors = LargeArray<char>(header.rows * format.row_bytes());
    JADE_RETURN_IF_ERROR(in.array(columns.vectors.data(), columns.vectors.size()));
  } else {
    if (!open_vectors) return damaged("its vectors are elsewhere");
    auto stored = open_vectors(format.row_bytes(), header.rows);
    if (!stored.ok()) return stored.status();
    columns.stored = std::move(*stored);
  }
  if (header.built == static_cast<uint8_t>(IndexKind::hnsw)) {
    auto graph = read_graph(in, header);
    if (!graph.ok()) return graph.status();
    columns.graph = std::move(*graph);
    if (extension.codes == 1) {
      auto codes = RowCodes::load(static_cast<Quantization>(extension.codes_kind), header.rows,
                                  header.dimension, metric,
                                  [&](char* out, size_t n) { return in.array(out, n); });
      if (!codes.ok()) return codes.status();
      columns.codes = std::move(*codes);
    } else {
      columns.codes = RowCodes::of(
          options.quantization, EuclideanRows(columns.vectors.data(), header.rows, format), metric);
    }
  } else if (header.built == static_cast<uint8_t>(IndexKind::ivf)) {
    auto lists = read_lists(in, header);
    if (!lists.ok()) return lists.status();
    columns.lists = std::move(*lists);
  }
  uint32_t expected = in.crc(), stored = 0;
  JADE_RETURN_IF_ERROR(in.array(&stored, 1));
  if (stored != expected) return damaged("its checksum does not hold");
  return std::shared_ptr<const SealedSegment>(
      std::make_shared<SealedSegment>(header.dimension, metric, options, std::move(columns)));
}

}  // namespace jade
