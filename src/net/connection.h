// One link's socket and its TLS session. Knows no table of links: its host does.
//
// States
//
//   connecting ──▶ handshaking ──▶ up ──▶ closing ──▶ gone
//       │               │           │  close()    all sent, and the peer's end seen or the deadline over
//       └───────────────┴───────────┴──▶ lingering ──▶ gone
//                         any failure    what is queued (an alert, a goodbye) still leaves, without waiting
//
// on_down comes at the end of `closing`, at the start of `lingering`: the host knows of nothing after it.
//
// For the .cc files of this room.
#pragma once

#include <boost/asio/ip/tcp.hpp>

#include "net/asio_endpoint.h"
#include "net/loop.h"
#include "net/tls.h"

namespace shoal::net {

class Connection;

// Where all connections of a transport read to and decrypt to: used inside one callback, so one pair serves them all
// and an idle link holds no memory for it.
struct ReadBuffers {
    // Large enough that a busy link costs few system calls, small enough to stay in the processor's cache.
    static constexpr std::size_t sealed_bytes = 64 * 1024;
    ByteArray<sealed_bytes> sealed;
    ByteArray<sealed_bytes + 2 * tls_record_bytes> plain;
};

// The transport, as its connections see it. Each may destroy the transport; `alive` says so afterwards.
class ConnectionHost {
public:
    virtual ~ConnectionHost() = default;
    virtual void on_up(Connection& connection) = 0;
    virtual void on_plain(Connection& connection, ByteView bytes) = 0;
    virtual void on_writable(Connection& connection) = 0;
    virtual void on_down(Connection& connection, const Error& why) = 0;
    // The last call: nothing of it is left.
    virtual void on_gone(Connection& connection) = 0;

    Loop* loop = nullptr;
    TransportOptions options;
    ReadBuffers buffers;
    bool alive = true;
};

class Connection : public std::enable_shared_from_this<Connection> {
public:
    using tcp = boost::asio::ip::tcp;
    enum class State : std::uint8_t { connecting, handshaking, up, closing, lingering, gone };

    // `expected` set: this side dials. The host is held by the transport and by its connections until they are gone.
    Connection(std::shared_ptr<ConnectionHost> host, LinkId id, const LocalIdentity& identity,
               std::optional<NodeId> expected);

    void dial(const Endpoint& to);
    void accept(tcp::socket socket, const Endpoint& from);

    // Only in state up. False above the limit.
    bool send(ByteView bytes);
    // Hands what send() queued to the kernel. The host calls it once a turn of the loop for those that asked for it.
    void flush();
    void close();
    // Cuts it without a word and without events.
    void abandon();

    LinkId id() const { return id_; }
    State state() const { return state_; }
    bool initiator() const { return initiator_; }
    const NodeId& peer() const { return tls_.peer(); }
    const Endpoint& remote() const { return remote_; }
    std::size_t unsent_bytes() const { return plain_.size() + tls_.output().size(); }
    std::optional<ByteArray<32>> channel_binding() const { return tls_.channel_binding(); }

    // The host's own marks: it waits in the list for flush(); it holds a place among the unfinished handshakes.
    bool marked = false;
    bool holds_place = false;

private:
    void set_socket_options();
    Status connect_to(const Endpoint& to);
    void set_deadline(Duration after, void (Connection::*fn)());
    void on_handshake_timeout();
    void on_close_timeout();
    void begin_handshake();
    void wait_readable();
    void on_readable();
    bool read_once();
    void take(ByteView sealed);
    void come_up();
    void write_out();
    void wait_writable();
    void finish_if_sent();
    // Why the link ended, to the host; then what is queued leaves, if the socket is good.
    void end(const Error& why);
    void cut(const Error& why);
    void vanish();

    std::shared_ptr<ConnectionHost> host_;
    tcp::socket socket_;
    TlsSession tls_;
    Bytes plain_;  // not yet sealed, less than one record
    Timer deadline_;
    LinkId id_;
    Endpoint remote_;
    State state_ = State::connecting;
    bool initiator_;
    bool waits_writable_ = false;
    bool wants_writable_ = false;  // on_writable is owed
    bool sent_end_ = false;
    bool seen_end_ = false;
};

}  // namespace shoal::net
