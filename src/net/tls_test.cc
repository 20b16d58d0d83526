#include "net/tls.h"

#include "net/net_testing.h"

namespace shoal::net {
namespace {

using testing::identity_of;

constexpr std::size_t output_max = 256 * 1024;

// Two sessions, mouth to ear.
struct Pair {
    explicit Pair(std::optional<NodeId> expected = identity_of(2).id())
        : client(identity_of(1).share(), true, expected, output_max),
          server(identity_of(2).share(), false, std::nullopt, output_max) {}

    // Carries bytes until neither says anything. What each read is in its Bytes.
    void pump() {
        while (!client.output().empty() || !server.output().empty()) {
            carry(client, server, at_server);
            carry(server, client, at_client);
        }
    }
    void carry(TlsSession& from, TlsSession& to, Bytes& out) {
        const Bytes sealed = to_bytes(from.output().view());
        from.output().consume(sealed.size());
        bytes_carried += sealed.size();
        Bytes plain(sealed.size() + tls_record_bytes);
        plain.resize(to.receive(sealed, plain));
        append(out, plain);
    }
    void shake_hands() {
        client.start();
        pump();
        ASSERT_EQ(client.state(), TlsSession::State::up);
        ASSERT_EQ(server.state(), TlsSession::State::up);
    }

    TlsSession client;
    TlsSession server;
    Bytes at_client;
    Bytes at_server;
    std::size_t bytes_carried = 0;
};

TEST(Tls, BothSidesKnowEachOtherByTheirKeys) {
    Pair pair;
    pair.shake_hands();
    EXPECT_EQ(pair.client.peer(), identity_of(2).id());
    EXPECT_EQ(pair.server.peer(), identity_of(1).id());
}

// Forward secrecy rests on these: an ephemeral X25519 exchange in every handshake, and nothing that could stand in
// for one later.
TEST(Tls, EveryHandshakeIsEphemeralX25519AndNothingIsLeftToResume) {
    Pair pair;
    pair.shake_hands();
    for (SSL* ssl : {pair.client.ssl(), pair.server.ssl()}) {
        EXPECT_EQ(SSL_version(ssl), TLS1_3_VERSION);
        EXPECT_EQ(SSL_get_negotiated_group(ssl), NID_X25519);
        const std::string cipher = SSL_get_cipher_name(ssl);
        EXPECT_TRUE(cipher == "TLS_AES_256_GCM_SHA384" || cipher == "TLS_CHACHA20_POLY1305_SHA256") << cipher;
        EXPECT_EQ(SSL_session_reused(ssl), 0);
        EXPECT_EQ(SSL_get_max_early_data(ssl), 0U);
        // No ticket was sent, so the session has no name under which it could be taken up again.
        EXPECT_EQ(SSL_SESSION_is_resumable(SSL_get_session(ssl)), 0);
        EXPECT_EQ(SSL_SESSION_has_ticket(SSL_get_session(ssl)), 0);
    }
    EXPECT_EQ(SSL_get_servername(pair.server.ssl(), TLSEXT_NAMETYPE_host_name), nullptr);
}

TEST(Tls, ASecondHandshakeOfTheSamePairHasOtherSecrets) {
    Pair first;
    Pair second;
    first.shake_hands();
    second.shake_hands();
    EXPECT_NE(first.client.channel_binding(), second.client.channel_binding());
}

TEST(Tls, AServerThatHandsOutTicketsCannotMakeTheClientResume) {
    // The client's context keeps no session, so the next one starts from nothing.
    Pair pair;
    pair.shake_hands();
    EXPECT_EQ(SSL_new_session_ticket(pair.server.ssl()), 1);
    EXPECT_EQ(SSL_CTX_get_session_cache_mode(SSL_get_SSL_CTX(pair.client.ssl())), SSL_SESS_CACHE_OFF);
    Pair next;
    next.shake_hands();
    EXPECT_EQ(SSL_session_reused(next.client.ssl()), 0);
}

TEST(Tls, TheChannelBindingIsSharedAndOnlyThereWhenUp) {
    Pair pair;
    EXPECT_EQ(pair.client.channel_binding(), std::nullopt);
    pair.shake_hands();
    ASSERT_TRUE(pair.client.channel_binding());
    EXPECT_EQ(pair.client.channel_binding(), pair.server.channel_binding());
}

TEST(Tls, TheDiallerRefusesAnotherIdentity) {
    Pair pair(identity_of(3).id());
    pair.client.start();
    pair.pump();
    ASSERT_EQ(pair.client.state(), TlsSession::State::failed);
    EXPECT_EQ(pair.client.error().code, Errc::unauthenticated);
    EXPECT_NE(pair.client.error().message.find(identity_of(2).id().brief()), std::string::npos);
    EXPECT_EQ(pair.server.state(), TlsSession::State::failed);
}

TEST(Tls, HandshakeAndCertificatesStaySmall) {
    Pair pair;
    pair.shake_hands();
    EXPECT_LT(pair.bytes_carried, 2048U);
}

TEST(Tls, NothingIsReadBeforeTheClientHasProvedItsKey) {
    Pair pair;
    pair.client.start();
    pair.carry(pair.client, pair.server, pair.at_server);
    pair.carry(pair.server, pair.client, pair.at_client);
    ASSERT_EQ(pair.client.state(), TlsSession::State::up);
    // The client's last flight and early words arrive in pieces: the words count only after all of the flight.
    ASSERT_TRUE(pair.client.seal(as_bytes("early")));
    const Bytes all = to_bytes(pair.client.output().view());
    Bytes plain(all.size() + tls_record_bytes);
    std::size_t read = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (pair.server.state() == TlsSession::State::handshaking) {
            EXPECT_EQ(read, 0U);
        }
        read += pair.server.receive(ByteView(all).subspan(i, 1), plain);
    }
    EXPECT_EQ(read, 5U);
}

TEST(Tls, AFlippedBitEndsTheSession) {
    Pair pair;
    pair.shake_hands();
    ASSERT_TRUE(pair.client.seal(as_bytes("hello")));
    Bytes sealed = to_bytes(pair.client.output().view());
    sealed[sealed.size() / 2] ^= 1;
    Bytes plain(sealed.size() + tls_record_bytes);
    EXPECT_EQ(pair.server.receive(sealed, plain), 0U);
    EXPECT_EQ(pair.server.state(), TlsSession::State::failed);
}

TEST(Tls, KeysChangeOnTheWayAndNothingIsLost) {
    Pair pair;
    pair.shake_hands();
    pair.client.set_rekey_records(3);
    pair.server.set_rekey_records(2);
    Bytes sent;
    for (std::uint8_t i = 0; i < 40; ++i) {
        const Bytes part(1000, i);
        ASSERT_TRUE(pair.client.seal(part));
        ASSERT_TRUE(pair.server.seal(part));
        append(sent, part);
        if (i % 7 == 0) pair.pump();
    }
    pair.pump();
    EXPECT_EQ(pair.at_server, sent);
    EXPECT_EQ(pair.at_client, sent);
}

TEST(Tls, APeerThatAsksForAnswersAndDoesNotReadIsLetGo) {
    Pair pair;
    pair.shake_hands();
    Bytes plain(output_max + tls_record_bytes);
    for (int i = 0; i < 100'000 && pair.server.state() == TlsSession::State::up; ++i) {
        ASSERT_EQ(SSL_key_update(pair.client.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
        ASSERT_TRUE(pair.client.seal(as_bytes("x")));
        const Bytes sealed = to_bytes(pair.client.output().view());
        pair.client.output().consume(sealed.size());
        pair.server.receive(sealed, plain);
        ASSERT_LE(pair.server.output().size(), output_max);
    }
    EXPECT_EQ(pair.server.state(), TlsSession::State::failed);
}

TEST(Tls, AGoodbyeIsTold) {
    Pair pair;
    pair.shake_hands();
    ASSERT_TRUE(pair.client.seal(as_bytes("last words")));
    pair.client.say_goodbye();
    pair.pump();
    EXPECT_EQ(as_text(pair.at_server), "last words");
    EXPECT_EQ(pair.server.state(), TlsSession::State::closed);
}

}  // namespace
}  // namespace shoal::net
