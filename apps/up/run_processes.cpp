#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

#include "apps/up/announce.h"
#include "apps/up/back_off.h"
#include "apps/up/child_process.h"
#include "apps/up/log_merger.h"
#include "apps/up/ready_probe.h"
#include "apps/up/up.h"

namespace jade {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// While one lives, the signals that concern us are read from a descriptor, in this
// thread and in all that it starts.
class Signals {
 public:
  Signals() {
    sigset_t set;
    sigemptyset(&set);
    for (int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
    ::signal(SIGPIPE, SIG_IGN);  // a log that nobody reads is no reason to end
    descriptor_ = FileDescriptor(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~Signals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int descriptor() const { return descriptor_.get(); }
  // 0: none.
  int next() {
    signalfd_siginfo info;
    return ::read(descriptor(), &info, sizeof info) == sizeof info
               ? static_cast<int>(info.ssi_signo)
               : 0;
  }

 private:
  sigset_t before_;
  FileDescriptor descriptor_;
};

std::vector<std::string> arguments_of(const PlannedNode& node) {
  std::vector<std::string> arguments = {"serve"};
  for (const ServeSetting& setting : serve_settings()) {
    auto value = node.settings.find(setting.key);
    if (value != node.settings.end()) arguments.push_back(setting.flag() + "=" + value->second);
  }
  return arguments;
}

// A node, over the processes that run it one after another.
struct Member {
  PlannedNode plan;
  std::optional<ChildProcess> child;
  Clock::time_point started;
  std::optional<Clock::time_point> start_at;  // of the next process, when there is to be one
  BackOff back_off;
  std::string output;     // of the process; the URL, once it serves
  bool has_come = false;  // some process of it has served
};

class Supervisor {
 public:
  Supervisor(const std::vector<PlannedNode>& nodes, Pipe ready)
      : announce_(nodes),
        ready_(std::move(ready)),
        probe_([write = ready_.write.get()](size_t node) {
          char number = static_cast<char>(node);
          [[maybe_unused]] ssize_t written = ::write(write, &number, 1);
        }) {
    for (const PlannedNode& node : nodes) {
      Member& member = members_.emplace_back();
      member.plan = node;
      member.start_at = Clock::now();
    }
  }

  Status run() {
    for (;;) {
      start_due();
      if (stopping_ && running() == 0) return failure_;
      wait_and_handle();
    }
  }

 private:
  size_t running() const {
    return static_cast<size_t>(std::count_if(members_.begin(), members_.end(),
                                             [](const Member& m) { return m.child.has_value(); }));
  }

  void start_due() {
    for (size_t i = 0; i < members_.size() && !stopping_; ++i) {
      Member& member = members_[i];
      if (member.start_at && *member.start_at <= Clock::now()) start(i);
    }
  }

  void start(size_t index) {
    Member& member = members_[index];
    member.start_at.reset();
    member.started = Clock::now();
    member.output.clear();
    auto child = ChildProcess::start(arguments_of(member.plan));
    if (!child) {
      retry(index, "could not be started (" + child.status().message() + ")");
      return;
    }
    member.child.emplace(std::move(*child));
    announce_.say(member.plan.name + " started as process " + std::to_string(member.child->pid()));
    probe_.watch(index, member.plan.url);
  }

  // Until anything happens, or the next start is due.
  void wait_and_handle() {
    std::vector<pollfd> sources = {{signals_.descriptor(), POLLIN, 0},
                                   {ready_.read.get(), POLLIN, 0}};
    for (Member& member : members_) {
      // A process that closed one of them is seen by its end.
      sources.push_back({member.child ? member.child->output().get() : -1, POLLIN, 0});
      sources.push_back({member.child ? member.child->log().get() : -1, POLLIN, 0});
    }
    ::poll(sources.data(), sources.size(), timeout_ms());
    for (size_t i = 0; i < members_.size(); ++i) {
      if (sources[2 + 2 * i].revents != 0) take_output(members_[i]);
      if (sources[3 + 2 * i].revents != 0) take_log(i);
    }
    take_ready();
    take_signals();
  }

  int timeout_ms() const {
    std::optional<Clock::time_point> next;
    for (const Member& member : members_) {
      if (member.start_at && (!next || *member.start_at < *next)) next = member.start_at;
    }
    if (!next || stopping_) return -1;
    auto left = std::chrono::ceil<milliseconds>(*next - Clock::now()).count();
    return static_cast<int>(std::max<decltype(left)>(left, 0));
  }

  void take_output(Member& member) {
    if (!member.child->output().read_available(member.output)) {
      member.child->output() = FileDescriptor();
    }
    if (member.output.find('\n') != std::string::npos) member.has_come = true;
  }

  void take_log(size_t index) {
    std::string bytes;
    if (!members_[index].child->log().read_available(bytes)) {
      members_[index].child->log() = FileDescriptor();
    }
    announce_.log().add(index, bytes);
  }

  void take_ready() {
    std::string nodes;
    ready_.read.read_available(nodes);
    for (char node : nodes) {
      if (!stopping_) announce_.ready(static_cast<size_t>(node));
    }
  }

  void take_signals() {
    while (int number = signals_.next()) {
      if (number == SIGCHLD) {
        reap();
      } else {
        stop(number);
      }
    }
  }

  void reap() {
    for (size_t i = 0; i < members_.size(); ++i) {
      auto status = members_[i].child ? members_[i].child->ended() : std::nullopt;
      if (status) on_end(i, *status);
    }
  }

  void on_end(size_t index, int wait_status) {
    Member& member = members_[index];
    take_output(member);
    take_log(index);
    announce_.log().finish(index);
    member.child.reset();
    probe_.forget(index);
    std::string how = end_text(wait_status);
    bool failed = wait_status != 0;
    if (stopping_) {
      // So it ends if it was told before it began to listen for it.
      if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGTERM) failed = false;
      announce_.say(member.plan.name + " " + how);
      if (failed && failure_.ok()) fail(member.plan.name + " " + how + " when it was stopped");
    } else if (failed && WIFEXITED(wait_status) && !member.has_come) {
      // It said why in its log, and would say it again.
      fail(member.plan.name + " could not start; its log says why");
      announce_.say(failure_.message());
      stop(SIGTERM);
    } else {
      retry(index, how);
    }
  }

  void fail(const std::string& why) { failure_ = unavailable(why); }

  void retry(size_t index, const std::string& why) {
    Member& member = members_[index];
    auto ran = std::chrono::duration_cast<milliseconds>(Clock::now() - member.started);
    milliseconds delay = member.back_off.next(ran);
    member.start_at = Clock::now() + delay;
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%g", static_cast<double>(delay.count()) / 1000);
    announce_.say(member.plan.name + " " + why + "; it is started again in " + seconds + " s");
  }

  void stop(int signal_number) {
    bool again = stopping_;
    stopping_ = true;
    if (running() > 0) {
      announce_.say(again ? "killing the nodes that have not stopped"
                          : "stopping the nodes (" + signal_name(signal_number) + ")");
    }
    for (Member& member : members_) {
      if (!member.child) continue;
      member.child->signal(again ? SIGKILL : SIGTERM);
      member.child->signal(SIGCONT);  // one that somebody has stopped would not hear it
    }
  }

  Signals signals_;  // first: the probe's thread must not take them
  Announce announce_;
  Pipe ready_;
  ReadyProbe probe_;
  std::vector<Member> members_;
  bool stopping_ = false;
  Status failure_;
};

}  // namespace

Status run_processes(const std::vector<PlannedNode>& nodes) {
  auto ready = make_pipe();
  if (!ready) return ready.status();
  return Supervisor(nodes, std::move(*ready)).run();
}

}  // namespace jade
