// The write token: which log entry of which shards a write became, as text such
// as "3:42,4:17". Opaque to clients; checked when it comes back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "storage/status.h"

namespace jade {

using AppliedIndexes = std::map<uint64_t, uint64_t>;  // Raft group → log index

// The later of both, of each group.
inline void note_applied(AppliedIndexes& all, const AppliedIndexes& more) {
  for (auto [group, index] : more) {
    uint64_t& known = all[group];
    known = std::max(known, index);
  }
}

std::string encode_token(const AppliedIndexes& indexes);
Result<AppliedIndexes> decode_token(std::string_view token);

}  // namespace jade
