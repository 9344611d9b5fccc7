// Two systems of actors that speak with each other as nodes do.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <atomic>
#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <mutex>
#include <sstream>

#include "actors/cluster_middleman.h"
#include "actors/inflow.h"
#include "actors/scheduler.h"
#include "actors/tls_listener.h"
#include "apps/certs/certificates.h"
#include "tests/apps/scratch_dir.h"

namespace jade {
namespace {

// Only against hanging.
constexpr auto limit = std::chrono::seconds(120);

std::shared_ptr<const ClusterTls> make_tls(const std::string& dir, const std::string& node) {
  auto made = make_certificates(dir, {*parse_node(node)});
  REQUIRE_MESSAGE(made.ok(), made.status().to_string());
  auto tls = ClusterTls::load({made->nodes[0].certificate, made->nodes[0].key, made->ca});
  REQUIRE_MESSAGE(tls.ok(), tls.status().to_string());
  return *tls;
}

void no_log(LogLevel, std::string_view, std::string_view) {}

// The bytes of all pieces that have come by a connection and are there still.
class Arrived {
 public:
  Arrived() = default;
  Arrived(const Arrived& other) { set(other.bytes_); }
  Arrived(Arrived&& other) noexcept : bytes_(std::exchange(other.bytes_, 0)) {}
  Arrived& operator=(Arrived other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Arrived() { set(0); }

  void set(size_t bytes) {
    std::lock_guard lock(mutex_);
    sum_ += bytes - std::exchange(bytes_, bytes);
    most_ = std::max(most_, sum_);
    changed_.notify_all();
  }

  static size_t most() {
    std::lock_guard lock(mutex_);
    return most_;
  }
  static void forget() {
    std::lock_guard lock(mutex_);
    most_ = sum_;
  }
  static bool await(size_t bytes) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [bytes] { return sum_ >= bytes; });
  }

 private:
  size_t bytes_ = 0;

  static inline std::mutex mutex_;
  static inline std::condition_variable changed_;
  static inline size_t sum_ = 0, most_ = 0;
};

struct Piece {
  uint64_t number = 0;
  std::string text;
  Arrived arrived = {};
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Piece& x) {
  if constexpr (Inspector::writes_state) {
    auto result = f(caf::meta::type_name("jade::Piece"), x.number, x.text);
    x.arrived.set(x.text.size());
    return result;
  } else {
    return f(caf::meta::type_name("jade::Piece"), x.number, x.text);
  }
}

// Calls this when it is written, which the broker of a connection does in its turn.
struct Written {
  std::function<void()> then;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Written& x) {
  if (x.then) x.then();
  return f(caf::meta::type_name("jade::Written"));
}

struct Config : caf::actor_system_config {
  Config() {
    ConnectionLoop::configure(*this);
    set("scheduler.max-threads", size_t{2});
    set("middleman.workers", size_t{0});  // as a node has it
    use_node_scheduler(*this);
    add_message_type<Piece>("jade::Piece");
    add_message_type<Written>("jade::Written");
    set("logger.verbosity", caf::atom("quiet"));
  }
};

struct System {
  // Null: in the clear.
  explicit System(std::shared_ptr<const ClusterTls> certificate,
                  const ClusterMiddleman::Bounds& bounds = {}, LogSink log = no_log)
      : system(config),
        middleman(std::make_unique<ClusterMiddleman>(system, certificate, log, bounds)) {}

  // Null: not let in.
  caf::actor connect(uint16_t port) {
    caf::actor found;
    caf::scoped_actor self(system);
    self->request(middleman->connector(), limit, caf::connect_atom::value, std::string("127.0.0.1"),
                  port)
        .receive([&](const caf::node_id&, caf::strong_actor_ptr& remote,
                     std::set<std::string>&) { found = caf::actor_cast<caf::actor>(remote); },
                 [](const caf::error&) {});
    return found;
  }

  Config config;
  caf::actor_system system;
  std::unique_ptr<ClusterMiddleman> middleman;
};

// A connection of somebody who does not speak as nodes do.
Descriptor dial(uint16_t port) {
  Descriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  return fd;
}

caf::behavior echo(caf::event_based_actor*) {
  return {[](std::string& text) { return std::move(text); }};
}

// Whether an echo() is heard from there.
bool echoes(System& from, const caf::actor& remote) {
  caf::scoped_actor self(from.system);
  bool answered = false;
  self->request(remote, limit, std::string("x"))
      .receive([&](const std::string& text) { answered = text == "x"; }, [](const caf::error&) {});
  return answered;
}

// How many connections to `port` (in the order of the network) are being opened on this machine.
size_t dials_to(uint16_t port) {
  char remote[16];
  std::snprintf(remote, sizeof remote, "0100007F:%04X", ntohs(port));
  std::ifstream table("/proc/net/tcp");
  size_t count = 0;
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string number, local, to, state;
    fields >> number >> local >> to >> state;
    count += to == remote && state == "02";  // SYN_SENT
  }
  return count;
}

// As if the network broke those connections of this process that were opened to `port`.
void break_connections_to(uint16_t port) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) continue;
    if (peer.sin_family == AF_INET && ntohs(peer.sin_port) == port) shutdown(fd, SHUT_RDWR);
  }
}

// Takes what comes until the connection ends; whether it was closed in order.
bool ends(const Descriptor& fd) {
  char bytes[512];
  ssize_t got;
  while ((got = recv(fd.get(), bytes, sizeof bytes, 0)) > 0) {
  }
  return got == 0;
}

}  // namespace

TEST_CASE("messages of all sizes pass, many at a time and both ways") {
  ScratchDir scratch;
  bool with_tls = true;
  SUBCASE("with TLS") {}
  SUBCASE("in the clear") { with_tls = false; }
  System a(with_tls ? make_tls(scratch.path("certs"), "a") : nullptr);
  System b(with_tls ? make_tls(scratch.path("certs"), "b") : nullptr);
  auto actor = a.system.spawn(echo);
  auto port = a.middleman->publish(actor, "127.0.0.1", 0);
  REQUIRE_MESSAGE(port.ok(), port.status().to_string());
  caf::actor remote = b.connect(*port);
  REQUIRE(remote);

  std::vector<size_t> sizes = {0, 1, 1000, 16383, 16384, 16385, 100'000, 1 << 20, 8 << 20};
  for (int i = 0; i < 200; ++i) sizes.push_back(1 << 20);
  for (int i = 0; i < 2000; ++i) sizes.push_back(100);
  caf::scoped_actor self(b.system);
  // All are on their way before the first answer is taken.
  for (size_t i = 0; i < sizes.size(); ++i) {
    self->send(remote, std::string(sizes[i], static_cast<char>('a' + i % 26)));
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    bool same = false;
    self->receive(
        [&](const std::string& text) {
          same = text == std::string(sizes[i], static_cast<char>('a' + i % 26));
        },
        caf::after(limit) >> [] {});
    REQUIRE_MESSAGE(same, i);
  }
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

TEST_CASE("the side that was dialled speaks through the connection, and monitors through it") {
  ScratchDir scratch;
  bool with_tls = true;
  SUBCASE("with TLS") {}
  SUBCASE("in the clear") { with_tls = false; }
  System a(with_tls ? make_tls(scratch.path("certs"), "a") : nullptr);
  auto b = std::make_unique<System>(with_tls ? make_tls(scratch.path("certs"), "b") : nullptr);
  // The side that was dialled knows the other one by what that sends.
  caf::scoped_actor here(a.system);
  auto port = a.middleman->publish(caf::actor_cast<caf::actor>(here), "127.0.0.1", 0);
  REQUIRE(port.ok());
  caf::actor remote = b->connect(*port);
  REQUIRE(remote);
  auto sender = b->system.spawn([remote](caf::event_based_actor* self) -> caf::behavior {
    self->send(remote, 1);
    return {[](int x) { return x + 1; }};
  });
  bool answered = false;
  here->receive(
      [&](int) {
        auto back = caf::actor_cast<caf::actor>(here->current_sender());
        here->monitor(back);
        here->send(back, 41);
      },
      caf::after(limit) >> [] {});
  here->receive([&](int x) { answered = x == 42; }, caf::after(limit) >> [] {});
  CHECK(answered);

  bool lost = false;
  caf::anon_send_exit(sender, caf::exit_reason::kill);
  here->receive([&](const caf::down_msg&) { lost = true; }, caf::after(limit) >> [] {});
  CHECK(lost);
  remote = nullptr;
  sender = nullptr;
  b.reset();
}

TEST_CASE("what one sends faster than it is worked on waits with the sender, others are heard") {
  ScratchDir scratch;
  bool with_tls = true;
  SUBCASE("with TLS") {}
  SUBCASE("in the clear") { with_tls = false; }
  System a(with_tls ? make_tls(scratch.path("certs"), "a") : nullptr);
  System b(with_tls ? make_tls(scratch.path("certs"), "b") : nullptr);
  System c(with_tls ? make_tls(scratch.path("certs"), "c") : nullptr);
  constexpr size_t pieces = 200, bytes = 1 << 20;
  Arrived::forget();

  std::promise<void> held, all;
  auto slow = a.system.spawn<caf::detached>(
      [&, gate = held.get_future().share()](caf::event_based_actor*) -> caf::behavior {
        return {[&all, gate, next = uint64_t{0}](const Piece& piece) mutable {
          gate.wait();
          if (piece.number == next && piece.text.size() == bytes) ++next;
          if (next == pieces) all.set_value();
        }};
      });
  auto quick = a.system.spawn(echo);
  auto door = a.system.spawn([=](caf::event_based_actor*) -> caf::behavior {
    return {[=](bool which) { return which ? quick : slow; }};
  });
  auto port = a.middleman->publish(door, "127.0.0.1", 0);
  REQUIRE(port.ok());
  auto find = [&](System& from, bool which) {
    caf::actor found;
    caf::scoped_actor self(from.system);
    self->request(from.connect(*port), limit, which)
        .receive([&](const caf::actor& it) { found = it; }, [](const caf::error&) {});
    REQUIRE(found);
    return found;
  };
  auto answers = [&](System& from, const caf::actor& whom) {
    bool same = false;
    caf::scoped_actor self(from.system);
    self->request(whom, limit, std::string(50'000, 'x'))
        .receive([&](const std::string& text) { same = text == std::string(50'000, 'x'); },
                 [](const caf::error&) {});
    return same;
  };

  caf::actor far = find(b, false), quick_of_b = find(b, true), quick_of_c = find(c, true);
  {
    caf::scoped_actor self(b.system);
    for (uint64_t i = 0; i < pieces; ++i) {
      self->send(far, Piece{i, std::string(bytes, static_cast<char>('a' + i % 26))});
    }
  }
  CHECK(Arrived::await(Inflow::waiting_bytes_max - bytes));
  // Meanwhile all of it could have come. Not for 10 s: with TLS nobody is waited for longer.
  for (int i = 0; i < 300; ++i) REQUIRE(answers(c, quick_of_c));
  held.set_value();
  CHECK(all.get_future().wait_for(limit) == std::future_status::ready);
  CHECK(answers(b, quick_of_b));
  CHECK(Arrived::most() <= Inflow::waiting_bytes_max + 2 * bytes);
  for (const caf::actor& actor : {slow, quick, door}) {
    caf::anon_send_exit(actor, caf::exit_reason::kill);
  }
}

TEST_CASE("one that takes nothing of what is sent to it is let go") {
  ScratchDir scratch;
  bool with_tls = true;
  SUBCASE("with TLS") {}
  SUBCASE("in the clear") { with_tls = false; }
  System a(with_tls ? make_tls(scratch.path("certs"), "a") : nullptr,
           {.unsent_bytes_max = 32u << 20});
  auto b = std::make_unique<System>(with_tls ? make_tls(scratch.path("certs"), "b") : nullptr);
  caf::scoped_actor here(a.system);
  auto port = a.middleman->publish(caf::actor_cast<caf::actor>(here), "127.0.0.1", 0);
  REQUIRE(port.ok());
  caf::actor remote = b->connect(*port);
  REQUIRE(remote);
  auto sender = b->system.spawn([remote](caf::event_based_actor* self) -> caf::behavior {
    self->send(remote, 1);
    return {[](const std::string&) {}};
  });
  std::promise<void> held;
  caf::actor back;
  here->receive([&](int) { back = caf::actor_cast<caf::actor>(here->current_sender()); },
                caf::after(limit) >> [] {});
  REQUIRE(back);
  here->monitor(back);
  b->system.middleman().run_later([gate = held.get_future().share()] { gate.wait(); });
  for (int i = 0; i < 100; ++i) here->send(back, std::string(1 << 20, 'x'));
  bool lost = false;
  here->receive([&](const caf::down_msg&) { lost = true; }, caf::after(limit) >> [] {});
  CHECK(lost);
  held.set_value();
  caf::anon_send_exit(sender, caf::exit_reason::kill);
  remote = sender = back = nullptr;
  b.reset();
}

TEST_CASE("a connection may break just as its system ends") {
  ScratchDir scratch;
  bool with_tls = true;
  SUBCASE("with TLS") {}
  SUBCASE("in the clear") { with_tls = false; }
  System a(with_tls ? make_tls(scratch.path("certs"), "a") : nullptr);
  auto b = std::make_unique<System>(with_tls ? make_tls(scratch.path("certs"), "b") : nullptr);
  auto actor = a.system.spawn(echo);
  auto port = a.middleman->publish(actor, "127.0.0.1", 0);
  REQUIRE(port.ok());
  caf::actor remote = b->connect(*port);
  REQUIRE(remote);
  REQUIRE(echoes(*b, remote));
  auto broker = b->system.middleman().named_broker<caf::io::basp_broker>(caf::atom("Jade"));
  // In the turn in which something is to be written.
  std::promise<void> ended;
  caf::anon_send(remote, Written{[&, done = false]() mutable {
                   if (std::exchange(done, true)) return;
                   break_connections_to(*port);
                   caf::anon_send_exit(broker, caf::exit_reason::kill);
                   ended.set_value();
                 }});
  CHECK(ended.get_future().wait_for(limit) == std::future_status::ready);
  remote = broker = nullptr;
  b.reset();
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

TEST_CASE("what comes for connections that have ended keeps nothing of their system") {
  caf::actor_addr broker;
  {
    constexpr std::chrono::milliseconds greeting_limit(200);
    System a(nullptr, {.greeting_limit = greeting_limit});
    auto actor = a.system.spawn(echo);
    auto port = a.middleman->publish(actor, "127.0.0.1", 0);
    REQUIRE(port.ok());
    Descriptor stranger = dial(*port);
    char byte;
    REQUIRE(recv(stranger.get(), &byte, 1, 0) == 1);  // of what it is greeted with
    broker = caf::actor_cast<caf::actor_addr>(
        a.system.middleman().named_broker<caf::io::basp_broker>(caf::atom("Jade")));
    a.middleman.reset();
    // That the stranger's time is over comes after the end.
    caf::scoped_actor self(a.system);
    self->delayed_send(self, 2 * greeting_limit, 1);
    self->receive([](int) {});
    caf::anon_send_exit(actor, caf::exit_reason::kill);
  }
  CHECK_FALSE(caf::actor_cast<caf::strong_actor_ptr>(broker));
}

TEST_CASE("whoever sends headers of all kinds is let go, and others are heard") {
  System a(nullptr), b(nullptr);
  auto actor = a.system.spawn(echo);
  auto port = a.middleman->publish(actor, "127.0.0.1", 0);
  REQUIRE(port.ok());
  caf::actor remote = b.connect(*port);
  REQUIRE(remote);
  uint64_t random = 1;
  auto next = [&] { return random = random * 6364136223846793005u + 1442695040888963407u; };
  for (int round = 0; round < 400; ++round) {
    // As CAF writes it: kind, two bytes, flags, bytes that follow, three numbers.
    std::string header(32, '\0');
    header[0] = static_cast<char>(round % 9);
    header[3] = static_cast<char>(round / 9 % 4);
    if (round % 5 == 4) header[7] = static_cast<char>(next() >> 58);
    for (size_t i : {15u, 23u, 31u}) header[i] = static_cast<char>(next() >> 61);
    header.append(static_cast<unsigned char>(header[7]), static_cast<char>(next() >> 56));
    if (round % 7 == 6) header += header;
    Descriptor fd = dial(*port);
    REQUIRE(send(fd.get(), header.data(), header.size(), MSG_NOSIGNAL) > 0);
    shutdown(fd.get(), SHUT_WR);
    (void)ends(fd);  // it is let go, or heard to its end
  }
  CHECK(echoes(b, remote));
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

TEST_CASE("one address has so many connections at most, and those that end make room") {
  System a(nullptr, {.connections_from_one_max = 2});
  auto actor = a.system.spawn(echo);
  auto port = a.middleman->publish(actor, "127.0.0.1", 0);
  REQUIRE(port.ok());
  auto dial = [&] { return jade::dial(*port); };
  // Whoever is let in is greeted.
  auto greeted = [](const Descriptor& fd) {
    char byte;
    return recv(fd.get(), &byte, 1, 0) == 1;
  };
  Descriptor first = dial(), second = dial();
  CHECK(greeted(first));
  CHECK(greeted(second));
  CHECK(!greeted(dial()));
  CHECK(!greeted(dial()));
  first = Descriptor();
  // Until that is noticed.
  Descriptor next = dial();
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!greeted(next) && std::chrono::steady_clock::now() < end) next = dial();
  CHECK(!greeted(dial()));
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

TEST_CASE("one that does not say who it is is let go, whoever opened the connection") {
  System a(nullptr, {.greeting_limit = std::chrono::milliseconds(50)}), b(nullptr);
  auto actor = a.system.spawn(echo);
  auto port = a.middleman->publish(actor, "127.0.0.1", 0);
  REQUIRE(port.ok());
  caf::actor known = b.connect(*port);
  REQUIRE(known);
  SUBCASE("it says nothing") { CHECK(ends(dial(*port))); }
  SUBCASE("it begins to") {
    Descriptor fd = dial(*port);
    const std::string part(31, '\0');
    REQUIRE(send(fd.get(), part.data(), part.size(), MSG_NOSIGNAL) > 0);
    CHECK(ends(fd));
  }
  SUBCASE("it was dialled") {
    Descriptor silent(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    REQUIRE(bind(silent.get(), reinterpret_cast<sockaddr*>(&at), size) == 0);
    REQUIRE(listen(silent.get(), 8) == 0);
    REQUIRE(getsockname(silent.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
    CHECK(!a.connect(ntohs(at.sin_port)));
  }
  // Who has said so stays.
  CHECK(echoes(b, known));
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

TEST_CASE("dials that nobody answers do not hold up others") {
  System a(nullptr, {.greeting_limit = limit}), b(nullptr);
  auto actor = a.system.spawn(echo);
  auto port = a.middleman->publish(actor, "127.0.0.1", 0);
  REQUIRE(port.ok());
  // Takes no more connections than one, which the system holds for it.
  Descriptor full(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  REQUIRE(bind(full.get(), reinterpret_cast<sockaddr*>(&at), size) == 0);
  REQUIRE(listen(full.get(), 0) == 0);
  REQUIRE(getsockname(full.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
  Descriptor first = dial(ntohs(at.sin_port));
  constexpr size_t in_vain = 20;
  std::atomic<size_t> ended = 0, let_in = 0;
  for (size_t i = 0; i < in_vain; ++i) {
    b.system.spawn([&, to = ntohs(at.sin_port)](caf::event_based_actor* asks) {
      asks->request(b.middleman->connector(), caf::infinite, caf::connect_atom::value,
                    std::string("127.0.0.1"), to)
          .then(
              [&](const caf::node_id&, caf::strong_actor_ptr&, std::set<std::string>&) {
                ++let_in;
                ++ended;
              },
              [&](const caf::error&) { ++ended; });
    });
  }
  size_t at_once = 0;
  while (at_once < 2 && ended < in_vain) at_once = std::max(at_once, dials_to(at.sin_port));
  CHECK(at_once >= 2);
  caf::actor known = b.connect(*port);
  REQUIRE(known);
  CHECK(echoes(b, known));
  b.system.await_all_actors_done();
  CHECK(ended == in_vain);
  CHECK(let_in == 0);
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

TEST_CASE("whoever sends what CAF alone sends within a node is let go, and others are heard") {
  System a(nullptr), b(nullptr);
  auto actor = a.system.spawn(echo);
  auto port = a.middleman->publish(actor, "127.0.0.1", 0);
  REQUIRE(port.ok());
  caf::actor remote = b.connect(*port);
  REQUIRE(remote);
  // As CAF writes it: kind, two bytes, flags, bytes that follow, an id, two actors.
  auto header = [](char kind, uint64_t id, char to, size_t size) {
    std::string out(32, '\0');
    out[0] = kind;
    out[7] = static_cast<char>(size);
    for (int i = 0; i < 8; ++i) out[15 - i] = static_cast<char>(id >> (8 * i));
    out[23] = 19;
    out[31] = to;
    return out;
  };
  // Who it is; and a message without elements.
  std::string node(32, '\x11');
  const std::string nothing("\0\0\0\3@<>", 7);
  for (uint64_t category : {2ull, 3ull}) {
    for (char to = 1; to < 60; ++to) {
      Descriptor fd = dial(*port);
      const std::string all = header(1, 0, 0, node.size()) + node +
                              header(2, category << 60, to, nothing.size()) + nothing;
      REQUIRE(send(fd.get(), all.data(), all.size(), MSG_NOSIGNAL) > 0);
      shutdown(fd.get(), SHUT_WR);
      (void)ends(fd);
    }
  }
  CHECK(echoes(b, remote));
  // Of a whole node: it would end an actor.
  System c(nullptr);
  caf::actor from_c = c.connect(*port);
  REQUIRE(from_c);
  caf::scoped_actor self(c.system);
  self->monitor(from_c);
  self->send(from_c, caf::exit_msg{self->address(), caf::exit_reason::kill});
  bool lost = false;
  self->receive([&](const caf::down_msg&) { lost = true; }, caf::after(limit) >> [] {});
  CHECK(lost);
  CHECK(echoes(b, remote));
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

TEST_CASE("one that sends what costs far more memory than bytes is let go, others are heard") {
  std::mutex mutex;
  std::string said;
  System a(nullptr, {}, [&](LogLevel, std::string_view, std::string_view message) {
    std::lock_guard lock(mutex);
    said += message;
  });
  System b(nullptr), c(nullptr);
  caf::scoped_actor here(a.system);
  auto actor = a.system.spawn(echo);
  auto door = a.system.spawn(
      [=](caf::event_based_actor*) -> caf::behavior { return {[=](int) { return actor; }}; });
  auto port = a.middleman->publish(door, "127.0.0.1", 0);
  REQUIRE(port.ok());
  auto find = [&](System& from) {
    caf::actor found;
    caf::scoped_actor self(from.system);
    self->request(from.connect(*port), limit, 1)
        .receive([&](const caf::actor& it) { found = it; }, [](const caf::error&) {});
    REQUIRE(found);
    return found;
  };
  caf::actor of_b = find(b), of_c = find(c);
  std::string why;
  SUBCASE("a message of empty strings") {
    caf::scoped_actor self(b.system);
    self->send(of_b, std::vector<std::string>(100'000));
    why = "it sent a message with more strings and lists than so few bytes can have";
  }
  SUBCASE("errors in errors") {
    caf::error error(1, caf::atom("x"));
    for (int i = 0; i < 100; ++i) error = caf::error(1, caf::atom("x"), caf::make_message(error));
    caf::scoped_actor self(b.system);
    self->send(of_b, error);
    why = "it sent a message with more than 16 messages in one";
  }
  caf::scoped_actor self(b.system);
  self->monitor(of_b);
  bool lost = false;
  self->receive([&](const caf::down_msg&) { lost = true; }, caf::after(limit) >> [] {});
  CHECK(lost);
  {
    std::lock_guard lock(mutex);
    CHECK(said.find(why) != std::string::npos);
  }
  CHECK(echoes(c, of_c));
  for (const caf::actor& each : {actor, door}) {
    caf::anon_send_exit(each, caf::exit_reason::kill);
  }
}

TEST_CASE("one whose actors end for reasons without end is let go") {
  std::promise<std::string> said;
  std::once_flag first;
  System a(nullptr, {}, [&](LogLevel, std::string_view, std::string_view message) {
    std::call_once(first, [&] { said.set_value(std::string(message)); });
  });
  auto b = std::make_unique<System>(nullptr);
  caf::scoped_actor here(a.system);
  auto port = a.middleman->publish(caf::actor_cast<caf::actor>(here), "127.0.0.1", 0);
  REQUIRE(port.ok());
  caf::actor remote = b->connect(*port);
  REQUIRE(remote);
  b->system.spawn([remote](caf::event_based_actor* self) -> caf::behavior {
    self->send(remote, 1);
    return {[self](int) {
      caf::error error(1, caf::atom("x"));
      for (int i = 0; i < 100; ++i) error = caf::error(1, caf::atom("x"), caf::make_message(error));
      self->quit(error);
    }};
  });
  here->receive(
      [&](int) {
        auto back = caf::actor_cast<caf::actor>(here->current_sender());
        here->monitor(back);
        here->send(back, 1);
      },
      caf::after(limit) >> [] {});
  auto message = said.get_future();
  REQUIRE(message.wait_for(limit) == std::future_status::ready);
  CHECK(message.get().find("it sent a reason with more than 16 messages in one") !=
        std::string::npos);
  remote = nullptr;
  b.reset();
}

TEST_CASE("a node of another authority is not let in, nor lets others in") {
  ScratchDir scratch;
  System a(make_tls(scratch.path("certs"), "a"));
  System b(make_tls(scratch.path("foreign"), "b"));
  auto actor = a.system.spawn(echo);
  auto port = a.middleman->publish(actor, "127.0.0.1", 0);
  REQUIRE(port.ok());
  CHECK_FALSE(b.connect(*port));
  CHECK_FALSE(b.connect(*port));
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

}  // namespace jade
