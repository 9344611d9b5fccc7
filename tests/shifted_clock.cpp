// Preloaded into a process, this moves its wall clock by JADE_CLOCK_SHIFT_S seconds, as on
// a machine whose clock is wrong; clocks that only go forward stay as they are.
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

namespace {

time_t shift_s() {
  const char* text = getenv("JADE_CLOCK_SHIFT_S");
  return text != nullptr ? static_cast<time_t>(std::atoll(text)) : 0;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* out) noexcept {
  // Not by the function of that name in libc, which this stands for.
  auto result = static_cast<int>(syscall(SYS_clock_gettime, clock, out));
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    out->tv_sec += shift_s();
  }
  return result;
}

int gettimeofday(timeval* out, void*) noexcept {
  timespec now;
  int result = clock_gettime(CLOCK_REALTIME, &now);
  if (result == 0) *out = {now.tv_sec, now.tv_nsec / 1000};
  return result;
}

time_t time(time_t* out) noexcept {
  timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

}  // extern "C"
