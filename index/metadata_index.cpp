#include "index/metadata_index.h"

#include <algorithm>
#include <charconv>
#include <deque>
#include <map>
#include <unordered_map>

#include "index/filter_tree.h"
#include "index/metadata.h"
#include "index/sealed_segment.h"

namespace jade {
namespace {

// A value, or values that follow each other, get a set of bits from one row in so many.
constexpr size_t dense_share = 32;
// Below that lists are shorter.
constexpr size_t list_share = 32;

// A number in the order of numbers: the double next to it and what that lacks, which
// is not 0 only for integers beyond 2^53.
struct Number {
  double near = 0;
  int16_t rest = 0;
  friend auto operator<=>(const Number&, const Number&) = default;
};

Number to_number(uint64_t value) {
  auto near = static_cast<double>(value);
  constexpr double two_64 = 18446744073709551616.0;
  // Modulo 2^64, of which the difference is a small part.
  uint64_t whole = near >= two_64 ? 0 : static_cast<uint64_t>(near);
  return {near, static_cast<int16_t>(static_cast<int64_t>(value - whole))};
}

Number to_number(int64_t value) {
  if (value >= 0) return to_number(static_cast<uint64_t>(value));
  auto near = static_cast<double>(value);
  return {near, static_cast<int16_t>(value - static_cast<int64_t>(near))};
}

Number to_number(double value) { return {value + 0.0, 0}; }  // one zero only

std::optional<Number> to_number(const FilterValue& value) {
  if (const auto* i = std::get_if<int64_t>(&value)) return to_number(*i);
  if (const auto* u = std::get_if<uint64_t>(&value)) return to_number(*u);
  if (const auto* d = std::get_if<double>(&value)) return to_number(*d);
  return std::nullopt;
}

// Rows, as a list where they are few.
class RowSet {
 public:
  RowSet() = default;
  // Ascending; repeated ones count once.
  RowSet(std::vector<uint32_t> list, uint32_t rows) : list_(std::move(list)) {
    list_.erase(std::unique(list_.begin(), list_.end()), list_.end());
    if (list_.size() <= rows / list_share) {
      list_.shrink_to_fit();
      return;
    }
    bits_.emplace(rows);
    for (uint32_t row : list_) bits_->set(row);
    list_ = std::vector<uint32_t>();
  }
  bool empty() const { return list_.empty() && !bits_; }
  void add_to(Bitmap& out) const {
    if (bits_) out.add(*bits_);
    for (uint32_t row : list_) out.set(row);
  }
  size_t memory_bytes() const {
    return list_.capacity() * sizeof(uint32_t) + (bits_ ? bits_->memory_bytes() : 0);
  }

 private:
  std::vector<uint32_t> list_;
  std::optional<Bitmap> bits_;  // instead of the list
};

// A string of a field: where it is in the texts of the rows, or, if it is written
// otherwise there, in MetadataIndex::escaped_.
class StringPlace {
 public:
  StringPlace(bool escaped, uint64_t at, size_t size)
      : bits_(at << 17 | uint64_t{escaped} << 16 | size) {}
  bool escaped() const { return (bits_ >> 16 & 1) != 0; }
  uint64_t at() const { return bits_ >> 17; }
  size_t size() const { return bits_ & 0xffff; }

 private:
  static_assert(MetadataIndex::string_bytes_max <= 0xffff);
  uint64_t bits_;
};

// Of values: null, false and true are the first, whether they occur or not.
enum : uint32_t { null_ordinal, false_ordinal, true_ordinal, first_number };

// Values [begin, end) by their ordinals.
struct Range {
  uint32_t begin = 0;
  uint32_t end = 0;
};

// Blocks that have no row in common are summed up one after another, so that any number of them
// is the difference of two sums.
struct Block {
  Range values;
  Bitmap rows;       // of these values, and of the blocks before it from `first` on
  size_t first = 0;  // where its sum begins: the number of a block
};

}  // namespace

struct MetadataIndex::Field {
  std::string name;  // as in any_field(): index/metadata.h
  RowSet exists;
  RowSet arrays;
  RowSet undecided;
  std::vector<double> numbers;
  std::vector<int16_t> rests;  // of numbers; empty: all are 0
  std::vector<StringPlace> strings;
  std::vector<int64_t> moments;  // Timestamp::micros
  // Where the rows of each value begin in `rows`; one more is the end. The rows of a
  // value that has a block of its own are only there.
  std::vector<uint32_t> starts;
  std::vector<uint32_t> rows;
  std::vector<Block> blocks;    // ascending, apart from each other
  std::vector<uint64_t> cells;  // of places, sorted
  std::vector<uint32_t> cell_rows;

  uint32_t first_string() const { return first_number + static_cast<uint32_t>(numbers.size()); }
  uint32_t first_moment() const { return first_string() + static_cast<uint32_t>(strings.size()); }
  uint32_t values() const { return first_moment() + static_cast<uint32_t>(moments.size()); }
  Number number(size_t i) const { return {numbers[i], rests.empty() ? int16_t{0} : rests[i]}; }

  void add_listed(Range range, Bitmap& out) const {
    for (uint32_t i = starts[range.begin]; i < starts[range.end]; ++i) out.set(rows[i]);
  }
  // The blocks [begin, end).
  void add_blocks(size_t begin, size_t end, Bitmap& out) const {
    while (begin < end) {
      // Those of one sum.
      size_t last = begin;
      while (last + 1 < end && blocks[last + 1].first == blocks[begin].first) ++last;
      if (begin == blocks[begin].first) {
        out.add(blocks[last].rows);
      } else {
        out.add_difference(blocks[last].rows, blocks[begin - 1].rows);
      }
      begin = last + 1;
    }
  }
  void add(Range range, Bitmap& out) const {
    auto block = static_cast<size_t>(
        std::partition_point(blocks.begin(), blocks.end(),
                             [&](const Block& b) { return b.values.end <= range.begin; }) -
        blocks.begin());
    size_t whole = block;  // the first that is in it as a whole
    for (; block < blocks.size() && blocks[block].values.begin < range.end; ++block) {
      const Range values = blocks[block].values;
      // In part: its values have lists, as do those around it.
      if (values.end > range.end) break;
      if (values.begin < range.begin) {
        add_listed({range.begin, values.end}, out);
        whole = block + 1;
      } else {
        add_listed({range.begin, values.begin}, out);
      }
      range.begin = values.end;
    }
    add_blocks(whole, block, out);
    if (range.begin < range.end) add_listed(range, out);
  }
  size_t memory_bytes() const {
    size_t bytes = sizeof(Field) + name.capacity() + exists.memory_bytes() + arrays.memory_bytes() +
                   undecided.memory_bytes() + numbers.capacity() * sizeof(double) +
                   rests.capacity() * sizeof(int16_t) + strings.capacity() * sizeof(StringPlace) +
                   (moments.capacity() + cells.capacity()) * sizeof(int64_t) +
                   cell_rows.capacity() * sizeof(uint32_t) +
                   (starts.capacity() + rows.capacity()) * sizeof(uint32_t) +
                   blocks.capacity() * sizeof(Block);
    for (const Block& block : blocks) bytes += block.rows.memory_bytes();
    return bytes;
  }
};

// Reads the rows one after another, then sorts the values of each field.
class MetadataIndex::Builder {
 public:
  explicit Builder(MetadataIndex& index) : index_(index) { nodes_.emplace_back(); }

  void run() {
    for (row_ = 0; row_ < index_.rows_; ++row_) {
      std::string_view text = index_.metadata_[row_];
      if (text.starts_with('{')) read_object(text, 0, 0, 1);
    }
    for (Draft& draft : drafts_) {
      index_.fields_.push_back(finish(draft));
      draft = Draft();
    }
    std::sort(index_.fields_.begin(), index_.fields_.end(),
              [](const Field& a, const Field& b) { return a.name < b.name; });
    index_.escaped_.shrink_to_fit();
  }

 private:
  struct NumberAt {
    Number number;
    uint32_t row;
  };
  struct At {
    uint32_t value;
    uint32_t row;
  };
  struct Draft {
    std::string name;
    std::vector<uint32_t> exists, arrays, undecided;
    std::vector<NumberAt> numbers;
    std::vector<At> literals;  // null, false, true
    std::unordered_map<std::string_view, uint32_t> string_ids;
    std::vector<std::pair<std::string_view, StringPlace>> strings;  // in the order of arrival
    std::vector<At> strings_at;
    std::vector<std::optional<Timestamp>> moments;     // that the strings name
    std::vector<std::pair<uint64_t, uint32_t>> cells;  // of places, with their rows
  };
  // Of the tree of names.
  struct Name {
    std::string name;  // canonical string
    size_t field = 0;
    std::vector<size_t> children;
    std::map<std::string, size_t, std::less<>> by_name;  // children
    size_t likely = 0;  // which child comes next, where rows are alike
  };

  // The end of the object that begins at `at`.
  size_t read_object(std::string_view text, size_t at, size_t parent, size_t depth) {
    nodes_[parent].likely = 0;
    for (++at; at < text.size() && text[at] == '"';) {
      size_t name_end = skip_value(text, at);
      if (name_end + 1 >= text.size()) return text.size();
      auto node = child(parent, text.substr(at, name_end - at));
      at = name_end + 1;
      if (node) {
        drafts_[nodes_[*node].field].exists.push_back(row_);
        at = read_value(text, at, *node, depth);
      } else {
        at = skip_value(text, at);
      }
      if (at < text.size() && text[at] == ',') ++at;
    }
    return at + 1;
  }

  size_t read_value(std::string_view text, size_t at, size_t node, size_t depth) {
    if (text[at] == '{') {
      add_place(nodes_[node].field, text.substr(at));
      if (depth < metadata_depth_max) return read_object(text, at, node, depth + 1);
      index_.all_fields_ = false;
      return skip_value(text, at);
    }
    size_t field = nodes_[node].field;
    size_t end = skip_value(text, at);
    if (text[at] != '[') {
      add(field, text.substr(at, end - at));
      return end;
    }
    drafts_[field].arrays.push_back(row_);
    size_t elements = 0;
    for (++at; at < end && text[at] != ']';) {
      if (++elements > elements_max) {
        drafts_[field].undecided.push_back(row_);
        break;
      }
      size_t element_end = skip_value(text, at);
      add(field, text.substr(at, element_end - at));
      at = element_end + 1;
    }
    return end;
  }

  std::optional<size_t> child(size_t parent, std::string_view name) {
    Name& of = nodes_[parent];
    if (of.likely < of.children.size() && nodes_[of.children[of.likely]].name == name) {
      return of.children[of.likely++];
    }
    if (auto found = of.by_name.find(name); found != of.by_name.end()) {
      of.likely = found->second + 1;
      return of.children[found->second];
    }
    std::string_view unquoted = name.substr(1, name.size() - 2);
    index_.dotted_ |= unquoted.find('.') != std::string_view::npos;
    if (drafts_.size() == fields_max) {
      index_.all_fields_ = false;
      return std::nullopt;
    }
    std::string whole = parent == 0 ? std::string() : drafts_[of.field].name + ".";
    whole += unquoted;
    of.by_name.emplace(name, of.children.size());
    of.children.push_back(nodes_.size());
    of.likely = of.children.size();
    Name added;
    added.name = name;
    added.field = drafts_.size();
    drafts_.emplace_back().name = std::move(whole);
    nodes_.push_back(std::move(added));
    return nodes_.size() - 1;
  }

  void add(size_t field, std::string_view text) {
    Draft& draft = drafts_[field];
    constexpr size_t values_max = UINT32_MAX / 4;  // of each kind: positions are 32 bits
    if (draft.numbers.size() + draft.literals.size() + draft.strings_at.size() >= values_max) {
      draft.undecided.push_back(row_);
      return;
    }
    switch (text.empty() ? 'n' : text[0]) {
      case '{': return add_place(field, text);
      case '[': return;
      case '"': return add_string(draft, text);
      case 'n': draft.literals.push_back({null_ordinal, row_}); return;
      case 'f': draft.literals.push_back({false_ordinal, row_}); return;
      case 't': draft.literals.push_back({true_ordinal, row_}); return;
    }
    int64_t integer = 0;
    const char* end = text.data() + text.size();
    if (auto [stop, error] = std::from_chars(text.data(), end, integer);
        error == std::errc() && stop == end) {
      draft.numbers.push_back({to_number(integer), row_});
      return;
    }
    if (auto number = to_number(read_filter_value(text))) draft.numbers.push_back({*number, row_});
  }

  // Of a text that begins with an object.
  void add_place(size_t field, std::string_view text) {
    if (auto point = read_geo_point(text)) {
      drafts_[field].cells.emplace_back(geo_cell(*point), row_);
    }
  }

  void add_string(Draft& draft, std::string_view text) {
    if (text.size() < 2) return draft.undecided.push_back(row_);
    std::string_view inner = text.substr(1, text.size() - 2);
    bool escaped = inner.find('\\') != std::string_view::npos;
    std::string other;
    if (escaped) inner = other = unquoted(text);
    if (inner.size() > string_bytes_max) return draft.undecided.push_back(row_);
    auto found = draft.string_ids.find(inner);
    if (found == draft.string_ids.end()) {
      auto at = static_cast<uint64_t>(inner.data() - index_.metadata_.bytes.data());
      if (escaped) {
        at = index_.escaped_.size();
        index_.escaped_ += inner;
        inner = kept_.emplace_back(std::move(other));
      }
      found = draft.string_ids.emplace(inner, static_cast<uint32_t>(draft.strings.size())).first;
      draft.strings.emplace_back(inner, StringPlace(escaped, at, inner.size()));
      draft.moments.push_back(parse_timestamp(inner));
    }
    draft.strings_at.push_back({found->second, row_});
  }

  Field finish(Draft& draft) const {
    Field field;
    field.name = std::move(draft.name);
    field.exists = RowSet(std::move(draft.exists), index_.rows_);
    field.arrays = RowSet(std::move(draft.arrays), index_.rows_);
    field.undecided = RowSet(std::move(draft.undecided), index_.rows_);
    std::vector<At> all = std::move(draft.literals);
    all.reserve(all.size() + draft.numbers.size() + draft.strings_at.size());
    // Stable for rows, as those of a value are to ascend.
    std::stable_sort(draft.numbers.begin(), draft.numbers.end(),
                     [](const NumberAt& a, const NumberAt& b) { return a.number < b.number; });
    std::vector<Number> different;
    for (const NumberAt& at : draft.numbers) {
      if (different.empty() || different.back() != at.number) different.push_back(at.number);
      all.push_back({first_number + static_cast<uint32_t>(different.size()) - 1, at.row});
    }
    draft.numbers = std::vector<NumberAt>();
    for (Number number : different) field.numbers.push_back(number.near);
    if (std::any_of(different.begin(), different.end(), [](Number n) { return n.rest != 0; })) {
      for (Number number : different) field.rests.push_back(number.rest);
    }
    field.numbers.shrink_to_fit();
    std::vector<uint32_t> order(draft.strings.size()), ordinals(order.size());
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return draft.strings[a].first < draft.strings[b].first;
    });
    field.strings.reserve(order.size());
    for (uint32_t i = 0; i < order.size(); ++i) {
      ordinals[order[i]] = field.first_string() + i;
      field.strings.push_back(draft.strings[order[i]].second);
    }
    for (At at : draft.strings_at) all.push_back({ordinals[at.value], at.row});
    add_moments(field, draft, all);
    std::sort(draft.cells.begin(), draft.cells.end());
    for (auto [cell, row] : draft.cells) {
      field.cells.push_back(cell);
      field.cell_rows.push_back(row);
    }
    field.cells.shrink_to_fit();
    field.cell_rows.shrink_to_fit();
    draft = Draft();
    list(field, all);
    return field;
  }

  // The strings that name a moment, once more by what they name.
  static void add_moments(Field& field, const Draft& draft, std::vector<At>& all) {
    for (const auto& moment : draft.moments) {
      if (moment) field.moments.push_back(moment->micros);
    }
    std::sort(field.moments.begin(), field.moments.end());
    field.moments.erase(std::unique(field.moments.begin(), field.moments.end()),
                        field.moments.end());
    field.moments.shrink_to_fit();
    if (field.moments.empty()) return;
    for (At at : draft.strings_at) {
      const auto& moment = draft.moments[at.value];
      if (!moment) continue;
      auto place = std::lower_bound(field.moments.begin(), field.moments.end(), moment->micros);
      all.push_back(
          {field.first_moment() + static_cast<uint32_t>(place - field.moments.begin()), at.row});
    }
  }

  static void add_block(Field& field, Block block) {
    block.first = field.blocks.size();
    if (!field.blocks.empty() && !field.blocks.back().rows.intersects(block.rows)) {
      block.first = field.blocks.back().first;
      block.rows.add(field.blocks.back().rows);
    }
    field.blocks.push_back(std::move(block));
  }

  // Fills starts, rows and blocks. Of each value, `all` has the rows in their order.
  void list(Field& field, const std::vector<At>& all) const {
    uint32_t values = field.values();
    std::vector<uint32_t> starts(size_t{values} + 1), rows(all.size());
    for (At at : all) ++starts[at.value + 1];
    for (uint32_t v = 0; v < values; ++v) starts[v + 1] += starts[v];
    std::vector<uint32_t> next(starts.begin(), starts.end() - 1);
    for (At at : all) rows[next[at.value]++] = at.row;

    const size_t dense = std::max<size_t>(index_.rows_ / dense_share, 64);
    field.starts.reserve(starts.size());
    auto list_of = [&](uint32_t value) {
      return std::pair(rows.begin() + starts[value], rows.begin() + starts[value + 1]);
    };
    Range run;  // sparse values, not yet in a block
    size_t run_start = 0;
    auto end_run = [&](uint32_t end) {
      run.end = end;
      if (field.rows.size() - run_start < dense) return;
      Block block{run, Bitmap(index_.rows_)};
      for (size_t i = run_start; i < field.rows.size(); ++i) block.rows.set(field.rows[i]);
      add_block(field, std::move(block));
    };
    auto begin_run = [&](uint32_t begin) {
      run.begin = begin;
      run_start = field.rows.size();
    };
    for (uint32_t v = 0; v < values; ++v) {
      field.starts.push_back(static_cast<uint32_t>(field.rows.size()));
      auto [begin, end] = list_of(v);
      end = std::unique(begin, end);  // of arrays that repeat a value
      if (static_cast<size_t>(end - begin) >= dense) {
        end_run(v);
        Block block{{v, v + 1}, Bitmap(index_.rows_)};
        for (auto row = begin; row != end; ++row) block.rows.set(*row);
        add_block(field, std::move(block));
        begin_run(v + 1);
        continue;
      }
      field.rows.insert(field.rows.end(), begin, end);
      if (field.rows.size() - run_start >= dense) {
        end_run(v + 1);
        begin_run(v + 1);
      }
    }
    field.starts.push_back(static_cast<uint32_t>(field.rows.size()));
    field.rows.shrink_to_fit();
    field.blocks.shrink_to_fit();
  }

  MetadataIndex& index_;
  uint32_t row_ = 0;
  std::deque<Draft> drafts_;
  std::deque<Name> nodes_;  // the first is the root
  std::deque<std::string> kept_;
};

MetadataIndex::MetadataIndex(const TextColumn& metadata)
    : rows_(static_cast<uint32_t>(metadata.rows)), metadata_(metadata) {
  Builder(*this).run();
}

MetadataIndex::~MetadataIndex() = default;

Selection MetadataIndex::select(const Filter& filter) const { return evaluate(filter.root()); }

size_t MetadataIndex::memory_bytes() const {
  size_t bytes = sizeof(*this) + escaped_.capacity();
  for (const Field& field : fields_) bytes += field.memory_bytes();
  return bytes;
}

std::span<const MetadataIndex::Field> MetadataIndex::find(const std::string& name) const {
  auto first = std::partition_point(fields_.begin(), fields_.end(),
                                    [&](const Field& field) { return field.name < name; });
  auto last =
      std::find_if(first, fields_.end(), [&](const Field& field) { return field.name != name; });
  return {first, last};
}

namespace {

void invert(Selection& rows) {
  rows.sure.invert();
  if (!rows.maybe) return;
  rows.maybe->invert();
  std::swap(rows.sure, *rows.maybe);
}

void add(Selection& rows, const Selection& others) {
  if (others.maybe && !rows.maybe) rows.maybe = rows.sure;
  if (rows.maybe) rows.maybe->add(others.widest());
  rows.sure.add(others.sure);
}

void keep(Selection& rows, const Selection& others) {
  if (others.maybe && !rows.maybe) rows.maybe = rows.sure;
  if (rows.maybe) rows.maybe->keep(others.widest());
  rows.sure.keep(others.sure);
}

}  // namespace

Selection MetadataIndex::evaluate(const Filter::Node& node) const {
  using Kind = Filter::Node::Kind;
  if (node.kind == Kind::none) {
    Selection inner = evaluate(node.children.front());
    invert(inner);
    return inner;
  }
  if (node.kind != Kind::all && node.kind != Kind::any) return evaluate_fields(node);
  if (node.children.empty()) {
    Selection every{Bitmap(rows_), std::nullopt};
    if (node.kind == Kind::all) every.sure.invert();
    return every;
  }
  Selection out = evaluate(node.children.front());
  for (size_t i = 1; i < node.children.size(); ++i) {
    if (node.kind == Kind::all && out.widest().none()) break;
    Selection next = evaluate(node.children[i]);
    node.kind == Kind::all ? keep(out, next) : add(out, next);
  }
  return out;
}

Selection MetadataIndex::evaluate_fields(const Filter::Node& node) const {
  const std::span<const Field> fields = find(node.field);
  Selection out = fields.empty() ? Selection{Bitmap(rows_), std::nullopt}
                                 : evaluate_field(fields.front(), node);
  for (const Field& field : fields.subspan(fields.empty() ? 0 : 1)) {
    add(out, evaluate_field(field, node));
  }
  const bool dotted = dotted_ && node.field.find('.') != std::string::npos;
  if (!all_fields_ && (fields.empty() || dotted)) {
    out.maybe.emplace(rows_);
    out.maybe->invert();
  }
  if (node.kind == Filter::Node::Kind::exists && !node.wanted) invert(out);
  return out;
}

// Of $exists, that it does.
Selection MetadataIndex::evaluate_field(const Field& field, const Filter::Node& node) const {
  using Kind = Filter::Node::Kind;
  Selection out{Bitmap(rows_), std::nullopt};
  if (node.kind == Kind::exists) {
    field.exists.add_to(out.sure);
    return out;
  }
  if (node.kind == Kind::within) return evaluate_area(field, *node.area);
  auto view = [&](StringPlace place) {
    const std::string& bytes = place.escaped() ? escaped_ : metadata_.bytes;
    return std::string_view(bytes).substr(place.at(), place.size());
  };
  bool undecided_exists = false;
  for (const FilterValue& operand : node.operands) {
    // The values that are equal to it, and those of its kind.
    Range equal, kind;
    if (std::holds_alternative<Composite>(operand)) {
      undecided_exists = true;
      continue;
    } else if (std::holds_alternative<std::monostate>(operand)) {
      equal = {null_ordinal, null_ordinal + 1};
    } else if (const bool* truth = std::get_if<bool>(&operand)) {
      equal.begin = *truth ? true_ordinal : false_ordinal;
      equal.end = equal.begin + 1;
    } else if (const auto* text = std::get_if<std::string>(&operand)) {
      auto below = std::partition_point(field.strings.begin(), field.strings.end(),
                                        [&](StringPlace place) { return view(place) < *text; });
      kind = {field.first_string(), field.first_moment()};
      equal.begin = kind.begin + static_cast<uint32_t>(below - field.strings.begin());
      bool found = below != field.strings.end() && view(*below) == *text;
      equal.end = equal.begin + (found ? 1 : 0);
    } else if (const auto* moment = std::get_if<Timestamp>(&operand)) {
      auto below = std::lower_bound(field.moments.begin(), field.moments.end(), moment->micros);
      kind = {field.first_moment(), field.values()};
      equal.begin = kind.begin + static_cast<uint32_t>(below - field.moments.begin());
      bool found = below != field.moments.end() && *below == moment->micros;
      equal.end = equal.begin + (found ? 1 : 0);
    } else if (auto number = to_number(operand)) {
      kind = {first_number, field.first_string()};
      size_t low = 0, high = field.numbers.size();
      while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (field.number(middle) < *number) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      bool found = low < field.numbers.size() && field.number(low) == *number;
      equal.begin = kind.begin + static_cast<uint32_t>(low);
      equal.end = equal.begin + (found ? 1 : 0);
    }
    // Only numbers, strings and moments have an order.
    bool ordered = kind.end != 0;
    switch (node.kind) {
      case Kind::greater:
        field.add(ordered ? Range{equal.end, kind.end} : Range{}, out.sure);
        break;
      case Kind::greater_equal:
        field.add(ordered ? Range{equal.begin, kind.end} : equal, out.sure);
        break;
      case Kind::less:
        field.add(ordered ? Range{kind.begin, equal.begin} : Range{}, out.sure);
        break;
      case Kind::less_equal:
        field.add(ordered ? Range{kind.begin, equal.end} : equal, out.sure);
        break;
      default: field.add(equal, out.sure); break;
    }
  }
  if (undecided_exists || !field.undecided.empty()) {
    out.maybe = out.sure;
    (undecided_exists ? field.exists : field.undecided).add_to(*out.maybe);
  }
  return out;
}

namespace {

// The rows of places in an area, of a field's cells and their rows: the map is quartered
// until a piece is in it, or beside it, or has few places.
class AreaSelection {
 public:
  AreaSelection(const std::vector<uint64_t>& cells, const std::vector<uint32_t>& rows,
                const GeoArea& area, Bitmap& sure, Bitmap& maybe)
      : cells_(cells), rows_(rows), area_(area), sure_(sure), maybe_(maybe) {}

  void run() { add(0, cells_.size(), 0, 0); }

 private:
  static constexpr size_t few = 8;
  static constexpr uint32_t levels = 32;

  void take(size_t begin, size_t end, GeoArea::Overlap overlap) {
    if (overlap == GeoArea::Overlap::none) return;
    Bitmap& out = overlap == GeoArea::Overlap::all ? sure_ : maybe_;
    for (size_t i = begin; i < end; ++i) out.set(rows_[i]);
  }
  // Places [begin, end) are those of the piece of `level` whose first cell is `first`.
  void add(size_t begin, size_t end, uint64_t first, uint32_t level) {
    if (begin == end) return;
    auto overlap = area_.overlap(geo_rect(first, level));
    if (overlap != GeoArea::Overlap::some || level == levels) return take(begin, end, overlap);
    if (end - begin <= few) {
      for (size_t i = begin; i < end; ++i) {
        take(i, i + 1, area_.overlap(geo_rect(cells_[i], levels)));
      }
      return;
    }
    const uint64_t quarter = uint64_t{1} << (62 - 2 * level);
    for (uint64_t part = 0; part < 4; ++part) {
      uint64_t last = first + part * quarter + (quarter - 1);
      auto stop = std::upper_bound(cells_.begin() + static_cast<std::ptrdiff_t>(begin),
                                   cells_.begin() + static_cast<std::ptrdiff_t>(end), last);
      auto middle = static_cast<size_t>(stop - cells_.begin());
      add(begin, middle, first + part * quarter, level + 1);
      begin = middle;
    }
  }

  const std::vector<uint64_t>& cells_;
  const std::vector<uint32_t>& rows_;
  const GeoArea& area_;
  Bitmap& sure_;
  Bitmap& maybe_;
};

}  // namespace

Selection MetadataIndex::evaluate_area(const Field& field, const GeoArea& area) const {
  Selection out{Bitmap(rows_), std::nullopt};
  Bitmap maybe(rows_);
  AreaSelection(field.cells, field.cell_rows, area, out.sure, maybe).run();
  field.undecided.add_to(maybe);
  maybe.remove(out.sure);
  if (maybe.none()) return out;
  maybe.add(out.sure);
  out.maybe = std::move(maybe);
  return out;
}

}  // namespace jade
