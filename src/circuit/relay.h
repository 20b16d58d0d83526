// Relay: every circuit that passes through one node, and the ends of those that stop here (the proxy's part).
//
//   CREATE -> [last] --EXTEND--> [extending] --CREATED--> [middle]
//                |                    | failed: ERROR to the client, back to [last]
//             CONNECT: a stream, see below
//   every state --DESTROY, link lost, bad cell, too old--> gone; the other side gets DESTROY, keys are wiped
//
// Rules
//   1. Forward cells lose one layer here. If the first sixteen bytes are then zero, the cell is for this hop; else it
//      goes on to the next. At the last hop a cell that is not for it ends the circuit (a flipped, replayed, dropped or
//      reordered cell turns this and all later cells into noise, so it ends here: `stats.bad_cells`).
//   2. Only RELAY_EARLY carries EXTEND, at most eight a circuit. Rationale: bounds the length of a path.
//   3. EXTEND and CONNECT name nodes; the owner resolves them from the directory and refuses what is not listed or has
//      not the role. Rationale: a relay is no port scanner.
//   4. A stream moves at most stream_window_cells without SENDME in each direction. SENDME carries the tweak of the
//      cipher after the last counted cell: who has not received them cannot give window for them.
//   5. What goes back to the client leaves by the circuit's pacer, padding included (PAD_NEGOTIATE sets it).
//   6. CREATE is answered once for each X (BLAKE2b-128 of it is kept for the life of the onion key).
//
// No public-key operation after CREATE. No code here can name the content of a stream: 1370 bytes that look random.
// Pure; one thread. Cost of a forwarded cell: one layer (about 5 us) and two copies.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/pacer.h"
#include "circuit/terminus.h"
#include "crypto/lioness.h"
#include "crypto/ntor.h"
#include "wire/relay.h"

namespace shoal::circuit {

// What the relay wants from the node around it.
struct SendCell {
    LinkId link;
    wire::Cell cell;
};
// A link to this node, for EXTEND (any relay) or CONNECT (model node or verifier). Answer with on_link_ready or
// on_link_failed, in any order, with the same token.
enum class LinkPurpose : std::uint8_t { extend, connect };
struct WantLink {
    std::uint64_t token = 0;
    NodeId node;
    LinkPurpose purpose = LinkPurpose::extend;
};
using RelayOutput = std::variant<SendCell, WantLink>;

struct RelayStats {
    std::uint64_t cells_forwarded = 0;
    std::uint64_t bad_cells = 0;        // not for the last hop: tampered, replayed or out of order
    std::uint64_t protocol_errors = 0;  // decoded, but may not come here
    std::uint64_t creates = 0;
    std::uint64_t creates_refused = 0;
    std::uint64_t creates_replayed = 0;
    std::uint64_t public_key_operations = 0;  // at CREATE only (row A1)
};

#ifdef SHOAL_TAP
// Test builds only: sees every cell after this relay's own layer, so that a test can look for what must not be there.
class PeelObserver {
public:
    virtual ~PeelObserver() = default;
    virtual void on_peeled(LinkId link, bool forward, ByteView block) = 0;
};
#endif

struct RelayConfig {
    NodeId self;
    NetworkId network;
};

class Relay {
public:
    // `rng` outlives the relay.
    Relay(RelayConfig config, Rng& rng);
    ~Relay();

    // Until the first call every CREATE is refused. The records of replays go with the keys that they belong to.
    void set_onion_keys(const crypto::KeyPair& current, const crypto::KeyPair* previous);

    // `we_dialled`: this node is the TLS initiator of the link, so ids that it makes have the top bit set.
    void on_link_up(LinkId link, bool we_dialled);
    void on_link_down(Now now, LinkId link);
    // Circuit and stream cells of any known link.
    void on_cell(Now now, LinkId from, const wire::Cell& cell);
    void on_link_ready(Now now, std::uint64_t token, LinkId link);
    void on_link_failed(Now now, std::uint64_t token, wire::DestroyReason reason);
    // The queue of the link is full: the circuit or stream that the cell belongs to is closed.
    void on_send_refused(Now now, LinkId link, const wire::Cell& cell);

#ifdef SHOAL_TAP
    void set_peel_observer(PeelObserver* observer) {
        peel_observer_ = observer;
    }
#endif

    // Ends the turn: what goes back to clients leaves as far as the pacers allow. Call it once a turn's input is all
    // in: what arrives together then leaves together.
    void flush(Now now);
    void on_tick(Now now);  // flushes too
    Instant next_deadline() const;
    std::optional<RelayOutput> poll();

    std::size_t circuits() const;
    bool uses_link(LinkId link) const;
    const RelayStats& stats() const {
        return stats_;
    }
    // Every structure agrees with every other; false means a bug (tests).
    bool check() const;

private:
    struct Circuit;
    struct StreamPlace {
        Circuit* circuit;
        StreamId stream;
    };
    struct Link {
        bool we_dialled = false;
        std::unordered_map<std::uint32_t, Circuit*> circuits;    // bounded: circuits_per_link_max
        std::unordered_map<std::uint32_t, StreamPlace> streams;  // bounded: link_streams_per_link_max
    };
    using HandshakeId = ByteId<struct HandshakeTag, 16>;
    using HandshakesSeen = std::unordered_set<HandshakeId>;
    struct Waiting {
        Circuit* circuit;
        std::optional<StreamId> stream;  // none: the circuit's own next hop
    };

    void on_create(Now now, LinkId from, const wire::Cell& cell);
    void on_created(Now now, Circuit& c, const wire::Cell& cell);
    void on_relay(Now now, LinkId from, const wire::Cell& cell);
    void on_forward(Now now, Circuit& c, const wire::Cell& cell);
    void on_backward(Now now, Circuit& c, const wire::Cell& cell);
    void on_destroy(Now now, LinkId from, const wire::Cell& cell);
    void on_stream_cell(Now now, LinkId from, const wire::Cell& cell);
    void on_command(Now now, Circuit& c, const wire::RelayPayload& payload, bool early);
    Status on_extend(Circuit& c, const wire::RelayPayload& payload, bool early);
    void extend_to(Now now, Circuit& c, LinkId link);
    void connect_to(Now now, Circuit& c, StreamId stream, LinkId link);
    // A cell for the client, with this hop's layer, at once.
    void send_back(Circuit& c, wire::RelayCommand command, StreamId stream, ByteView data);
    void drain_terminus(Now now, Circuit& c);
    // What the pacer lets go.
    void flush(Now now, Circuit& c);
    // For the next flush() or tick.
    void queue_flush(Circuit& c);
    void reschedule(Circuit& c, Instant due);
    // Ends a circuit: reasons for the side of the client and for the next hop; nullopt: that side knows.
    void destroy(Circuit& c, std::optional<wire::DestroyReason> back, std::optional<wire::DestroyReason> on);
    void emit(LinkId link, wire::CellCommand command, std::uint32_t id, ByteView payload);
    void emit_block(LinkId link, wire::CellCommand command, std::uint32_t id, const wire::RelayBlock& block);
    std::uint32_t draw_id(const Link& link);
    std::uint64_t want(Waiting waiting, NodeId node, LinkPurpose purpose);

    static constexpr Duration sweep_interval = 1min;

    RelayConfig config_;
    Rng& rng_;
    std::optional<crypto::KeyPair> onion_key_;
    std::optional<crypto::KeyPair> previous_onion_key_;
    std::unordered_map<LinkId, Link> links_;                           // bounded: links_max
    std::unordered_map<Circuit*, std::unique_ptr<Circuit>> circuits_;  // bounded: links_max * circuits_per_link_max
    std::set<std::pair<Instant, Circuit*>> due_;                       // bounded: as circuits_; pacers with a deadline
    Instant next_sweep_ = Instant::min();
    std::unordered_map<std::uint64_t, Waiting> waiting_;  // bounded: one a circuit and one a stream
    std::uint64_t next_token_ = 1;
    std::map<crypto::PublicKey, HandshakesSeen> seen_;  // bounded: create_replays_max for each of two keys
    std::deque<RelayOutput> out_;                       // bounded: drained after every input
    RelayStats stats_;
#ifdef SHOAL_TAP
    PeelObserver* peel_observer_ = nullptr;
#endif
};

}  // namespace shoal::circuit
