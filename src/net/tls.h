// The TLS 1.3 profile of CRYPTO.md 7, and one session of it between two buffers: no socket is seen here.
//
// What is fixed: version 1.3 alone; X25519; AES-256-GCM or ChaCha20-Poly1305; Ed25519 signatures; ALPN "sc1/1"; one
// self-signed Ed25519 certificate from each side; no tickets, resumption, 0-RTT, renegotiation or server name.
//
// States: handshaking ──▶ up ──▶ closed (the peer said goodbye)
//              └───────────┴──▶ failed (Status says why; an alert for the peer may be in the output)
//
// For the .cc files of this room.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <optional>

#include "net/transport.h"

namespace shoal::net {

struct SslCtxFree {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct SslFree {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using SslCtx = std::unique_ptr<SSL_CTX, SslCtxFree>;

struct LocalIdentity::Impl {
    NodeId id;
    SslCtx client;
    SslCtx server;
};

inline constexpr std::string_view tls_alpn = "sc1/1";
inline constexpr std::string_view tls_channel_label = "EXPORTER-sc1-channel";
// Records sealed under one key before the next: far below the 2^24.5 where AES-GCM's margin ends (RFC 8446, 5.5), and
// often enough that a stolen key opens little of a link that lives for days.
inline constexpr std::uint64_t tls_rekey_records = 1 << 20;
// What one record carries at most; RFC 8446.
inline constexpr std::size_t tls_record_bytes = 16 * 1024;

// Bytes that leave from the front and come in at the back.
class OutBuffer {
public:
    ByteView view() const { return ByteView(bytes_).subspan(head_); }
    std::size_t size() const { return bytes_.size() - head_; }
    bool empty() const { return size() == 0; }
    void push(ByteView more);
    void consume(std::size_t count);

private:
    Bytes bytes_;
    std::size_t head_ = 0;
};

class TlsSession {
public:
    enum class State : std::uint8_t { handshaking, up, closed, failed };

    // `expected`: whom the dialling side wants; the listening side takes anyone and says who it was. `output_bytes_max`
    // bounds what may wait in output(): a peer that makes this side answer and does not read ends the session.
    TlsSession(std::shared_ptr<const LocalIdentity::Impl> identity, bool initiator, std::optional<NodeId> expected,
               std::size_t output_bytes_max);
    ~TlsSession();
    TlsSession(const TlsSession&) = delete;
    TlsSession& operator=(const TlsSession&) = delete;

    // The initiator's first message.
    void start() { handshake(); }
    // Takes all of `sealed`; gives how many bytes of `plain` were filled. `plain` holds at least as much as `sealed`
    // and one record more, so that nothing is left behind. Zero until the state is up.
    std::size_t receive(ByteView sealed, ByteSpan plain);
    // In state up: false when the session failed.
    bool seal(ByteView plain);
    // Goodbye, once; only in states up and closed.
    void say_goodbye();

    State state() const { return state_; }
    // In state failed.
    const Error& error() const { return error_; }
    // Valid from state up on.
    const NodeId& peer() const { return peer_; }
    OutBuffer& output() { return output_; }
    const OutBuffer& output() const { return output_; }
    std::optional<ByteArray<32>> channel_binding() const;

    // For tests of the profile, and to rekey earlier than a test could wait for.
    SSL* ssl() const { return ssl_.get(); }
    void set_rekey_records(std::uint64_t records) { rekey_records_ = records; }

private:
    friend struct TlsCallbacks;
    void handshake();
    void finish_handshake();
    std::size_t read_all(ByteSpan plain);
    void fail_with(int ssl_error);

    std::shared_ptr<const LocalIdentity::Impl> identity_;
    std::unique_ptr<SSL, SslFree> ssl_;
    std::optional<NodeId> expected_;
    NodeId peer_;
    std::string refusal_;  // why the peer's certificate was refused
    ByteView input_;       // during receive()
    OutBuffer output_;
    std::size_t output_bytes_max_;
    std::uint64_t rekey_records_ = tls_rekey_records;
    std::uint64_t records_ = 0;
    State state_ = State::handshaking;
    Error error_{Errc::internal, {}};
};

}  // namespace shoal::net
