// Connections between nodes, with TLS: what comes out of here has shown a certificate
// that the cluster's authority signed. Handshakes are bounded in time and number, and
// run in a thread of their own, so that nobody else can hold up the cluster.
#pragma once

#include <chrono>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "actors/cluster_tls.h"

namespace jade {

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

// Both sides have accepted each other's certificate (the side that dialled learns only
// with the first answer that its own was accepted).
struct TlsConnection {
  std::string remote;  // its address, for people
  Descriptor socket;   // does not block
  SslPtr session;
};

// Milliseconds of a clock that only goes forward.
uint64_t tls_clock_ms();

// Nobody should get a SIGPIPE from a socket: in the threads that write to one.
void block_sigpipe();

// Connects and shakes hands; blocks for `limit` at most, not counting the name look-up.
Result<TlsConnection> tls_dial(const ClusterTls& tls, const std::string& host, uint16_t port,
                               std::chrono::milliseconds limit);

// The same without TLS: connects only. unavailable: why not, in the system's words.
Result<TlsConnection> plain_dial(const std::string& host, uint16_t port,
                                 std::chrono::milliseconds limit);

class TlsListener {
 public:
  // `refusals` outlives the listener.
  static Result<std::unique_ptr<TlsListener>> listen(std::shared_ptr<const ClusterTls> tls,
                                                     const std::string& host, uint16_t port,
                                                     RefusalLog& refusals);
  ~TlsListener();
  TlsListener(const TlsListener&) = delete;
  TlsListener& operator=(const TlsListener&) = delete;

  uint16_t port() const { return port_; }

  // An event counter that can be read once for each connection that is ready.
  int ready_fd() const { return ready_event_.get(); }
  // The connection that came first. Any thread.
  std::optional<TlsConnection> take();

 private:
  struct Handshake {
    TlsConnection connection;
    uint64_t deadline_ms = 0;
    short awaited = 0;  // of poll()
  };

  TlsListener(std::shared_ptr<const ClusterTls> tls, RefusalLog& refusals)
      : tls_(std::move(tls)), refusals_(refusals) {}

  void run();
  void accept_all();
  void make_room();
  void refuse(const Handshake& handshake, const std::string& why);
  // False: it is over, well or badly.
  bool go_on(Handshake& handshake);

  const std::shared_ptr<const ClusterTls> tls_;
  RefusalLog& refusals_;
  Descriptor socket_, stop_event_, ready_event_;
  uint16_t port_ = 0;
  std::list<Handshake> handshakes_;  // oldest first
  uint64_t accept_again_ms_ = 0;     // when descriptors had run out
  std::mutex mutex_;
  std::deque<TlsConnection> ready_;
  std::thread thread_;
};

}  // namespace jade
