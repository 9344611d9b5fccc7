#include "net/listen_socket.h"

#include "net/listen_socket_impl.h"

namespace jade {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;

Result<tcp::endpoint> resolve(asio::io_context& io, const std::string& host, uint16_t port) {
  error_code error;
  auto address = asio::ip::make_address(host, error);
  if (!error) return tcp::endpoint(address, port);
  tcp::resolver resolver(io);
  auto found = resolver.resolve(host, std::to_string(port), error);
  if (error || found.empty()) {
    return invalid_argument("host \"" + host +
                            "\" is neither an address nor a known name: " + error.message());
  }
  return found.begin()->endpoint();
}

Status listen_status(const tcp::endpoint& endpoint, const error_code& error) {
  if (!error) return {};
  std::string where = endpoint.address().to_string() + " port " + std::to_string(endpoint.port());
  if (error == asio::error::address_in_use) {
    return Status(Code::already_exists, "cannot listen on " + where +
                                            ": another process does; stop it or choose another "
                                            "port");
  }
  return invalid_argument("cannot listen on " + where + ": " + error.message());
}

}  // namespace

Status ListenSocket::Impl::listen(tcp::acceptor& acceptor) {
  error_code error;
  int descriptor = bound.release(error);
  if (!error) acceptor.assign(endpoint.protocol(), descriptor, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  return listen_status(endpoint, error);
}

Result<ListenSocket> ListenSocket::bind(const std::string& host, uint16_t port) {
  auto impl = std::make_unique<Impl>();
  auto endpoint = resolve(impl->io, host, port);
  if (!endpoint) return endpoint.status();
  error_code error;
  impl->bound.open(endpoint->protocol(), error);
  if (!error) impl->bound.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) impl->bound.bind(*endpoint, error);
  if (!error) impl->endpoint = impl->bound.local_endpoint(error);
  JADE_RETURN_IF_ERROR(listen_status(*endpoint, error));
  return ListenSocket(std::move(impl));
}

ListenSocket::ListenSocket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ListenSocket::ListenSocket(ListenSocket&&) noexcept = default;
ListenSocket& ListenSocket::operator=(ListenSocket&&) noexcept = default;
ListenSocket::~ListenSocket() = default;

uint16_t ListenSocket::port() const { return impl_->endpoint.port(); }

std::string ListenSocket::address() const {
  bool v6 = impl_->endpoint.address().is_v6();
  std::string host = impl_->endpoint.address().to_string();
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port());
}

}  // namespace jade
