#include "apps/up/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

namespace jade {
namespace {

// The very file that runs, even if it was replaced since.
constexpr const char* self = "/proc/self/exe";

// Its own name where it still has it, as processes are listed by what they were
// started as.
std::string this_program() {
  char path[PATH_MAX];
  ssize_t length = readlink(self, path, sizeof path - 1);
  if (length <= 0) return self;
  path[length] = '\0';
  struct stat named, running;
  bool same = stat(path, &named) == 0 && stat(self, &running) == 0 &&
              named.st_dev == running.st_dev && named.st_ino == running.st_ino;
  return same ? path : self;
}

Status system_error(const std::string& what) {
  return Status(Code::internal, what + ": " + std::strerror(errno));
}

// After fork(), in a process that may have had other threads: system calls only.
[[noreturn]] void become(const char* program, char** arguments, pid_t parent, int output, int log) {
  setpgid(0, 0);
  // Nothing that was acknowledged is lost by it, and unlike SIGTERM it also ends a
  // child that is stopped or hangs.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before it would have told
  int none = open("/dev/null", O_RDONLY);
  dup2(none, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  sigset_t nothing;
  sigemptyset(&nothing);
  sigprocmask(SIG_SETMASK, &nothing, nullptr);
  signal(SIGPIPE, SIG_DFL);
  execv(program, arguments);
  constexpr char message[] = "jade cannot be executed\n";
  [[maybe_unused]] ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);
  _exit(127);
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool FileDescriptor::read_available(std::string& out) {
  char buffer[16 << 10];
  for (;;) {
    ssize_t bytes = ::read(descriptor_, buffer, sizeof buffer);
    if (bytes > 0) {
      out.append(buffer, static_cast<size_t>(bytes));
    } else if (bytes == 0 || errno != EINTR) {
      return bytes < 0 && errno == EAGAIN;
    }
  }
}

Result<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return system_error("pipe");
  Pipe pipe{FileDescriptor(ends[0]), FileDescriptor(ends[1])};
  if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) return system_error("pipe");
  return pipe;
}

Result<ChildProcess> ChildProcess::start(const std::vector<std::string>& arguments) {
  auto output = make_pipe();
  if (!output) return output.status();
  auto log = make_pipe();
  if (!log) return log.status();
  std::vector<std::string> words = {"jade"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);

  std::string program = this_program();
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) return system_error("fork");
  if (pid == 0) {
    become(program.c_str(), pointers.data(), parent, output->write.get(), log->write.get());
  }
  return ChildProcess(pid, std::move(output->read), std::move(log->read));
}

ChildProcess::ChildProcess(pid_t pid, FileDescriptor output, FileDescriptor log)
    : pid_(pid), output_(std::move(output)), log_(std::move(log)) {}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      output_(std::move(other.output_)),
      log_(std::move(other.log_)) {}

ChildProcess::~ChildProcess() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void ChildProcess::signal(int number) const {
  if (pid_ != 0) ::kill(pid_, number);
}

std::optional<int> ChildProcess::ended() {
  int status = 0;
  if (pid_ == 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = 0;
  return status;
}

std::string signal_name(int number) {
  const char* name = sigabbrev_np(number);
  return name ? "SIG" + std::string(name) : "signal " + std::to_string(number);
}

std::string end_text(int wait_status) {
  if (WIFEXITED(wait_status)) {
    return "ended with exit code " + std::to_string(WEXITSTATUS(wait_status));
  }
  return "was killed by " + signal_name(WTERMSIG(wait_status));
}

}  // namespace jade
