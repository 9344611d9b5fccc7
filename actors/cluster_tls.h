// Who may speak to the cluster port: the node's certificate and key, and the
// authority (CA) that must have signed those of the other nodes.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "actors/log.h"
#include "actors/openssl.h"
#include "storage/status.h"

namespace jade {

struct TlsFiles {
  std::string certificate;  // PEM: the node's own, then those between it and the CA
  std::string key;          // PEM, not encrypted
  std::string ca;           // PEM: one or more authorities

  bool any() const { return !certificate.empty() || !key.empty() || !ca.empty(); }
};

// Read once: what happens to the files later does not touch a running node. Any thread.
class ClusterTls {
 public:
  // Refuses what no other node with the same authority would accept; says which file
  // is wrong, and why.
  static Result<std::shared_ptr<const ClusterTls>> load(const TlsFiles& files);

  // A session of ours: TLS 1.3 only, and both sides must show a certificate.
  SslPtr session() const;

  // "node-1, valid until Nov 23 15:36:50 2028 GMT"
  std::string describe() const;
  int days_left() const;

 private:
  ClusterTls() = default;

  SslContextPtr context_;
  CertificatePtr certificate_;
};

// Why the handshake of a session failed. To be called at once, in the same thread.
std::string handshake_failure(const SSL* session);

// Says who is refused and why: the same once an hour and not more than a few lines a
// minute, as anybody can make it speak. Any thread.
class RefusalLog {
 public:
  explicit RefusalLog(LogSink log) : log_(std::move(log)) {}

  // `now_ms` of any clock that only goes forward.
  void say(const std::string& who, const std::string& why, uint64_t now_ms);

 private:
  LogSink log_;
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, uint64_t> said_;  // when last
  uint64_t minute_ms_ = 0;                                        // when the present minute began
  uint32_t said_in_minute_ = 0;
};

}  // namespace jade
