// An address of this machine that is taken before there is anything to serve at it:
// so that a node knows its address, and a start that cannot have it fails, before
// any data is opened.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "storage/status.h"

namespace jade {

class ListenSocket {
 public:
  // Port 0: any free one. Connections are refused until a server is started on it.
  // Fails with `already_exists` when the port is taken, with `invalid_argument` when
  // the host is not one of this machine.
  static Result<ListenSocket> bind(const std::string& host, uint16_t port);

  ListenSocket(ListenSocket&&) noexcept;
  ListenSocket& operator=(ListenSocket&&) noexcept;
  ~ListenSocket();

  uint16_t port() const;
  // As it is bound, "127.0.0.1:8080" or "[::1]:8080".
  std::string address() const;

  struct Impl;

 private:
  friend class HttpServer;
  explicit ListenSocket(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace jade
