// What the tests of this room share: a loop with a watchdog, identities, and a TLS peer that can misbehave.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <thread>

#include "crypto/certificate.h"
#include "crypto/rng.h"
#include "crypto/sign.h"
#include "net/loop.h"
#include "net/transport.h"

namespace shoal::net::testing {

// Long enough for the slowest machine; a test that waits this long has failed.
inline constexpr Duration watchdog = 20s;

inline Endpoint loopback(std::uint16_t port = 0) {
    return Endpoint::v4(127, 0, 0, 1, port);
}

inline crypto::SigningKey key_of(std::uint64_t seed) {
    crypto::SeededRng rng(seed);
    return crypto::SigningKey::generate(rng);
}

inline LocalIdentity identity_of(std::uint64_t seed) {
    crypto::SeededRng rng(seed + 1000);
    return LocalIdentity::make(key_of(seed), rng).value();
}

// Closes with its owner; blocking, for threads of their own.
class RawSocket {
public:
    RawSocket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
    explicit RawSocket(const Endpoint& to) : RawSocket() {
        const sockaddr_in at = address(to);
        EXPECT_EQ(0, ::connect(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof at));
    }
    RawSocket(const RawSocket&) = delete;
    RawSocket& operator=(const RawSocket&) = delete;
    ~RawSocket() { close(); }
    int fd() const { return fd_; }
    void close() {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
    }
    // The next close sends a reset.
    void reset_on_close() const {
        const linger hard{1, 0};
        setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    void send(std::string_view text) const {
        EXPECT_EQ(static_cast<ssize_t>(text.size()), ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL));
    }
    // Listens without ever accepting, so that connections are made and nobody speaks.
    Endpoint listen_silently() const {
        sockaddr_in at = address(loopback());
        socklen_t size = sizeof at;
        EXPECT_EQ(0, ::bind(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof at));
        EXPECT_EQ(0, ::listen(fd_, 16));
        EXPECT_EQ(0, ::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size));
        return loopback(ntohs(at.sin_port));
    }
    // Until the other side's end; then what came. A reset ends it too.
    std::string read_to_end() const {
        std::string out;
        char buffer[4096];
        ssize_t got = 0;
        while ((got = ::recv(fd_, buffer, sizeof buffer, 0)) > 0) out.append(buffer, static_cast<std::size_t>(got));
        return out;
    }

private:
    static sockaddr_in address(const Endpoint& to) {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_port = htons(to.port);
        std::memcpy(&at.sin_addr, to.ip.data() + 12, 4);
        return at;
    }
    int fd_;
};

// Runs blocking code of a peer's on a thread of its own, and the loop until it is done.
inline void run_beside(Loop& loop, const std::function<void()>& peer) {
    bool done = false;
    std::thread thread([&] {
        peer();
        loop.post([&done] { done = true; });
    });
    EXPECT_TRUE(loop.run_until([&done] { return done; }, watchdog));
    thread.join();
}

// A peer made from OpenSSL directly, that keeps to the profile unless told otherwise.
struct RawPeer {
    int version = TLS1_3_VERSION;
    std::string alpn = std::string("\x05") + "sc1/1";
    bool certificate = true;
    bool second_certificate = false;
    bool p256_key = false;
    std::string groups = "X25519";

    SSL_CTX* make(bool client = true) const {
        SSL_CTX* context = SSL_CTX_new(client ? TLS_client_method() : TLS_server_method());
        SSL_CTX_set_min_proto_version(context, version);
        SSL_CTX_set_max_proto_version(context, version);
        SSL_CTX_set1_groups_list(context, groups.c_str());
        SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(alpn.data()),
                                static_cast<unsigned>(alpn.size()));
        if (certificate) p256_key ? use_p256(context) : use_ed25519(context);
        return context;
    }

private:
    void use_ed25519(SSL_CTX* context) const {
        crypto::SeededRng rng(77);
        const Bytes der = crypto::make_certificate(key_of(7), rng);
        EXPECT_EQ(1, SSL_CTX_use_certificate_ASN1(context, static_cast<int>(der.size()), der.data()));
        const auto pkcs8 = crypto::private_key_pkcs8(key_of(7));
        const std::uint8_t* at = pkcs8.expose().data();
        EVP_PKEY* key = d2i_AutoPrivateKey(nullptr, &at, static_cast<long>(pkcs8.expose().size()));
        EXPECT_EQ(1, SSL_CTX_use_PrivateKey(context, key));
        EVP_PKEY_free(key);
        if (!second_certificate) return;
        const Bytes other = crypto::make_certificate(key_of(8), rng);
        const std::uint8_t* start = other.data();
        X509* extra = d2i_X509(nullptr, &start, static_cast<long>(other.size()));
        EXPECT_EQ(1, static_cast<int>(SSL_CTX_add_extra_chain_cert(context, extra)));
    }
    static void use_p256(SSL_CTX* context) {
        EVP_PKEY* key = EVP_EC_gen("P-256");
        X509* made = X509_new();
        ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
        X509_gmtime_adj(X509_getm_notBefore(made), 0);
        X509_gmtime_adj(X509_getm_notAfter(made), 3600);
        X509_set_pubkey(made, key);
        X509_sign(made, key, EVP_sha256());
        EXPECT_EQ(1, SSL_CTX_use_certificate(context, made));
        EXPECT_EQ(1, SSL_CTX_use_PrivateKey(context, key));
        X509_free(made);
        EVP_PKEY_free(key);
    }
};

// Remembers every event of a transport.
class Recorder : public TransportEvents {
public:
    struct Up {
        LinkId link;
        NodeId peer;
        Endpoint remote;
        bool initiator;
    };
    void on_link_up(LinkId link, const NodeId& peer, const Endpoint& remote, bool initiator) override {
        ups.push_back({link, peer, remote, initiator});
    }
    void on_link_bytes(LinkId link, ByteView bytes) override { append(received[link], bytes); }
    void on_link_writable(LinkId) override { ++writable; }
    void on_link_down(LinkId link, const Error& why) override { downs.emplace_back(link, why); }

    std::vector<Up> ups;
    std::vector<std::pair<LinkId, Error>> downs;
    std::map<LinkId, Bytes> received;
    int writable = 0;
};

}  // namespace shoal::net::testing
