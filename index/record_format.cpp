#include "index/record_format.h"

namespace jade {

RecordFormat::RecordFormat(const RowFormat& format)
    : RecordFormat(std::vector<Vector>{{"", format}}) {}

RecordFormat::RecordFormat(std::vector<Vector> vectors) : vectors_(std::move(vectors)) {
  JADE_ASSERT(!vectors_.empty() && vectors_.size() <= vectors_max);
  named_ = !vectors_.front().name.empty();
  size_t end = 0;
  for (const Vector& vector : vectors_) {
    JADE_ASSERT(named_ == !vector.name.empty());
    ends_.push_back(end += vector.format.row_bytes());
  }
  JADE_ASSERT(named_ || vectors_.size() == 1);
}

uint32_t RecordFormat::stored_dimension() const {
  return named_ ? static_cast<uint32_t>(row_bytes()) : vectors_.front().format.dimension();
}

Datatype RecordFormat::stored_datatype() const {
  return named_ ? Datatype::uint8 : vectors_.front().format.datatype();
}

bool RecordFormat::fits(std::string_view stored) const {
  if (stored.size() != row_bytes()) return false;
  if (!named_) return true;
  auto present = static_cast<unsigned char>(stored.back());
  return present != 0 && present < (1u << vectors_.size());
}

bool RecordFormat::has(std::string_view stored, size_t vector) const {
  JADE_ASSERT(stored.size() == row_bytes() && vector < vectors_.size());
  return !named_ || (static_cast<unsigned char>(stored.back()) >> vector & 1) != 0;
}

const char* RecordFormat::find(std::string_view stored, size_t vector) const {
  return has(stored, vector) ? stored.data() + begin(vector) : nullptr;
}

const char* RecordFormat::put(char* stored, size_t vector, const float* values) const {
  JADE_ASSERT(vector < vectors_.size());
  const RowFormat& of = vectors_[vector].format;
  store_values(of.datatype(), values, of.dimension(), stored + begin(vector));
  if (named_) {
    char& present = stored[row_bytes() - 1];
    present = static_cast<char>(present | 1 << vector);
  }
  return stored + begin(vector);
}

std::string RecordFormat::merge(std::string_view stored, std::string_view set,
                                uint8_t without) const {
  if (!named_) return std::string(set.empty() ? stored : set);
  std::string out = stored.empty() ? std::string(row_bytes(), '\0') : std::string(stored);
  auto present = static_cast<unsigned char>(out.back());
  for (size_t v = 0; v < vectors_.size(); ++v) {
    const size_t bytes = ends_[v] - begin(v);
    const char* given = set.empty() ? nullptr : find(set, v);
    if (given != nullptr) {
      out.replace(begin(v), bytes, given, bytes);
      present |= 1u << v;
    } else if ((without >> v & 1) != 0) {
      out.replace(begin(v), bytes, bytes, '\0');
      present &= ~(1u << v);
    }
  }
  out.back() = static_cast<char>(present);
  return present == 0 ? std::string() : out;
}

std::vector<float> RecordFormat::load(std::string_view stored, size_t vector) const {
  const char* found = find(stored, vector);
  JADE_ASSERT(found != nullptr);
  const RowFormat& of = vectors_[vector].format;
  std::vector<float> out(of.dimension());
  load_values(of.datatype(), found, out.size(), out.data());
  return out;
}

}  // namespace jade
