#include "crypto/sign.h"

#include <gtest/gtest.h>
#include <sodium.h>

#include "crypto/rng.h"
#include "crypto/test_vectors.h"

namespace shoal::crypto {
namespace {

using test::unhex;
using test::unhex_array;

const NetworkId network(ByteArray<32>{1});

TEST(Sign, KnownAnswerOfTheWholeStatement) {
    const auto found = test::objects_with(test::own_vectors("crypto-constructions.json"), {"seed", "signature"});
    ASSERT_EQ(found.size(), 1U);
    const auto& v = found[0];
    const auto key = SigningKey::from_seed(Key32(unhex_array<32>(v.at("seed"))));
    EXPECT_EQ(key.node_id().hex(), v.at("node"));
    ASSERT_EQ(v.at("domain"), "SC1-TEST");
    const NetworkId net(unhex_array<32>(v.at("network")));
    const auto signature = key.sign("SC1-TEST", net, unhex(v.at("body")));
    EXPECT_EQ(to_hex(signature), v.at("signature"));
    EXPECT_TRUE(verify(key.node_id(), "SC1-TEST", net, unhex(v.at("body")), signature));
}

TEST(Sign, AStatementHoldsForItsSignerDomainNetworkAndBodyOnly) {
    SeededRng rng(1);
    const auto key = SigningKey::generate(rng);
    const auto body = as_bytes("the body");
    const auto signature = key.sign("SC1-AAAA", network, body);
    EXPECT_TRUE(verify(key.node_id(), "SC1-AAAA", network, body, signature));
    EXPECT_FALSE(verify(SigningKey::generate(rng).node_id(), "SC1-AAAA", network, body, signature));
    EXPECT_FALSE(verify(key.node_id(), "SC1-BBBB", network, body, signature));
    EXPECT_FALSE(verify(key.node_id(), "SC1-AAAA", NetworkId(ByteArray<32>{2}), body, signature));
    EXPECT_FALSE(verify(key.node_id(), "SC1-AAAA", network, as_bytes("the bodY"), signature));
    EXPECT_FALSE(verify(key.node_id(), "SC1-AAAA", network, as_bytes("the bod"), signature));
    EXPECT_FALSE(verify(key.node_id(), "SC1-AAAA", network, {}, signature));
}

TEST(Sign, EveryFlippedBitOfASignatureIsSeen) {
    SeededRng rng(2);
    const auto key = SigningKey::generate(rng);
    const auto signature = key.sign("SC1-AAAA", network, as_bytes("body"));
    for (std::size_t bit = 0; bit < 8 * signature.size(); ++bit) {
        auto changed = signature;
        changed[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        EXPECT_FALSE(verify(key.node_id(), "SC1-AAAA", network, as_bytes("body"), changed)) << bit;
    }
}

// A signer of small order: with R = A = the neutral element and S = 0 the equation of a lax verifier holds for any
// body.
TEST(Sign, ASignerOfSmallOrderSignsNothing) {
    ByteArray<32> neutral{};
    neutral[0] = 1;
    Signature forged{};
    forged[0] = 1;
    EXPECT_FALSE(verify(NodeId(neutral), "SC1-AAAA", network, as_bytes("anything"), forged));
    EXPECT_FALSE(verify(NodeId(), "SC1-AAAA", network, as_bytes("anything"), Signature{}));
}

TEST(Sign, TheSeedIsTheWholeKey) {
    SeededRng rng(3);
    const auto key = SigningKey::generate(rng);
    EXPECT_EQ(SigningKey::from_seed(key.seed()).node_id(), key.node_id());
    EXPECT_EQ(key.clone().sign("SC1-AAAA", network, {}), key.sign("SC1-AAAA", network, {}));
}

// The vectors sign bare messages, which verify() never takes; so the verifier behind it is asked directly.
TEST(Sign, TheVerifierBehindAgreesWithWycheproof) {
    REQUIRE_VECTORS(text, "wycheproof-ed25519_test.json");
    std::string public_key;
    std::size_t count = 0;
    for (const auto& v : test::JsonObjects::read(*text)) {
        if (v.contains("pk")) public_key = v.at("pk");
        if (!v.contains("tcId")) continue;
        const Bytes message = unhex(v.at("msg"));
        const Bytes signature = unhex(v.at("sig"));
        const bool holds = signature.size() == 64 &&
                           crypto_sign_ed25519_verify_detached(signature.data(), message.data(), message.size(),
                                                               unhex(public_key).data()) == 0;
        EXPECT_EQ(holds, v.at("result") == "valid") << v.at("tcId") << ' ' << v.at("comment");
        ++count;
    }
    EXPECT_EQ(count, 151U);
}

}  // namespace
}  // namespace shoal::crypto
