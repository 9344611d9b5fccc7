// This program once more, as a child whose output is read and that never outlives us.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "storage/status.h"

namespace jade {

// Closes what it holds.
class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor = -1) : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileDescriptor();

  int get() const { return descriptor_; }

  // What can be read at once, and then false, without an effect on `out` at the end.
  // False: the end.
  bool read_available(std::string& out);

 private:
  int descriptor_;
};

struct Pipe {
  FileDescriptor read;  // does not block
  FileDescriptor write;
};
Result<Pipe> make_pipe();

class ChildProcess {
 public:
  // Runs `jade ARGUMENTS...`. The child is killed when the calling thread ends, however
  // it ends: call it from the main thread. It is in a process group of its own, so that
  // Ctrl-C reaches it through us alone.
  static Result<ChildProcess> start(const std::vector<std::string>& arguments);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  // Kills it if it has not ended.
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  FileDescriptor& output() { return output_; }  // its standard output
  FileDescriptor& log() { return log_; }        // its standard error

  void signal(int number) const;
  // Its status as of waitpid(), once it has ended; does not wait.
  std::optional<int> ended();

 private:
  ChildProcess(pid_t pid, FileDescriptor output, FileDescriptor log);

  pid_t pid_;  // 0: none, or it has ended
  FileDescriptor output_;
  FileDescriptor log_;
};

// "SIGTERM".
std::string signal_name(int number);

// "ended with exit code 1", "was killed by SIGKILL".
std::string end_text(int wait_status);

}  // namespace jade
