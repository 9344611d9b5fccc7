// Handles of OpenSSL that free themselves, and its reasons as text.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "storage/status.h"

namespace jade {

template <auto free>
struct OpensslFree {
  template <class T>
  void operator()(T* handle) const {
    free(handle);
  }
};
template <class T, auto free>
using OpensslPtr = std::unique_ptr<T, OpensslFree<free>>;

using BioPtr = OpensslPtr<BIO, BIO_free_all>;
using KeyPtr = OpensslPtr<EVP_PKEY, EVP_PKEY_free>;
using CertificatePtr = OpensslPtr<X509, X509_free>;
using StorePtr = OpensslPtr<X509_STORE, X509_STORE_free>;
using VerificationPtr = OpensslPtr<X509_STORE_CTX, X509_STORE_CTX_free>;
using ExtensionPtr = OpensslPtr<X509_EXTENSION, X509_EXTENSION_free>;
using SslContextPtr = OpensslPtr<SSL_CTX, SSL_CTX_free>;
using SslPtr = OpensslPtr<SSL, SSL_free>;

// Why the last call of this thread failed, as OpenSSL says it; forgets it.
inline std::string openssl_reason() {
  unsigned long error = ERR_peek_last_error();
  const char* reason = error != 0 ? ERR_reason_error_string(error) : nullptr;
  std::string text = reason != nullptr ? reason
                     : error != 0      ? "error " + std::to_string(error)
                                       : "no reason given";
  ERR_clear_error();
  return text;
}

// "FILE cannot be read: why".
inline Result<std::string> read_pem_file(const std::string& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  int error = in.is_open() && std::filesystem::is_directory(path) ? EISDIR : errno;
  if (in.is_open() && error != EISDIR) {
    std::ostringstream text;
    if (text << in.rdbuf() || in.eof()) return text.str();
    error = EIO;
  }
  return invalid_argument(path + " cannot be read: " + std::strerror(error));
}

// What is to be read as PEM.
inline BioPtr bio_of(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

}  // namespace jade
