// Long work that can be left when nobody waits for its result any more.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

namespace jade {

// Asked now and then by the one thread that does the work; what "nobody waits" means is
// for who made it. Once it says stop, it says so for good, and what the work has found is
// not to be used.
class Stopper {
 public:
  // So many rows are looked at between two questions: a fraction of a millisecond, in
  // which a question of some nanoseconds is lost.
  static constexpr uint64_t interval = 4096;

  explicit Stopper(std::function<bool()> expired) : expired_(std::move(expired)) {}

  bool stopped() const { return stopped_; }
  // Asks now.
  bool check() {
    done_ = 0;
    if (!stopped_) stopped_ = expired_();
    return stopped_;
  }
  // `rows` more were looked at; asks where that makes an interval.
  bool after(uint64_t rows) {
    done_ += rows;
    return done_ < interval ? stopped_ : check();
  }

 private:
  std::function<bool()> expired_;
  uint64_t done_ = 0;  // since the last question
  bool stopped_ = false;
};

}  // namespace jade
