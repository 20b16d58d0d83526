#include "crypto/stream_seal.h"

#include <gtest/gtest.h>

#include "crypto/hash.h"
#include "crypto/rng.h"
#include "crypto/test_vectors.h"

namespace shoal::crypto {
namespace {

using test::unhex_array;

const NetworkId network(ByteArray<32>{1});
const NodeId node(ByteArray<32>{2});

StreamRecord record(std::uint8_t fill) {
    StreamRecord out;
    out.fill(fill);
    return out;
}

struct Ends {
    KeyPair hpke;
    StreamSealer::Client client;
    StreamSealer server;
};
Ends make_ends(std::uint64_t seed = 1) {
    SeededRng rng(seed);
    auto hpke = KeyPair::generate(rng);
    auto client = StreamSealer::client(network, node, hpke.public_key, rng);
    auto server = StreamSealer::server(network, node, hpke, client->encapsulated);
    return {std::move(hpke), std::move(*client), std::move(*server)};
}

TEST(StreamSeal, KnownAnswerFromASecondImplementation) {
    const auto found = test::objects_with(test::own_vectors("crypto-constructions.json"), {"hpke_secret"});
    ASSERT_EQ(found.size(), 1U);
    const auto& v = found[0];
    const auto hpke = KeyPair::from_secret(Key32(unhex_array<32>(v.at("hpke_secret"))));
    const NetworkId net(unhex_array<32>(v.at("network")));
    const NodeId self(unhex_array<32>(v.at("node")));
    test::ReplayRng ephemeral(test::unhex(v.at("ephemeral")));
    auto client = StreamSealer::client(net, self, hpke.public_key, ephemeral);
    ASSERT_TRUE(client);
    EXPECT_EQ(to_hex(client->encapsulated), v.at("encapsulated"));
    auto server = StreamSealer::server(net, self, hpke, client->encapsulated);
    ASSERT_TRUE(server);

    StreamRecord records[2] = {record(0), record(0)};
    records[0][0] = 9;
    for (std::size_t i = 0; i < records[1].size(); ++i) records[1][i] = static_cast<std::uint8_t>(i);
    for (std::size_t i = 0; i < 2; ++i) {
        const std::string index = "." + std::to_string(i);
        const auto forward = client->sealer.seal(records[i]);
        EXPECT_EQ(to_hex(ByteView(forward).first(32)), v.at("forward_first32" + index));
        EXPECT_EQ(to_hex(sha256({forward})), v.at("forward_sha256" + index));
        EXPECT_EQ(*server->open(forward), records[i]);
        const auto backward = server->seal(records[i]);
        EXPECT_EQ(to_hex(sha256({backward})), v.at("backward_sha256" + index));
        EXPECT_EQ(*client->sealer.open(backward), records[i]);
    }
}

TEST(StreamSeal, RecordsPassBothWays) {
    auto [hpke, client, server] = make_ends();
    for (std::uint8_t i = 0; i < 50; ++i) {
        EXPECT_EQ(*server.open(client.sealer.seal(record(i))), record(i));
        EXPECT_EQ(*client.sealer.open(server.seal(record(255 - i))), record(255 - i));
    }
}

TEST(StreamSeal, AFlippedBitAnywhereDoesNotOpen) {
    auto [hpke, client, server] = make_ends();
    const auto sealed = client.sealer.seal(record(7));
    for (std::size_t byte = 0; byte < sealed.size(); ++byte) {
        auto changed = sealed;
        changed[byte] ^= static_cast<std::uint8_t>(1U << (byte % 8));
        const auto opened = server.open(changed);
        ASSERT_FALSE(opened) << byte;
        EXPECT_EQ(opened.error().code, Errc::unauthenticated);
    }
    EXPECT_TRUE(server.open(sealed)) << "the counter stays where it was";
}

TEST(StreamSeal, ReorderedRepeatedAndReflectedRecordsDoNotOpen) {
    auto [hpke, client, server] = make_ends();
    const auto first = client.sealer.seal(record(1));
    const auto second = client.sealer.seal(record(2));
    EXPECT_FALSE(server.open(second));
    EXPECT_FALSE(client.sealer.open(first)) << "the directions have keys of their own";
    EXPECT_TRUE(server.open(first));
    EXPECT_FALSE(server.open(first));
    EXPECT_TRUE(server.open(second));
}

TEST(StreamSeal, AnotherNetworkIdentityKeyOrStreamDoesNotOpen) {
    auto [hpke, client, server] = make_ends();
    const auto sealed = client.sealer.seal(record(1));
    SeededRng rng(9);
    const auto opens = [&](const NetworkId& net, const NodeId& self, const KeyPair& key, const PublicKey& enc) {
        return bool(StreamSealer::server(net, self, key, enc)->open(sealed));
    };
    EXPECT_TRUE(opens(network, node, hpke, client.encapsulated));
    EXPECT_FALSE(opens(NetworkId(), node, hpke, client.encapsulated));
    EXPECT_FALSE(opens(network, NodeId(), hpke, client.encapsulated));
    EXPECT_FALSE(opens(network, node, KeyPair::generate(rng), client.encapsulated));
    EXPECT_FALSE(opens(network, node, hpke, StreamSealer::client(network, node, hpke.public_key, rng)->encapsulated));
}

TEST(StreamSeal, EqualRecordsLookDifferentEachTime) {
    auto [hpke, client, server] = make_ends();
    const auto once = client.sealer.seal(record(0));
    EXPECT_NE(once, client.sealer.seal(record(0)));
    EXPECT_NE(once, server.seal(record(0)));
    EXPECT_NE(once, make_ends(2).client.sealer.seal(record(0)));
}

TEST(StreamSeal, KeysOfSmallOrderAreRefusedOnBothSides) {
    SeededRng rng(4);
    EXPECT_FALSE(StreamSealer::client(network, node, PublicKey{}, rng));
    EXPECT_FALSE(StreamSealer::server(network, node, KeyPair::generate(rng), PublicKey{}));
}

}  // namespace
}  // namespace shoal::crypto
