#include "net/http_parser.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <optional>

#include "storage/status.h"

namespace jade {
namespace {

namespace http = boost::beast::http;
using boost::beast::string_view;
using boost::system::error_code;

constexpr size_t padding_bytes = 64;
constexpr size_t reserve_bytes_max = 64 * 1024;

HttpMethod to_method(http::verb verb) {
  switch (verb) {
    case http::verb::get: return HttpMethod::get;
    case http::verb::head: return HttpMethod::head;
    case http::verb::post: return HttpMethod::post;
    case http::verb::patch: return HttpMethod::patch;
    case http::verb::delete_: return HttpMethod::del;
    default: return HttpMethod::other;
  }
}

class Grammar : public http::basic_parser<true> {
 public:
  explicit Grammar(HttpParser::Limits limits) {
    header_limit(static_cast<uint32_t>(limits.header_bytes));
    body_limit(limits.body_bytes);
  }

  HttpRequest request;
  bool http_1_0 = false;
  bool has_host = false;
  bool expects_continue = false;
  bool bad_expectation = false;
  bool discard = false;
  bool chunked_body = false;
  size_t length = 0;
  size_t received = 0;

 private:
  void on_request_impl(http::verb method, string_view, string_view target, int version,
                       error_code&) override {
    request.method = to_method(method);
    request.target.assign(target.data(), target.size());
    http_1_0 = version < 11;
    has_host = http_1_0;
  }

  void on_response_impl(int, string_view, int, error_code&) override {}

  void on_field_impl(http::field name, string_view name_text, string_view value,
                     error_code&) override {
    switch (name) {
      case http::field::host: has_host = true; break;
      case http::field::content_type:
        request.content_type = parse_media_type({value.data(), value.size()});
        break;
      case http::field::origin: request.of_web_page = true; break;
      case http::field::accept:
        if (value.find(string_view(content_type_binary.data(), content_type_binary.size())) !=
            string_view::npos) {
          request.accepts_binary = true;
        }
        break;
      case http::field::expect:
        expects_continue = boost::beast::iequals(value, "100-continue");
        bad_expectation = !expects_continue;
        break;
      default:
        // Quoted or not, as clients of the draft standard differ.
        if (boost::beast::iequals(name_text, "Idempotency-Key")) {
          if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
            value = value.substr(1, value.size() - 2);
          }
          request.idempotency_key.assign(value.data(), value.size());
        }
        break;
    }
  }

  void on_header_impl(error_code&) override {}

  void on_body_init_impl(boost::optional<uint64_t> const&, error_code&) override {}

  size_t on_body_impl(string_view bytes, error_code&) override { return keep(bytes); }

  void on_chunk_header_impl(uint64_t, string_view, error_code&) override {}

  size_t on_chunk_body_impl(uint64_t, string_view bytes, error_code&) override {
    return keep(bytes);
  }

  void on_finish_impl(error_code&) override {}

  // Grows with what has arrived, not with what was announced.
  size_t keep(string_view bytes) {
    received += bytes.size();
    if (discard) return bytes.size();
    std::string& body = request.body;
    size_t needed = body.size() + bytes.size() + padding_bytes;
    if (body.capacity() < needed) {
      size_t announced = length + padding_bytes;
      size_t target = std::max(needed, 2 * body.capacity());
      if (length > 0) target = std::max(needed, std::min(target, announced));
      if (length > 0 && length <= reserve_bytes_max) target = announced;
      body.reserve(target);
    }
    body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
};

}  // namespace

struct HttpParser::Impl {
  Limits limits;
  std::optional<Grammar> grammar;
  Error error;

  Event fail(int status, std::string message) {
    error = {status, std::move(message)};
    return Event::error;
  }

  Event fail(error_code code) {
    if (code == http::error::header_limit) {
      return fail(431, "the request header is longer than " + std::to_string(limits.header_bytes) +
                           " bytes");
    }
    if (code == http::error::body_limit) {
      return fail(413, "the body is larger than " + std::to_string(limits.body_bytes) +
                           " bytes; send it in several requests");
    }
    if (code == http::error::bad_version) return fail(505, "only HTTP/1.0 and 1.1 are spoken here");
    return fail(400, "the request is not HTTP/1.1: " + code.message());
  }

  Event header_done() {
    Grammar& g = *grammar;
    g.chunked_body = g.chunked();
    if (auto length = g.content_length()) g.length = static_cast<size_t>(*length);
    if (!g.has_host) return fail(400, "the Host header is missing");
    if (g.bad_expectation) return fail(417, "the only expectation that is met is 100-continue");
    return Event::header;
  }
};

HttpParser::HttpParser(Limits limits) : impl_(std::make_unique<Impl>()) {
  impl_->limits = limits;
  reset();
}

HttpParser::~HttpParser() = default;

void HttpParser::reset() { impl_->grammar.emplace(impl_->limits); }

HttpParser::Event HttpParser::feed(std::string_view bytes, size_t& consumed) {
  Grammar& g = *impl_->grammar;
  consumed = 0;
  bool in_header = !g.is_header_done();
  for (;;) {
    if (!in_header && g.is_done()) return Event::message;
    if (consumed == bytes.size()) return Event::need_more;
    error_code code;
    consumed +=
        g.put(boost::asio::const_buffer(bytes.data() + consumed, bytes.size() - consumed), code);
    if (code == http::error::need_more) return Event::need_more;
    if (code) return impl_->fail(code);
    if (in_header && g.is_header_done()) return impl_->header_done();
  }
}

void HttpParser::discard_body() {
  impl_->grammar->discard = true;
  impl_->grammar->request.body = {};
}

HttpRequest& HttpParser::request() { return impl_->grammar->request; }
bool HttpParser::keep_alive() const {
  return !impl_->grammar->http_1_0 && impl_->grammar->keep_alive();
}
bool HttpParser::expects_continue() const { return impl_->grammar->expects_continue; }
bool HttpParser::has_body() const {
  return impl_->grammar->chunked_body || impl_->grammar->length > 0;
}
size_t HttpParser::content_length() const { return impl_->grammar->length; }
size_t HttpParser::body_bytes_received() const { return impl_->grammar->received; }
const HttpParser::Error& HttpParser::error() const { return impl_->error; }

}  // namespace jade
