#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "net/listen_socket.h"

namespace jade {

struct ListenSocket::Impl {
  boost::asio::io_context io;  // nothing runs on it
  boost::asio::ip::tcp::acceptor bound{io};
  boost::asio::ip::tcp::endpoint endpoint;

  // Hands the socket over to an acceptor of another loop, and listens.
  Status listen(boost::asio::ip::tcp::acceptor& acceptor);
};

}  // namespace jade
