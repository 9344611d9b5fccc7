// What members of a Raft group say to each other, and who they are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "storage/log_store.h"
#include "storage/status.h"

namespace jade {

// LogEntry::type. The numbers are on disk.
enum class RaftEntryType : uint8_t {
  command = 1,  // for the state machine
  barrier = 2,  // nothing: a new leader's first entry
  change = 3,   // a RaftConfiguration
};

struct RaftMember {
  uint64_t node = 0;
  bool voter = false;  // false: a learner, which follows the log and does not count
  // HOST:PORT of the node's cluster port, where the group must know it without a
  // catalog: in the metadata group. Empty elsewhere.
  std::string address;

  friend bool operator==(const RaftMember&, const RaftMember&) = default;
};

struct RaftConfiguration {
  std::vector<RaftMember> members;  // by node, each once

  const RaftMember* find(uint64_t node) const;
  bool is_voter(uint64_t node) const;
  size_t voters() const;
  // Adds the node or changes what it is.
  void set(uint64_t node, bool voter, std::string address = {});
  void remove(uint64_t node);

  // Bytes as libraft 0.15 writes them, so that logs outlive the change of library.
  std::string encode() const;
  static Result<RaftConfiguration> decode(std::string_view bytes);

  friend bool operator==(const RaftConfiguration&, const RaftConfiguration&) = default;
};

struct RaftMessage {
  enum class Kind : uint8_t {
    vote = 1,      // may I lead?
    vote_reply,    //
    append,        // entries after `index`, or none: a heartbeat
    append_reply,  //
    offer_state,   // your log is too far behind: take the state itself
    campaign_now,  // lead in my place
  };
  Kind kind = Kind::append;
  uint64_t from = 0;
  uint64_t to = 0;
  uint64_t term = 0;
  // vote: the last entry of the candidate. append: the entry before `entries`.
  // append_reply: the last entry known to agree, or where to look for it.
  uint64_t index = 0;
  uint64_t log_term = 0;  // of `index`
  uint64_t commit = 0;    // append: the leader's
  uint64_t about = 0;     // append_reply: `index` of the append
  // append: when and in which round of reads it was sent; echoed by the reply.
  uint64_t sent_ms = 0;
  uint64_t round = 0;
  bool pre_vote = false;
  bool disrupt = false;  // vote: asked for by the leader itself
  bool rejected = false;
  std::vector<LogEntry> entries;
  RaftSnapshot state;  // offer_state

  // The wire form is specified in docs/formats.md.
  std::string encode() const;
  // Bytes from the network: invalid_argument unless they are a whole message.
  static Result<RaftMessage> decode(std::string_view bytes);
};

}  // namespace jade
