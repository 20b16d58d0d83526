// Links: TLS 1.3 between nodes, each side known by its key (CRYPTO.md 7).
//
// What it promises
//   1. on_link_up comes only after both sides have proved the keys of their certificates, after the dialled identity
//      was found to be the expected one, and after ALPN "sc1/1" was agreed. No byte of a peer is handed on before.
//      Rationale: the server's side of a handshake is not final until the client's certificate is checked, and a
//      client may send early.
//   2. Every LinkId given to dial() and every one announced by on_link_up ends with exactly one on_link_down, after
//      close() too. After it the id is unknown to every call here, and it is never used again. An accepted connection
//      that fails before on_link_up is not mentioned at all.
//   3. Events come from the loop, never from inside a call to this object. send(), close() and dial() may be called
//      from events.
//   4. What waits to be sent is bounded (link_in_flight_bytes_max), what is received is handed over at once and never
//      kept. Bytes arrive in order; where one chunk ends and the next begins has no meaning.
//   5. The profile has no choices: TLS 1.3, X25519, AES-256-GCM or ChaCha20-Poly1305, one Ed25519 certificate a side,
//      no tickets, resumption, 0-RTT or server name. Rationale: the same bytes from everyone, and forward secrecy
//      always.
//
// An attacker on the path can cut or delay a link and sees its sizes and times. One who connects can hold one of
// accepts_pending_max places for link_handshake_timeout; established links and dials have places of their own.
#pragma once

#include <memory>
#include <optional>

#include "base/ids.h"
#include "base/limits.h"
#include "base/result.h"
#include "base/rng.h"
#include "net/endpoint.h"

namespace shoal::crypto {
class SigningKey;
}

namespace shoal::net {

class Loop;

// One key to speak with: the node's own or an ephemeral one. Cheap to copy (shared); wipes the key with the last copy.
class LocalIdentity {
public:
    // Makes the certificate (`rng` draws its serial number) and readies TLS with it; about 0.2 ms.
    static Result<LocalIdentity> make(const crypto::SigningKey& key, Rng& rng);
    const NodeId& id() const;

    struct Impl;  // net/tls.h
    std::shared_ptr<const Impl> share() const { return impl_; }

private:
    explicit LocalIdentity(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
    std::shared_ptr<const Impl> impl_;
};

class TransportEvents {
public:
    virtual ~TransportEvents() = default;
    // `initiator`: this side dialled.
    virtual void on_link_up(LinkId link, const NodeId& peer, const Endpoint& remote, bool initiator) = 0;
    // The view is valid during the call.
    virtual void on_link_bytes(LinkId link, ByteView bytes) = 0;
    // What is unsent fell below half of the limit, after having been above it or after a send() that was refused.
    virtual void on_link_writable(LinkId link) = 0;
    // timeout: no handshake in time. unauthenticated: not the expected peer, or not our profile. exhausted: links_max
    // or dials_max. cancelled: close() was called here. unavailable: the peer closed in order, or nobody listens. io:
    // cut.
    virtual void on_link_down(LinkId link, const Error& why) = 0;
};

enum class Direction : std::uint8_t { in, out };

// Sees the plaintext of every link, in the order it is sent and received. For the trace and for tests.
class FrameObserver {
public:
    virtual ~FrameObserver() = default;
    virtual void on_plaintext(LinkId link, const NodeId& peer, Direction direction, ByteView bytes) = 0;
};

struct TransportOptions {
    // The local address of dials; its port is ignored. For a node with one of several addresses of a machine.
    std::optional<Endpoint> dial_from = std::nullopt;
    FrameObserver* observer = nullptr;
    Duration handshake_timeout = limits::link_handshake_timeout;
    Duration close_timeout = limits::link_close_timeout;
    std::size_t links_max = limits::links_max;
    std::size_t dials_max = limits::dials_max;
    std::size_t accepts_pending_max = limits::accepts_pending_max;
};

class Transport {
public:
    // `loop`, `events` and the observer outlive the transport.
    Transport(Loop& loop, TransportEvents& events, TransportOptions options = {});
    // Cuts every link, without events.
    ~Transport();
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;

    // Accepts links under `identity`; port 0 takes a free one. Gives what was bound. Errors: Errc::io with the address
    // and what to do. Several listeners at once are fine.
    Result<Endpoint> listen(const Endpoint& at, const LocalIdentity& identity);

    // The one source of link ids: for dial(), and used here for accepted links.
    LinkId next_id();
    // Starts a link under an id from next_id(); ends in on_link_up or on_link_down.
    void dial(LinkId link, const Endpoint& to, const NodeId& expected, const LocalIdentity& identity);

    // Queues all of it, or nothing: false when more than link_in_flight_bytes_max would be unsent, when the link is not
    // up, or when it is closing. Small sends of one turn of the loop share TLS records.
    [[nodiscard]] bool send(LinkId link, ByteView bytes);
    // Queued here, in plaintext or sealed, and not yet taken by the kernel. 0 for an unknown link.
    std::size_t unsent_bytes(LinkId link) const;
    // Sends what is queued, says goodbye and waits for the peer's, at most close_timeout. Nothing more is received.
    void close(LinkId link);

    // Both sides of a link derive the same 32 bytes, and nobody else does (label "EXPORTER-sc1-channel"): goes into
    // every authentication above TLS. nullopt: not up.
    std::optional<ByteArray<32>> channel_binding(LinkId link) const;
    // Links that are up or under way.
    std::size_t link_count() const;

private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace shoal::net
