#include "actors/cluster_tls.h"

#include <vector>

namespace jade {
namespace {

constexpr uint64_t repeat_ms = 3'600'000;
constexpr uint64_t minute_ms = 60'000;
constexpr uint32_t lines_a_minute_max = 20;
constexpr size_t remembered_max = 1024;

// Everything between BEGIN CERTIFICATE and END CERTIFICATE.
Result<std::vector<CertificatePtr>> read_certificates(const std::string& setting,
                                                      const std::string& path) {
  auto text = read_pem_file(path);
  if (!text.ok()) return invalid_argument(setting + " " + text.status().message());
  BioPtr bio = bio_of(*text);
  std::vector<CertificatePtr> found;
  ERR_clear_error();
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    found.emplace_back(next);
  }
  bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (!at_end || found.empty()) {
    return invalid_argument(setting + " " + path +
                            " is no certificate in PEM: " + openssl_reason());
  }
  ERR_clear_error();
  return found;
}

Result<KeyPtr> read_key(const std::string& path) {
  auto text = read_pem_file(path);
  if (!text.ok()) return invalid_argument("cluster_key " + text.status().message());
  // Without this OpenSSL asks at the terminal.
  auto no_password = [](char*, int, int, void*) { return -1; };
  ERR_clear_error();
  KeyPtr key(PEM_read_bio_PrivateKey(bio_of(*text).get(), nullptr, no_password, nullptr));
  if (!key) {
    return invalid_argument("cluster_key " + path +
                            " is no unencrypted private key in PEM: " + openssl_reason());
  }
  return key;
}

std::string text_of(const X509_NAME* name) {
  BioPtr out(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
  char* text = nullptr;
  long size = BIO_get_mem_data(out.get(), &text);
  return std::string(text, static_cast<size_t>(size));
}

std::string text_of(const ASN1_TIME* time) {
  BioPtr out(BIO_new(BIO_s_mem()));
  ASN1_TIME_print(out.get(), time);
  char* text = nullptr;
  long size = BIO_get_mem_data(out.get(), &text);
  return std::string(text, static_cast<size_t>(size));
}

Status check_dates(const std::string& path, const X509* certificate) {
  const ASN1_TIME* from = X509_get0_notBefore(certificate);
  const ASN1_TIME* until = X509_get0_notAfter(certificate);
  if (X509_cmp_current_time(from) > 0) {
    return invalid_argument("cluster_cert " + path + " is valid only from " + text_of(from) +
                            "; is the clock of this machine right?");
  }
  if (X509_cmp_current_time(until) < 0) {
    return invalid_argument("cluster_cert " + path + " expired on " + text_of(until) +
                            "; make a new one with `jade certs`");
  }
  return {};
}

void free_stack(STACK_OF(X509) * stack) { sk_X509_free(stack); }

// As the other nodes will, which meet it as a client and as a server.
Status check_signature(const TlsFiles& files, X509_STORE* store,
                       const std::vector<CertificatePtr>& chain) {
  OpensslPtr<STACK_OF(X509), free_stack> between(sk_X509_new_null());
  for (size_t i = 1; i < chain.size(); ++i) sk_X509_push(between.get(), chain[i].get());
  for (const char* purpose : {"ssl_server", "ssl_client"}) {
    VerificationPtr verification(X509_STORE_CTX_new());
    X509_STORE_CTX_init(verification.get(), store, chain.front().get(), between.get());
    X509_STORE_CTX_set_default(verification.get(), purpose);
    if (X509_verify_cert(verification.get()) == 1) continue;
    int error = X509_STORE_CTX_get_error(verification.get());
    ERR_clear_error();
    std::string why = X509_verify_cert_error_string(error);
    if (error == X509_V_ERR_INVALID_PURPOSE) {
      return invalid_argument("cluster_cert " + files.certificate +
                              " must be for servers and for clients, but " + purpose +
                              " fails: " + why);
    }
    return invalid_argument("cluster_cert " + files.certificate +
                            " is not accepted by cluster_ca " + files.ca + ": " + why);
  }
  return {};
}

Result<StorePtr> read_store(const std::string& path) {
  auto authorities = read_certificates("cluster_ca", path);
  if (!authorities.ok()) return authorities.status();
  StorePtr store(X509_STORE_new());
  for (const CertificatePtr& authority : *authorities) {
    X509_STORE_add_cert(store.get(), authority.get());
  }
  return store;
}

// All nodes are of this program, so there is nothing older to be understood: each
// handshake is complete, with keys of its own, and no session is taken up again.
Result<SslContextPtr> make_context() {
  ERR_clear_error();
  SslContextPtr context(SSL_CTX_new(TLS_method()));
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) != 1) {
    return internal_error("OpenSSL cannot be used: " + openssl_reason());
  }
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  // CAF closes without saying so in TLS; its messages know their length.
  SSL_CTX_set_options(context.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  return context;
}

}  // namespace

Result<std::shared_ptr<const ClusterTls>> ClusterTls::load(const TlsFiles& files) {
  auto chain = read_certificates("cluster_cert", files.certificate);
  if (!chain.ok()) return chain.status();
  auto key = read_key(files.key);
  if (!key.ok()) return key.status();
  auto store = read_store(files.ca);
  if (!store.ok()) return store.status();
  X509* own = chain->front().get();
  if (X509_check_private_key(own, key->get()) != 1) {
    ERR_clear_error();
    return invalid_argument("cluster_key " + files.key + " does not fit the certificate in " +
                            files.certificate);
  }
  JADE_RETURN_IF_ERROR(check_dates(files.certificate, own));
  JADE_RETURN_IF_ERROR(check_signature(files, store->get(), *chain));

  auto context = make_context();
  if (!context.ok()) return context.status();
  SSL_CTX* target = context->get();
  bool taken =
      SSL_CTX_use_certificate(target, own) == 1 && SSL_CTX_use_PrivateKey(target, key->get()) == 1;
  for (size_t i = 1; taken && i < chain->size(); ++i) {
    taken = SSL_CTX_add1_chain_cert(target, (*chain)[i].get()) == 1;
  }
  // Too weak a key, for one.
  if (!taken) {
    return invalid_argument("cluster_cert " + files.certificate +
                            " cannot be used: " + openssl_reason());
  }
  SSL_CTX_set_cert_store(target, store->release());
  std::shared_ptr<ClusterTls> tls(new ClusterTls());
  tls->context_ = std::move(*context);
  tls->certificate_ = std::move(chain->front());
  return std::shared_ptr<const ClusterTls>(std::move(tls));
}

SslPtr ClusterTls::session() const { return SslPtr(SSL_new(context_.get())); }

std::string ClusterTls::describe() const {
  return text_of(X509_get_subject_name(certificate_.get())) + ", valid until " +
         text_of(X509_get0_notAfter(certificate_.get()));
}

int ClusterTls::days_left() const {
  int days = 0, seconds = 0;
  ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate_.get()));
  return days;
}

std::string handshake_failure(const SSL* session) {
  unsigned long error = ERR_peek_last_error();
  long verdict = SSL_get_verify_result(session);
  if (ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED && verdict != X509_V_OK) {
    ERR_clear_error();
    std::string why = X509_verify_cert_error_string(verdict);
    if (verdict == X509_V_ERR_CERT_NOT_YET_VALID) why += "; is the clock of this machine right?";
    return "its certificate is not accepted: " + why;
  }
  // Reasons from here up are alerts that the other side sent.
  bool alert = error != 0 && ERR_GET_LIB(error) == ERR_LIB_SSL &&
               ERR_GET_REASON(error) >= SSL_AD_REASON_OFFSET;
  std::string reason = error != 0 ? openssl_reason() : "the connection was closed";
  return alert ? "it does not accept the certificate of this node: " + reason : reason;
}

void RefusalLog::say(const std::string& who, const std::string& why, uint64_t now_ms) {
  std::string line;
  {
    std::lock_guard lock(mutex_);
    auto [known, first] = said_.try_emplace({who, why}, now_ms);
    if (!first && now_ms < known->second + repeat_ms) return;
    known->second = now_ms;
    if (said_.size() > remembered_max) said_.clear();
    if (now_ms >= minute_ms_ + minute_ms) {
      minute_ms_ = now_ms;
      said_in_minute_ = 0;
    }
    if (++said_in_minute_ > lines_a_minute_max) return;
    line = who + ": " + why;
    if (said_in_minute_ == lines_a_minute_max) line += " (more such lines are left out)";
  }
  log_(LogLevel::warning, "cluster", line);
}

}  // namespace jade
