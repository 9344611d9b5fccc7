// The error vocabulary of the whole project.
//
// Expected failures are values: a function that can fail returns Status or
// Result<T>. Broken invariants are bugs and go through JADE_ASSERT, which stays
// on in release builds. Add a code only when a caller branches on it; what a
// person needs to know belongs in the message.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace jade {

enum class Code : uint8_t {
  ok = 0,
  invalid_argument,     // the request can never succeed as it stands (HTTP 400)
  not_found,            // the named thing does not exist (404)
  already_exists,       // the name is taken (409)
  failed_precondition,  // valid, but not in the present state (409)
  too_large,            // over a documented size limit (413)
  resource_exhausted,   // too much in flight, retry later (429)
  moved,                // another shard has these ids now; ask again by a newer map (503)
  unavailable,          // no leader, shutting down, peer lost (503)
  deadline_exceeded,    // the request's own deadline passed (504)
  disk_full,            // nothing was written (507)
  corruption,           // a checksum or format did not hold (500)
  io_error,             // the disk or network failed (500)
  unimplemented,        // never part of a released route (501)
  internal,             // a bug (500)
};

// "invalid_argument", "disk_full": the code as it appears in JSON and logs.
std::string_view to_string(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::ok; }
  explicit operator bool() const { return ok(); }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same failure with "context: " in front of its message.
  Status with_context(std::string_view context) const {
    if (ok()) return *this;
    return Status(code_, std::string(context) + ": " + message_);
  }

  // "disk_full: writing segments/000012.ldb: no space left on device"
  std::string to_string() const {
    if (ok()) return "ok";
    return std::string(jade::to_string(code_)) + ": " + message_;
  }

  // For caf::inspect and tests; use the constructor elsewhere.
  Code code_ = Code::ok;
  std::string message_;
};

inline bool operator==(const Status& a, const Status& b) {
  return a.code_ == b.code_ && a.message_ == b.message_;
}

inline Status invalid_argument(std::string m) {
  return Status(Code::invalid_argument, std::move(m));
}
inline Status not_found(std::string m) { return Status(Code::not_found, std::move(m)); }
inline Status corruption(std::string m) { return Status(Code::corruption, std::move(m)); }
inline Status unavailable(std::string m) { return Status(Code::unavailable, std::move(m)); }
inline Status internal_error(std::string m) { return Status(Code::internal, std::move(m)); }

[[noreturn]] inline void assertion_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, what);
  std::abort();
}

#define JADE_ASSERT(condition) \
  ((condition) ? (void)0 : ::jade::assertion_failed(#condition, __FILE__, __LINE__))

// A value or the reason why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) { JADE_ASSERT(!status_.ok()); }

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Status& status() const { return status_; }

  T& value() & {
    JADE_ASSERT(ok());
    return *value_;
  }
  const T& value() const& {
    JADE_ASSERT(ok());
    return *value_;
  }
  T&& value() && {
    JADE_ASSERT(ok());
    return *std::move(value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

// Returns from the enclosing function when `expression` is a failed Status.
#define JADE_RETURN_IF_ERROR(expression)                        \
  do {                                                          \
    if (auto jade_status_ = (expression); !jade_status_.ok()) { \
      return jade_status_;                                      \
    }                                                           \
  } while (false)

}  // namespace jade
