// Linked into builds for the thread sanitizer only. CAF and LevelDB, as packaged, are
// not instrumented: the sanitizer does not see the atomics by which they hand data from
// thread to thread, and would report every message. Suppressing that would hide what
// our code does wrong in the same functions, so it is told what happens instead.
//
// The functions below have the names of the libraries' own. Those of the program come
// first, also for a library's calls to itself, and call the one they stand for.
#include <dlfcn.h>
#include <leveldb/comparator.h>
#include <leveldb/slice.h>
#include <sanitizer/tsan_interface.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

void* original_of(const char* name) {
  void* found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) {
    std::fprintf(stderr, "%s: no library has %s\n", __FILE__, name);
    std::abort();
  }
  return found;
}

}  // namespace

// Declares `function` under the name that a library's has, and original_function() to
// call that. Objects passed by reference are pointers here; an int is returned where
// the library returns an int, a bool, an enumeration or nothing.
#define JADE_STANDS_FOR(function, name, ...)                                                \
  extern "C" int function(__VA_ARGS__) asm(name);                                           \
  static auto original_##function() {                                                       \
    static const auto original = reinterpret_cast<int (*)(__VA_ARGS__)>(original_of(name)); \
    return original;                                                                        \
  }

// CAF: a message passes from the sender to who handles it, or drops it.

using Actor = char*;

// scheduled_actor::enqueue(mailbox_element_ptr, execution_unit*)
JADE_STANDS_FOR(jade_enqueue,
                "_ZN3caf15scheduled_actor7enqueueESt10unique_ptrINS_15mailbox_elementENS_"
                "6detail8disposerEEPNS_14execution_unitE",
                Actor, void**, void*)
int jade_enqueue(Actor actor, void** element, void* unit) {
  __tsan_release(*element);
  return original_jade_enqueue()(actor, element, unit);
}

// blocking_actor::enqueue(...): CAF's own, when a system is closed.
JADE_STANDS_FOR(jade_enqueue_blocking,
                "_ZN3caf14blocking_actor7enqueueESt10unique_ptrINS_15mailbox_elementENS_"
                "6detail8disposerEEPNS_14execution_unitE",
                Actor, void**, void*)
int jade_enqueue_blocking(Actor actor, void** element, void* unit) {
  __tsan_release(*element);
  return original_jade_enqueue_blocking()(actor, element, unit);
}

// blocking_actor::mailbox_visitor::operator()(mailbox_element&)
JADE_STANDS_FOR(jade_visit_blocking,
                "_ZN3caf14blocking_actor15mailbox_visitorclERNS_15mailbox_elementE", void*, void*)
int jade_visit_blocking(void* visitor, void* element) {
  __tsan_acquire(element);
  return original_jade_visit_blocking()(visitor, element);
}

// scheduled_actor::reactivate(mailbox_element&): handles a message. After this another
// thread may have the actor, before resume() has returned.
JADE_STANDS_FOR(jade_reactivate, "_ZN3caf15scheduled_actor10reactivateERNS_15mailbox_elementE",
                Actor, void*)
int jade_reactivate(Actor actor, void* element) {
  __tsan_acquire(element);
  int result = original_jade_reactivate()(actor, element);
  __tsan_release(actor);
  return result;
}

// memory_managed::request_deletion(bool) const: of a message nobody handled, too.
JADE_STANDS_FOR(jade_request_deletion, "_ZNK3caf14memory_managed16request_deletionEb", void*, bool)
int jade_request_deletion(void* element, bool dropped) {
  __tsan_acquire(element);
  return original_jade_request_deletion()(element, dropped);
}

// CAF: an actor's state passes from thread to thread.

// scheduled_actor::launch(execution_unit*, bool lazy, bool hide)
JADE_STANDS_FOR(jade_launch, "_ZN3caf15scheduled_actor6launchEPNS_14execution_unitEbb", Actor,
                void*, bool, bool)
int jade_launch(Actor actor, void* unit, bool lazy, bool hide) {
  __tsan_release(actor);
  return original_jade_launch()(actor, unit, lazy, hide);
}

// scheduled_actor::resume(execution_unit*, size_t): an actor with a thread of its own.
JADE_STANDS_FOR(jade_resume, "_ZN3caf15scheduled_actor6resumeEPNS_14execution_unitEm", Actor, void*,
                size_t)
int jade_resume(Actor actor, void* unit, size_t messages) {
  __tsan_acquire(actor);
  int result = original_jade_resume()(actor, unit, messages);
  __tsan_release(actor);
  return result;
}

// The same, called for the base `resumable`: an actor on one of the shared threads.
JADE_STANDS_FOR(jade_resume_base, "_ZThn160_N3caf15scheduled_actor6resumeEPNS_14execution_unitEm",
                char*, void*, size_t)
int jade_resume_base(char* resumable, void* unit, size_t messages) {
  Actor actor = resumable - 160;
  __tsan_acquire(actor);
  int result = original_jade_resume_base()(resumable, unit, messages);
  __tsan_release(actor);
  return result;
}

// scheduled_actor::activate(execution_unit*): makes the behavior. As with reactivate().
JADE_STANDS_FOR(jade_activate, "_ZN3caf15scheduled_actor8activateEPNS_14execution_unitE", Actor,
                void*)
int jade_activate(Actor actor, void* unit) {
  int result = original_jade_activate()(actor, unit);
  __tsan_release(actor);
  return result;
}

// CAF: who drops the last reference destroys what others have used.

static void drop_reference(void* counted) {
  __tsan_acquire(counted);
  __tsan_release(counted);
}

// ref_counted::deref() const
JADE_STANDS_FOR(jade_deref, "_ZNK3caf11ref_counted5derefEv", void*)
int jade_deref(void* counted) {
  drop_reference(counted);
  return original_jade_deref()(counted);
}

// intrusive_ptr_release(actor_control_block*)
JADE_STANDS_FOR(jade_release, "_ZN3caf21intrusive_ptr_releaseEPNS_19actor_control_blockE", void*)
int jade_release(void* block) {
  drop_reference(block);
  return original_jade_release()(block);
}

// intrusive_ptr_release_weak(actor_control_block*)
JADE_STANDS_FOR(jade_release_weak, "_ZN3caf26intrusive_ptr_release_weakEPNS_19actor_control_blockE",
                void*)
int jade_release_weak(void* block) {
  drop_reference(block);
  return original_jade_release_weak()(block);
}

// LevelDB: reads its memtable while it is written. All that the sanitizer sees of that
// is the comparator's memcmp().

namespace {

class UnwatchedComparator final : public leveldb::Comparator {
 public:
  __attribute__((no_sanitize("thread"))) int Compare(const leveldb::Slice& a,
                                                     const leveldb::Slice& b) const override {
    size_t common = std::min(a.size(), b.size());
    for (size_t i = 0; i < common; ++i) {
      auto x = static_cast<unsigned char>(a.data()[i]), y = static_cast<unsigned char>(b.data()[i]);
      if (x != y) return x < y ? -1 : 1;
    }
    return a.size() == b.size() ? 0 : a.size() < b.size() ? -1 : 1;
  }
  const char* Name() const override { return original_->Name(); }
  void FindShortestSeparator(std::string* start, const leveldb::Slice& limit) const override {
    original_->FindShortestSeparator(start, limit);
  }
  void FindShortSuccessor(std::string* key) const override { original_->FindShortSuccessor(key); }

 private:
  const leveldb::Comparator* original_ = reinterpret_cast<const leveldb::Comparator* (*)()>(
      original_of("_ZN7leveldb18BytewiseComparatorEv"))();
};

}  // namespace

const leveldb::Comparator* leveldb::BytewiseComparator() {
  static const auto* comparator = new UnwatchedComparator();
  return comparator;
}
