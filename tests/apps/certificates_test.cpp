#include "apps/certs/certificates.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "actors/cluster_tls.h"
#include "actors/jade.h"
#include "tests/apps/scratch_dir.h"

namespace jade {
namespace {

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

bool private_file(const std::string& path) {
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  return (info.st_mode & 0777) == 0600;
}

MadeCertificates make(const std::string& dir, const std::string& node, int64_t days = node_days) {
  auto made = make_certificates(dir, {*parse_node(node)}, days);
  REQUIRE_MESSAGE(made.ok(), made.status().to_string());
  return *made;
}

TlsFiles files_of(const MadeCertificates& made) {
  return {made.nodes.at(0).certificate, made.nodes.at(0).key, made.ca};
}

// Why a node does not start with these files.
std::string refusal(const TlsFiles& files) {
  auto tls = ClusterTls::load(files);
  REQUIRE_FALSE(tls.ok());
  CHECK(tls.status().code() == Code::invalid_argument);
  return tls.status().message();
}

bool contains(const std::string& text, const std::string& part) {
  CAPTURE(text);
  CAPTURE(part);
  return text.find(part) != std::string::npos;
}

NodeOptions cluster_options(const std::string& listen) {
  NodeOptions options;
  options.cluster_listen = listen;
  return options;
}

std::string option_error(const NodeOptions& options) {
  Status status = options.validate();
  REQUIRE_FALSE(status.ok());
  return status.message();
}

}  // namespace

TEST_CASE("certificates that were made are accepted, also those made later") {
  ScratchDir scratch;
  MadeCertificates first = make(scratch.path("certs"), "n1=10.0.0.1,db.example,::1");
  CHECK(first.ca_is_new);
  CHECK(private_file(first.ca_key));
  CHECK(private_file(first.nodes.at(0).key));
  auto tls = ClusterTls::load(files_of(first));
  REQUIRE_MESSAGE(tls.ok(), tls.status().to_string());
  CHECK((*tls)->days_left() >= static_cast<int>(node_days) - 1);
  CHECK(contains((*tls)->describe(), "n1"));

  MadeCertificates second = make(scratch.path("certs"), "n2");
  CHECK_FALSE(second.ca_is_new);
  CHECK(ClusterTls::load(files_of(second)).ok());
}

TEST_CASE("nothing is overwritten, and then nothing is made") {
  ScratchDir scratch;
  std::string dir = scratch.path("certs");
  MadeCertificates made = make(dir, "n1");
  std::string key = read(made.nodes.at(0).key), authority = read(made.ca_key);
  auto again = make_certificates(dir, {*parse_node("n0"), *parse_node("n1")});
  REQUIRE_FALSE(again.ok());
  CHECK(again.status().code() == Code::already_exists);
  CHECK(contains(again.status().message(), "n1.key is there already"));
  CHECK(read(made.nodes.at(0).key) == key);
  CHECK(read(made.ca_key) == authority);
  CHECK_FALSE(std::filesystem::exists(dir + "/n0.key"));
}

TEST_CASE("an authority without its key signs nothing and is not replaced") {
  ScratchDir scratch;
  std::string dir = scratch.path("certs");
  MadeCertificates made = make(dir, "n1");
  std::filesystem::remove(made.ca_key);
  auto more = make_certificates(dir, {*parse_node("n2")});
  REQUIRE_FALSE(more.ok());
  CHECK(contains(more.status().message(), "ca.key cannot be read: No such file"));
  CHECK_FALSE(std::filesystem::exists(dir + "/n2.key"));
}

TEST_CASE("names of nodes are file names, and hosts are hosts") {
  for (const char* wrong :
       {"", "../x", "a b", "-n", "=10.0.0.1", "n1=", "n1=a,,b", "n1=a b", "n1=x,IP:1.2.3.4"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_node(wrong).ok());
  }
  CHECK(parse_node("n1=10.0.0.1,fe80::1,a.b")->hosts.size() == 3);
  ScratchDir scratch;
  CHECK_FALSE(make_certificates(scratch.path("c"), {*parse_node("ca")}).ok());
  CHECK_FALSE(make_certificates(scratch.path("c"), {*parse_node("a"), *parse_node("a")}).ok());
}

TEST_CASE("wrong certificates are refused at start, each with its reason") {
  ScratchDir scratch;
  MadeCertificates made = make(scratch.path("certs"), "n1");
  MadeCertificates foreign = make(scratch.path("foreign"), "n1");
  TlsFiles good = files_of(made), other = files_of(foreign);

  CHECK(contains(refusal({good.certificate + "x", good.key, good.ca}),
                 "n1.crtx cannot be read: No such file"));
  CHECK(contains(refusal({good.certificate, scratch.path("certs"), good.ca}),
                 "cluster_key " + scratch.path("certs") + " cannot be read: Is a directory"));
  std::string text = scratch.write("text", "no certificate\n");
  CHECK(
      contains(refusal({text, good.key, good.ca}), "cluster_cert " + text + " is no certificate"));
  CHECK(
      contains(refusal({good.certificate, text, good.ca}), "is no unencrypted private key in PEM"));
  CHECK(contains(refusal({good.certificate, good.key, text}), "cluster_ca " + text));
  std::string cut = scratch.write("cut", read(good.certificate).substr(0, 300));
  CHECK(contains(refusal({cut, good.key, good.ca}), "is no certificate in PEM"));
  CHECK(contains(refusal({good.certificate, other.key, good.ca}), "does not fit the certificate"));
  CHECK(contains(refusal({good.certificate, good.key, other.ca}), "is not accepted by cluster_ca"));

  TlsFiles expired = files_of(make(scratch.path("certs"), "old", -1));
  CHECK(contains(refusal(expired), "old.crt expired on "));
}

TEST_CASE("the cluster port: loopback, or TLS and an address that others can reach") {
  ScratchDir scratch;
  TlsFiles files = files_of(make(scratch.path("certs"), "n1"));
  for (const char* local : {"127.0.0.1:7100", "127.8.9.1:7100", "localhost:7100", "[::1]:7100"}) {
    CHECK(cluster_options(local).validate().ok());
  }
  for (const char* open : {"0.0.0.0:7100", "10.0.0.1:7100", "[::]:7100", "127.example.org:7100"}) {
    CAPTURE(open);
    CHECK(
        contains(option_error(cluster_options(open)), "cluster_cert, cluster_key and cluster_ca"));
    CHECK(contains(option_error(cluster_options(open)), "`jade certs`"));
  }
  NodeOptions options = cluster_options("127.0.0.1:7100");
  options.join = {"10.0.0.1:7100"};
  CHECK(contains(option_error(options), "join is \"10.0.0.1:7100\"; without TLS"));

  options = cluster_options("0.0.0.0:7100");
  options.cluster_cert = files.certificate;
  CHECK(contains(option_error(options), "cluster_key is missing"));
  options.cluster_key = files.key;
  CHECK(contains(option_error(options), "cluster_ca is missing"));
  options.cluster_ca = files.ca;
  CHECK(contains(option_error(options), "give cluster_address as well"));
  options.cluster_address = "[::]:7100";
  CHECK(contains(option_error(options), "cluster_address is \"[::]:7100\""));
  options.cluster_address = "10.0.0.1:7100";
  CHECK(options.validate().ok());
  options.cluster_listen.clear();
  CHECK(contains(option_error(options), "cluster_address is given, but cluster_listen is not"));
}

TEST_CASE("a refusal is said once an hour, and refusals do not flood the log") {
  std::vector<std::string> said;
  RefusalLog log([&said](LogLevel, std::string_view, std::string_view message) {
    said.emplace_back(message);
  });
  for (int i = 0; i < 100; ++i) log.say("a", "no", 1'000'000 + static_cast<uint64_t>(i));
  CHECK(said == std::vector<std::string>{"a: no"});
  log.say("a", "no", 1'000'000 + 3'600'000);
  CHECK(said.size() == 2);
  for (int i = 0; i < 5000; ++i) log.say("host " + std::to_string(i), "no", 10'000'000);
  CHECK(said.size() == 22);
  log.say("later", "no", 10'060'000);
  CHECK(said.back() == "later: no");
}

}  // namespace jade
