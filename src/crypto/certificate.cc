#include "crypto/certificate.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sodium.h>

#include <memory>

#include "base/assert.h"
#include "crypto/error_scope.h"

namespace shoal::crypto {
namespace {

template <typename T, void (*release)(T*)>
struct Free {
    void operator()(T* object) const { release(object); }
};
using Certificate = std::unique_ptr<X509, Free<X509, X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, EVP_PKEY_free>>;

// Calls one of OpenSSL's i2d functions.
template <typename T, typename Encode>
Bytes to_der(T* object, Encode encode) {
    unsigned char* raw = nullptr;
    const int size = encode(object, &raw);
    if (size <= 0) return {};
    Bytes out(raw, raw + size);
    OPENSSL_free(raw);
    return out;
}

// Everyone's certificate says the same but for key and serial: a date or a name would tell nodes apart for nothing.
constexpr const char* name = "shoal";
constexpr const char* not_before = "20200101000000Z";
constexpr const char* not_after = "99991231235959Z";  // RFC 5280: no expiry

bool set_serial(X509* certificate, Rng& rng) {
    ByteArray<16> raw = rng.array<16>();
    raw[0] = static_cast<std::uint8_t>((raw[0] & 0x3f) | 0x40);  // positive, and always of one length
    const std::unique_ptr<BIGNUM, Free<BIGNUM, BN_free>> number(BN_bin2bn(raw.data(), raw.size(), nullptr));
    return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_name(X509_NAME* subject) {
    const auto* text = reinterpret_cast<const unsigned char*>(name);
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, text, -1, -1, 0) == 1;
}

bool is_ed25519(const X509_ALGOR* algorithm) {
    const ASN1_OBJECT* object = nullptr;
    int parameter_type = 0;
    X509_ALGOR_get0(&object, &parameter_type, nullptr, algorithm);
    return OBJ_obj2nid(object) == NID_ED25519 && parameter_type == V_ASN1_UNDEF;  // RFC 8410: no parameters
}

}  // namespace

Bytes make_certificate(const SigningKey& key, Rng& rng) {
    const Key32 seed = key.seed();
    const Key secret(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.expose().data(), 32));
    const Certificate certificate(X509_new());
    X509* const c = certificate.get();
    ASSERT(secret && c != nullptr);
    ASSERT(X509_set_version(c, X509_VERSION_3) == 1);
    ASSERT(set_serial(c, rng));
    ASSERT(ASN1_TIME_set_string(X509_getm_notBefore(c), not_before) == 1);
    ASSERT(ASN1_TIME_set_string(X509_getm_notAfter(c), not_after) == 1);
    ASSERT(set_name(X509_get_subject_name(c)));
    ASSERT(X509_set_issuer_name(c, X509_get_subject_name(c)) == 1);
    ASSERT(X509_set_pubkey(c, secret.get()) == 1);
    ASSERT(X509_sign(c, secret.get(), nullptr) > 0);
    Bytes der = to_der(c, i2d_X509);
    ASSERT(!der.empty() && der.size() <= certificate_bytes_max);
    return der;
}

Sensitive<ByteArray<48>> private_key_pkcs8(const SigningKey& key) {
    // RFC 8410, 7: SEQUENCE { version 0, SEQUENCE { 1.3.101.112 }, OCTET STRING { OCTET STRING of 32 } }
    constexpr std::uint8_t head[16] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                       0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};
    const Key32 seed = key.seed();
    Sensitive<ByteArray<48>> out;
    std::memcpy(out.expose().data(), head, sizeof head);
    std::memcpy(out.expose().data() + sizeof head, seed.expose().data(), 32);
    return out;
}

Result<NodeId> certificate_identity(ByteView der) {
    const ErrorScope quiet;
    if (der.size() > certificate_bytes_max) return fail(Errc::malformed, "certificate: too long");
    const std::uint8_t* at = der.data();
    const Certificate certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
    if (!certificate) return fail(Errc::malformed, "certificate: does not parse");
    X509* const c = certificate.get();

    ByteArray<32> public_key;
    std::size_t key_size = public_key.size();
    X509_ALGOR* key_algorithm = nullptr;
    const EVP_PKEY* const key = X509_get0_pubkey(c);
    X509_PUBKEY_get0_param(nullptr, nullptr, nullptr, &key_algorithm, X509_get_X509_PUBKEY(c));
    if (key == nullptr || !is_ed25519(key_algorithm) ||
        EVP_PKEY_get_raw_public_key(key, public_key.data(), &key_size) != 1 || key_size != public_key.size()) {
        return fail(Errc::unsupported, "certificate: the key is not Ed25519");
    }
    const ASN1_BIT_STRING* signature = nullptr;
    const X509_ALGOR* algorithm = nullptr;
    X509_get0_signature(&signature, &algorithm, c);
    if (!is_ed25519(algorithm) || !is_ed25519(X509_get0_tbs_sigalg(c)) || signature->length != 64) {
        return fail(Errc::unsupported, "certificate: the signature is not Ed25519");
    }
    for (int i = 0; i < X509_get_ext_count(c); ++i) {
        if (X509_EXTENSION_get_critical(X509_get_ext(c, i)) != 0) {
            return fail(Errc::unsupported, "certificate: a critical extension; none is known here");
        }
    }
    // The signature is checked over a fresh encoding. Had the input another form, or more behind it, one certificate
    // would have two.
    const Bytes signed_part = to_der(c, i2d_re_X509_tbs);
    if (to_der(c, i2d_X509) != to_bytes(der)) return fail(Errc::malformed, "certificate: not exactly one in DER");
    if (crypto_sign_ed25519_verify_detached(signature->data, signed_part.data(), signed_part.size(),
                                            public_key.data()) != 0) {
        return fail(Errc::unauthenticated, "certificate: not signed by its own key");
    }
    return NodeId(public_key);
}

}  // namespace shoal::crypto
