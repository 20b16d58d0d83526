#include "crypto/x25519.h"

#include <gtest/gtest.h>

#include "crypto/rng.h"
#include "crypto/test_vectors.h"

namespace shoal::crypto {
namespace {

using test::unhex_array;

// RFC 7748, 6.1.
TEST(X25519, TheRfcsPairsAgree) {
    const auto alice = KeyPair::from_secret(
        Key32(unhex_array<32>("77076d0a7318a57d3c16c17251b26645df4c2f92ebc099c0dc7a8d1fbb7f3d1e")));
    const auto bob = KeyPair::from_secret(
        Key32(unhex_array<32>("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")));
    EXPECT_EQ(to_hex(bob.public_key), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    EXPECT_EQ(dh(alice.secret, bob.public_key)->expose(), dh(bob.secret, alice.public_key)->expose());
}

TEST(X25519, Wycheproof) {
    REQUIRE_VECTORS(text, "wycheproof-x25519_test.json");
    const auto vectors = test::objects_with(*text, {"tcId", "public", "private", "shared"});
    EXPECT_EQ(vectors.size(), 518U);
    std::size_t refused = 0;
    for (const auto& v : vectors) {
        const auto shared = unhex_array<32>(v.at("shared"));
        const auto result = dh(Key32(unhex_array<32>(v.at("private"))), unhex_array<32>(v.at("public")));
        if (shared == ByteArray<32>{}) {
            ++refused;
            ASSERT_FALSE(result) << v.at("tcId");
            EXPECT_EQ(result.error().code, Errc::invalid);
        } else {
            ASSERT_TRUE(result) << v.at("tcId") << ' ' << v.at("comment");
            EXPECT_EQ(result->expose(), shared) << v.at("tcId");
        }
    }
    EXPECT_EQ(refused, 31U);
}

TEST(X25519, KeysOfSmallOrderAreRefused) {
    SeededRng rng(1);
    const auto key = KeyPair::generate(rng);
    PublicKey one{};
    one[0] = 1;
    for (const PublicKey& small :
         {PublicKey{}, one, unhex_array<32>("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
          unhex_array<32>("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")}) {
        const auto result = dh(key.secret, small);
        ASSERT_FALSE(result) << to_hex(small);
        EXPECT_EQ(result.error().code, Errc::invalid);
    }
}

}  // namespace
}  // namespace shoal::crypto
