// Two systems of actors that speak with each other as nodes do.
#include <doctest/doctest.h>

#include <caf/all.hpp>
#include <caf/io/all.hpp>

#include "actors/cluster_middleman.h"
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

struct Config : caf::actor_system_config {
  Config() {
    load<caf::io::middleman>();
    set("scheduler.max-threads", size_t{2});
    set("middleman.workers", size_t{0});  // as a node has it
    use_node_scheduler(*this);
    set("logger.verbosity", caf::atom("quiet"));
  }
};

struct System {
  // Null: in the clear.
  explicit System(std::shared_ptr<const ClusterTls> certificate)
      : system(config),
        middleman(std::make_unique<ClusterMiddleman>(system, certificate, no_log)) {}

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

caf::behavior echo(caf::event_based_actor*) {
  return {[](std::string& text) { return std::move(text); }};
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
