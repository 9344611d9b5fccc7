#include "apps/certs/certificates.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include "actors/openssl.h"

namespace jade {
namespace {

constexpr int serial_bytes = 16;
// Clocks of machines differ; a new certificate should work at once on all.
constexpr long backdated_s = 3600;
constexpr size_t name_max = 64;  // of a common name

struct Authority {
  CertificatePtr certificate;
  KeyPtr key;
};

// A file to be, when all have been made.
struct Output {
  std::string path;
  std::string text;
  mode_t mode;
};

Status openssl_failed(const std::string& what) {
  return internal_error(what + ": " + openssl_reason());
}

bool is_ip(const std::string& host) {
  unsigned char address[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), address) == 1;
}

bool is_name(std::string_view text) {
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !text.empty() && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), allowed);
}

Status errno_status(const std::string& what) {
  return Status(Code::io_error, what + ": " + std::strerror(errno));
}

// Fails when it exists.
Status write_new(const Output& output) {
  int fd = open(output.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, output.mode);
  if (fd < 0) return errno_status(output.path + " cannot be made");
  size_t done = 0;
  bool good = true;
  while (good && done < output.text.size()) {
    ssize_t count = write(fd, output.text.data() + done, output.text.size() - done);
    good = count > 0 || (count < 0 && errno == EINTR);
    if (count > 0) done += static_cast<size_t>(count);
  }
  good = good && fsync(fd) == 0;
  Status status = good ? Status() : errno_status(output.path + " cannot be written");
  close(fd);
  if (!status.ok()) unlink(output.path.c_str());
  return status;
}

// All of them or none.
Status write_all(const std::vector<Output>& outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    Status status = write_new(outputs[i]);
    if (status.ok()) continue;
    for (size_t made = 0; made < i; ++made) unlink(outputs[made].path.c_str());
    return status;
  }
  return {};
}

Result<KeyPtr> make_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failed("making a key");
  return key;
}

Status add_extension(X509* certificate, X509* issuer, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
  if (!extension || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return openssl_failed("extension " + value);
  }
  return {};
}

Status set_serial(X509* certificate) {
  unsigned char bytes[serial_bytes];
  if (RAND_bytes(bytes, serial_bytes) != 1) return openssl_failed("drawing a serial number");
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);  // positive, and of full length
  OpensslPtr<BIGNUM, BN_free> number(BN_bin2bn(bytes, serial_bytes, nullptr));
  if (!number || !BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate))) {
    return openssl_failed("setting a serial number");
  }
  return {};
}

// All but the extensions and the signature.
Result<CertificatePtr> start_certificate(const std::string& name, EVP_PKEY* key, int64_t days) {
  CertificatePtr certificate(X509_new());
  if (!certificate) return openssl_failed("making a certificate");
  JADE_RETURN_IF_ERROR(set_serial(certificate.get()));
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  bool good = X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
              X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -backdated_s) != nullptr &&
              X509_time_adj_ex(X509_getm_notAfter(certificate.get()), static_cast<int>(days), 0,
                               nullptr) != nullptr &&
              X509_set_pubkey(certificate.get(), key) == 1 &&
              X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                         reinterpret_cast<const unsigned char*>(name.data()),
                                         static_cast<int>(name.size()), -1, 0) == 1;
  if (!good) return openssl_failed("filling in the certificate of " + name);
  return certificate;
}

Status sign(X509* certificate, const X509* issuer, EVP_PKEY* key) {
  if (X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) != 1 ||
      X509_sign(certificate, key, EVP_sha256()) == 0) {
    return openssl_failed("signing");
  }
  return {};
}

Result<Authority> make_authority() {
  auto key = make_key();
  if (!key.ok()) return key.status();
  auto made = start_certificate("JadeVectorDB cluster CA", key->get(), ca_days);
  if (!made.ok()) return made.status();
  X509* certificate = made->get();
  for (auto [id, value] : {std::pair(NID_basic_constraints, "critical,CA:TRUE,pathlen:0"),
                           std::pair(NID_key_usage, "critical,keyCertSign,cRLSign"),
                           std::pair(NID_subject_key_identifier, "hash")}) {
    JADE_RETURN_IF_ERROR(add_extension(certificate, certificate, id, value));
  }
  JADE_RETURN_IF_ERROR(sign(certificate, certificate, key->get()));
  return Authority{std::move(*made), std::move(*key)};
}

Result<Authority> read_authority(const std::string& certificate_path, const std::string& key_path) {
  auto certificate_text = read_pem_file(certificate_path);
  if (!certificate_text.ok()) return certificate_text.status();
  auto key_text = read_pem_file(key_path);
  if (!key_text.ok()) return key_text.status();
  Authority authority;
  authority.certificate.reset(
      PEM_read_bio_X509(bio_of(*certificate_text).get(), nullptr, nullptr, nullptr));
  if (!authority.certificate) {
    return invalid_argument(certificate_path + " is no certificate in PEM: " + openssl_reason());
  }
  auto no_password = [](char*, int, int, void*) { return -1; };
  authority.key.reset(
      PEM_read_bio_PrivateKey(bio_of(*key_text).get(), nullptr, no_password, nullptr));
  if (!authority.key) {
    return invalid_argument(key_path +
                            " is no unencrypted private key in PEM: " + openssl_reason());
  }
  if (X509_check_private_key(authority.certificate.get(), authority.key.get()) != 1) {
    return invalid_argument(key_path + " does not fit " + certificate_path + ": " +
                            openssl_reason());
  }
  return authority;
}

std::string alternative_names(const NodeToCertify& node) {
  std::string names = "DNS:" + node.name;
  for (const std::string& host : node.hosts) names += (is_ip(host) ? ",IP:" : ",DNS:") + host;
  return names;
}

// Whoever has it may listen as a node and connect as one.
Result<CertificatePtr> certify(const Authority& authority, const NodeToCertify& node, EVP_PKEY* key,
                               int64_t days) {
  auto made = start_certificate(node.name, key, days);
  if (!made.ok()) return made.status();
  X509* issuer = authority.certificate.get();
  for (const auto& [id, value] :
       {std::pair<int, std::string>(NID_basic_constraints, "critical,CA:FALSE"),
        std::pair<int, std::string>(NID_key_usage, "critical,digitalSignature"),
        std::pair<int, std::string>(NID_ext_key_usage, "serverAuth,clientAuth"),
        std::pair<int, std::string>(NID_subject_key_identifier, "hash"),
        std::pair<int, std::string>(NID_authority_key_identifier, "keyid"),
        std::pair<int, std::string>(NID_subject_alt_name, alternative_names(node))}) {
    JADE_RETURN_IF_ERROR(add_extension(made->get(), issuer, id, value));
  }
  JADE_RETURN_IF_ERROR(sign(made->get(), issuer, authority.key.get()));
  return made;
}

std::string text_in(BIO* out) {
  char* text = nullptr;
  long size = BIO_get_mem_data(out, &text);
  return std::string(text, static_cast<size_t>(size));
}

Status add_outputs(const X509* certificate, const std::string& certificate_path,
                   const EVP_PKEY* key, const std::string& key_path, std::vector<Output>& to) {
  BioPtr certificate_out(BIO_new(BIO_s_mem())), key_out(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate_out.get(), certificate) != 1 ||
      PEM_write_bio_PrivateKey(key_out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return openssl_failed("writing PEM");
  }
  to.push_back({key_path, text_in(key_out.get()), 0600});
  to.push_back({certificate_path, text_in(certificate_out.get()), 0644});
  return {};
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::symlink_status(path, ignored).type() !=
         std::filesystem::file_type::not_found;
}

// Before anything is made, so that nothing is changed when one is there.
Status check_free(const std::vector<MadeCertificate>& nodes) {
  for (const MadeCertificate& node : nodes) {
    for (const std::string& path : {node.key, node.certificate}) {
      if (!exists(path)) continue;
      return Status(Code::already_exists,
                    path +
                        " is there already and is not overwritten; nothing was made. To renew "
                        "it, move it away first");
    }
  }
  return {};
}

Status check_names(const std::vector<NodeToCertify>& nodes) {
  std::set<std::string> seen = {"ca"};
  for (const NodeToCertify& node : nodes) {
    if (seen.insert(node.name).second) continue;
    return invalid_argument("node \"" + node.name +
                            "\": each needs a name of its own, other than \"ca\"");
  }
  return {};
}

}  // namespace

Result<NodeToCertify> parse_node(std::string_view text) {
  size_t equals = std::min(text.find('='), text.size());
  NodeToCertify node;
  node.name = text.substr(0, equals);
  if (!is_name(node.name) || node.name.size() > name_max) {
    return invalid_argument("\"" + std::string(text) +
                            "\": the name of a node is of up to 64 letters, digits, - _ and .");
  }
  while (equals < text.size()) {
    size_t begin = equals + 1;
    equals = std::min(text.find(',', begin), text.size());
    std::string host(text.substr(begin, equals - begin));
    if (!is_name(host) && !is_ip(host)) {
      return invalid_argument("\"" + std::string(text) + "\": \"" + host +
                              "\" is no host name and no IP address; give NAME=HOST,HOST");
    }
    node.hosts.push_back(std::move(host));
  }
  return node;
}

Result<MadeCertificates> make_certificates(const std::string& dir,
                                           const std::vector<NodeToCertify>& nodes, int64_t days) {
  JADE_RETURN_IF_ERROR(check_names(nodes));
  MadeCertificates made;
  made.ca = dir + "/ca.crt";
  made.ca_key = dir + "/ca.key";
  for (const NodeToCertify& node : nodes) {
    made.nodes.push_back(
        {node.name, dir + "/" + node.name + ".crt", dir + "/" + node.name + ".key"});
  }
  JADE_RETURN_IF_ERROR(check_free(made.nodes));
  made.ca_is_new = !exists(made.ca) && !exists(made.ca_key);
  auto authority = made.ca_is_new ? make_authority() : read_authority(made.ca, made.ca_key);
  if (!authority.ok()) return authority.status();

  std::vector<Output> outputs;
  if (made.ca_is_new) {
    JADE_RETURN_IF_ERROR(add_outputs(authority->certificate.get(), made.ca, authority->key.get(),
                                     made.ca_key, outputs));
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    auto key = make_key();
    if (!key.ok()) return key.status();
    auto certificate = certify(*authority, nodes[i], key->get(), days);
    if (!certificate.ok()) return certificate.status();
    JADE_RETURN_IF_ERROR(add_outputs(certificate->get(), made.nodes[i].certificate, key->get(),
                                     made.nodes[i].key, outputs));
  }
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return Status(Code::io_error, dir + " cannot be made: " + error.message());
  JADE_RETURN_IF_ERROR(write_all(outputs));
  return made;
}

}  // namespace jade
