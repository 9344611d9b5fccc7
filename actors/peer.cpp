#include "actors/peer.h"

#include <algorithm>
#include <charconv>

#include "actors/catalog.h"
#include "actors/deadline.h"
#include "actors/errors.h"
#include "actors/inflow.h"
#include "actors/random.h"
#include "actors/retry.h"
#include "actors/shard_front.h"

namespace jade {
namespace {

using peer_pointer = peer_actor::stateful_pointer<peer_state>;

constexpr auto tick_interval = std::chrono::milliseconds(100);
constexpr int retry_low_ms = 200, retry_high_ms = 500;
// Two nodes that dial each other at the same moment can leave CAF with a connection
// that neither uses. So the lower id dials, and the other only after a long wait.
constexpr uint64_t patience_ms = 3000;
constexpr uint64_t announce_interval_ms = 2000;
constexpr uint64_t ping_interval_ms = 500;
constexpr uint64_t ask_interval_ms = 1000;
constexpr size_t reported_max = 100;  // replicas that do not serve
constexpr size_t strangers_max = 16;  // clusters
constexpr uint64_t join_interval_ms = 1000;
constexpr uint64_t check_interval_ms = 1000;
constexpr size_t held_max = 256;  // Raft messages, while their sender is asked
constexpr uint64_t record_interval_ms = 2000;
constexpr uint64_t beacon_interval_ms = 2000;
constexpr auto connect_timeout = std::chrono::seconds(5);
constexpr auto hello_timeout = std::chrono::seconds(2);
constexpr auto join_timeout = std::chrono::seconds(10);
// The actors that ask bound their own time; this only forgets what is long over.
constexpr uint64_t call_timeout_ms = 60'000;

// When to dial next.
void put_off(peer_pointer self, uint64_t node) {
  peer_state& state = self->state;
  uint64_t delay = static_cast<uint64_t>(uniform(state.random, retry_low_ms, retry_high_ms));
  if (node < state.id()) delay += patience_ms;
  state.links[node].retry_ms = now_ms(self) + delay;
}

void fail_waiting(peer_pointer self, uint64_t node, const std::string& why) {
  auto waiting = std::exchange(self->state.links[node].waiting, {});
  for (auto& [call, fail] : waiting) {
    fail(unavailable(why + "; what was asked of it may have been done, try again"));
  }
}

void link_lost(peer_pointer self, uint64_t node) {
  peer_state::Link& link = self->state.links[node];
  link.remote = nullptr;
  link.silent = false;
  link.remembered.clear();
  link.held.clear();
  link.checking = false;
  link.check_ms = 0;
  link.problem.clear();
  link.reported.clear();
  put_off(self, node);
  fail_waiting(self, node, "the connection to " + self->state.title(node) + " was lost");
}

// From here on this node takes no part: what it would say may contradict what it has
// promised. Only a person can help.
void refuse(peer_pointer self, Status why) {
  peer_state& state = self->state;
  if (!state.refusal.ok()) return;
  state.context->say(LogLevel::error, "peer", why.message());
  state.refusal = std::move(why);
  if (state.supervisor) self->send(state.supervisor, NodeRefused{state.refusal});
}

// This node has been removed. That is so for good, whoever says it.
void leave(peer_pointer self) {
  peer_state& state = self->state;
  state.removed = true;
  const NodeContext& context = *state.context;
  refuse(self, removed_from(context.membership->cluster_id(), context.config.name,
                            context.config.data_dir));
}

void heard_of(peer_pointer self, uint64_t node) {
  peer_state::Link& link = self->state.links[node];
  link.heard_ms = now_ms(self);
  link.silent = false;
}

// A question that it should have answered at once has failed so.
void not_heard_of(peer_pointer self, uint64_t node, const caf::error& error) {
  if (error == caf::sec::request_timeout) self->state.links[node].silent = true;
}

// Where a node says, or another has heard it say, that it is.
void learn(peer_pointer self, uint64_t node, const std::string& address) {
  auto link = self->state.links.find(node);
  bool known = link != self->state.links.end() && link->second.told == address;
  if (known || link == self->state.links.end() || !parse_address(address).ok()) return;
  link->second.told = address;
  link->second.by_catalog = false;
  // The lower id dials.
  if (!link->second.remote && node > self->state.id()) link->second.retry_ms = 0;
}

// How its shards are; that it answers, and that this node is still a member, shows as well.
void ask_node(peer_pointer self, uint64_t node) {
  peer_state::Link& link = self->state.links[node];
  link.asking = true;
  auto over = [self, node]() -> peer_state::Link& {
    peer_state::Link& asked = self->state.links[node];
    asked.asking = false;
    asked.ask_ms = now_ms(self) + ask_interval_ms;
    return asked;
  };
  const NodeContext& context = *self->state.context;
  self->request(link.remote, hello_timeout,
                AskNode{context.membership->cluster_id(), self->state.id(),
                        context.config.cluster_address})
      .then(
          [self, node, over](NodeReport& report) {
            over().reported = std::move(report.problems);
            heard_of(self, node);
            for (const auto& [other, address] : report.addresses) learn(self, other, address);
          },
          [self, node, over](const caf::error& error) {
            over();
            not_heard_of(self, node, error);
            if (to_status(error).code() == Code::not_found) leave(self);
          });
}

// Only while something waits for it: what is asked every second is too slow for that.
void ping(peer_pointer self, uint64_t node) {
  peer_state::Link& link = self->state.links[node];
  link.ping_ms = 0;
  auto again = [self, node] { self->state.links[node].ping_ms = now_ms(self) + ping_interval_ms; };
  self->request(link.remote, hello_timeout,
                Hello{self->state.context->membership->cluster_id(), self->state.id()})
      .then(
          [self, node, again](const HelloReply&) {
            again();
            heard_of(self, node);
          },
          [self, node, again](const caf::error& error) {
            again();
            not_heard_of(self, node, error);
            fail_waiting(self, node, self->state.title(node) + " does not answer");
          });
}

void link_up(peer_pointer self, uint64_t node, const peer_actor& remote) {
  peer_state::Link& link = self->state.links[node];
  if (link.remote == remote) return;
  if (link.remote) {
    self->demonitor(link.remote.address());
    link_lost(self, node);
  }
  link.remote = remote;
  link.failure.clear();
  link.problem.clear();
  link.ping_ms = now_ms(self) + ping_interval_ms;
  self->monitor(remote);
}

// In words: CAF's own failures are names of its errors.
std::string dial_failure(const caf::error& error) {
  if (error.category() == error_category) return to_status(error).message();
  if (error == caf::sec::request_timeout) {
    return "no answer within " + std::to_string(connect_timeout.count()) + " s";
  }
  if (error == caf::sec::disconnect_during_handshake || error == caf::sec::malformed_basp_message) {
    return "it closed the connection before it had said who it is: it is no node, or only one of "
           "the two uses TLS (cluster_cert)";
  }
  if (error == caf::sec::incompatible_versions || error == caf::sec::incompatible_application_ids) {
    return "it speaks another protocol; run the same release on both";
  }
  return "no connection (" +
         (error.category() == caf::atom("system")
              ? caf::to_string(static_cast<caf::sec>(error.code()))
              : std::string("failed")) +
         ")";
}

// Calls done(peer) or done(why not).
void connect(peer_pointer self, const std::string& address,
             std::function<void(Result<peer_actor>)> done) {
  const NodeSeams& seams = self->state.context->seams;
  auto target = parse_address(address);
  if (!target.ok()) return done(target.status());
  if (!seams.connector) return done(unavailable("this node has no cluster port"));
  if (seams.before_connect) seams.before_connect(target->first, target->second);
  self->request(seams.connector, connect_timeout, caf::connect_atom::value, target->first,
                target->second)
      .then(
          [done, address](const caf::node_id&, caf::strong_actor_ptr& remote,
                          const std::set<std::string>&) {
            if (!remote) return done(unavailable("nothing is published at " + address));
            done(caf::actor_cast<peer_actor>(remote));
          },
          [done, address](const caf::error& error) {
            done(unavailable("node at " + address + " cannot be reached: " + dial_failure(error)));
          });
}

// Who was dialled has said which node it is: another one, perhaps, than was there before.
void greeted(peer_pointer self, uint64_t node, const peer_actor& remote) {
  if (self->state.links.count(node) == 0) return;
  link_up(self, node, remote);
  heard_of(self, node);
}

void connect_to(peer_pointer self, uint64_t node) {
  peer_state::Link& link = self->state.links[node];
  link.connecting = true;
  const std::string address = link.next_address();
  auto over = [self, node] {
    peer_state::Link& dialled = self->state.links[node];
    dialled.connecting = false;
    dialled.by_catalog = !dialled.by_catalog && !dialled.address.empty();
    put_off(self, node);
  };
  connect(self, address, [self, node, over, address](Result<peer_actor> remote) {
    self->state.links[node].dial_failure = remote.ok() ? "" : remote.status().message();
    if (!remote.ok()) return over();
    self->request(*remote, hello_timeout,
                  Hello{self->state.context->membership->cluster_id(), self->state.id()})
        .then(
            [self, node, over, remote = *remote](const HelloReply& reply) {
              over();
              greeted(self, reply.node, remote);
            },
            [self, node, over, address](const caf::error& error) {
              over();
              // That nothing answers is no news; that the wrong one does is.
              Status status = to_status(error);
              if (status.code() == Code::not_found) return leave(self);
              peer_state::Link& refused = self->state.links[node];
              refused.dial_failure = "node at " + address + ": " + status.message();
              if (status.code() != Code::failed_precondition ||
                  refused.failure == status.message()) {
                return;
              }
              refused.failure = status.message();
              refused.problem = "at " + address + ": " + status.message();
              self->state.context->say(
                  LogLevel::error, "peer",
                  self->state.title(node) + ", at " + address + ": " + status.message());
            });
  });
}

// This node is a member of a cluster, and was told to join one at an address of which its
// cluster does not know: is it another? Nothing is done then but to say so. Or members of its own
// have moved there, of whom it may reach nobody else.
void check_join(peer_pointer self) {
  peer_state& state = self->state;
  if (state.joining || now_ms(self) < state.join_ms) return;
  std::vector<std::string> targets = state.context->config.join;
  bool alone = !state.links.empty();
  for (const auto& [id, link] : state.links) {
    alone = alone && !link.remote;
    // Those are dialled anyway, and never twice at the same time (see patience_ms).
    const size_t known = std::erase(targets, link.address) + std::erase(targets, link.told);
    state.join_checked = state.join_checked || known > 0;
  }
  if (targets.empty() || (state.join_checked && !alone)) return;
  state.joining = true;
  const std::string target = targets[state.next_join++ % targets.size()];
  state.join_target = target;
  auto over = [self](bool checked) {
    self->state.joining = false;
    self->state.join_target.clear();
    self->state.join_checked = checked;
    self->state.join_ms = now_ms(self) + join_interval_ms;
  };
  connect(self, target, [self, over, target](Result<peer_actor> remote) {
    if (!remote.ok()) return over(false);
    self->request(*remote, hello_timeout,
                  Hello{self->state.context->membership->cluster_id(), self->state.id()})
        .then(
            [self, over, remote = *remote](const HelloReply& reply) {
              over(true);
              greeted(self, reply.node, remote);
            },
            [self, over, target](const caf::error& error) {
              Status status = to_status(error);
              if (status.code() == Code::not_found) leave(self);
              bool refused = status.code() == Code::failed_precondition;
              const bool said = self->state.join_checked;
              over(refused);
              if (!refused || said) return;
              self->state.context->say(LogLevel::error, "peer",
                                       "told to join " + target + ", but " + status.message() +
                                           "; it goes on as what it is. To join, start it with "
                                           "an empty data directory");
            });
  });
}

// Whether nodes can be of one cluster.
Status check_hello(const Hello& hello, const std::string& cluster_id) {
  if (hello.protocol != cluster_protocol) {
    return Status(Code::failed_precondition,
                  "it speaks version " + std::to_string(cluster_protocol) +
                      " of the protocol between nodes, and this node version " +
                      std::to_string(hello.protocol) + "; run the same release on both");
  }
  if (hello.cluster_id.empty() || cluster_id.empty() || hello.cluster_id == cluster_id) return {};
  return Status(Code::failed_precondition, "it belongs to cluster " + cluster_id +
                                               ", and this node to cluster " + hello.cluster_id);
}

bool is_cluster_id(const std::string& text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// A node that takes this one for a member of its cluster.
void note_stranger(peer_pointer self, const Hello& hello) {
  peer_state& state = self->state;
  const std::string own = state.context->membership->cluster_id();
  if (hello.protocol != cluster_protocol || own.empty()) return;
  const bool noted = !is_cluster_id(hello.cluster_id) || state.strangers.size() >= strangers_max ||
                     !state.strangers.insert(hello.cluster_id).second;
  if (noted) return;
  const std::string theirs = "cluster " + hello.cluster_id;
  state.context->say(LogLevel::warning, "peer",
                     "a node of " + theirs + " calls this node, which is one of cluster " + own +
                         ". If its data directory was lost, it has founded a cluster of its own: " +
                         "empty the directory, remove the node from " + theirs +
                         " and start it with --join and the address of a member");
}

// Whom to connect to. The others are let be once they are gone.
void know(peer_pointer self, const std::vector<RaftMember>& members) {
  peer_state& state = self->state;
  for (auto& [node, link] : state.links) link.address.clear();
  for (const RaftMember& member : members) {
    if (member.node == state.id() || member.address.empty()) continue;
    auto [link, added] = state.links.try_emplace(member.node);
    link->second.address = member.address;
    if (added && member.node < state.id()) put_off(self, member.node);
  }
}

void join(peer_pointer self) {
  peer_state& state = self->state;
  const auto& targets = state.context->config.join;
  state.joining = true;
  const std::string& target = targets[state.next_join++ % targets.size()];
  auto over = [self](const std::string& why) {
    peer_state& now = self->state;
    now.joining = false;
    now.join_ms = now_ms(self) + join_interval_ms;
    if (why.empty() || why == std::exchange(now.join_failure, why)) return;
    now.context->say(LogLevel::warning, "peer", "cannot join the cluster yet: " + why);
  };
  connect(self, target, [self, over](Result<peer_actor> remote) {
    if (!remote.ok()) return over(remote.status().message());
    const NodeConfig& config = self->state.context->config;
    if (remote->node() == self->node()) {
      // All nodes may have been given the same list.
      if (config.join.size() > 1) return over("");
      return over(config.join.front() +
                  " is this node itself: give the address of a member, or no join to found a "
                  "cluster");
    }
    JoinCluster ask{
        {metadata_group}, "",          config.node_id, config.name, config.cluster_address,
        config.address,   config.roles};
    self->request(*remote, join_timeout, ask)
        .then(
            [self, over](const JoinedCluster& joined) {
              // The master reaches this node, or is reached by it, at once.
              know(self, joined.members);
              auto adopted = [context = self->state.context, id = joined.cluster_id] {
                // Whoever has joined one cluster must never found another, also when
                // it ends before the first entry has come, and is started without
                // being told to join.
                JADE_RETURN_IF_ERROR(context->log->mark_begun(metadata_group));
                return context->membership->adopt(id);
              };
              self->request(self->state.context->opener, caf::infinite, BlockingTask{adopted})
                  .then([over](const TaskDone& done) {
                    over(done.status.ok() ? "" : done.status.to_string());
                  });
            },
            [over](const caf::error& error) { over(to_status(error).message()); });
  });
}

// Why the node waits for its cluster: it has not joined, or has no catalog and reaches nobody.
std::string why_out_of_touch(const peer_state& state) {
  if (state.context->membership->cluster_id().empty()) return state.join_failure;
  if (state.map) return "";
  std::string out;
  for (const auto& [node, link] : state.links) {
    if (link.remote) return "";
    if (!link.dial_failure.empty()) out += (out.empty() ? "" : "; ") + link.dial_failure;
  }
  return out;
}

void tell_out_of_touch(peer_pointer self) {
  peer_state& state = self->state;
  std::string why = why_out_of_touch(state);
  if (!state.supervisor || why == state.out_of_touch) return;
  state.out_of_touch = why;
  self->send(state.supervisor, OutOfTouch{std::move(why)});
}

// The cluster knows this node by another name or address than it has now.
void announce(peer_pointer self) {
  peer_state& state = self->state;
  if (!state.map || !state.master || now_ms(self) < state.announce_ms) return;
  auto known = state.map->nodes.find(state.id());
  const NodeConfig& config = state.context->config;
  bool same = known != state.map->nodes.end() && known->second.name == config.name &&
              known->second.address == config.cluster_address &&
              known->second.api_address == config.address && known->second.roles == config.roles;
  if (same) return;
  state.announce_ms = now_ms(self) + announce_interval_ms;
  JoinCluster ask{{metadata_group},
                  state.context->membership->cluster_id(),
                  config.node_id,
                  config.name,
                  config.cluster_address,
                  config.address,
                  config.roles};
  self->request(state.master, join_timeout, ask)
      .then(
          [](const JoinedCluster&) {},
          [self](const caf::error& error) {
            Status status = to_status(error);
            if (status.code() == Code::unavailable) return;  // no master just now
            if (std::exchange(self->state.announce_failure, status.message()) == status.message()) {
              return;
            }
            self->state.context->say(LogLevel::error, "peer", status.to_string());
          });
}

void accept(peer_pointer self, RaftWire& wire);

// The node has answered whether it is the one that had the life `known`.
void life_checked(peer_pointer self, uint64_t node, const Life& known, const LifeChecked& checked) {
  peer_state& state = self->state;
  peer_state::Link& link = state.links[node];
  if (checked.life != link.life) return;
  if (checked.remembered) {
    link.remembered.insert(known.id);
    for (RaftWire& wire : std::exchange(link.held, {})) accept(self, wire);
    return;
  }
  link.check_ms = now_ms(self) + check_interval_ms;
  const NodeEntry* entry = nullptr;
  if (state.map) {
    auto found = state.map->nodes.find(node);
    if (found != state.map->nodes.end()) entry = &found->second;
  }
  std::string why = outlived(entry != nullptr ? entry->name : std::to_string(node)).message();
  if (std::exchange(link.problem, why) == why) return;
  state.context->say(LogLevel::error, "peer", why);
}

void check_life(peer_pointer self, uint64_t node, const Life& known, const peer_actor& sender) {
  peer_state::Link& link = self->state.links[node];
  if (link.checking || now_ms(self) < link.check_ms) return;
  link.checking = true;
  auto over = [self, node](const auto& then) {
    peer_state::Link& asked = self->state.links[node];
    asked.checking = false;
    then();
    if (!asked.checking) asked.held.clear();
  };
  self->request(sender, hello_timeout, CheckLife{node, known})
      .then(
          [self, node, known, over](const LifeChecked& checked) {
            over([&] { life_checked(self, node, known, checked); });
          },
          [over](const caf::error&) { over([] {}); });  // its next message asks again
}

// Whether what its sender says in a Raft group counts. Asks it where that must be known.
bool is_trusted(peer_pointer self, const RaftWire& wire) {
  peer_state& state = self->state;
  auto link = state.links.find(wire.from);
  for (const Life& known : state.known_lives(wire.from)) {
    if (known.id == 0 || known.id == wire.life) continue;
    auto sender = self->current_sender();
    if (link == state.links.end() || !sender) return false;
    if (std::exchange(link->second.life, wire.life) != wire.life) {
      link->second.remembered.clear();
      link->second.held.clear();
      link->second.check_ms = 0;
    }
    if (link->second.remembered.count(known.id) > 0) continue;
    check_life(self, wire.from, known, caf::actor_cast<peer_actor>(sender));
    return false;
  }
  if (link != state.links.end()) link->second.problem.clear();
  return true;
}

// Hands it to the group, at once or when its sender has answered, or drops it: Raft says
// it again.
void accept(peer_pointer self, RaftWire& wire) {
  peer_state& state = self->state;
  if (!state.refusal.ok()) return;
  if (!is_trusted(self, wire)) {
    auto link = state.links.find(wire.from);
    bool asked = link != state.links.end() && link->second.checking;
    if (asked && link->second.held.size() < held_max) link->second.held.push_back(std::move(wire));
  } else if (wire.group == metadata_group) {
    wire.receipt = receipt_of_current(*self);
    if (state.master) self->send(state.master, std::move(wire));
  } else if (shard_actor shard = state.shard(wire.group)) {
    wire.receipt = receipt_of_current(*self);
    self->send(shard, std::move(wire));
  }
}

// Changes the lives on disk, and takes them up when that is done.
void store_lives(peer_pointer self, std::function<Status(LogStore&)> change) {
  peer_state& state = self->state;
  state.recording = true;
  auto lives = std::make_shared<std::vector<Life>>();
  auto store = [log = state.context->log, change = std::move(change), lives] {
    JADE_RETURN_IF_ERROR(change(*log));
    auto stored = log->lives();
    if (stored.ok()) *lives = std::move(*stored);
    return stored.status();
  };
  self->request(state.context->syncer, caf::infinite, BlockingTask{store})
      .then([self, lives](const TaskDone& done) {
        peer_state& now = self->state;
        now.recording = false;
        if (done.status.ok()) {
          now.lives = std::move(*lives);
        } else {
          now.record_ms = now_ms(self) + record_interval_ms;
        }
      });
}

// Once the life has lasted: another.
void renew_life(peer_pointer self) {
  peer_state& state = self->state;
  uint64_t now = now_ms(self), interval = state.context->config.renew_life_ms;
  if (interval == 0) return;
  if (state.renew_ms == 0) state.renew_ms = now + interval;
  if (now < state.renew_ms) return;
  state.renew_ms = 0;
  uint64_t id = new_life(state.lives, state.random);
  store_lives(self, [id](LogStore& log) { return log.begin_life(id); });
}

// As long as the catalog does not have this life of the node: tells it. And once it has,
// notes that on disk.
void record_life(peer_pointer self) {
  peer_state& state = self->state;
  bool can = state.map && state.master && !state.lives.empty() && !state.recording;
  if (!can || now_ms(self) < state.record_ms) return;
  auto known = state.map->nodes.find(state.id());
  if (known == state.map->nodes.end()) return;  // it announces itself first
  const Life& recorded = known->second.life;
  if (recorded.id == state.life()) {
    if (recorded == state.lives.back()) return renew_life(self);
    return store_lives(self, [recorded](LogStore& log) { return log.record_life(recorded); });
  }
  if (!remembers(state.lives, recorded)) return refuse(self, outlived(known->second.name));
  state.recording = true;
  auto over = [self] {
    self->state.recording = false;
    self->state.record_ms = now_ms(self) + record_interval_ms;
  };
  LivesRecord live{state.id(), state.lives};
  self->request(state.master, join_timeout,
                ChangeCatalog{{metadata_group}, encode(CatalogCommand(std::move(live)))})
      .then([over](const CatalogApplied&) { over(); },
            [self, over](const caf::error& error) {
              over();
              Status status = to_status(error);
              if (status.code() == Code::failed_precondition) refuse(self, std::move(status));
            });
}

// So that those who cannot tell by Raft's messages, as there are none, tell by these.
void tell_life(peer_pointer self) {
  peer_state& state = self->state;
  if (now_ms(self) < state.beacon_ms) return;
  state.beacon_ms = now_ms(self) + beacon_interval_ms;
  for (const auto& [node, link] : state.links) {
    if (link.remote) self->send(link.remote, RaftWire{0, state.id(), "", state.life()});
  }
}

// Whether a shard keeps the question itself until the answer is there.
template <class Request>
constexpr bool is_kept =
    std::is_same_v<Request, ShardSearch> || std::is_same_v<Request, ShardGet> ||
    std::is_same_v<Request, ShardList> || std::is_same_v<Request, ShardRecall>;

// Nobody can do it now: at the next tick, while there is time. `why`: it could not be done.
template <class Request>
void ask_anew(peer_pointer self, caf::response_promise promise, std::shared_ptr<Request> request,
              const std::string& why) {
  Route& route = request->route;
  // What cannot be asked at the next tick any more is refused now, with the reason.
  if (is_over(route, now_ms(self) + to_ms(tick_interval))) {
    return (void)promise.deliver(to_error(out_of_time("while " + why)));
  }
  if (++route.waits > Route::waits_max) {
    return (void)promise.deliver(to_error(unavailable(why + "; try again")));
  }
  route.node = 0;
  route.hops = 0;
  self->state.held.push_back([self, promise, request]() mutable {
    promise.delegate(peer_actor(self), std::move(*request));
  });
}

// The same of what was not asked of anybody yet.
template <class Reply, class Request>
caf::result<Reply> hold(peer_pointer self, Request& request, const std::string& why) {
  auto promise = self->template make_response_promise<Reply>();
  ask_anew(self, promise, std::make_shared<Request>(std::move(request)), why);
  return promise;
}

std::string title_of(uint64_t group) {
  return group == metadata_group ? "the catalog" : "shard " + std::to_string(group);
}

// Asks another node, and answers here when it does or when it is lost.
template <class Reply, class Request>
caf::result<Reply> ask(peer_pointer self, uint64_t node, Request& request) {
  if (node == Route::nobody)
    return hold<Reply>(self, request,
                       "no replica of " + title_of(request.route.group) + " leads at the moment");
  if (++request.route.hops > Route::hops_max) {
    return hold<Reply>(
        self, request,
        "the replicas of " + title_of(request.route.group) + " do not agree yet on who leads");
  }
  auto found = self->state.links.find(node);
  if (found == self->state.links.end() || !found->second.remote) {
    return hold<Reply>(self, request, self->state.title(node) + " cannot be reached");
  }
  auto promise = self->template make_response_promise<Reply>();
  uint64_t call = self->state.next_call++;
  if constexpr (is_kept<Request>) {
    // It only reads: whoever else can answer is asked in the place of one that is lost.
    auto kept = std::make_shared<Request>(request);
    found->second.waiting[call] = [self, promise, kept](const Status& status) mutable {
      peer_state& state = self->state;
      const uint64_t other = state.reachable(kept->route.group, kept->route.turn);
      const bool here = static_cast<bool>(state.shard(kept->route.group));
      if (!here && (other == 0 || state.links[other].silent)) {
        return (void)promise.deliver(to_error(status));
      }
      ask_anew(self, std::move(promise), std::move(kept), status.message());
    };
  } else {
    found->second.waiting[call] = [promise](const Status& status) mutable {
      promise.deliver(to_error(status));
    };
  }
  auto first = [self, node, call] { return self->state.links[node].waiting.erase(call) > 0; };
  uint64_t now = now_ms(self);
  hand_on(request.route, now);
  uint64_t deadline_ms = request.route.deadline_ms;
  if (deadline_ms == 0) deadline_ms = now + call_timeout_ms;
  ReceiptPtr receipt = request.route.receipt;
  ask_until<Reply>(
      self, self->state.timers, found->second.remote, deadline_ms, std::move(request),
      [promise, first, receipt](Reply& reply) mutable {
        if (first()) promise.deliver(std::move(reply));
      },
      [self, promise, first, receipt, node](const caf::error& error) mutable {
        if (!first()) return;
        bool late = error == caf::sec::request_timeout;
        std::string where = "before " + self->state.title(node) + " had answered";
        promise.deliver(late ? to_error(out_of_time(where)) : error);
      });
  return promise;
}

// A question from another node counts as one of that until it was dealt with.
Status take(peer_pointer self, Route& route) {
  ReceiptPtr receipt = receipt_of_current(*self);
  if (!receipt || route.receipt) return {};
  JADE_RETURN_IF_ERROR(receipt->take());
  route.receipt = std::move(receipt);
  return {};
}

template <class Reply, class Request>
caf::result<Reply> hand_over(peer_pointer self, const shard_actor& shard, Request& request) {
  if (is_kept<Request> || !request.route.receipt) {
    return self->delegate(shard, std::move(request));
  }
  auto promise = self->template make_response_promise<Reply>();
  ReceiptPtr receipt = request.route.receipt;
  ask_until<Reply>(
      self, self->state.timers, shard, now_ms(self) + call_timeout_ms, std::move(request),
      [promise, receipt](Reply& reply) mutable { promise.deliver(std::move(reply)); },
      [promise, receipt](const caf::error& error) mutable { promise.deliver(error); });
  return promise;
}

template <class Reply, class Request>
caf::result<Reply> pass_on(peer_pointer self, Request& request) {
  const Route& route = request.route;
  if (Status status = take(self, request.route); !status.ok()) return to_error(status);
  take_up(request.route, now_ms(self));
  if (is_over(route, now_ms(self))) {
    return to_error(out_of_time("on the way to shard " + std::to_string(route.group)));
  }
  uint64_t node = route.node;
  if (node == Route::another) {
    // Those that were asked before it may have nothing, too.
    node = self->state.reachable(route.group, route.turn + route.hops + route.waits);
    if (node == 0)
      return hold<Reply>(self, request,
                         "no replica of " + title_of(route.group) + " can answer at the moment");
    request.route.node = 0;  // that node's own, if it can
  } else if (node == 0 || node == self->state.id()) {
    if (shard_actor here = self->state.shard(route.group)) {
      if constexpr (std::is_same_v<Request, ShardSearch>) {
        const NodeContext& context = *self->state.context;
        if (auto task = context.fronts->admit(request, now_ms(self))) {
          size_t turn = self->state.next_searcher++;
          return self->delegate(context.searchers[turn % context.searchers.size()],
                                std::move(*task));
        }
      }
      return hand_over<Reply>(self, here, request);
    }
    // Also what was meant for this node: it goes on to the next.
    node = self->state.reachable(route.group, route.turn);
    if (node == 0) {
      return hold<Reply>(self, request, title_of(route.group) + " cannot be reached from here");
    }
  }
  return ask<Reply>(self, node, request);
}

template <class Reply, class Request>
caf::result<Reply> pass_to_master(peer_pointer self, Request& request) {
  if (Status status = take(self, request.route); !status.ok()) return to_error(status);
  if (request.route.node != 0 && request.route.node != self->state.id()) {
    return ask<Reply>(self, request.route.node, request);
  }
  if (!self->state.master) return to_error(unavailable("the node is starting; try again"));
  return self->delegate(self->state.master, std::move(request));
}

}  // namespace

shard_actor peer_state::shard(uint64_t group) const {
  if (!shards) return {};
  auto found = shards->find(group);
  return found == shards->end() ? shard_actor() : found->second;
}

std::string peer_state::title(uint64_t node) const {
  if (map) {
    if (auto entry = map->nodes.find(node); entry != map->nodes.end()) {
      return "node \"" + entry->second.name + "\"";
    }
  }
  return "node " + std::to_string(node);
}

NodeReport peer_state::report() const {
  NodeReport out;
  for (const auto& problem : problems) {
    if (out.problems.size() == reported_max) break;
    out.problems.insert(problem);
  }
  out.addresses[id()] = context->config.cluster_address;
  for (const auto& [node, link] : links) {
    if (link.remote && !link.told.empty()) out.addresses[node] = link.told;
  }
  return out;
}

Status peer_state::check_asker(const std::string& cluster_id, uint64_t node) const {
  const std::string own = context->membership->cluster_id();
  bool ours = !own.empty() && cluster_id == own;
  if (!ours || !map || map->removed.count(node) == 0) return {};
  return not_found("this node was removed from cluster " + own);
}

bool peer_state::is_taken(const std::string& address) const {
  if (address == join_target) return true;
  return std::any_of(links.begin(), links.end(), [&](const auto& entry) {
    const Link& link = entry.second;
    return link.latest_address() == address && (link.remote || link.connecting);
  });
}

uint64_t peer_state::reachable(uint64_t group, size_t turn) const {
  const ShardPlacement* placement = map ? map->placement_of(group) : nullptr;
  if (placement == nullptr) return 0;
  std::vector<uint64_t> others = others_of(*placement, id());
  std::erase_if(others, [this](uint64_t node) {
    auto link = links.find(node);
    return link == links.end() || !link->second.remote || !link->second.problem.empty();
  });
  std::vector<uint64_t> holding = others;  // those that have it for sure
  std::erase_if(holding, [&](uint64_t node) {
    return std::count(placement->joining.begin(), placement->joining.end(), node) > 0;
  });
  if (!holding.empty()) others = std::move(holding);
  std::vector<uint64_t> answering = others;
  std::erase_if(answering, [this](uint64_t node) { return links.at(node).silent; });
  if (!answering.empty()) others = std::move(answering);
  return others.empty() ? 0 : others[turn % others.size()];
}

std::vector<Life> peer_state::known_lives(uint64_t other) const {
  std::vector<Life> out;
  if (map) {
    if (auto entry = map->nodes.find(other); entry != map->nodes.end()) {
      out.push_back(entry->second.life);
    }
  }
  // The map of the start may be older than the log: entries count once they are known to
  // be committed.
  if (auto known = context->known_lives.find(other); known != context->known_lives.end()) {
    out.push_back(known->second);
  }
  return out;
}

peer_actor::behavior_type peer(peer_pointer self, NodeContextPtr context) {
  self->state.context = std::move(context);
  self->state.lives = self->state.context->lives;
  self->state.random = mix(self->state.context->seams.seed, 0x9ee5u);
  self->set_down_handler([self](const caf::down_msg& down) {
    for (auto& [node, link] : self->state.links) {
      if (link.remote && link.remote.address() == down.source) return link_lost(self, node);
    }
  });
  self->delayed_send(self, tick_interval, Tick{});
  return {
      [self](ShardWrite& m) { return pass_on<ShardWritten>(self, m); },
      [self](ShardSearch& m) { return pass_on<ShardHits>(self, m); },
      [self](ShardGet& m) { return pass_on<ShardVectors>(self, m); },
      [self](ShardList& m) { return pass_on<ShardVectors>(self, m); },
      [self](ShardRecall& m) { return pass_on<ShardRecallCount>(self, m); },
      [self](ShardSample& m) { return pass_on<ShardVectors>(self, m); },
      [self](ShardDeleteMatching& m) { return pass_on<ShardWritten>(self, m); },
      [self](ShardDescribe& m) { return pass_on<ShardInfo>(self, m); },
      [self](FetchState& m) { return pass_on<StateChunk>(self, m); },
      [self](RaftWire& wire) {
        peer_state& state = self->state;
        // Whoever reached us can be reached that way: a new node knows nobody else.
        if (auto sender = self->current_sender(); sender && wire.from != state.id()) {
          auto link = state.links.find(wire.from);
          if (link == state.links.end() || !link->second.remote) {
            link_up(self, wire.from, caf::actor_cast<peer_actor>(sender));
          }
          heard_of(self, wire.from);
        }
        accept(self, wire);
      },
      [self](const Hello& hello) -> caf::result<HelloReply> {
        const std::string& cluster_id = self->state.context->membership->cluster_id();
        Status status = check_hello(hello, cluster_id);
        if (!status.ok()) note_stranger(self, hello);
        if (status.ok()) status = self->state.check_asker(hello.cluster_id, hello.node);
        if (!status.ok()) return to_error(status);
        return HelloReply{cluster_id, self->state.id()};
      },
      [self](const AskNode& ask) -> caf::result<NodeReport> {
        Status status = self->state.check_asker(ask.cluster_id, ask.node);
        if (!status.ok()) return to_error(status);
        learn(self, ask.node, ask.address);
        return self->state.report();
      },
      [self](JoinCluster& m) { return pass_to_master<JoinedCluster>(self, m); },
      [self](ChangeCatalog& m) { return pass_to_master<CatalogApplied>(self, m); },
      [self](SendRaft& out) {
        auto link = self->state.links.find(out.node);
        // Raft says it again.
        if (link == self->state.links.end() || !link->second.remote) return;
        if (!self->state.refusal.ok()) return;
        out.wire.life = self->state.life();
        self->send(link->second.remote, std::move(out.wire));
      },
      [self](const CheckLife& check) {
        peer_state& state = self->state;
        if (check.node != state.id()) return LifeChecked{};
        if (!remembers(state.lives, check.known)) {
          refuse(self, outlived(state.context->config.name));
        }
        return LifeChecked{state.life(), state.refusal.ok()};
      },
      [self](MembersChanged& changed) { know(self, changed.members); },
      [self](RoutesChanged& routes) {
        peer_state& state = self->state;
        state.map = std::move(routes.map);
        state.shards = std::move(routes.replicas);
        state.problems = std::move(routes.problems);
        if (state.map && state.map->removed.count(state.id()) > 0) leave(self);
      },
      [self](Wired& wired) {
        peer_state& state = self->state;
        state.master = std::move(wired.master);
        state.supervisor = std::move(wired.node);
        if (!state.refusal.ok()) self->send(state.supervisor, NodeRefused{state.refusal});
      },
      [self](DescribePeers) {
        PeerStates out;
        for (const auto& [node, link] : self->state.links) {
          if (link.remote) out.connected.push_back(node);
          if (!link.problem.empty()) out.problems[node] = link.problem;
          if (link.heard_ms) out.silent_ms[node] = now_ms(self) - *link.heard_ms;
          if (!link.reported.empty()) out.shards[node] = link.reported;
        }
        return out;
      },
      [self](Tick) {
        peer_state& state = self->state;
        uint64_t now = now_ms(self);
        for (auto& again : std::exchange(state.held, {})) again();
        state.timers.run_due(now);
        bool member = !state.context->membership->cluster_id().empty();
        for (auto& [node, link] : state.links) {
          bool due = link.remote && !link.asking && now >= link.ask_ms;
          bool gone = state.map && state.map->removed.count(node) > 0;
          if (due && member && state.refusal.ok() && !gone) ask_node(self, node);
          bool asked = link.remote && !link.waiting.empty();
          if (asked && link.ping_ms != 0 && now >= link.ping_ms) ping(self, node);
          if (link.remote || link.connecting || link.address.empty() || now < link.retry_ms) {
            continue;
          }
          // Whoever was removed has its answer.
          if (state.removed || state.is_taken(link.next_address())) continue;
          connect_to(self, node);
        }
        bool may_join = !state.joining && !state.context->config.join.empty();
        if (!member && may_join && now >= state.join_ms) join(self);
        if (!state.refusal.ok()) {
          if (!state.removed) tell_life(self);
        } else if (member) {
          announce(self);
          record_life(self);
        }
        if (member && state.refusal.ok()) check_join(self);
        tell_out_of_touch(self);
        self->delayed_send(self, tick_interval, Tick{});
      },
  };
}

Result<std::pair<std::string, uint16_t>> parse_address(const std::string& address) {
  Status wrong = invalid_argument("\"" + address + "\" is not an address; give HOST:PORT");
  size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return wrong;
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  uint16_t port = 0;
  const char *begin = address.data() + colon + 1, *end = address.data() + address.size();
  auto [stop, error] = std::from_chars(begin, end, port);
  if (error != std::errc() || stop != end || port == 0) return wrong;
  return std::pair(std::move(host), port);
}

}  // namespace jade
