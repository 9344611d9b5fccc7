#include "actors/raft_core.h"

#include <algorithm>

#include "actors/random.h"

namespace jade {
namespace {

constexpr uint8_t change_type = static_cast<uint8_t>(RaftEntryType::change);

size_t size_of(const LogEntry& entry) { return entry.data.size() + 16; }

// At most one member is new, gone or of another kind.
bool differ_by_one(const RaftConfiguration& a, const RaftConfiguration& b) {
  size_t differences = 0;
  for (const RaftMember& member : a.members) {
    const RaftMember* other = b.find(member.node);
    differences += other == nullptr || *other != member;
  }
  for (const RaftMember& member : b.members) differences += a.find(member.node) == nullptr;
  return differences == 1;
}

}  // namespace

Result<RaftCore> RaftCore::start(Options options, LogStore::Loaded loaded, uint64_t committed,
                                 uint64_t now_ms) {
  RaftCore core(options);
  core.now_ms_ = now_ms;
  core.state_ = loaded.state;
  core.base_index_ = loaded.first_index - 1;
  size_t skip = 0;
  if (loaded.snapshot) {
    auto configuration = RaftConfiguration::decode(loaded.snapshot->configuration);
    if (!configuration.ok()) return configuration.status();
    core.adopt(loaded.snapshot->configuration_index, std::move(*configuration));
    committed = std::max(committed, loaded.snapshot->index);
    core.base_term_ = loaded.snapshot->term;
    if (core.base_index_ < loaded.snapshot->index) {
      // Entries before the snapshot's were kept, for members that lag. The first
      // only tells the term that comes before the second.
      core.base_term_ = loaded.entries.front().term;
      ++core.base_index_;
      skip = 1;
    }
  } else {
    core.configurations_.emplace_back(0, RaftConfiguration());
  }
  for (; skip < loaded.entries.size(); ++skip) {
    core.log_.push_back(std::move(loaded.entries[skip]));
    const LogEntry& last = core.log_.back();
    // Those that a snapshot covers are older than its own.
    if (last.type != change_type || core.last_index() <= core.configurations_.back().first) {
      continue;
    }
    auto configuration = RaftConfiguration::decode(last.data);
    if (!configuration.ok()) return configuration.status();
    core.adopt(core.last_index(), std::move(*configuration));
  }
  if (committed > core.last_index()) {
    return corruption("the state is at entry " + std::to_string(committed) +
                      ", but its log ends at " + std::to_string(core.last_index()));
  }
  core.commit_ = core.applied_ = committed;
  core.stored_ = core.last_index();
  core.unsaved_from_ = core.last_index() + 1;
  core.reset_timer();
  // A new group, or a state that was put there as its beginning: nobody has led it
  // with this member's help.
  bool derived = core.state_ == HardState() && core.base_index_ > 0;
  bool fresh = (core.last_index() == 1 && core.state_.term <= 1) || derived;
  // A log may begin in a later term than any in which this member voted.
  if (core.state_.term < core.term_at(core.last_index())) {
    core.set_state({core.term_at(core.last_index()), 0});
  }
  if (fresh) {
    if (options.first_leader == options.node) core.timeout_ms_ = options.heartbeat_ms;
  } else {
    // A leader that was heard in the life before may rely on its lease.
    core.loyal_until_ms_ = now_ms + options.election_timeout_ms;
  }
  // Alone, there is nobody to wait for.
  if (core.configuration().is_voter(options.node) && core.configuration().voters() == 1) {
    core.campaign(false, false);
  }
  return core;
}

uint64_t RaftCore::term_at(uint64_t index) const {
  JADE_ASSERT(index >= base_index_ && index <= last_index());
  return index == base_index_ ? base_term_ : entry(index).term;
}

const LogEntry& RaftCore::entry(uint64_t index) const {
  JADE_ASSERT(index > base_index_ && index <= last_index());
  return log_[index - base_index_ - 1];
}

const std::pair<uint64_t, RaftConfiguration>& RaftCore::configuration_at(uint64_t index) const {
  size_t at = configurations_.size() - 1;
  while (at > 0 && configurations_[at].first > index) --at;
  return configurations_[at];
}

bool RaftCore::current() const {
  if (is_leader()) return leads() && applied_ >= term_start_;
  return contact_commit_ && applied_ >= *contact_commit_;
}

void RaftCore::set_state(HardState state) {
  state_ = state;
  state_dirty_ = true;
}

void RaftCore::reset_timer() {
  timer_ms_ = now_ms_;
  int timeout = static_cast<int>(options_.election_timeout_ms);
  timeout_ms_ = static_cast<uint64_t>(uniform(random_, timeout, 2 * timeout));
}

void RaftCore::hear_leader(const RaftMessage& message) {
  if (role_ == Role::leader || (leader_ != 0 && leader_ != message.from)) {
    broken_ =
        corruption("nodes " + std::to_string(leader()) + " and " + std::to_string(message.from) +
                   " lead in the same term " + std::to_string(state_.term));
    return;
  }
  if (role_ != Role::follower || leader_ == 0) become_follower(state_.term, message.from);
  loyal_until_ms_ = now_ms_ + options_.election_timeout_ms;
  reset_timer();
}

bool RaftCore::quorum(const std::set<uint64_t>& nodes) const {
  size_t count = 0;
  for (uint64_t node : nodes) count += configuration().is_voter(node);
  return count > configuration().voters() / 2;
}

uint64_t RaftCore::reached(uint64_t mine, uint64_t Progress::*field) const {
  std::vector<uint64_t> values;
  for (const RaftMember& member : configuration().members) {
    if (!member.voter) continue;
    if (member.node == options_.node) {
      values.push_back(mine);
    } else {
      values.push_back(progress_.at(member.node).*field);
    }
  }
  if (values.empty()) return 0;
  // Of n values in descending order, the one at n / 2 is reached by a majority.
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end(), std::greater<>());
  return *middle;
}

RaftMessage RaftCore::message_to(uint64_t node, RaftMessage::Kind kind) const {
  RaftMessage message;
  message.kind = kind;
  message.from = options_.node;
  message.to = node;
  message.term = state_.term;
  return message;
}

void RaftCore::send_saved(RaftMessage message, bool entries_too) {
  uint64_t after = entries_too ? next_save_ - 1 : state_save_;
  if (entries_too ? unsaved() : state_dirty_) after = next_save_;
  if (after <= last_saved_) {
    ready_.push_back(std::move(message));
  } else {
    held_.push_back({after, std::move(message)});
  }
}

// ---- elections -----------------------------------------------------------------

void RaftCore::become_follower(uint64_t term, uint64_t leader) {
  if (term > state_.term) set_state({term, 0});
  if (role_ == Role::leader) {
    for (const PendingRead& read : pending_reads_) reads_.push_back({read.ticket, std::nullopt});
    pending_reads_.clear();
    progress_.clear();
    transfer_to_ = 0;
  }
  role_ = Role::follower;
  leader_ = leader;
  votes_.clear();
  reset_timer();
}

void RaftCore::campaign(bool pre_vote, bool disrupt) {
  if (!configuration().is_voter(options_.node)) return;
  reset_timer();
  leader_ = 0;
  votes_ = {options_.node};
  if (pre_vote && !quorum(votes_)) {
    role_ = Role::pre_candidate;
  } else {
    role_ = Role::candidate;
    pre_vote = false;
    set_state({state_.term + 1, options_.node});
    vote_save_ = next_save_;
  }
  for (const RaftMember& member : configuration().members) {
    if (!member.voter || member.node == options_.node) continue;
    RaftMessage message = message_to(member.node, RaftMessage::Kind::vote);
    message.term = state_.term + (pre_vote ? 1 : 0);
    message.pre_vote = pre_vote;
    message.disrupt = disrupt;
    message.index = last_index();
    message.log_term = term_at(last_index());
    send_saved(std::move(message), false);
  }
}

void RaftCore::count_votes() {
  if (!quorum(votes_)) return;
  if (role_ == Role::pre_candidate) {
    campaign(false, false);
  } else if (role_ == Role::candidate && last_saved_ >= vote_save_) {
    become_leader();
  }
}

void RaftCore::become_leader() {
  role_ = Role::leader;
  leader_ = options_.node;
  progress_.clear();
  transfer_to_ = 0;
  lease_given_up_ = false;
  quorum_check_ms_ = now_ms_;
  follow_configuration();
  // Only an entry of its own term tells a leader what is committed.
  term_start_ = append({state_.term, static_cast<uint8_t>(RaftEntryType::barrier), {}});
  heartbeat();
}

void RaftCore::on_vote(const RaftMessage& message) {
  bool later = message.term > state_.term;  // a pre-vote has not made it ours
  bool may = state_.voted_for == message.from || (state_.voted_for == 0 && leader_ == 0) ||
             (message.pre_vote && later);
  // Without a log it may have been a member before, and have voted in this term: a
  // leader has to let it in first.
  may = may && !configuration().members.empty();
  uint64_t last_term = term_at(last_index());
  bool up_to_date = message.log_term > last_term ||
                    (message.log_term == last_term && message.index >= last_index());
  RaftMessage reply = message_to(message.from, RaftMessage::Kind::vote_reply);
  reply.pre_vote = message.pre_vote;
  reply.rejected = !may || !up_to_date;
  if (!reply.rejected) {
    reply.term = message.term;
    if (!message.pre_vote) {
      if (state_.voted_for != message.from) set_state({state_.term, message.from});
      reset_timer();
    }
  }
  send_saved(std::move(reply), false);
}

void RaftCore::on_vote_reply(const RaftMessage& message) {
  Role asked = message.pre_vote ? Role::pre_candidate : Role::candidate;
  if (role_ != asked || message.rejected) return;
  if (message.term != state_.term + (message.pre_vote ? 1 : 0)) return;
  votes_.insert(message.from);
  count_votes();
}

// ---- the log --------------------------------------------------------------------

uint64_t RaftCore::append(LogEntry entry) {
  log_.push_back(std::move(entry));
  return last_index();
}

void RaftCore::truncate(uint64_t from) {
  JADE_ASSERT(from > base_index_ && from > commit_);
  log_.resize(from - base_index_ - 1);
  stored_ = std::min(stored_, from - 1);
  unsaved_from_ = std::min(unsaved_from_, from);
  // What is under way will be stored, and then replaced by what comes here.
  for (auto& [number, last] : saves_) last = std::min(last, from - 1);
  while (configurations_.size() > 1 && configurations_.back().first >= from) {
    configurations_.pop_back();
  }
}

void RaftCore::adopt(uint64_t index, RaftConfiguration configuration) {
  configurations_.emplace_back(index, std::move(configuration));
  if (is_leader()) follow_configuration();
}

void RaftCore::follow_configuration() {
  std::erase_if(progress_,
                [this](const auto& entry) { return configuration().find(entry.first) == nullptr; });
  for (const RaftMember& member : configuration().members) {
    if (member.node == options_.node || progress_.count(member.node) > 0) continue;
    Progress& progress = progress_[member.node];
    progress.next = last_index() + 1;
    progress.since_ms = progress.heard_ms = now_ms_;
  }
}

void RaftCore::on_append(const RaftMessage& message) {
  hear_leader(message);
  if (!broken_.ok()) return;
  RaftMessage reply = message_to(message.from, RaftMessage::Kind::append_reply);
  reply.about = message.index;
  reply.sent_ms = message.sent_ms;
  reply.round = message.round;

  uint64_t before = message.index;
  size_t skip = 0;
  if (before < commit_) {
    // What is committed agrees; it may be gone from the log, too.
    skip = static_cast<size_t>(std::min<uint64_t>(message.entries.size(), commit_ - before));
    before = commit_;
  } else if (before > last_index()) {
    reply.rejected = true;
    reply.index = last_index();
  } else if (term_at(before) != message.log_term) {
    // Back over the whole term at once: it was another leader's.
    reply.rejected = true;
    uint64_t term = term_at(before), hint = before - 1;
    while (hint > commit_ && term_at(hint) == term) --hint;
    reply.index = hint;
  }
  if (reply.rejected) return send_saved(std::move(reply), false);

  uint64_t index = before;
  bool appended = false;
  for (size_t i = skip; i < message.entries.size(); ++i) {
    const LogEntry& entry = message.entries[i];
    ++index;
    if (index <= last_index()) {
      if (term_at(index) == entry.term) continue;
      truncate(index);
    }
    append(entry);
    appended = true;
    if (entry.type != change_type) continue;
    auto configuration = RaftConfiguration::decode(entry.data);
    if (!configuration.ok()) {
      broken_ = configuration.status();
      return;
    }
    adopt(index, std::move(*configuration));
  }
  commit_ = std::max(commit_, std::min(message.commit, index));
  // A new leader does not know at first what is committed, only once an entry of its
  // own term is.
  if (!contact_commit_ && commit_ >= base_index_ && term_at(commit_) == state_.term) {
    contact_commit_ = commit_;
  }
  if (appended) {
    reply.index = index;
    send_saved(std::move(reply), true);
  } else {
    // Answered at once, whatever is being written: the leader must hear of us.
    reply.index = std::min(index, stored_);
    send_saved(std::move(reply), false);
  }
}

void RaftCore::on_append_reply(const RaftMessage& message) {
  auto found = progress_.find(message.from);
  if (found == progress_.end()) return;
  Progress& progress = found->second;
  // Of a life before: whoever was removed and is a member again has lost its log.
  if (message.sent_ms < progress.since_ms) return;
  progress.heard_ms = now_ms_;
  progress.sent_ms = std::max(progress.sent_ms, message.sent_ms);
  progress.round = std::max(progress.round, message.round);
  answer_reads();
  if (!is_leader() || message.index > last_index()) return;
  if (message.rejected) {
    // Late answers say nothing new; nor does a member that has lost what it acknowledged, to
    // which the same would be sent again at once, and again for ever.
    bool stale =
        message.about <= progress.match || (progress.probing && message.about != progress.next - 1);
    if (stale) return;
    progress.next = std::max(progress.match + 1, std::min(message.about, message.index + 1));
    progress.probing = true;
    progress.inflight.clear();
    progress.inflight_bytes = 0;
    return send_entries(message.from);
  }
  if (message.index > progress.match) {
    progress.match = message.index;
    while (!progress.inflight.empty() && progress.inflight.front().first <= progress.match) {
      progress.inflight_bytes -= progress.inflight.front().second;
      progress.inflight.pop_front();
    }
  }
  progress.next = std::max(progress.next, progress.match + 1);
  if (progress.probing && message.about + 1 >= progress.next) progress.probing = false;
  advance_commit();
  if (!is_leader()) return;
  send_entries(message.from);
  try_hand_over();
}

void RaftCore::advance_commit() {
  if (!is_leader()) return;
  uint64_t index = std::min(reached(stored_, &Progress::match), last_index());
  if (index <= commit_ || term_at(index) != state_.term) return;
  commit_ = index;
  answer_reads();
  // Whoever removed itself has now done its last duty.
  if (!changing() && !configuration().is_voter(options_.node)) {
    for (auto& [node, progress] : progress_) send_append(node, progress, progress.next - 1, false);
    become_follower(state_.term, 0);
  }
}

// ---- replication ------------------------------------------------------------------

void RaftCore::send_append(uint64_t node, Progress& progress, uint64_t index, bool with_entries) {
  // Of a log that is gone: anything to be heard by.
  if (index < base_index_) index = base_index_;
  RaftMessage message = message_to(node, RaftMessage::Kind::append);
  message.index = index;
  message.log_term = term_at(index);
  message.commit = commit_;
  message.sent_ms = now_ms_;
  message.round = round_;
  if (with_entries) {
    size_t bytes = 0;
    while (progress.next <= last_index()) {
      const LogEntry& next = entry(progress.next);
      if (bytes > 0 && bytes + size_of(next) > options_.message_bytes_max) break;
      bytes += size_of(next);
      message.entries.push_back(next);
      ++progress.next;
    }
    progress.inflight.emplace_back(progress.next - 1, bytes);
    progress.inflight_bytes += bytes;
  }
  progress.commit = commit_;
  // The term was saved before anybody voted for it.
  ready_.push_back(std::move(message));
}

void RaftCore::offer_state(uint64_t node, Progress& progress) {
  if (progress.offered_ms != 0 && now_ms_ < progress.offered_ms + options_.election_timeout_ms) {
    return;
  }
  progress.offered_ms = now_ms_;
  RaftMessage message = message_to(node, RaftMessage::Kind::offer_state);
  message.index = base_index_;
  message.log_term = base_term_;
  ready_.push_back(std::move(message));
}

void RaftCore::send_entries(uint64_t node) {
  Progress& progress = progress_.at(node);
  if (progress.next <= base_index_) return offer_state(node, progress);
  if (progress.probing) return send_append(node, progress, progress.next - 1, false);
  while (progress.next <= last_index() && progress.inflight_bytes < options_.inflight_bytes_max) {
    send_append(node, progress, progress.next - 1, true);
  }
}

void RaftCore::heartbeat() {
  heartbeat_ms_ = now_ms_;
  round_due_ = false;
  for (auto& [node, progress] : progress_) {
    send_append(node, progress, progress.next - 1, false);
    if (progress.next <= base_index_) offer_state(node, progress);
  }
}

void RaftCore::on_offer(const RaftMessage& message) {
  hear_leader(message);
  if (!broken_.ok()) return;
  bool has =
      message.index <= commit_ || (message.index >= base_index_ && message.index <= last_index() &&
                                   term_at(message.index) == message.log_term);
  // The next heartbeat will find it so.
  if (has) return;
  offer_ = RaftOffer{message.from, message.state};
  offer_->state.index = message.index;
  offer_->state.term = message.log_term;
}

// ---- reads and leadership -----------------------------------------------------------

bool RaftCore::lease_holds() const { return now_ms_ < lease_until_ms(); }

uint64_t RaftCore::lease_until_ms() const {
  if (lease_given_up_) return 0;
  // No member votes for another before it has heard nothing for a whole timeout;
  // half of it leaves room for clocks that run at different speeds.
  return reached(now_ms_, &Progress::sent_ms) + options_.election_timeout_ms / 2;
}

Result<uint64_t> RaftCore::read(uint64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  if (!leads()) return unavailable("this replica is not the leader at the moment; try again");
  uint64_t ticket = next_ticket_++;
  if (lease_holds()) {
    reads_.push_back({ticket, commit_});
    return ticket;
  }
  if (!round_due_) ++round_;  // those that wait for the same round share it
  round_due_ = true;
  pending_reads_.push_back({ticket, commit_, round_});
  answer_reads();  // where there is nobody else to hear from
  return ticket;
}

void RaftCore::answer_reads() {
  if (pending_reads_.empty()) return;
  uint64_t round = reached(round_, &Progress::round);
  while (!pending_reads_.empty() && pending_reads_.front().round <= round) {
    reads_.push_back({pending_reads_.front().ticket, pending_reads_.front().index});
    pending_reads_.pop_front();
  }
}

Status RaftCore::transfer(uint64_t node, uint64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  if (!leads()) return unavailable("this replica is not the leader at the moment; try again");
  if (node == options_.node) return {};
  if (!configuration().is_voter(node)) {
    return invalid_argument("node " + std::to_string(node) + " does not vote in this group");
  }
  // Asked again and again, it must still come to an end, for the message to be sent
  // again.
  if (transfer_to_ == node) return {};
  transfer_to_ = node;
  transfer_ms_ = now_ms_;
  transfer_sent_ = false;
  try_hand_over();
  return {};
}

void RaftCore::try_hand_over() {
  if (transfer_to_ == 0) return;
  auto found = progress_.find(transfer_to_);
  if (found == progress_.end() || found->second.match != last_index() || transfer_sent_) return;
  transfer_sent_ = true;
  lease_given_up_ = true;  // for good: the message may arrive at any time
  ready_.push_back(message_to(transfer_to_, RaftMessage::Kind::campaign_now));
}

// ---- events ---------------------------------------------------------------------------

void RaftCore::tick(uint64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  if (!broken_.ok()) return;
  if (role_ != Role::leader) {
    if (now_ms_ >= timer_ms_ + timeout_ms_) campaign(true, false);
    return;
  }
  if (transfer_to_ != 0 && now_ms_ >= transfer_ms_ + options_.election_timeout_ms) {
    transfer_to_ = 0;
  }
  if (now_ms_ >= quorum_check_ms_ + options_.election_timeout_ms) {
    uint64_t since = quorum_check_ms_;
    quorum_check_ms_ = now_ms_;
    if (reached(now_ms_, &Progress::heard_ms) < since) return become_follower(state_.term, 0);
  }
  if (now_ms_ >= heartbeat_ms_ + options_.heartbeat_ms) heartbeat();
}

void RaftCore::step(const RaftMessage& message, uint64_t now_ms) {
  using Kind = RaftMessage::Kind;
  now_ms_ = std::max(now_ms_, now_ms);
  if (!broken_.ok() || message.to != options_.node || message.from == options_.node) return;
  bool from_leader = message.kind == Kind::append || message.kind == Kind::offer_state;
  if (message.term > state_.term) {
    bool vote = message.kind == Kind::vote;
    // Whoever hears a leader does not help to replace it.
    bool loyal = now_ms_ < loyal_until_ms_ || (is_leader() && lease_holds());
    if (vote && !message.disrupt && loyal) return;
    bool hypothetical = message.pre_vote && (vote || !message.rejected);
    if (!hypothetical) become_follower(message.term, from_leader ? message.from : 0);
  } else if (message.term < state_.term) {
    // An old leader or candidate learns of the new term by the answer.
    if (!from_leader && !(message.kind == Kind::vote && message.pre_vote)) return;
    RaftMessage reply =
        message_to(message.from, from_leader ? Kind::append_reply : Kind::vote_reply);
    reply.rejected = true;
    reply.pre_vote = message.pre_vote;
    return send_saved(std::move(reply), false);
  }
  switch (message.kind) {
    case Kind::vote: return on_vote(message);
    case Kind::vote_reply: return on_vote_reply(message);
    case Kind::append: return on_append(message);
    case Kind::append_reply:
      if (is_leader()) on_append_reply(message);
      return;
    case Kind::offer_state: return on_offer(message);
    case Kind::campaign_now:
      if (role_ == Role::follower && leader_ == message.from) campaign(false, true);
      return;
  }
}

void RaftCore::saved(uint64_t number, uint64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  last_saved_ = std::max(last_saved_, number);
  while (!saves_.empty() && saves_.front().first <= number) {
    stored_ = std::max(stored_, saves_.front().second);
    saves_.pop_front();
  }
  // Those held for a later save stay in their order.
  std::deque<Held> still;
  for (Held& held : held_) {
    if (held.save > last_saved_) {
      still.push_back(std::move(held));
    } else if (held.message.term >= state_.term) {
      ready_.push_back(std::move(held.message));
    }
  }
  held_ = std::move(still);
  if (role_ == Role::candidate) count_votes();
  advance_commit();
}

void RaftCore::applied(uint64_t index) {
  JADE_ASSERT(index >= applied_ && index <= apply_limit());
  applied_ = index;
}

void RaftCore::compact(uint64_t index) {
  JADE_ASSERT(index <= applied_);
  if (index <= base_index_) return;
  base_term_ = term_at(index);
  log_.erase(log_.begin(), log_.begin() + static_cast<std::ptrdiff_t>(index - base_index_));
  base_index_ = index;
  while (configurations_.size() > 1 && configurations_[1].first <= index) {
    configurations_.pop_front();
  }
}

Result<uint64_t> RaftCore::propose(RaftEntryType type, std::string data, uint64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  if (!is_leader()) return unavailable("this replica is not the leader at the moment; try again");
  if (transfer_to_ != 0) return unavailable("the leadership is being handed over; try again");
  uint64_t index = append({state_.term, static_cast<uint8_t>(type), std::move(data)});
  return index;
}

Result<uint64_t> RaftCore::change(const RaftConfiguration& next, uint64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  if (!leads()) return unavailable("this replica is not the leader at the moment; try again");
  if (changing()) {
    return Status(Code::failed_precondition, "the last change of members is still under way");
  }
  if (!differ_by_one(configuration(), next)) {
    return Status(Code::failed_precondition, "a change may concern one member only");
  }
  if (next.voters() == 0) {
    return Status(Code::failed_precondition, "a group cannot lose its last voter");
  }
  auto index = propose(RaftEntryType::change, next.encode(), now_ms);
  if (index.ok()) adopt(*index, next);
  return index;
}

RaftEffects RaftCore::take() {
  RaftEffects out;
  if (is_leader()) {
    if (round_due_) heartbeat();
    for (auto& [node, progress] : progress_) {
      if (progress.next <= last_index() && !progress.probing && progress.next > base_index_) {
        send_entries(node);
      }
      // While nothing else is on its way that would tell it.
      bool tell = progress.inflight.empty() && !progress.probing &&
                  progress.commit < std::min(commit_, progress.match);
      if (tell) send_append(node, progress, progress.next - 1, false);
    }
  }
  if (unsaved()) {
    RaftSave save;
    save.number = next_save_++;
    if (state_dirty_) {
      save.state = state_;
      state_save_ = save.number;
      state_dirty_ = false;
    }
    if (unsaved_from_ <= last_index()) {
      save.first_index = unsaved_from_;
      for (uint64_t index = unsaved_from_; index <= last_index(); ++index) {
        save.entries.push_back(entry(index));
      }
      unsaved_from_ = last_index() + 1;
    }
    saves_.emplace_back(save.number, last_index());
    out.save = std::move(save);
  }
  out.messages = std::exchange(ready_, {});
  out.reads = std::exchange(reads_, {});
  out.offer = std::exchange(offer_, std::nullopt);
  return out;
}

}  // namespace jade
