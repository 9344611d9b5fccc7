// Inverted lists that take rows one by one, so that rows without an index of their own need
// not be compared one by one.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "index/rotation.h"
#include "index/row_codes.h"
#include "index/segment.h"

namespace jade {

struct InvertedLists;  // index/ivf.h

// What vectors in codes are compared with.
struct CodedQuery {
  std::vector<float> values;    // rotated; from the middle of all, but under dot
  EncodedQuery code;            // the same
  std::vector<uint8_t> tables;  // the same, for Kernels::rows_within, whose sums
  float step = 0, half = 0;     // × step - half are about the values × signs
  float length = 0;             // of the values
  float base = 0;               // of all distances
  bool euclidean = true;        // else distances are -query · vector
};

// Up to 64 vectors as whole numbers of 7 or 4 bits, from where one centre of theirs is, each
// with a scale of its own, as no common one is known before all have come. Those of 4 bits
// have their signs alone as well, which give estimates (index/bit_codes.h) of all at once for
// a third of the memory to read: most need no more. In one piece of
// memory, so that it can be on its way before anything of it is known. One thread changes
// them; others may read those that there were before.
class alignas(64) CodedVectors {
 public:
  static constexpr uint32_t most = 64;
  // `bits`: 7 or 4. `dimension`: a multiple of 128. `centre`: as many values; null: 0.
  static std::shared_ptr<CodedVectors> make(size_t dimension, int bits, const float* centre);
  // The same vectors.
  std::shared_ptr<CodedVectors> copy() const;
  CodedVectors(const CodedVectors&) = delete;
  CodedVectors& operator=(const CodedVectors&) = delete;

  uint32_t size() const { return size_.load(std::memory_order_acquire); }
  size_t memory_bytes() const {
    return sizeof(CodedVectors) + signs_bytes() + dimension_ * sizeof(float) + most * width_;
  }
  // What it was added with.
  uint32_t number(uint32_t at) const { return numbers_[at]; }
  const float* centre() const { return reinterpret_cast<const float*>(signs() + signs_bytes()); }
  // Of its centre.
  float distance(const CodedQuery& query) const;
  // A bit for each of the first `count`: whether, by their signs, it may be within `limit` of
  // the query. `of_centre`: distance(), or about that.
  uint64_t likely(const CodedQuery& query, float of_centre, uint32_t count, float limit) const;
  // Of those at at[0], at[1], ...
  void distances(const CodedQuery& query, float of_centre, const uint32_t* at, uint32_t count,
                 float* out) const;
  // Of the first `count`.
  void distances(const CodedQuery& query, uint32_t count, float* out) const;
  // By how much distances() of it is off, as standard deviation. Of a centre at 0.
  float deviation(const CodedQuery& query, uint32_t at) const;
  // That likely() is wanted soon. Reads nothing of it.
  void prefetch() const;
  // That distance() is wanted soon, and distances() of it.
  void prefetch_centre() const { prefetch_bytes(centre(), dimension_ * sizeof(float)); }
  void prefetch_code(uint32_t at) const {
    __builtin_prefetch(&scales_[at]);
    prefetch_bytes(code(at), width_);
  }

  // `values`: finite. Returns |values - centre|² and the squared unit of the code.
  std::pair<float, float> add(uint32_t number, const float* values);
  // The same as there. Of 7 bits, and of the same centre.
  void add(uint32_t number, const CodedVectors& from, uint32_t at);
  // Only where nobody reads it.
  std::pair<float, float> set(uint32_t at, const float* values);

 private:
  CodedVectors(size_t dimension, int bits);
  static size_t code_bytes(size_t dimension, int bits) {
    return bits == 4 ? dimension / 2 : dimension;
  }
  static size_t sign_bytes(size_t dimension, int bits) { return bits == 4 ? dimension / 8 : 0; }
  static void prefetch_bytes(const void* begin, size_t count);
  void set_signs(uint32_t at, const float* from_centre, float squares);
  size_t signs_bytes() const { return most * sign_width_; }
  // Byte j of the vector at i is signs()[most × j + i].
  uint8_t* signs() { return reinterpret_cast<uint8_t*>(this + 1); }
  const uint8_t* signs() const { return const_cast<CodedVectors*>(this)->signs(); }
  float* own_centre() { return const_cast<float*>(centre()); }
  uint8_t* code(uint32_t at) {
    return reinterpret_cast<uint8_t*>(own_centre() + dimension_) + at * width_;
  }
  const uint8_t* code(uint32_t at) const { return const_cast<CodedVectors*>(this)->code(at); }

  // With c the centre and r the vector from it: |y - c - r|² = |y - c|² + constant - 2 y · r.
  struct Scale {
    float step;  // what 1 of a code is
    float constant;
  };

  std::array<uint32_t, most> numbers_;
  std::array<Scale, most> scales_;
  const size_t dimension_;
  const int bits_;
  const size_t width_;       // bytes of a code
  const size_t sign_width_;  // and of its signs
  std::atomic<uint32_t> size_{0};
  // With s the signs of r: |y - c - r|² is about |y - c|² + constant - 2 × factor × (y · s).
  std::array<float, most> estimate_constants_{};
  std::array<float, most> factors_{};  // |r|² / Σ |r|
  // signs_bytes(), dimension_ floats and most × width_ bytes follow.
};

// The rows of a growing segment, each in the list whose centre was nearest when it came. A
// list that is full is split in two by 2-means, so that the lists follow the data and there is
// never more to do at once than that: after Xu et al., "SPFresh: incremental in-place update
// for billion-scale vector search", SOSP 2023, without its moves between neighbouring lists.
// Lists are in blocks, found by the blocks' centres, which are split in the same way. One
// thread adds; any number search what now() gave them.
class GrowingLists {
 public:
  struct NearList {
    float distance;            // of its centre, by its code, ...
    float error;               // ... which is off by so much at most, but for few
    const CodedVectors* rows;  // and their offsets in the segment
  };

  // The lists that there were at one moment. Later rows come into them too, or into others.
  class Directory {
   public:
    uint32_t lists() const { return lists_; }
    size_t memory_bytes() const;
    // The `count` lists whose centres are nearest, about, or all if they are fewer; nearest
    // first, about as well. Of lists with equal centres, which rows have that are equal, all come
    // or none, and one counts. They live as long as this.
    void nearest(const CodedQuery& query, uint32_t count, std::vector<NearList>& out) const;

   private:
    friend class GrowingLists;
    using List = std::shared_ptr<CodedVectors>;
    struct Block {
      std::vector<float> centre;
      std::shared_ptr<CodedVectors> centres;  // of the lists
      std::vector<List> lists;                // up to CodedVectors::most
      // A bit for each of these: its centre is that of another, as all of their rows are equal.
      uint64_t repeats = 0;
    };
    struct Place {
      uint32_t block;
      uint32_t list;  // in it
    };
    CodedVectors& rows(Place at) const { return *blocks_[at.block]->lists[at.list]; }
    Place nearest_list(const CodedQuery& query) const;
    // Numbers of the nearest blocks, in no order: as many as have about `lists` together.
    std::vector<uint32_t> nearest_blocks(const CodedQuery& query, uint32_t lists) const;
    // Two lists in the place of one.
    void replace(Place at, List first, List second);
    // One more, into the nearest block. `centre`: its own; `repeats`: the last one's.
    void insert(List list, const CodedQuery& centre, bool repeats);
    uint32_t nearest_block(const CodedQuery& query) const;
    void divide(uint32_t block);
    void set_block(uint32_t at, std::shared_ptr<const Block> block);

    // What is in them is shared by directories.
    std::vector<std::shared_ptr<const Block>> blocks_;
    std::vector<std::shared_ptr<const CodedVectors>> centres_;  // of blocks, one after another
    uint32_t lists_ = 0;
  };

  // Of rows of `segment`, which outlives this.
  explicit GrowingLists(const Segment& segment);
  // With all of its rows, in the lists that they are in, to be searched by their codes: each
  // becomes as many lists of one centre as it takes. Null where codes cannot express a row.
  static std::unique_ptr<const GrowingLists> of(const Segment& segment, const InvertedLists& lists);

  // Adds the rows begin to end - 1, which follow the last; they can be read. False when codes
  // cannot express one of them: then these lists are of no use any more.
  bool add(uint32_t begin, uint32_t end);

  // Holds all rows that were added before.
  std::shared_ptr<const Directory> now() const;
  // False where codes cannot express the query. `query`: dimension floats, of length 1 under
  // cosine. Distances to it are then those of RowCodes.
  bool encode(const float* query, CodedQuery& out) const;
  // By how much distances of rows by codes are off at most, but for few.
  float error(const CodedQuery& query) const;

 private:
  // Of values whose squares are nearly 0 codes say nothing.
  static constexpr float largest_min = 1e-15f;

  bool add_row(uint32_t row);
  // query_.values of a row or a centre, which codes may not be able to express.
  bool encode_added();
  bool add_lists(const InvertedLists& lists);
  void find_middle(uint32_t rows);
  // The row, from the middle, rotated.
  void load(uint32_t row, float* out) const;
  void load(const float* values, float* out) const;
  void split(Directory::Place at);
  void note(std::pair<float, float> added);
  // Whether codes tell the rows apart that were added.
  bool tells_apart() const { return largest_ == 0 || largest_ > largest_min; }
  void publish(std::shared_ptr<const Directory> directory);

  const Segment& segment_;
  const uint32_t dimension_;
  // So that no dimension has a scale of its own: rounded up to whole 128.
  const Rotation rotation_;
  const size_t rotated_;
  std::vector<float> middle_;  // of the first rows
  bool usable_ = true;
  float largest_ = 0;          // of what is added, of all dimensions
  std::vector<float> values_;  // of the row at hand
  CodedQuery query_;           // the same
  // Sums over all rows, for error().
  std::atomic<double> spread_{0};
  std::atomic<double> squared_steps_{0};
  std::atomic<uint32_t> rows_{0};

  mutable std::mutex mutex_;  // of the pointer; its thread alone writes it
  std::shared_ptr<const Directory> directory_;
};

}  // namespace jade
