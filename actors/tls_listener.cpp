#include "actors/tls_listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace jade {
namespace {

constexpr int backlog = 128;
// Under way. Over it, the oldest of the address with most of them goes.
constexpr size_t handshakes_max = 64;
constexpr uint64_t handshake_ms_max = 5000;
constexpr uint64_t pause_without_descriptors_ms = 100;
// Longer than a pause that the cluster rides out, and than a few lost packets.
constexpr int silence_ms_max = 10000;
constexpr int keepalive_s = 5;

using AddressesPtr = OpensslPtr<addrinfo, freeaddrinfo>;

std::string target_text(const std::string& host, uint16_t port) {
  bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<AddressesPtr> look_up(const std::string& host, uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) return unavailable("\"" + host + "\": " + gai_strerror(error));
  return AddressesPtr(found);
}

std::string text_of(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST];
  int error = getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host,
                          nullptr, 0, NI_NUMERICHOST);
  return error == 0 ? host : "an unknown address";
}

Descriptor new_socket(const addrinfo& address) {
  return Descriptor(socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
                           address.ai_protocol));
}

void set_option(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);
}

// A machine that lost its power says no goodbye, and by itself TCP hopes for a quarter
// of an hour; the connection must go for a new one to be made.
void set_options(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, silence_ms_max);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, keepalive_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, keepalive_s);
}

Result<Descriptor> bind_and_listen(const std::string& host, uint16_t port) {
  auto addresses = look_up(host, port, AI_PASSIVE);
  if (!addresses.ok()) return addresses.status();
  int error = 0;
  for (const addrinfo* at = addresses->get(); at != nullptr; at = at->ai_next) {
    Descriptor fd = new_socket(*at);
    if (fd) set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (fd && bind(fd.get(), at->ai_addr, at->ai_addrlen) == 0 &&
        ::listen(fd.get(), backlog) == 0) {
      return fd;
    }
    error = errno;
  }
  return unavailable(std::strerror(error));
}

Result<uint16_t> port_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return unavailable(std::strerror(errno));
  }
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

void signal_event(int fd) {
  uint64_t one = 1;
  // Can fail only when the counter is full, and then it is readable anyhow.
  [[maybe_unused]] ssize_t written = write(fd, &one, sizeof one);
}

// What a call that returned `result` waits for; 0: it failed.
short awaited_by(const SSL* session, int result) {
  switch (SSL_get_error(session, result)) {
    case SSL_ERROR_WANT_READ: return POLLIN;
    case SSL_ERROR_WANT_WRITE: return POLLOUT;
    default: return 0;
  }
}

bool await(int fd, short events, uint64_t deadline_ms) {
  while (true) {
    uint64_t now = tls_clock_ms();
    if (now >= deadline_ms) return false;
    pollfd poll_fd{fd, events, 0};
    int count = poll(&poll_fd, 1, static_cast<int>(deadline_ms - now));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return false;
  }
}

Result<Descriptor> connect_to(const addrinfo& address, uint64_t deadline_ms) {
  Descriptor fd = new_socket(address);
  if (!fd) return unavailable(std::strerror(errno));
  if (connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return unavailable(std::strerror(errno));
    if (!await(fd.get(), POLLOUT, deadline_ms)) return unavailable("no answer");
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return unavailable(std::strerror(error));
  }
  return fd;
}

Result<Descriptor> connect_to_any(const std::string& host, uint16_t port, uint64_t deadline_ms) {
  auto addresses = look_up(host, port, 0);
  if (!addresses.ok()) return addresses.status();
  Result<Descriptor> last = unavailable("it has no address");
  for (const addrinfo* at = addresses->get(); at != nullptr && !last.ok(); at = at->ai_next) {
    last = connect_to(*at, deadline_ms);
  }
  return last;
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = other.release();
  }
  return *this;
}

uint64_t tls_clock_ms() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

void block_sigpipe() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Result<TlsConnection> tls_dial(const ClusterTls& tls, const std::string& host, uint16_t port,
                               std::chrono::milliseconds limit) {
  block_sigpipe();
  uint64_t deadline_ms = tls_clock_ms() + static_cast<uint64_t>(limit.count());
  TlsConnection connection;
  connection.remote = target_text(host, port);
  auto fd = connect_to_any(host, port, deadline_ms);
  if (!fd.ok()) return fd.status();
  connection.socket = std::move(*fd);
  set_options(connection.socket.get());
  connection.session = tls.session();
  SSL* session = connection.session.get();
  if (session == nullptr || SSL_set_fd(session, connection.socket.get()) != 1) {
    return unavailable(openssl_reason());
  }
  while (true) {
    ERR_clear_error();
    int result = SSL_connect(session);
    if (result == 1) return connection;
    short awaited = awaited_by(session, result);
    if (awaited == 0) {
      return Status(Code::failed_precondition, handshake_failure(session));
    }
    if (!await(connection.socket.get(), awaited, deadline_ms)) {
      return unavailable("no answer in the handshake");
    }
  }
}

Result<TlsConnection> plain_dial(const std::string& host, uint16_t port,
                                 std::chrono::milliseconds limit) {
  auto fd = connect_to_any(host, port, tls_clock_ms() + static_cast<uint64_t>(limit.count()));
  if (!fd.ok()) return fd.status();
  return TlsConnection{target_text(host, port), std::move(*fd), nullptr};
}

Result<std::unique_ptr<TlsListener>> TlsListener::listen(std::shared_ptr<const ClusterTls> tls,
                                                         const std::string& host, uint16_t port,
                                                         RefusalLog& refusals) {
  auto socket = bind_and_listen(host, port);
  if (!socket.ok()) return socket.status();
  auto bound = port_of(socket->get());
  if (!bound.ok()) return bound.status();
  std::unique_ptr<TlsListener> listener(new TlsListener(std::move(tls), refusals));
  listener->socket_ = std::move(*socket);
  listener->port_ = *bound;
  listener->stop_event_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  listener->ready_event_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE));
  if (!listener->stop_event_ || !listener->ready_event_) {
    return unavailable(std::strerror(errno));
  }
  listener->thread_ = std::thread([self = listener.get()] { self->run(); });
  return listener;
}

TlsListener::~TlsListener() {
  if (!thread_.joinable()) return;
  signal_event(stop_event_.get());
  thread_.join();
}

std::optional<TlsConnection> TlsListener::take() {
  std::lock_guard lock(mutex_);
  if (ready_.empty()) return std::nullopt;
  TlsConnection first = std::move(ready_.front());
  ready_.pop_front();
  return first;
}

void TlsListener::run() {
  block_sigpipe();
  while (true) {
    uint64_t now = tls_clock_ms();
    bool accepting = now >= accept_again_ms_;
    uint64_t wake_ms = accepting ? UINT64_MAX : accept_again_ms_;
    std::vector<pollfd> waiting = {{stop_event_.get(), POLLIN, 0},
                                   {socket_.get(), static_cast<short>(accepting ? POLLIN : 0), 0}};
    for (const Handshake& handshake : handshakes_) {
      waiting.push_back({handshake.connection.socket.get(), handshake.awaited, 0});
      wake_ms = std::min(wake_ms, handshake.deadline_ms);
    }
    int timeout = wake_ms == UINT64_MAX ? -1 : static_cast<int>(wake_ms - std::min(now, wake_ms));
    if (poll(waiting.data(), waiting.size(), timeout) < 0) {
      for (pollfd& one : waiting) one.revents = 0;
    }
    if (waiting[0].revents != 0) return;
    now = tls_clock_ms();
    size_t next = 2;
    for (auto at = handshakes_.begin(); at != handshakes_.end();) {
      bool over = waiting[next++].revents != 0 && !go_on(*at);
      if (!over && now >= at->deadline_ms) {
        refuse(*at, "the TLS handshake took too long");
        over = true;
      }
      at = over ? handshakes_.erase(at) : std::next(at);
    }
    if (waiting[1].revents != 0) accept_all();
  }
}

void TlsListener::accept_all() {
  while (true) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    Descriptor fd(accept4(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size,
                          SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      bool none_waits = errno == EAGAIN || errno == EWOULDBLOCK;
      if (errno == EINTR || errno == ECONNABORTED) continue;
      // The connection stays in the queue of the system; polling would return at once.
      if (!none_waits) accept_again_ms_ = tls_clock_ms() + pause_without_descriptors_ms;
      return;
    }
    make_room();
    set_options(fd.get());
    Handshake handshake;
    handshake.connection = {text_of(address, size), std::move(fd), tls_->session()};
    handshake.deadline_ms = tls_clock_ms() + handshake_ms_max;
    SSL* session = handshake.connection.session.get();
    if (session == nullptr || SSL_set_fd(session, handshake.connection.socket.get()) != 1) continue;
    SSL_set_accept_state(session);
    handshakes_.push_back(std::move(handshake));
    if (!go_on(handshakes_.back())) handshakes_.pop_back();
  }
}

void TlsListener::make_room() {
  if (handshakes_.size() < handshakes_max) return;
  std::map<std::string, size_t> counts;
  for (const Handshake& handshake : handshakes_) ++counts[handshake.connection.remote];
  auto most = std::max_element(counts.begin(), counts.end(),
                               [](auto& a, auto& b) { return a.second < b.second; });
  auto oldest = std::find_if(handshakes_.begin(), handshakes_.end(), [&](const Handshake& one) {
    return one.connection.remote == most->first;
  });
  refuse(*oldest, "too many unfinished TLS handshakes");
  handshakes_.erase(oldest);
}

void TlsListener::refuse(const Handshake& handshake, const std::string& why) {
  refusals_.say("refused a connection from " + handshake.connection.remote, why, tls_clock_ms());
}

bool TlsListener::go_on(Handshake& handshake) {
  SSL* session = handshake.connection.session.get();
  ERR_clear_error();
  int result = SSL_accept(session);
  if (result == 1) {
    {
      std::lock_guard lock(mutex_);
      ready_.push_back(std::move(handshake.connection));
    }
    signal_event(ready_event_.get());
    return false;
  }
  handshake.awaited = awaited_by(session, result);
  if (handshake.awaited != 0) return true;
  refuse(handshake, handshake_failure(session));
  return false;
}

}  // namespace jade
