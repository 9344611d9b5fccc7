// An HTTP server that answers as it is told, one connection at a time, and keeps
// what it was asked.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace jade {

struct Answer {
  unsigned status = 200;
  std::string retry_after;  // the header; empty: none
  std::string body = "{}";
  bool hang_up = false;  // close the connection instead
};

// `code` is a name of storage/status.h.
inline Answer refusal(unsigned status, const std::string& code, const std::string& retry_after) {
  std::string body = R"({"error":{"code":")" + code + R"(","message":"no)" + code + "\"}}";
  return {status, retry_after, body, false};
}

class ScriptedServer {
 public:
  // After these answers all requests are granted. That it lives it always says; this is neither
  // among its answers nor among its requests.
  explicit ScriptedServer(std::deque<Answer> answers)
      : answers_(std::move(answers)),
        acceptor_(io_, {boost::asio::ip::address_v4::loopback(), 0}),
        thread_([this] { serve(); }) {}
  ~ScriptedServer() {
    // Ends the wait for the next connection; closing alone does not.
    ::shutdown(acceptor_.native_handle(), SHUT_RDWR);
    thread_.join();
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  std::string url() const {
    return "http://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }
  // The idempotency keys of all requests so far; "": it had none.
  std::vector<std::string> keys() {
    std::lock_guard lock(mutex_);
    return keys_;
  }
  // The methods and targets of all requests so far, as "GET /v1/cluster".
  std::vector<std::string> targets() {
    std::lock_guard lock(mutex_);
    return targets_;
  }
  // The bodies of all requests so far.
  std::vector<std::string> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    for (;;) {
      boost::system::error_code error;
      boost::asio::ip::tcp::socket socket(io_);
      acceptor_.accept(socket, error);
      if (error) return;
      boost::beast::flat_buffer buffer;
      while (answer_one(socket, buffer)) {
      }
    }
  }

  bool answer_one(boost::asio::ip::tcp::socket& socket, boost::beast::flat_buffer& buffer) {
    namespace http = boost::beast::http;
    boost::system::error_code error;
    http::request<http::string_body> request;
    http::read(socket, buffer, request, error);
    if (error) return false;
    Answer answer;
    if (request.target() != "/healthz") {
      std::lock_guard lock(mutex_);
      requests_.push_back(request.body());
      keys_.emplace_back(request["Idempotency-Key"]);
      targets_.push_back(std::string(request.method_string()) + " " +
                         std::string(request.target()));
      if (!answers_.empty()) {
        answer = answers_.front();
        answers_.pop_front();
      }
    }
    if (answer.hang_up) return false;
    http::response<http::string_body> response(static_cast<http::status>(answer.status), 11);
    if (!answer.retry_after.empty()) response.set(http::field::retry_after, answer.retry_after);
    response.body() = answer.body;
    response.prepare_payload();
    http::write(socket, response, error);
    return !error;
  }

  std::mutex mutex_;
  std::deque<Answer> answers_;
  std::vector<std::string> requests_, keys_, targets_;
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::thread thread_;
};

// One that hangs: the system takes its connections, and nobody answers.
class HungServer {
 public:
  HungServer() : acceptor_(io_, {boost::asio::ip::address_v4::loopback(), 0}) {}
  std::string url() const {
    return "http://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }

 private:
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;
};

}  // namespace jade
