// Certificates for the nodes of a cluster, signed by an authority of its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "storage/status.h"

namespace jade {

constexpr uint32_t ca_days = 3650, node_days = 730, node_days_max = 3650;

// A node to make a certificate for.
struct NodeToCertify {
  std::string name;                // also of its files
  std::vector<std::string> hosts;  // names and IP addresses of its machine
};

// "NAME" or "NAME=HOST,HOST".
Result<NodeToCertify> parse_node(std::string_view text);

struct MadeCertificate {
  std::string name;
  std::string certificate, key;  // paths
};
struct MadeCertificates {
  std::string ca, ca_key;  // paths
  bool ca_is_new = false;
  std::vector<MadeCertificate> nodes;
};

// Makes `dir` and its authority (ca.crt, ca.key) where they are missing, and NAME.crt
// and NAME.key for each node. Overwrites nothing: if any of those files is there, fails
// and changes nothing.
Result<MadeCertificates> make_certificates(const std::string& dir,
                                           const std::vector<NodeToCertify>& nodes,
                                           int64_t days = node_days);

}  // namespace jade
