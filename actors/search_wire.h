// A search between nodes, question and answer, as one string of bytes each.
//
// CAF 0.17 calls a virtual function and makes and takes apart an error for every field of a
// message, on each side: that took longer than the system's calls to send and receive both.
//
// Integers and floats are little-endian, strings and lists follow their length, a u32. The two
// ends are of one release (cluster_protocol), so that there is no version in it.
#pragma once

#include <string>
#include <string_view>

namespace jade {

struct ShardHits;
struct ShardSearch;

// All but what is never sent.
std::string pack(const ShardSearch& search);
// Without the explanations.
std::string pack(const ShardHits& hits);

// "": read; else what is wrong with the bytes, and `out` is of no use. They may be anybody's: takes
// at most 8 times as much memory as there are bytes.
std::string unpack(std::string_view bytes, ShardSearch& out);
std::string unpack(std::string_view bytes, ShardHits& out);

}  // namespace jade
