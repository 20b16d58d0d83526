#include "crypto/aead.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <rapidcheck/gtest.h>

#include "crypto/rng.h"
#include "crypto/test_vectors.h"

namespace shoal::crypto {
namespace {

using test::unhex;
using test::unhex_array;

Key32 some_key() {
    return Key32(SeededRng(1).array<32>());
}

TEST(Aead, Wycheproof) {
    REQUIRE_VECTORS(text, "wycheproof-chacha20_poly1305_test.json");
    const auto vectors = test::objects_with(*text, {"tcId", "key", "iv", "aad", "msg", "ct", "tag"});
    EXPECT_EQ(vectors.size(), 325U);
    std::size_t run = 0;
    for (const auto& v : vectors) {
        if (v.at("iv").size() != 24) continue;  // other nonce lengths cannot be said with our types
        ++run;
        AeadKey key(Key32(unhex_array<32>(v.at("key"))));
        const auto nonce = unhex_array<12>(v.at("iv"));
        const Bytes plain = unhex(v.at("msg"));
        const Bytes sealed = unhex(v.at("ct") + v.at("tag"));
        const auto opened = key.open(nonce, unhex(v.at("aad")), sealed);
        ASSERT_EQ(bool(opened), v.at("result") == "valid") << v.at("tcId") << ' ' << v.at("comment");
        if (!opened) continue;
        EXPECT_EQ(*opened, plain) << v.at("tcId");
        EXPECT_EQ(key.seal(nonce, unhex(v.at("aad")), plain), sealed) << v.at("tcId");
    }
    EXPECT_EQ(run, 316U);
}

TEST(Aead, TheNonceOfACounterIsFourZerosAndTheNumber) {
    EXPECT_EQ(to_hex(counter_nonce(0x0102030405060708)), "000000000807060504030201");
}

RC_GTEST_PROP(Aead, OneKeyObjectSealsAndOpensInAnyOrder, (const std::vector<Bytes>& messages, const Bytes& ad)) {
    AeadKey mixed(some_key());
    for (std::size_t i = 0; i < messages.size(); ++i) {
        const Bytes sealed = mixed.seal(counter_nonce(i), ad, messages[i]);
        RC_ASSERT(AeadKey(some_key()).seal(counter_nonce(i), ad, messages[i]) == sealed);
        const auto opened = mixed.open(counter_nonce(i), ad, sealed);
        RC_ASSERT(bool(opened));
        RC_ASSERT(*opened == messages[i]);
    }
}

TEST(Aead, InPlaceIsTheSameAsApart) {
    for (const std::size_t size : {0U, 1U, 63U, 64U, 65U, 1354U, 6144U}) {
        Bytes plain(size);
        SeededRng(size).fill(plain);
        AeadKey key(some_key());
        const Bytes apart = key.seal(counter_nonce(3), as_bytes("ad"), plain);
        Bytes buffer = plain;
        buffer.resize(size + 16);
        key.seal_into(counter_nonce(3), as_bytes("ad"), ByteView(buffer).first(size), buffer);
        EXPECT_EQ(buffer, apart);
        ASSERT_TRUE(key.open_into(counter_nonce(3), as_bytes("ad"), buffer, ByteSpan(buffer).first(size)));
        buffer.resize(size);
        EXPECT_EQ(buffer, plain);
    }
}

TEST(Aead, EveryFlippedBitIsSeenAndNothingIsReleased) {
    AeadKey key(some_key());
    const Bytes plain(100, 0x5a);
    const Bytes sealed = key.seal(counter_nonce(0), as_bytes("ad"), plain);
    for (std::size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
        Bytes changed = sealed;
        changed[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        Bytes out(plain.size(), 0xff);
        const auto opened = key.open_into(counter_nonce(0), as_bytes("ad"), changed, out);
        ASSERT_FALSE(opened) << bit;
        EXPECT_EQ(opened.error().code, Errc::unauthenticated);
        EXPECT_EQ(out, Bytes(plain.size(), 0)) << "plaintext that nobody vouches for";
    }
    EXPECT_TRUE(key.open(counter_nonce(0), as_bytes("ad"), sealed)) << "a failure leaves the key usable";
}

TEST(Aead, AnotherNonceAssociatedDataKeyOrLengthDoesNotOpen) {
    AeadKey key(some_key());
    const Bytes sealed = key.seal(counter_nonce(0), as_bytes("ad"), as_bytes("text"));
    EXPECT_FALSE(key.open(counter_nonce(1), as_bytes("ad"), sealed));
    EXPECT_FALSE(key.open(counter_nonce(0), as_bytes("aD"), sealed));
    EXPECT_FALSE(key.open(counter_nonce(0), {}, sealed));
    EXPECT_FALSE(AeadKey(Key32()).open(counter_nonce(0), as_bytes("ad"), sealed));
    for (std::size_t size = 0; size < sealed.size(); ++size) {
        EXPECT_FALSE(key.open(counter_nonce(0), as_bytes("ad"), ByteView(sealed).first(size))) << size;
    }
}

TEST(Aead, ARefusalLeavesNoErrorForTheTlsOfTheSameThread) {
    ERR_clear_error();
    EXPECT_FALSE(AeadKey(some_key()).open(counter_nonce(0), {}, Bytes(40)));
    EXPECT_EQ(ERR_peek_error(), 0UL);
}

}  // namespace
}  // namespace shoal::crypto
