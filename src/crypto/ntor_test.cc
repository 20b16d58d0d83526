#include "crypto/ntor.h"

#include <gtest/gtest.h>

#include "crypto/hash.h"
#include "crypto/rng.h"
#include "crypto/test_vectors.h"

namespace shoal::crypto {
namespace {

using test::unhex;
using test::unhex_array;

const NetworkId network(ByteArray<32>{1});
const NodeId relay(ByteArray<32>{2});

Bytes concatenation(const CircuitKeys& keys) {
    Bytes out;
    for (const LayerKeys* layer : {&keys.forward, &keys.backward}) {
        for (const Key32& key : layer->round) append(out, key.expose());
        append(out, layer->tweak_key.expose());
        append(out, layer->tweak);
    }
    return out;
}

// One relay and one client that has just begun.
struct Setting {
    SeededRng rng{1};
    NtorProfile profile = NtorProfile::circuit(network);
    KeyPair onion = KeyPair::generate(rng);
    NtorClient client = std::move(*NtorClient::start(profile, relay, onion.public_key, as_bytes("hello"), rng));

    Result<NtorAnswer> answer(ByteView hello) {
        const auto parsed = NtorHello::parse(hello);
        if (!parsed) return parsed.error();
        return ntor_answer(profile, relay, onion, nullptr, *parsed, as_bytes("answer"), rng);
    }
};

// Runs a whole handshake with given secrets and compares every byte that is published.
void run_vector(const NtorProfile& profile, const std::map<std::string, std::string>& v) {
    const auto onion = KeyPair::from_secret(Key32(unhex_array<32>(v.at("b"))));
    const NodeId id(unhex_array<32>(v.at("id")));
    test::ReplayRng x(unhex(v.at("x")));
    test::ReplayRng y(unhex(v.at("y")));
    const auto client = NtorClient::start(profile, id, onion.public_key, unhex(v.at("client_message")), x);
    ASSERT_TRUE(client);
    EXPECT_EQ(to_hex(client->hello()), v.at("client_handshake"));
    const auto hello = NtorHello::parse(client->hello());
    ASSERT_TRUE(hello);
    const auto answer = ntor_answer(profile, id, onion, nullptr, *hello, unhex(v.at("server_message")), y);
    ASSERT_TRUE(answer);
    EXPECT_EQ(to_hex(answer->answer), v.at("server_handshake"));
    EXPECT_EQ(to_hex(answer->client_message), v.at("client_message"));
    const auto outcome = client->finish(answer->answer);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(to_hex(outcome->message), v.at("server_message"));
    const std::string keys = to_hex(concatenation(outcome->keys));
    EXPECT_EQ(keys, to_hex(concatenation(answer->keys)));
    EXPECT_EQ(keys.substr(0, v.at("keystream").size()), v.at("keystream"));
}

TEST(Ntor, TheHandshakePublishedForTor) {
    const auto found = test::objects_with(test::own_vectors("crypto-ntor3.json"), {"keystream_256"});
    ASSERT_EQ(found.size(), 1U);
    auto v = found[0];
    v["keystream"] = v.at("keystream_256");
    run_vector({"ntor3-curve25519-sha3_256-1", unhex(v.at("verification"))}, v);
}

TEST(Ntor, KnownAnswerWithOurNames) {
    const auto found = test::objects_with(test::own_vectors("crypto-constructions.json"), {"onion_secret"});
    ASSERT_EQ(found.size(), 1U);
    const auto& o = found[0];
    const std::map<std::string, std::string> v = {
        {"b", o.at("onion_secret")},
        {"id", o.at("node")},
        {"x", o.at("client_ephemeral")},
        {"y", o.at("relay_ephemeral")},
        {"client_message", o.at("client_message")},
        {"server_message", o.at("relay_message")},
        {"client_handshake", o.at("hello")},
        {"server_handshake", o.at("answer")},
        {"keystream", o.at("circuit_keys")},
    };
    ASSERT_EQ(v.at("keystream").size(), 2 * 352U);
    run_vector(NtorProfile::circuit(NetworkId(unhex_array<32>(o.at("network")))), v);
}

TEST(Ntor, EveryFlippedBitOfTheFirstMessageIsRefused) {
    Setting s;
    const Bytes good = s.client.hello();
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
        Bytes bad = good;
        bad[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        // X25519 ignores the top bit of X; the MAC does not.
        EXPECT_FALSE(s.answer(bad)) << bit;
    }
    EXPECT_TRUE(s.answer(good));
}

TEST(Ntor, EveryFlippedBitOfTheAnswerIsRefused) {
    Setting s;
    const Bytes good = s.answer(s.client.hello())->answer;
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
        Bytes bad = good;
        bad[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        EXPECT_FALSE(s.client.finish(bad)) << bit;
    }
    EXPECT_TRUE(s.client.finish(good)) << "a forged answer before the right one does no harm";
}

TEST(Ntor, TruncatedAndOverlongMessagesAreRefused) {
    Setting s;
    const Bytes hello = s.client.hello();
    const Bytes answer = s.answer(hello)->answer;
    for (std::size_t size = 0; size < hello.size(); ++size) EXPECT_FALSE(s.answer(ByteView(hello).first(size))) << size;
    for (std::size_t size = 0; size < answer.size(); ++size) {
        EXPECT_FALSE(s.client.finish(ByteView(answer).first(size))) << size;
    }
    const auto long_hello = NtorHello::parse(Bytes(ntor_message_bytes_max + 1));
    ASSERT_FALSE(long_hello);
    EXPECT_EQ(long_hello.error().code, Errc::malformed);
    const auto long_answer = s.client.finish(Bytes(ntor_message_bytes_max + 1));
    ASSERT_FALSE(long_answer);
    EXPECT_EQ(long_answer.error().code, Errc::malformed);
}

TEST(Ntor, AnotherIdentityIsRefusedBeforeAnyWork) {
    Setting s;
    const auto answer =
        ntor_answer(s.profile, NodeId(), s.onion, nullptr, *NtorHello::parse(s.client.hello()), {}, s.rng);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Errc::unauthenticated);
}

TEST(Ntor, AnotherNetworkOrProtocolIsRefused) {
    Setting s;
    const auto hello = NtorHello::parse(s.client.hello());
    EXPECT_FALSE(ntor_answer(NtorProfile::circuit(NetworkId()), relay, s.onion, nullptr, *hello, {}, s.rng));
    NtorProfile other = s.profile;
    other.protocol_id = "ntor3-curve25519-sha3_256-1";
    EXPECT_FALSE(ntor_answer(other, relay, s.onion, nullptr, *hello, {}, s.rng));
}

TEST(Ntor, ARelayWithTheIdentityButNotTheOnionKeyCannotAnswer) {
    Setting s;
    const auto impostor = KeyPair::generate(s.rng);
    // It takes the message as if the onion key were its own, and answers with keys of its own making.
    KeyPair claimed{impostor.secret.clone(), s.onion.public_key};
    EXPECT_FALSE(ntor_answer(s.profile, relay, claimed, nullptr, *NtorHello::parse(s.client.hello()), {}, s.rng));
    const auto for_impostor = NtorClient::start(s.profile, relay, impostor.public_key, {}, s.rng);
    const auto answer =
        ntor_answer(s.profile, relay, impostor, nullptr, *NtorHello::parse(for_impostor->hello()), {}, s.rng);
    ASSERT_TRUE(answer);
    const auto outcome = s.client.finish(answer->answer);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, Errc::unauthenticated);
}

TEST(Ntor, ThePreviousOnionKeyIsHonouredWhileItIsGiven) {
    Setting s;
    const auto next = KeyPair::generate(s.rng);
    const auto hello = NtorHello::parse(s.client.hello());
    const auto answer = ntor_answer(s.profile, relay, next, &s.onion, *hello, {}, s.rng);
    ASSERT_TRUE(answer);
    EXPECT_TRUE(s.client.finish(answer->answer));
    const auto expired = ntor_answer(s.profile, relay, next, nullptr, *hello, {}, s.rng);
    ASSERT_FALSE(expired);
    EXPECT_EQ(expired.error().code, Errc::expired);
}

TEST(Ntor, KeysOfSmallOrderAreRefusedOnBothSides) {
    Setting s;
    EXPECT_FALSE(NtorClient::start(s.profile, relay, PublicKey{}, {}, s.rng));

    Bytes hello = s.client.hello();
    std::fill(hello.begin() + 64, hello.begin() + 96, 0);
    const auto answer = s.answer(hello);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Errc::invalid);

    Bytes reply = s.answer(s.client.hello())->answer;
    std::fill(reply.begin(), reply.begin() + 32, 0);
    const auto outcome = s.client.finish(reply);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, Errc::invalid);
}

TEST(Ntor, AReplayHasTheSameReplayIdAndAFreshMessageAnother) {
    Setting s;
    const auto hello = NtorHello::parse(s.client.hello());
    EXPECT_EQ(hello->replay_id(), blake2b<16>({ByteView(s.client.hello()).subspan(64, 32)}));
    EXPECT_EQ(hello->replay_id(), NtorHello::parse(s.client.hello())->replay_id());
    const auto other = NtorClient::start(s.profile, relay, s.onion.public_key, as_bytes("hello"), s.rng);
    EXPECT_NE(hello->replay_id(), NtorHello::parse(other->hello())->replay_id());
    EXPECT_NE(s.client.hello(), other->hello());
}

TEST(Ntor, TwoAnswersToOneMessageGiveDifferentKeys) {
    Setting s;
    const auto one = s.answer(s.client.hello());
    const auto two = s.answer(s.client.hello());
    EXPECT_NE(concatenation(one->keys), concatenation(two->keys));
    EXPECT_NE(concatenation(one->keys), Bytes(352));
}

TEST(Ntor, TheLongestMessagesPass) {
    Setting s;
    const Bytes longest_hello(ntor_message_bytes_max - ntor_hello_overhead_bytes, 0x11);
    const Bytes longest_answer(ntor_message_bytes_max - ntor_answer_overhead_bytes, 0x22);
    const auto client = NtorClient::start(s.profile, relay, s.onion.public_key, longest_hello, s.rng);
    const auto answer =
        ntor_answer(s.profile, relay, s.onion, nullptr, *NtorHello::parse(client->hello()), longest_answer, s.rng);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->client_message, longest_hello);
    EXPECT_EQ(client->finish(answer->answer)->message, longest_answer);
}

}  // namespace
}  // namespace shoal::crypto
