// A node with its server, asked over HTTP.
#pragma once

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "apps/serve/served_node.h"
#include "net/http_client.h"
#include "tests/apps/scratch_dir.h"

namespace jade {

namespace json = boost::json;

// Targets follow /v1/databases.
class Served {
 public:
  Served() { start(); }

  void restart() {
    REQUIRE(node_->stop("test").ok());
    node_.reset();
    start();
  }
  HttpResponse call(std::string_view method, const std::string& target, std::string_view body = "",
                    std::string_view type = content_type_json,
                    std::string_view accept = content_type_json) {
    auto response = client_->request(method, "/v1/databases" + target, body, type, accept);
    REQUIRE_MESSAGE(response.ok(), response.status().to_string());
    return *response;
  }
  json::value ask(std::string_view method, const std::string& target, std::string_view body = "") {
    auto response = call(method, target, body);
    CHECK_MESSAGE(response.status / 100 == 2, response.body);
    return json::parse(response.body);
  }
  // Of a request that is refused as invalid.
  std::string refusal_of(const std::string& target, std::string_view body,
                         std::string_view type = content_type_json,
                         std::string_view accept = content_type_json) {
    auto response = call("POST", target, body, type, accept);
    CHECK_MESSAGE(response.status == 400, response.body);
    return json::value_to<std::string>(json::parse(response.body).at("error").at("message"));
  }

 private:
  void start() {
    ServeConfig config;
    config.data = scratch_.path("data");
    config.listen = "127.0.0.1:0";
    auto started = ServedNode::start(config, [](std::string_view) {});
    REQUIRE_MESSAGE(started.ok(), started.status().to_string());
    node_ = std::move(*started);
    auto connected = HttpClient::connect(node_->url());
    REQUIRE_MESSAGE(connected.ok(), connected.status().to_string());
    client_ = std::move(*connected);
  }

  ScratchDir scratch_;
  std::unique_ptr<ServedNode> node_;
  std::unique_ptr<HttpClient> client_;
};

}  // namespace jade
