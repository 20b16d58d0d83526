#include "crypto/certificate.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "crypto/rng.h"

namespace shoal::crypto {
namespace {

SigningKey some_key(std::uint64_t seed = 1) {
    SeededRng rng(seed);
    return SigningKey::generate(rng);
}
Bytes some_certificate(std::uint64_t seed = 1) {
    SeededRng rng(seed + 100);
    return make_certificate(some_key(seed), rng);
}
Errc refusal(ByteView der) {
    const auto identity = certificate_identity(der);
    return identity ? Errc::internal : identity.error().code;
}

// Certificates that ours are not, made with the library directly.
struct Forge {
    X509* certificate = X509_new();
    EVP_PKEY* key;

    explicit Forge(int type = EVP_PKEY_ED25519) : key(nullptr) {
        EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_id(type, nullptr);
        EVP_PKEY_keygen_init(context);
        if (type == EVP_PKEY_EC) EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1);
        EVP_PKEY_keygen(context, &key);
        EVP_PKEY_CTX_free(context);
        X509_set_version(certificate, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
        X509_gmtime_adj(X509_getm_notBefore(certificate), -1000);
        X509_gmtime_adj(X509_getm_notAfter(certificate), 1000);
        X509_set_pubkey(certificate, key);
    }
    Forge(const Forge&) = delete;
    Forge& operator=(const Forge&) = delete;
    ~Forge() {
        X509_free(certificate);
        EVP_PKEY_free(key);
    }
    void extension(int nid, const char* value) {
        X509_EXTENSION* made = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
        X509_add_ext(certificate, made, -1);
        X509_EXTENSION_free(made);
    }
    Bytes sign(EVP_PKEY* with, const EVP_MD* digest = nullptr) {
        X509_sign(certificate, with, digest);
        unsigned char* raw = nullptr;
        const int size = i2d_X509(certificate, &raw);
        Bytes out(raw, raw + size);
        OPENSSL_free(raw);
        return out;
    }
};

TEST(Certificate, ItsIdentityIsTheKeyThatMadeIt) {
    for (std::uint64_t seed = 1; seed < 20; ++seed) {
        const Bytes der = some_certificate(seed);
        const auto identity = certificate_identity(der);
        ASSERT_TRUE(identity) << identity.error().message;
        EXPECT_EQ(*identity, some_key(seed).node_id());
        EXPECT_LT(der.size(), 320U);
    }
}

TEST(Certificate, TheSameKeyAndSerialGiveTheSameBytes) {
    EXPECT_EQ(some_certificate(), some_certificate());
    SeededRng other(77);
    const Bytes der = make_certificate(some_key(), other);
    EXPECT_NE(der, some_certificate());
    EXPECT_EQ(der.size(), some_certificate().size());
}

TEST(Certificate, ThePrivateKeyIsTheOneOfTheCertificate) {
    const auto pkcs8 = private_key_pkcs8(some_key());
    const unsigned char* at = pkcs8.expose().data();
    EVP_PKEY* key = d2i_AutoPrivateKey(nullptr, &at, 48);
    ASSERT_NE(key, nullptr);
    const Bytes der = some_certificate();
    const unsigned char* from = der.data();
    X509* certificate = d2i_X509(nullptr, &from, static_cast<long>(der.size()));
    EXPECT_EQ(X509_check_private_key(certificate, key), 1);
    EXPECT_EQ(X509_verify(certificate, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

TEST(Certificate, EveryFlippedBitIsRefused) {
    const Bytes good = some_certificate();
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
        Bytes bad = good;
        bad[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        EXPECT_FALSE(certificate_identity(bad)) << bit / 8 << '.' << bit % 8;
    }
}

TEST(Certificate, ExactlyOneIsAccepted) {
    const Bytes good = some_certificate();
    for (std::size_t size = 0; size < good.size(); ++size) {
        EXPECT_EQ(refusal(ByteView(good).first(size)), Errc::malformed) << size;
    }
    Bytes two = good;
    append(two, good);
    EXPECT_EQ(refusal(two), Errc::malformed);
}

TEST(Certificate, ALongOneIsNotLookedAt) {
    Forge longer;
    longer.extension(NID_netscape_comment, std::string(certificate_bytes_max, 'x').c_str());
    EXPECT_EQ(refusal(longer.sign(longer.key)), Errc::malformed);
    Forge shorter;
    shorter.extension(NID_netscape_comment, std::string(1000, 'x').c_str());
    EXPECT_TRUE(certificate_identity(shorter.sign(shorter.key)));
}

// The same content with a length in a longer form: BER, but no DER.
TEST(Certificate, ASecondEncodingOfTheSameCertificateIsRefused) {
    const Bytes good = some_certificate();
    ASSERT_EQ(good[0], 0x30);
    ASSERT_EQ(good[1], 0x81);  // the length is one byte
    Bytes longer = {0x30, 0x82, 0x00};
    append(longer, ByteView(good).subspan(2));
    EXPECT_EQ(refusal(longer), Errc::malformed);
}

TEST(Certificate, SignedBySomeoneElseIsRefused) {
    Forge forge;
    Forge other;
    EXPECT_TRUE(certificate_identity(forge.sign(forge.key)));
    EXPECT_EQ(refusal(forge.sign(other.key)), Errc::unauthenticated);
}

TEST(Certificate, OtherKindsOfKeyOrSignatureAreRefused) {
    Forge curve(EVP_PKEY_EC);
    EXPECT_EQ(refusal(curve.sign(curve.key, EVP_sha256())), Errc::unsupported);
    Forge edwards;  // an Ed25519 key, signed with ECDSA
    EXPECT_EQ(refusal(edwards.sign(curve.key, EVP_sha256())), Errc::unsupported);
    Forge montgomery(EVP_PKEY_X25519);  // same length of key, other algorithm
    EXPECT_EQ(refusal(montgomery.sign(edwards.key)), Errc::unsupported);
}

TEST(Certificate, ACriticalExtensionIsRefusedAndAnotherIsIgnored) {
    Forge plain;
    plain.extension(NID_basic_constraints, "CA:FALSE");
    EXPECT_TRUE(certificate_identity(plain.sign(plain.key)));
    Forge critical;
    critical.extension(NID_basic_constraints, "critical,CA:FALSE");
    EXPECT_EQ(refusal(critical.sign(critical.key)), Errc::unsupported);
}

TEST(Certificate, DatesMeanNothing) {
    Forge old;
    X509_gmtime_adj(X509_getm_notAfter(old.certificate), -500);
    EXPECT_TRUE(certificate_identity(old.sign(old.key)));
}

TEST(Certificate, ARefusalLeavesNoErrorForTheTlsOfTheSameThread) {
    ERR_clear_error();
    EXPECT_FALSE(certificate_identity(Bytes{0x30, 0x01}));
    EXPECT_EQ(ERR_peek_error(), 0UL);
    Bytes bad = some_certificate();
    bad.back() ^= 1;
    EXPECT_FALSE(certificate_identity(bad));
    EXPECT_EQ(ERR_peek_error(), 0UL);
}

}  // namespace
}  // namespace shoal::crypto
