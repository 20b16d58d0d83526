// Links against peers that break the profile. Each case differs in one thing from the first, which is accepted.
#include "net/net_testing.h"

namespace shoal::net {
namespace {

using testing::identity_of;
using testing::key_of;
using testing::loopback;
using testing::RawPeer;
using testing::RawSocket;
using testing::Recorder;
using testing::run_beside;
using testing::watchdog;

struct HostilePeerTest : ::testing::Test {
    HostilePeerTest() { start({}); }
    void start(TransportOptions options) {
        transport = std::make_unique<Transport>(loop, events, options);
        address = transport->listen(loopback(), identity_of(1)).value();
    }
    // Connects as `peer`, says "hello" and reads until this side ends it or the first bytes come. True: bytes came.
    bool is_served(const RawPeer& peer) {
        bool answered = false;
        run_beside(loop, [&] {
            const RawSocket socket(address);
            SSL_CTX* context = peer.make();
            SSL* ssl = SSL_new(context);
            SSL_set_fd(ssl, socket.fd());
            if (SSL_connect(ssl) == 1 && SSL_write(ssl, "hello", 5) == 5) {
                char byte = 0;
                answered = SSL_read(ssl, &byte, 1) == 1;
            }
            SSL_free(ssl);
            SSL_CTX_free(context);
        });
        return answered;
    }
    void expect_refused(const RawPeer& peer) {
        EXPECT_FALSE(is_served(peer));
        EXPECT_TRUE(events.ups.empty());
        EXPECT_TRUE(events.received.empty());
        EXPECT_TRUE(events.downs.empty());
    }

    // Answers what it hears, so that a peer knows that it was accepted.
    struct Answering : Recorder {
        explicit Answering(HostilePeerTest& its_test) : test(its_test) {}
        void on_link_bytes(LinkId link, ByteView bytes) override {
            Recorder::on_link_bytes(link, bytes);
            EXPECT_TRUE(test.transport->send(link, as_bytes("!")));
        }
        HostilePeerTest& test;
    };

    Loop loop;
    Answering events{*this};
    std::unique_ptr<Transport> transport;
    Endpoint address;
};

TEST_F(HostilePeerTest, APeerThatKeepsToTheProfileIsServed) {
    EXPECT_TRUE(is_served({}));
    ASSERT_EQ(events.ups.size(), 1U);
    EXPECT_EQ(events.ups[0].peer, key_of(7).node_id());
}

TEST_F(HostilePeerTest, NoClientCertificateIsRefused) {
    RawPeer peer;
    peer.certificate = false;
    expect_refused(peer);
}

TEST_F(HostilePeerTest, TwoCertificatesAreRefused) {
    RawPeer peer;
    peer.second_certificate = true;
    expect_refused(peer);
}

TEST_F(HostilePeerTest, ACertificateOfAnotherKindOfKeyIsRefused) {
    RawPeer peer;
    peer.p256_key = true;
    expect_refused(peer);
}

TEST_F(HostilePeerTest, AnotherAlpnIsRefused) {
    RawPeer peer;
    peer.alpn = std::string("\x05") + "sc1/2";
    expect_refused(peer);
}

TEST_F(HostilePeerTest, NoAlpnIsRefused) {
    RawPeer peer;
    peer.alpn.clear();
    expect_refused(peer);
}

TEST_F(HostilePeerTest, Tls12IsRefused) {
    RawPeer peer;
    peer.version = TLS1_2_VERSION;
    expect_refused(peer);
}

TEST_F(HostilePeerTest, AnotherGroupIsRefused) {
    RawPeer peer;
    peer.groups = "P-256";
    expect_refused(peer);
}

TEST_F(HostilePeerTest, WhatIsNoTlsIsRefused) {
    run_beside(loop, [&] {
        const RawSocket socket(address);
        socket.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.read_to_end();
    });
    EXPECT_TRUE(events.ups.empty());
    EXPECT_EQ(transport->link_count(), 0U);
}

TEST_F(HostilePeerTest, AHandshakeThatStallsIsCut) {
    start({.handshake_timeout = 50ms});
    run_beside(loop, [&] {
        const RawSocket silent(address);
        EXPECT_EQ(silent.read_to_end(), "");
        const RawSocket half(address);
        half.send(std::string("\x16\x03\x01\x02", 4));  // the start of a ClientHello
        EXPECT_EQ(half.read_to_end(), "");
    });
    EXPECT_TRUE(events.downs.empty());
}

TEST_F(HostilePeerTest, HalfOpenConnectionsHaveFewPlacesAndGiveThemBack) {
    start({.accepts_pending_max = 1});
    run_beside(loop, [&] {
        RawSocket holder(address);
        holder.send(std::string("\x16\x03\x01\x02", 4));
        const RawSocket second(address);
        EXPECT_EQ(second.read_to_end(), "");  // no place: closed at once
        holder.close();
    });
    // The place is free once the loop has seen the first one's end.
    bool served = false;
    for (int attempt = 0; attempt < 100 && !served; ++attempt) served = is_served({});
    EXPECT_TRUE(served);
}

TEST_F(HostilePeerTest, APeerThatResetsInTheMiddleOfARecordEndsTheLink) {
    run_beside(loop, [&] {
        RawSocket socket(address);
        SSL_CTX* context = RawPeer().make();
        SSL* ssl = SSL_new(context);
        SSL_set_fd(ssl, socket.fd());
        ASSERT_EQ(SSL_connect(ssl), 1);
        ASSERT_EQ(SSL_write(ssl, "hello", 5), 5);
        char byte = 0;
        ASSERT_EQ(SSL_read(ssl, &byte, 1), 1);
        socket.send(std::string("\x17\x03\x03\x04\x00 a part", 12));
        socket.reset_on_close();
        SSL_free(ssl);
        SSL_CTX_free(context);
    });
    ASSERT_TRUE(loop.run_until([&] { return !events.downs.empty(); }, watchdog));
    EXPECT_EQ(events.downs.size(), 1U);
    EXPECT_EQ(events.downs[0].second.code, Errc::io);
    EXPECT_EQ(as_text(events.received[events.ups[0].link]), "hello");
    EXPECT_EQ(transport->link_count(), 0U);
}

TEST_F(HostilePeerTest, AConnectionThatEndsWithoutAGoodbyeIsCut) {
    // A man in the middle can end a connection, and must not be able to make that look like the peer's wish.
    run_beside(loop, [&] {
        const RawSocket socket(address);
        SSL_CTX* context = RawPeer().make();
        SSL* ssl = SSL_new(context);
        SSL_set_fd(ssl, socket.fd());
        ASSERT_EQ(SSL_connect(ssl), 1);
        ASSERT_EQ(SSL_write(ssl, "hello", 5), 5);
        char byte = 0;
        ASSERT_EQ(SSL_read(ssl, &byte, 1), 1);
        SSL_free(ssl);
        SSL_CTX_free(context);
    });
    ASSERT_TRUE(loop.run_until([&] { return !events.downs.empty(); }, watchdog));
    EXPECT_EQ(events.downs[0].second.code, Errc::io);
}

// The other way round: a listener that breaks the profile, dialled by us.
TEST_F(HostilePeerTest, AListenerWithoutAlpnIsRefused) {
    RawSocket listener;
    const Endpoint there = listener.listen_silently();
    const LinkId link = transport->next_id();
    transport->dial(link, there, key_of(7).node_id(), identity_of(2));
    run_beside(loop, [&] {
        const int fd = ::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC);
        SSL_CTX* context = RawPeer().make(false);
        SSL* ssl = SSL_new(context);
        SSL_set_fd(ssl, fd);
        SSL_accept(ssl);
        char byte = 0;
        SSL_read(ssl, &byte, 1);
        SSL_free(ssl);
        SSL_CTX_free(context);
        ::close(fd);
    });
    ASSERT_TRUE(loop.run_until([&] { return !events.downs.empty(); }, watchdog));
    EXPECT_EQ(events.downs[0].second.code, Errc::unauthenticated);
    EXPECT_TRUE(events.ups.empty());
}

}  // namespace
}  // namespace shoal::net
