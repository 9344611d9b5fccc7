#include "actors/raft_message.h"

#include <algorithm>

#include "storage/bytes.h"
#include "storage/checksum.h"

namespace jade {
namespace {

constexpr uint8_t configuration_version = 1;
constexpr uint8_t role_learner = 0;  // libraft's "stand-by"
constexpr uint8_t role_voter = 1;
constexpr uint8_t role_spare = 2;
constexpr uint8_t message_version = 2;
// What its checksum begins with.
constexpr std::string_view message_key = "raft message";

constexpr uint8_t pre_vote_bit = 1, disrupt_bit = 2, rejected_bit = 4;

auto at_or_after(auto& members, uint64_t node) {
  return std::lower_bound(members.begin(), members.end(), node,
                          [](const RaftMember& member, uint64_t n) { return member.node < n; });
}

void append_bytes(std::string& out, std::string_view bytes) {
  append_u32(out, static_cast<uint32_t>(bytes.size()));
  out += bytes;
}

std::optional<std::string_view> read_bytes(ByteReader& reader) {
  auto size = reader.u32();
  return size ? reader.bytes(*size) : std::nullopt;
}

}  // namespace

const RaftMember* RaftConfiguration::find(uint64_t node) const {
  auto at = at_or_after(members, node);
  return at != members.end() && at->node == node ? &*at : nullptr;
}

bool RaftConfiguration::is_voter(uint64_t node) const {
  const RaftMember* member = find(node);
  return member != nullptr && member->voter;
}

size_t RaftConfiguration::voters() const {
  return static_cast<size_t>(std::count_if(members.begin(), members.end(),
                                           [](const RaftMember& member) { return member.voter; }));
}

void RaftConfiguration::set(uint64_t node, bool voter, std::string address) {
  auto at = at_or_after(members, node);
  if (at != members.end() && at->node == node) {
    *at = {node, voter, std::move(address)};
  } else {
    members.insert(at, {node, voter, std::move(address)});
  }
}

void RaftConfiguration::remove(uint64_t node) {
  auto at = at_or_after(members, node);
  if (at != members.end() && at->node == node) members.erase(at);
}

std::string RaftConfiguration::encode() const {
  std::string out(1, static_cast<char>(configuration_version));
  append_u64(out, members.size());
  for (const RaftMember& member : members) {
    append_u64(out, member.node);
    // libraft wants an address in any case.
    out += member.address.empty() ? std::to_string(member.node) : member.address;
    out.push_back('\0');
    out.push_back(static_cast<char>(member.voter ? role_voter : role_learner));
  }
  out.resize((out.size() + 7) / 8 * 8);
  return out;
}

Result<RaftConfiguration> RaftConfiguration::decode(std::string_view bytes) {
  Status cut_short = corruption("a Raft configuration is cut short");
  ByteReader reader(bytes);
  auto version = reader.u8();
  if (!version) return cut_short;
  if (*version != configuration_version) {
    return corruption("a Raft configuration has format version " + std::to_string(*version) +
                      ", which this program does not know");
  }
  auto size = reader.u64();
  if (!size || *size > reader.rest().size()) return cut_short;
  RaftConfiguration out;
  for (uint64_t i = 0; i < *size; ++i) {
    auto node = reader.u64();
    size_t address_end = reader.rest().find('\0');
    if (!node || address_end == std::string_view::npos) return cut_short;
    std::string address(*reader.bytes(address_end));
    reader.bytes(1);
    auto role = reader.u8();
    if (!role) return cut_short;
    if (*node == 0 || *role > role_spare || out.find(*node) != nullptr) {
      return corruption("a Raft configuration names an impossible member");
    }
    if (address == std::to_string(*node)) address.clear();
    out.set(*node, *role == role_voter, std::move(address));
  }
  return out;
}

std::string RaftMessage::encode() const {
  std::string out;
  size_t bytes = 128 + state.configuration.size() + state.data.size();
  for (const LogEntry& entry : entries) bytes += 13 + entry.data.size();
  out.reserve(bytes);
  append_u32(out, 0);  // the checksum, of all that follows
  out.push_back(static_cast<char>(message_version));
  out.push_back(static_cast<char>(kind));
  out.push_back(static_cast<char>((pre_vote ? pre_vote_bit : 0) | (disrupt ? disrupt_bit : 0) |
                                  (rejected ? rejected_bit : 0)));
  for (uint64_t number : {from, to, term, index, log_term, commit, about, sent_ms, round}) {
    append_u64(out, number);
  }
  append_u32(out, static_cast<uint32_t>(entries.size()));
  for (const LogEntry& entry : entries) {
    append_u64(out, entry.term);
    out.push_back(static_cast<char>(entry.type));
    append_bytes(out, entry.data);
  }
  if (kind == Kind::offer_state) {
    append_u64(out, state.configuration_index);
    append_bytes(out, state.configuration);
    append_bytes(out, state.data);
  }
  std::string checksum;
  append_u32(checksum, crc32c(std::string_view(out).substr(4), crc32c(message_key)));
  std::copy(checksum.begin(), checksum.end(), out.begin());
  return out;
}

Result<RaftMessage> RaftMessage::decode(std::string_view bytes) {
  Status wrong = invalid_argument("a Raft message is malformed");
  // Before a log takes what no replica could carry out.
  const auto whole = check(message_key, bytes);
  if (!whole) return wrong;
  ByteReader reader(*whole);
  auto version = reader.u8(), kind = reader.u8(), flags = reader.u8();
  if (!version || *version != message_version || !kind || !flags ||
      *kind < static_cast<uint8_t>(Kind::vote) ||
      *kind > static_cast<uint8_t>(Kind::campaign_now)) {
    return wrong;
  }
  RaftMessage out;
  out.kind = static_cast<Kind>(*kind);
  out.pre_vote = (*flags & pre_vote_bit) != 0;
  out.disrupt = (*flags & disrupt_bit) != 0;
  out.rejected = (*flags & rejected_bit) != 0;
  for (uint64_t* number : {&out.from, &out.to, &out.term, &out.index, &out.log_term, &out.commit,
                           &out.about, &out.sent_ms, &out.round}) {
    auto value = reader.u64();
    if (!value) return wrong;
    *number = *value;
  }
  auto count = reader.u32();
  // Each entry has at least 13 bytes: checked before memory is taken.
  if (!count || *count > reader.rest().size() / 13) return wrong;
  out.entries.reserve(*count);
  for (uint32_t i = 0; i < *count; ++i) {
    auto term = reader.u64();
    auto type = reader.u8();
    auto data = read_bytes(reader);
    if (!term || !type || !data || *type < static_cast<uint8_t>(RaftEntryType::command) ||
        *type > static_cast<uint8_t>(RaftEntryType::change)) {
      return wrong;
    }
    out.entries.push_back({*term, *type, std::string(*data)});
  }
  if (out.kind == Kind::offer_state) {
    auto configuration_index = reader.u64();
    auto configuration = read_bytes(reader);
    auto data = read_bytes(reader);
    if (!configuration_index || !configuration || !data) return wrong;
    out.state = {out.index, out.log_term, *configuration_index, std::string(*configuration),
                 std::string(*data)};
  }
  if (!reader.rest().empty()) return wrong;
  return out;
}

}  // namespace jade
