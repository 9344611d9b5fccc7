#include "actors/raft_core.h"

#include <doctest/doctest.h>

extern "C" {
#include <raft.h>  // does not do this itself
}

#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include "storage/checksum.h"

namespace jade {
namespace {

// A group of members in one loop, with a disk each that saves when it likes and a
// network that loses, doubles and reorders. Every safety property of Raft's paper
// (figure 3) is checked after every step, over all of history.
class Group {
 public:
  struct Faults {
    double lose = 0, repeat = 0, crash = 0, cut = 0, isolate = 0;
    double restart = 0.02;  // a step's chance to come back
    double stall = 0;       // of a disk, for a while
    bool changes = false;
    bool compaction = true;
  };

  Group(uint64_t seed, size_t members, Faults faults) : random_(seed), faults_(faults) {
    RaftConfiguration founders;
    for (uint64_t node = 1; node <= members; ++node) founders.set(node, true);
    // Two more that may be asked to join.
    for (uint64_t node = 1; node <= members + (faults.changes ? 2 : 0); ++node) {
      Member& member = members_[node];
      if (founders.is_voter(node)) {
        member.disk.state = {1, 0};
        member.disk.entries = {{1, change_type, founders.encode()}};
      }
      start(node);
    }
  }

  void run(uint64_t steps) {
    for (uint64_t i = 0; i < steps; ++i) {
      step();
      if (i % 16 == 0) check_logs();
    }
  }

  // No more faults: a leader is found and everything is applied everywhere.
  void heal_and_check() {
    faults_ = {};
    quiet_ = true;
    cut_.clear();
    for (auto& [node, member] : members_) {
      if (!member.core) start(node);
    }
    std::optional<uint64_t> leader;
    for (int i = 0; i < 60'000 && !leader; ++i) {
      step();
      for (auto& [node, member] : members_) {
        if (member.core->leads() && !member.core->changing()) leader = node;
      }
    }
    REQUIRE(leader);
    std::string last = "last " + std::to_string(next_command_++);
    bool proposed = false, everywhere = false;
    for (int i = 0; i < 200'000 && !everywhere; ++i) {
      step();
      for (auto& [node, member] : members_) {
        if (!proposed && member.core->leads()) {
          proposed = member.core->propose(RaftEntryType::command, last, now_ms_).ok();
        }
      }
      everywhere = proposed && i % 64 == 0;
      if (!everywhere) continue;
      const RaftConfiguration* configuration = nullptr;
      for (auto& [node, member] : members_) {
        if (member.core->leads()) configuration = &member.core->configuration();
      }
      if (configuration == nullptr) {
        everywhere = false;
        continue;
      }
      for (const RaftMember& one : configuration->members) {
        const auto& state = members_.at(one.node).state;
        everywhere = everywhere && !state.empty() && state.back() == last;
      }
      // It may have been lost with its leader.
      if (!everywhere && i % 8192 == 0) proposed = false;
    }
    REQUIRE(everywhere);
    check_logs();
  }

  size_t committed() const { return history_.size(); }
  uint64_t terms() const { return leaders_.size(); }
  uint64_t reads() const { return reads_; }
  uint64_t installs() const { return installs_; }
  uint64_t changes() const { return changes_; }
  uint64_t truncations() const { return truncations_; }

 private:
  static constexpr uint8_t change_type = static_cast<uint8_t>(RaftEntryType::change);

  struct Disk {
    HardState state;
    std::optional<RaftSnapshot> snapshot;
    uint64_t first = 1;
    std::vector<LogEntry> entries;
  };
  struct Read {
    size_t acknowledged;  // what it must show at least
  };
  struct Member {
    Disk disk;
    std::optional<RaftCore> core;
    std::deque<RaftSave> saving;
    uint64_t applied = 0;
    std::vector<std::string> state;  // commands in the order applied
    std::map<uint64_t, Read> reads;  // by ticket
    uint64_t clock_ms = 0;           // runs at its own speed
  };

  uint64_t draw(uint64_t below) { return random_() % below; }
  bool chance(double p) { return static_cast<double>(random_() % 1'000'000) < p * 1e6; }

  void start(uint64_t node) {
    Member& member = members_[node];
    RaftCore::Options options;
    options.node = node;
    options.seed = random_();
    options.message_bytes_max = 64;  // a few entries
    options.inflight_bytes_max = 200;
    options.first_leader = 1;
    LogStore::Loaded loaded{member.disk.state, member.disk.snapshot, member.disk.first,
                            member.disk.entries};
    uint64_t committed = 0;
    member.state.clear();
    if (member.disk.snapshot) {
      committed = member.disk.snapshot->index;
      member.state = unpack(member.disk.snapshot->data);
    }
    auto core = RaftCore::start(options, std::move(loaded), committed, now_ms_);
    REQUIRE_MESSAGE(core.ok(), core.status().to_string());
    member.core.emplace(std::move(*core));
    member.applied = committed;
    drive(node);
  }

  // As if the machine lost power: what was not saved is gone.
  void crash(uint64_t node) {
    Member& member = members_[node];
    member.core.reset();
    member.saving.clear();
    member.reads.clear();
  }

  void step() {
    uint64_t node = 1 + draw(members_.size());
    Member& member = members_[node];
    if (!member.core) {
      if (chance(faults_.restart)) start(node);
      return;
    }
    if (chance(faults_.crash)) return crash(node);
    if (chance(faults_.isolate)) isolate();
    if (chance(faults_.stall)) stalled_ = stalled_ == 0 ? node : 0;
    if (chance(faults_.cut)) {
      uint64_t other = 1 + draw(members_.size());
      if (!cut_.erase({node, other})) cut_.insert({node, other});  // one way only
    }
    switch (draw(8)) {
      case 0:
        now_ms_ += draw(40);
        member.core->tick(now_ms_);
        break;
      case 1:
      case 2: save(node); break;
      case 3: act(node); break;
      default: deliver(); return;
    }
    if (member.core) drive(node);
  }

  // Cuts a leader off from the others, or from one of them, both ways; or mends all.
  void isolate() {
    if (!cut_.empty()) return cut_.clear();
    for (auto& [node, member] : members_) {
      if (!member.core || !member.core->is_leader()) continue;
      uint64_t only = draw(2) == 0 ? 1 + draw(members_.size()) : 0;
      for (auto& [other, unused] : members_) {
        if (only != 0 && other != only) continue;
        cut_.insert({node, other});
        cut_.insert({other, node});
      }
    }
  }

  void act(uint64_t node) {
    Member& member = members_[node];
    RaftCore& core = *member.core;
    switch (draw(12)) {
      case 0:
        if (faults_.changes) change(core);
        break;
      case 1:
        if (core.is_leader() && chance(0.1))
          (void)core.transfer(1 + draw(members_.size()), now_ms_);
        break;
      case 2:
        if (faults_.compaction && chance(0.3)) compact(member);
        break;
      case 3:
      case 4: {
        auto ticket = core.read(now_ms_);
        if (ticket.ok()) member.reads[*ticket] = {acknowledged_};
        break;
      }
      default:
        if (core.is_leader() && !quiet_) {
          (void)core.propose(RaftEntryType::command, "c" + std::to_string(next_command_++),
                             now_ms_);
        }
    }
  }

  void change(RaftCore& core) {
    if (!core.leads()) return;
    RaftConfiguration next = core.configuration();
    uint64_t node = 1 + draw(members_.size());
    const RaftMember* member = next.find(node);
    if (member == nullptr) {
      next.set(node, false);
    } else if (!member->voter) {
      next.set(node, true);
    } else if (next.voters() > 2) {
      next.remove(node);
    } else {
      return;
    }
    changes_ += core.change(next, now_ms_).ok();
  }

  void compact(Member& member) {
    if (member.applied <= member.core->first_index()) return;
    RaftSnapshot snapshot;
    snapshot.index = member.applied;
    snapshot.term = member.core->term_at(member.applied);
    const auto& [index, configuration] = member.core->configuration_at(member.applied);
    snapshot.configuration_index = index;
    snapshot.configuration = configuration.encode();
    snapshot.data = pack(member.state);
    // Sometimes entries before it are kept.
    uint64_t keep = snapshot.index + 1 - draw(std::min<uint64_t>(4, snapshot.index));
    keep = std::max(keep, member.disk.first);
    if (keep > member.disk.first + member.disk.entries.size()) return;
    member.disk.entries.erase(
        member.disk.entries.begin(),
        member.disk.entries.begin() + static_cast<std::ptrdiff_t>(keep - member.disk.first));
    member.disk.first = keep;
    member.disk.snapshot = snapshot;
    member.core->compact(keep - 1);
  }

  void save(uint64_t node) {
    Member& member = members_[node];
    if (member.saving.empty() || (node == stalled_ && !quiet_)) return;
    RaftSave save = std::move(member.saving.front());
    member.saving.pop_front();
    if (save.state) member.disk.state = *save.state;
    if (!save.entries.empty()) {
      size_t keep = static_cast<size_t>(save.first_index - member.disk.first);
      REQUIRE(keep <= member.disk.entries.size());
      truncations_ += keep < member.disk.entries.size();
      member.disk.entries.resize(keep);
      for (LogEntry& entry : save.entries) member.disk.entries.push_back(std::move(entry));
    }
    member.core->saved(save.number, now_ms_);
  }

  void deliver() {
    if (network_.empty()) return;
    size_t at = draw(std::min<size_t>(network_.size(), 8));
    RaftMessage message = network_[at];
    if (!chance(faults_.repeat)) network_.erase(network_.begin() + static_cast<std::ptrdiff_t>(at));
    if (chance(faults_.lose) || cut_.count({message.from, message.to}) > 0) return;
    Member& member = members_[message.to];
    if (!member.core) return;
    // Over the wire and back.
    auto decoded = RaftMessage::decode(message.encode());
    REQUIRE(decoded.ok());
    member.core->step(*decoded, now_ms_);
    drive(message.to);
  }

  void drive(uint64_t node) {
    Member& member = members_[node];
    for (;;) {
      RaftCore& core = *member.core;
      REQUIRE_MESSAGE(core.broken().ok(), core.broken().to_string());
      note_leader(node);
      RaftEffects effects = core.take();
      bool any = effects.save.has_value() || !effects.messages.empty() || !effects.reads.empty();
      if (effects.save) member.saving.push_back(std::move(*effects.save));
      for (RaftMessage& message : effects.messages) {
        if (message.kind == RaftMessage::Kind::offer_state) {
          REQUIRE(member.disk.snapshot);
          message.state = *member.disk.snapshot;
          message.index = message.state.index;
          message.log_term = message.state.term;
        }
        network_.push_back(std::move(message));
      }
      apply(node);
      for (const RaftRead& read : effects.reads) {
        if (!read.index) {
          member.reads.erase(read.ticket);
          continue;
        }
        auto found = member.reads.find(read.ticket);
        REQUIRE(found != member.reads.end());
        // Once applied up to there, all that was acknowledged before is seen.
        REQUIRE(*read.index >= index_of_acknowledged(found->second.acknowledged));
        member.reads.erase(found);
        ++reads_;
      }
      if (effects.offer) {
        ++installs_;
        member.disk.snapshot = effects.offer->state;
        member.disk.first = effects.offer->state.index + 1;
        member.disk.entries.clear();
        crash(node);
        return start(node);
      }
      if (!any && member.applied == core.apply_limit()) return;
    }
  }

  void apply(uint64_t node) {
    Member& member = members_[node];
    RaftCore& core = *member.core;
    while (member.applied < core.apply_limit()) {
      uint64_t index = member.applied + 1;
      const LogEntry& entry = core.entry(index);
      // State machine safety: one entry an index, for ever.
      auto [at, first] = history_.try_emplace(index, entry.term, entry.data);
      REQUIRE(at->second.first == entry.term);
      REQUIRE(at->second.second == entry.data);
      if (entry.type == static_cast<uint8_t>(RaftEntryType::command)) {
        member.state.push_back(entry.data);
      }
      member.applied = index;
      core.applied(index);
      // What a leader applies is acknowledged.
      if (core.is_leader()) acknowledged_ = std::max<size_t>(acknowledged_, index);
    }
  }

  uint64_t index_of_acknowledged(size_t acknowledged) const { return acknowledged; }

  // Election safety, and leader completeness.
  void note_leader(uint64_t node) {
    const RaftCore& core = *members_[node].core;
    if (!core.is_leader()) return;
    auto [at, first] = leaders_.try_emplace(core.term(), node);
    REQUIRE(at->second == node);
    if (!first) return;
    for (const auto& [index, entry] : history_) {
      if (index < core.first_index()) continue;
      REQUIRE(index <= core.last_index());
      REQUIRE(core.entry(index).term == entry.first);
    }
  }

  // Log matching: the same index and term, the same entry and all before it.
  void check_logs() const {
    for (const auto& [a_node, a] : members_) {
      for (const auto& [b_node, b] : members_) {
        if (a_node >= b_node || !a.core || !b.core) continue;
        uint64_t first = std::max(a.core->first_index(), b.core->first_index());
        uint64_t last = std::min(a.core->last_index(), b.core->last_index());
        bool agree = false;
        for (uint64_t index = last; index >= first && index > 0; --index) {
          agree = agree || a.core->term_at(index) == b.core->term_at(index);
          if (!agree) continue;
          REQUIRE(a.core->term_at(index) == b.core->term_at(index));
          REQUIRE(a.core->entry(index).data == b.core->entry(index).data);
        }
      }
    }
  }

  static std::string pack(const std::vector<std::string>& state) {
    std::string out;
    for (const std::string& command : state) out += command + "\n";
    return out;
  }
  static std::vector<std::string> unpack(std::string_view data) {
    std::vector<std::string> out;
    while (!data.empty()) {
      out.emplace_back(data.substr(0, data.find('\n')));
      data.remove_prefix(out.back().size() + 1);
    }
    return out;
  }

  std::mt19937_64 random_;
  uint64_t stalled_ = 0;
  bool quiet_ = false;  // nothing new is proposed
  Faults faults_;
  uint64_t now_ms_ = 1;
  std::map<uint64_t, Member> members_;
  std::deque<RaftMessage> network_;
  std::set<std::pair<uint64_t, uint64_t>> cut_;
  std::map<uint64_t, uint64_t> leaders_;                          // by term
  std::map<uint64_t, std::pair<uint64_t, std::string>> history_;  // by index
  size_t acknowledged_ = 0;
  uint64_t next_command_ = 0;
  uint64_t reads_ = 0, installs_ = 0, changes_ = 0, truncations_ = 0;
};

// One member, for single steps.
struct Single {
  RaftCore core;

  static LogStore::Loaded founded(std::initializer_list<uint64_t> voters) {
    RaftConfiguration configuration;
    for (uint64_t node : voters) configuration.set(node, true);
    return {{1, 0}, std::nullopt, 1, {{1, 3, configuration.encode()}}};
  }
  explicit Single(LogStore::Loaded loaded, uint64_t node = 1)
      : core(make(std::move(loaded), node)) {}
  static RaftCore make(LogStore::Loaded loaded, uint64_t node) {
    RaftCore::Options options;
    options.node = node;
    options.seed = 5;
    auto started = RaftCore::start(options, std::move(loaded), 0, 1000);
    REQUIRE(started.ok());
    return std::move(*started);
  }
  // Member 1 of {1, 2, 3} leads; its first entry is index 2, not committed yet.
  void elect(uint64_t now_ms) {
    for (int i = 0; i < 2; ++i) {
      if (i == 0) core.tick(now_ms);  // pre-vote
      settle(now_ms);
      RaftMessage yes;
      yes.kind = RaftMessage::Kind::vote_reply;
      yes.from = 2;
      yes.to = 1;
      yes.term = core.term() + (i == 0 ? 1 : 0);
      yes.pre_vote = i == 0;
      core.step(yes, now_ms);
    }
    settle(now_ms);
    REQUIRE(core.is_leader());
  }
  void acknowledge(uint64_t from, const RaftMessage& append, uint64_t index, uint64_t now_ms) {
    RaftMessage reply;
    reply.kind = RaftMessage::Kind::append_reply;
    reply.from = from;
    reply.to = 1;
    reply.term = core.term();
    reply.about = append.index;
    reply.index = index;
    reply.sent_ms = append.sent_ms;
    reply.round = append.round;
    core.step(reply, now_ms);
  }
  // What is sent to `node` now; the last of it.
  RaftMessage sent_to(uint64_t node, uint64_t now_ms) {
    std::optional<RaftMessage> found;
    for (RaftMessage& message : settle(now_ms)) {
      if (message.to == node) found = message;
    }
    REQUIRE(found);
    return *found;
  }
  bool answered() {
    RaftEffects effects = core.take();
    return !effects.reads.empty() && effects.reads[0].index.has_value();
  }
  // Everything is saved at once.
  std::vector<RaftMessage> settle(uint64_t now_ms) {
    std::vector<RaftMessage> out;
    for (;;) {
      RaftEffects effects = core.take();
      for (RaftMessage& message : effects.messages) out.push_back(std::move(message));
      if (!effects.save && effects.messages.empty()) return out;
      if (effects.save) core.saved(effects.save->number, now_ms);
      if (core.apply_limit() > 0) core.applied(core.apply_limit());
    }
  }
};

}  // namespace

TEST_CASE("alone, a member leads as soon as its vote is saved") {
  Single one(Single::founded({1}));
  CHECK(!one.core.is_leader());
  one.settle(1000);
  CHECK(one.core.leads());
  CHECK(one.core.term() == 2);
  auto index = one.core.propose(RaftEntryType::command, "x", 1000);
  REQUIRE(index.ok());
  CHECK(one.core.apply_limit() < *index);
  one.settle(1000);
  CHECK(one.core.apply_limit() == *index);
}

TEST_CASE("nothing that promises leaves before it is saved") {
  Single one(Single::founded({1, 2, 3}));
  RaftMessage vote;
  vote.kind = RaftMessage::Kind::vote;
  vote.from = 2;
  vote.to = 1;
  vote.term = 5;
  vote.index = 1;
  vote.log_term = 1;
  one.core.step(vote, 5000);
  RaftEffects effects = one.core.take();
  CHECK(effects.messages.empty());
  REQUIRE(effects.save);
  CHECK(effects.save->state == HardState{5, 2});
  one.core.saved(effects.save->number, 5000);
  effects = one.core.take();
  REQUIRE(effects.messages.size() == 1);
  CHECK(effects.messages[0].kind == RaftMessage::Kind::vote_reply);
  CHECK(!effects.messages[0].rejected);
  // A second candidate of the term gets nothing.
  vote.from = 3;
  one.core.step(vote, 5000);
  effects = one.core.take();
  REQUIRE(effects.messages.size() == 1);
  CHECK(effects.messages[0].rejected);
}

TEST_CASE("a member that hears its leader does not vote for another") {
  Single one(Single::founded({1, 2, 3}));
  RaftMessage append;
  append.kind = RaftMessage::Kind::append;
  append.from = 2;
  append.to = 1;
  append.term = 2;
  append.index = 1;
  append.log_term = 1;
  one.core.step(append, 5000);
  one.settle(5000);
  CHECK(one.core.leader() == 2);
  RaftMessage vote;
  vote.kind = RaftMessage::Kind::vote;
  vote.from = 3;
  vote.to = 1;
  vote.term = 9;
  vote.index = 50;
  vote.log_term = 8;
  one.core.step(vote, 5900);
  CHECK(one.settle(5900).empty());
  CHECK(one.core.term() == 2);
  one.core.step(vote, 6100);
  CHECK(one.settle(6100).size() == 1);
  CHECK(one.core.term() == 9);
  // Unless the leader itself asked for it.
  append.term = 9;
  append.from = 3;
  one.core.step(append, 6200);
  vote.from = 2;
  vote.term = 10;
  vote.disrupt = true;
  one.core.step(vote, 6200);
  one.settle(6200);
  CHECK(one.core.term() == 10);
}

TEST_CASE("a restarted member stays loyal to a leader that it may have heard") {
  LogStore::Loaded loaded = Single::founded({1, 2, 3});
  loaded.state = {4, 2};
  Single one(std::move(loaded));
  RaftMessage vote;
  vote.kind = RaftMessage::Kind::vote;
  vote.from = 3;
  vote.to = 1;
  vote.term = 9;
  vote.index = 50;
  vote.log_term = 8;
  one.core.step(vote, 1900);
  CHECK(one.settle(1900).empty());
  one.core.step(vote, 2100);
  CHECK(one.settle(2100).size() == 1);
}

TEST_CASE("an entry of an earlier term is not committed by counting its copies") {
  LogStore::Loaded loaded = Single::founded({1, 2, 3});
  loaded.entries.push_back({1, 1, "old"});
  Single one(std::move(loaded));
  one.elect(5000);
  REQUIRE(one.core.last_index() == 3);
  RaftMessage append;
  append.index = 2;
  append.sent_ms = 5000;
  one.acknowledge(2, append, 2, 5000);
  CHECK(one.core.commit_index() == 0);
  one.acknowledge(2, append, 3, 5000);
  CHECK(one.core.commit_index() == 3);
}

TEST_CASE("a restarted follower is current once its leader has committed in its own term") {
  LogStore::Loaded loaded = Single::founded({1, 2, 3});
  loaded.state = {2, 0};
  loaded.entries.push_back({2, 1, "acknowledged in the life before"});
  Single one(std::move(loaded));
  RaftMessage append;
  append.kind = RaftMessage::Kind::append;
  append.from = 2;
  append.to = 1;
  append.term = 3;
  append.index = 2;
  append.log_term = 2;
  append.commit = 1;  // as far as the new leader knows
  one.core.step(append, 5000);
  one.settle(5000);
  CHECK(one.core.apply_limit() == 1);
  CHECK(!one.core.current());
  append.entries = {{3, 2, ""}};
  append.commit = 3;
  one.core.step(append, 5000);
  CHECK(!one.core.current());
  one.settle(5000);
  CHECK(one.core.apply_limit() == 3);
  CHECK(one.core.current());
}

TEST_CASE("a new leader changes nothing and reads nothing before it knows what is committed") {
  Single one(Single::founded({1, 2, 3}));
  one.elect(5000);
  RaftConfiguration next = one.core.configuration();
  next.set(4, false);
  CHECK(one.core.change(next, 5000).status().code() == Code::unavailable);
  CHECK(one.core.read(5000).status().code() == Code::unavailable);
  RaftMessage append;
  append.index = 1;
  append.sent_ms = 5000;
  one.acknowledge(2, append, 2, 5000);
  CHECK(one.core.leads());
  CHECK(one.core.change(next, 5000).ok());
}

TEST_CASE("a read without a lease waits for a round that began after it") {
  Single one(Single::founded({1, 2, 3}));
  one.elect(5000);
  RaftMessage append;
  append.index = 1;
  append.sent_ms = 5000;
  one.acknowledge(2, append, 2, 5000);
  one.settle(5000);
  REQUIRE(one.core.read(5400).ok());
  CHECK(one.answered());  // a majority was heard half a second ago at most
  REQUIRE(one.core.read(5600).ok());
  RaftMessage earlier;  // on its way since before the read
  earlier.index = 2;
  earlier.sent_ms = 5000;
  earlier.round = one.core.progress().at(2).round;
  RaftMessage later = one.sent_to(2, 5600);
  one.acknowledge(2, earlier, 2, 5600);
  CHECK(!one.answered());
  one.acknowledge(2, later, 2, 5600);
  CHECK(one.answered());
  // Whoever asked another to lead has no lease any more.
  REQUIRE(one.core.read(5650).ok());
  CHECK(one.answered());
  REQUIRE(one.core.transfer(2, 5650).ok());
  CHECK(one.sent_to(2, 5650).kind == RaftMessage::Kind::campaign_now);
  REQUIRE(one.core.read(5660).ok());
  CHECK(!one.answered());
}

TEST_CASE("entries that give way to another leader's count only once those are saved") {
  Single one(Single::founded({1, 2, 3}));
  RaftMessage append;
  append.kind = RaftMessage::Kind::append;
  append.from = 2;
  append.to = 1;
  append.term = 2;
  append.index = 1;
  append.log_term = 1;
  RaftConfiguration four = one.core.configuration();
  four.set(4, true);
  append.entries = {{2, 1, "a"}, {2, 3, four.encode()}, {2, 1, "c"}};
  one.core.step(append, 5000);
  CHECK(one.core.configuration() == four);
  RaftEffects first = one.core.take();
  REQUIRE(first.save);
  // Not saved yet, and replaced by one entry of a later leader, which is committed.
  append.from = 3;
  append.term = 3;
  append.entries = {{3, 1, "b"}};
  append.commit = 2;
  one.core.step(append, 7000);
  CHECK(one.core.configuration().voters() == 3);
  RaftEffects second = one.core.take();
  REQUIRE(second.save);
  CHECK(second.save->first_index == 2);
  one.core.saved(first.save->number, 7000);
  CHECK(one.core.apply_limit() == 1);
  one.core.saved(second.save->number, 7000);
  CHECK(one.core.apply_limit() == 2);
  CHECK(one.core.entry(2).data == "b");
}

TEST_CASE("a configuration is written as libraft writes it") {
  RaftConfiguration ours;
  ours.set(7, true);
  ours.set(1, true);
  ours.set(300, false);
  raft_configuration theirs;
  raft_configuration_init(&theirs);
  REQUIRE(raft_configuration_add(&theirs, 1, "1", RAFT_VOTER) == 0);
  REQUIRE(raft_configuration_add(&theirs, 7, "7", RAFT_VOTER) == 0);
  REQUIRE(raft_configuration_add(&theirs, 300, "300", RAFT_STANDBY) == 0);
  raft_buffer buffer;
  REQUIRE(raft_configuration_encode(&theirs, &buffer) == 0);
  std::string bytes = ours.encode();
  REQUIRE(bytes.size() == buffer.len);
  // Its padding is whatever was in memory.
  size_t used = 1 + 8 + 3 * (8 + 1 + 1) + 1 + 1 + 3;
  CHECK(bytes.substr(0, used) == std::string_view(static_cast<char*>(buffer.base), used));
  auto decoded =
      RaftConfiguration::decode(std::string_view(static_cast<char*>(buffer.base), buffer.len));
  REQUIRE(decoded.ok());
  CHECK(*decoded == ours);
  raft_free(buffer.base);
  raft_configuration_close(&theirs);
}

TEST_CASE("bytes that are no message are refused, whatever they are") {
  RaftMessage message;
  message.kind = RaftMessage::Kind::append;
  message.from = 1;
  message.to = 2;
  message.entries = {{3, 1, "abc"}, {3, 1, ""}};
  std::string bytes = message.encode();
  REQUIRE(RaftMessage::decode(bytes).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    CHECK(!RaftMessage::decode(std::string_view(bytes).substr(0, size)).ok());
  }
  CHECK(!RaftMessage::decode(bytes + "x").ok());
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = bytes;
    for (int flips = 0; flips < 3; ++flips) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    CHECK((damaged == bytes || !RaftMessage::decode(damaged).ok()));
    // By whoever knows how checksums are made.
    (void)RaftMessage::decode(checked("raft message", std::string_view(damaged).substr(4)));
    (void)RaftConfiguration::decode(damaged);
  }
}

TEST_CASE("a change of members concerns one, and waits for the last one") {
  Single one(Single::founded({1}));
  one.settle(1000);
  RaftConfiguration next = one.core.configuration();
  next.set(2, false);
  next.set(3, false);
  CHECK(one.core.change(next, 1000).status().code() == Code::failed_precondition);
  next.remove(3);
  REQUIRE(one.core.change(next, 1000).ok());
  next.set(3, false);
  CHECK(one.core.change(next, 1000).status().code() == Code::failed_precondition);
  one.settle(1000);
  CHECK(!one.core.changing());
  CHECK(one.core.change(next, 1000).ok());
  one.settle(1000);
  RaftConfiguration none = one.core.configuration();
  none.remove(1);
  CHECK(one.core.change(none, 1000).status().code() == Code::failed_precondition);
}

TEST_CASE("groups of all sizes keep every promise of Raft under every fault") {
  uint64_t committed = 0, terms = 0, reads = 0, installs = 0, changes = 0, truncations = 0;
  for (uint64_t seed = 1; seed <= 90; ++seed) {
    CAPTURE(seed);
    Group::Faults faults;
    faults.lose = seed % 3 == 0 ? 0.05 : 0;
    faults.repeat = seed % 4 == 0 ? 0.1 : 0;
    faults.crash = seed % 2 == 0 ? 0.002 : 0;
    faults.restart = seed % 5 < 2 ? 0.3 : 0.02;
    faults.cut = seed % 7 == 0 ? 0.004 : 0;
    faults.isolate = seed % 7 > 2 ? 0.001 : 0;
    faults.stall = seed % 4 == 1 ? 0.002 : 0;
    faults.changes = seed % 6 == 1;
    faults.compaction = seed % 4 != 3;
    Group group(seed, 1 + seed % 5, faults);
    group.run(20'000);
    group.heal_and_check();
    committed += group.committed();
    terms += group.terms();
    reads += group.reads();
    installs += group.installs();
    changes += group.changes();
    truncations += group.truncations();
  }
  // The histories did take these turns.
  CHECK(committed > 20'000);
  CHECK(terms > 300);
  CHECK(reads > 5'000);
  CHECK(installs > 50);
  CHECK(changes > 50);
  CHECK(truncations > 20);
  MESSAGE("committed " << committed << ", terms " << terms << ", reads " << reads << ", installs "
                       << installs << ", changes " << changes << ", truncations " << truncations);
}

namespace {

constexpr uint32_t heartbeat_ms = 100;

// Node 1 of a group of its own.
RaftCore lone_leader(uint64_t now_ms) {
  RaftConfiguration alone;
  alone.set(1, true);
  LogStore::Loaded loaded;
  loaded.state = {1, 0};
  loaded.entries = {{1, static_cast<uint8_t>(RaftEntryType::change), alone.encode()}};
  RaftCore::Options options;
  options.node = 1;
  options.heartbeat_ms = heartbeat_ms;
  auto started = RaftCore::start(options, loaded, 0, now_ms);
  REQUIRE(started.ok());
  return std::move(*started);
}

}  // namespace

TEST_CASE("what a member acknowledged before it was removed does not count when it is back") {
  uint64_t now_ms = 1000;
  RaftCore core = lone_leader(now_ms);
  // Alone, all that is saved is committed.
  auto settle = [&] {
    for (;;) {
      RaftEffects effects = core.take();
      if (!effects.save) return;
      core.saved(effects.save->number, now_ms);
    }
  };
  auto change = [&](bool member) {
    RaftConfiguration next = core.configuration();
    member ? next.set(2, false) : next.remove(2);
    settle();
    REQUIRE(core.change(next, now_ms).ok());
    settle();
    REQUIRE_FALSE(core.changing());
  };
  change(true);
  uint64_t sent_ms = now_ms;
  now_ms += 100;
  change(false);
  now_ms += 100;
  change(true);
  RaftMessage reply;
  reply.kind = RaftMessage::Kind::append_reply;
  reply.from = 2;
  reply.to = 1;
  reply.term = core.term();
  reply.index = core.last_index() - 1;
  reply.sent_ms = sent_ms;
  core.step(reply, now_ms);
  CHECK(core.progress().at(2).match == 0);
  reply.sent_ms = now_ms;
  core.step(reply, now_ms);
  CHECK(core.progress().at(2).match == reply.index);
}

TEST_CASE("a member that has lost what it acknowledged is asked by heartbeats only") {
  Single one(Single::founded({1, 2, 3}));
  one.elect(5000);
  RaftMessage append;
  append.index = 1;
  append.sent_ms = 5000;
  for (append.index = 1; append.index <= 2; ++append.index) {
    one.acknowledge(2, append, 2, 5000);
  }
  REQUIRE(one.core.propose(RaftEntryType::command, "x", 5000).ok());
  one.settle(5000);
  auto refuse = [&](uint64_t about) {
    RaftMessage reply;
    reply.kind = RaftMessage::Kind::append_reply;
    reply.from = 2;
    reply.to = 1;
    reply.term = one.core.term();
    reply.about = about;
    reply.index = 1;
    reply.rejected = true;
    reply.sent_ms = 5000;
    one.core.step(reply, 5000);
    size_t sent = 0;
    for (const RaftMessage& message : one.settle(5000)) sent += message.to == 2;
    return sent;
  };
  REQUIRE(one.core.progress().at(2).match == 2);
  CHECK(refuse(3) == 1);  // from where it agreed
  CHECK(refuse(2) == 0);
  CHECK(refuse(2) == 0);
  one.core.tick(5100);
  CHECK(one.sent_to(2, 5100).index == 2);
}

TEST_CASE("a leader that gave up its lease and is alone since answers reads by itself") {
  uint64_t now_ms = 1000;
  RaftCore core = lone_leader(now_ms);
  std::vector<RaftRead> answered;
  // Member 2 takes whatever it is sent.
  auto settle = [&] {
    for (;;) {
      RaftEffects effects = core.take();
      answered.insert(answered.end(), effects.reads.begin(), effects.reads.end());
      if (effects.save) core.saved(effects.save->number, now_ms);
      for (const RaftMessage& message : effects.messages) {
        if (message.kind != RaftMessage::Kind::append || message.to != 2) continue;
        RaftMessage reply;
        reply.kind = RaftMessage::Kind::append_reply;
        reply.from = 2;
        reply.to = 1;
        reply.term = message.term;
        reply.index = message.index + message.entries.size();
        reply.about = message.index;
        reply.sent_ms = message.sent_ms;
        reply.round = message.round;
        core.step(reply, now_ms);
      }
      if (!effects.save && effects.messages.empty()) return;
    }
  };
  auto change = [&](const std::function<void(RaftConfiguration&)>& how) {
    settle();
    RaftConfiguration next = core.configuration();
    how(next);
    REQUIRE(core.change(next, now_ms).ok());
    settle();
    now_ms += heartbeat_ms;
    core.tick(now_ms);
    settle();
    REQUIRE_FALSE(core.changing());
  };
  change([](RaftConfiguration& next) { next.set(2, false); });
  change([](RaftConfiguration& next) { next.set(2, true); });
  REQUIRE(core.transfer(2, now_ms).ok());
  // It does not take over.
  for (int i = 0; i < 100; ++i) {
    now_ms += heartbeat_ms;
    core.tick(now_ms);
    settle();
  }
  REQUIRE(core.leads());
  change([](RaftConfiguration& next) { next.remove(2); });
  answered.clear();
  REQUIRE(core.read(now_ms).ok());
  settle();
  REQUIRE(answered.size() == 1);
  CHECK(answered[0].index);
}

}  // namespace jade
