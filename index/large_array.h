// Large arrays that are read at random places.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace jade {

// On cache lines; large ones on huge pages where the kernel has them, as at random
// places each page would be a miss of its own. What a vector adds is not initialised.
template <class T>
struct LargeAllocator {
  static_assert(std::is_trivial_v<T>);
  using value_type = T;

  LargeAllocator() = default;
  template <class U>
  LargeAllocator(const LargeAllocator<U>&) {}

  T* allocate(size_t count) {
    size_t bytes = count * sizeof(T);
    void* data = ::operator new(bytes, alignment(bytes));
    // Advice: where it is not taken, all works as before.
    if (bytes >= huge_min) (void)madvise(data, bytes / huge_page * huge_page, MADV_HUGEPAGE);
    return static_cast<T*>(data);
  }
  void deallocate(T* data, size_t count) { ::operator delete(data, alignment(count * sizeof(T))); }
  template <class U, class... Args>
  void construct(U* at, Args&&... args) {
    if constexpr (sizeof...(Args) == 0) {
      ::new (static_cast<void*>(at)) U;
    } else {
      ::new (static_cast<void*>(at)) U(std::forward<Args>(args)...);
    }
  }
  friend bool operator==(LargeAllocator, LargeAllocator) { return true; }

 private:
  static constexpr size_t huge_page = size_t{2} << 20;
  static constexpr size_t huge_min = size_t{4} << 20;
  static std::align_val_t alignment(size_t bytes) {
    return std::align_val_t{bytes >= huge_min ? huge_page : 64};
  }
};

template <class T>
using LargeArray = std::vector<T, LargeAllocator<T>>;

}  // namespace jade
