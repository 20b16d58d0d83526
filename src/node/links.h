// Links: the sessions of one node, who is at the other end of each, and what is being dialled.
//
// Two kinds of links never mix: those under the node's own identity (between nodes of the directory) and those under
// an ephemeral one (a client's links to its guards and to bootstraps). Rationale: a client that asks over its relay's
// link tells the guard which relay it is.
//
// Pure; one thread. The driver opens and closes connections; this says which.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "crypto/sign.h"
#include "link/channels.h"
#include "link/session.h"
#include "wire/descriptor.h"
#include "wire/snapshot.h"

namespace shoal::node {

using DialId = StrongInt<struct DialIdTag, std::uint64_t>;

enum class Identity : std::uint8_t {
    own,
    ephemeral,  // one for each peer, drawn anew after a day
};

struct Link {
    NodeId peer;
    Identity identity = Identity::own;
    bool we_dialled = false;
    link::Channels channels;
    link::Session session;
    wire::DirectoryAssembler directory;
    Instant last_used;  // by anything but keep-alive

    Link(Now now, NetworkId network, Rng& rng, bool dialled, std::size_t directory_bytes_max)
        : we_dialled(dialled),
          channels(dialled, rng),
          session(now, network, rng),
          directory(directory_bytes_max),
          last_used(now.mono) {
        session.set_source(&channels);
    }
};

class Links {
public:
    // Outputs
    struct Dial {
        DialId dial;
        NodeId expected;
        wire::Address address;
        const crypto::SigningKey* identity;  // valid until the next dial
    };
    struct Close {
        LinkId link;
    };
    // There is something to send on it; the driver calls take_output.
    struct Output {
        LinkId link;
    };
    // For the node: the link is usable (VERSIONS came), or the wish for it is over.
    struct Up {
        LinkId link;
    };
    struct Failed {
        NodeId peer;
        Identity identity;
    };
    using Event = std::variant<Dial, Close, Output, Up, Failed>;

    Links(const crypto::SigningKey& own, NetworkId network, Rng& rng) : own_(own), network_(network), rng_(rng) {}

    // Wants a link; Up or Failed follows unless one is there, which is given. While one is being dialled, nothing.
    std::optional<LinkId> want(Now now, const NodeId& peer, Identity identity, const wire::Address& address);
    std::optional<LinkId> find(const NodeId& peer, Identity identity) const;
    Link* get(LinkId link);

    // From the driver.
    void on_connected(Now now, LinkId link, const NodeId& peer, std::optional<DialId> dial);
    void on_dial_failed(Now now, DialId dial);
    // Gives the link as it was, for the node to tell everyone.
    std::unique_ptr<Link> on_disconnected(LinkId link);
    // Until the session is open, hand over at most the bytes of its first cell at a time (bytes_wanted), and drain
    // poll() after each: Up must be seen before the cells behind it.
    Status on_bytes(Now now, LinkId link, ByteView bytes, link::CellSink& sink);
    void take_output(Now now, LinkId link, std::size_t bytes_max, Bytes& out);

    // False: no such link, or its queue is full.
    [[nodiscard]] bool send(LinkId link, const wire::Cell& cell);
    void close(LinkId link);
    // Its channels may have something to send.
    void wake(LinkId link);

    // Ends sessions that are dead; `in_use` says which idle ones must stay.
    template <typename InUse>
    void on_tick(Now now, const InUse& in_use);
    // Liveness needs no precision: once a second.
    Instant next_deadline() const { return next_tick_; }
    std::optional<Event> poll();

    std::size_t count() const { return links_.size(); }
    template <typename Visit>
    void for_each(const Visit& visit) const {
        for (const auto& [id, link] : links_) visit(id, *link);
    }

private:
    static constexpr Duration tick = 1s;

    struct Dialling {
        NodeId peer;
        Identity identity;
    };
    struct Ephemeral {
        crypto::SigningKey key;
        UnixTime drawn{};
    };
    const crypto::SigningKey& key_for(Now now, const NodeId& peer, Identity identity);

    const crypto::SigningKey& own_;
    NetworkId network_;
    Rng& rng_;
    std::map<LinkId, std::unique_ptr<Link>> links_;          // bounded: links_max, by the driver
    std::map<std::pair<NodeId, Identity>, LinkId> by_peer_;  // bounded: as links_
    std::map<DialId, Dialling> dialling_;                    // bounded: one a peer and identity
    std::map<NodeId, Ephemeral> ephemeral_;                  // bounded: swept daily
    std::uint64_t next_dial_ = 1;
    Instant next_tick_ = Instant::min();
    Instant next_idle_check_ = Instant::min();
    std::deque<Event> out_;  // bounded: drained after every input
};

template <typename InUse>
void Links::on_tick(Now now, const InUse& in_use) {
    if (now.mono < next_tick_) return;
    next_tick_ = now.mono + tick;
    const bool check_idle = now.mono >= next_idle_check_;
    if (check_idle) next_idle_check_ = now.mono + limits::link_keepalive;
    for (const auto& [id, link] : links_) {
        const bool had_output = link->session.has_output();
        if (!link->session.on_tick(now)) {
            out_.emplace_back(Close{id});
            continue;
        }
        if (!had_output && link->session.has_output()) out_.emplace_back(Output{id});
        if (!check_idle) continue;
        if (in_use(id)) link->last_used = now.mono;
        if (now.mono - link->last_used >= limits::link_idle_timeout) out_.emplace_back(Close{id});
    }
}

}  // namespace shoal::node
