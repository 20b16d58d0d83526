// Origin: one circuit at the client that built it. Handshakes hop by hop, layers, streams.
//
//   [building] --three hops--> [ready] --retire()--> [retired]     streams go on, no new ones
//        | error, time-out          | DESTROY, bad cell, link lost, too old
//        +--------------------------+--> [closed]  (final; Closed comes out of poll() once)
//
// Rules
//   1. Hop i is reached through the hops before it: CREATE to the guard, EXTEND (in RELAY_EARLY) for the rest. Each
//      handshake authenticates the hop by its onion key and identity from the directory.
//   2. A cell from the network must be recognised at one of the hops after its layers are off; else the circuit closes.
//   3. Cells of streams leave by the circuit's pacer. Handshakes do not wait for it. What the owner queues leaves with
//      flush(), once a turn. Rationale: a CONNECT that left alone would make the clove behind it wait for the next
//      departure.
//   4. A ready circuit says PAD_NEGOTIATE to its proxy, so that both directions run the same clock.
//   5. Windows as at the relay (circuit/window.h).
//   6. Retired by age (lifetime, cells) or by its owner; the owner destroys it when its streams are done.
//
// Pure; one thread. Cost: three layers a cell, about 15 us; building three handshakes of about 100 us.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "base/pacer.h"
#include "circuit/window.h"
#include "crypto/lioness.h"
#include "crypto/ntor.h"
#include "wire/relay.h"

namespace shoal::circuit {

struct Hop {
    NodeId node;
    ByteArray<32> onion_key{};
};

struct OriginConfig {
    NetworkId network;
    std::array<Hop, limits::hops> path;
    CircuitId id;  // on the link to the guard
    PacerMode pacer = PacerMode::shaped;
    PacerClass rate = PacerClass::ten;
    Duration build_timeout = limits::circuit_build_timeout_min;
};

class Origin {
public:
    enum class State : std::uint8_t { building, ready, retired, closed };

    struct Ready {};
    struct Closed {
        wire::DestroyReason reason;
        std::size_t hops_built;  // 0 to 3: which hop is to blame while building
    };
    struct StreamData {
        StreamId stream;
        ByteArray<limits::sealed_record_bytes> sealed;
    };
    struct StreamEnd {
        StreamId stream;
        wire::StreamEndReason reason;
    };
    using Event = std::variant<Ready, Closed, StreamData, StreamEnd>;

    // Starts building: cells for the guard are in take_cells(). `rng` outlives the circuit.
    Origin(Now now, OriginConfig config, Rng& rng);

    State state() const { return state_; }
    const OriginConfig& config() const { return config_; }

    // Cells of this circuit from the guard's link.
    void on_cell(Now now, const wire::Cell& cell);
    void on_link_down(Now now);
    void on_tick(Now now);
    Instant next_deadline() const;

    // Only when ready; nullopt: too many streams. The CONNECT is queued.
    std::optional<StreamId> open_stream(const wire::Connect& connect);
    // Queues exactly sealed_record_bytes. False: the stream is not there (any more).
    bool send(StreamId stream, ByteView sealed);
    // Queues the END for the other end; nothing comes from this stream again.
    void end_stream(StreamId stream);
    // Ends the turn: what is queued leaves as far as pacer and windows allow.
    void flush(Now now);
    void retire();
    // Queues DESTROY; the state is closed and no event follows.
    void destroy(wire::DestroyReason reason);

    // Cells for the guard's link, in order.
    std::vector<wire::Cell> take_cells();
    std::optional<Event> poll();

    std::size_t streams() const { return streams_.size(); }
    // Nothing is open, waiting or being padded: it can go without telling when its last data went.
    bool idle() const { return streams_.empty() && waiting() == 0 && !pacer_.running(); }
    Instant ready_since() const { return ready_since_; }
    Duration build_time() const { return ready_since_ - started_; }
    // Cells for streams that wait for a window or the pacer.
    std::size_t waiting() const;

private:
    struct Layer {
        crypto::LayerCipher forward;
        crypto::LayerCipher backward;
    };
    struct Item {
        wire::RelayCommand command;
        Bytes data;
    };
    struct Stream {
        SendWindow to_node;
        ReceiveWindow from_node;
        std::deque<Item> queue;  // bounded: bucket_cells.back() data cells of one clove, CONNECT, END, records after it
    };

    void begin_handshake(Now now);
    void on_handshake_reply(Now now, ByteView reply);
    void on_payload(Now now, std::size_t hop, const wire::RelayPayload& payload);
    void on_stream_data(Now now, const wire::RelayPayload& payload);
    void send_relay(std::size_t hop, wire::RelayCommand command, StreamId stream, ByteView data, bool early);
    bool send_next();
    void close(wire::DestroyReason reason, bool tell_guard);
    void become_ready(Now now);

    OriginConfig config_;
    Rng& rng_;
    State state_ = State::building;
    std::vector<Layer> layers_;  // bounded: hops
    std::optional<crypto::NtorClient> handshake_;
    Instant started_;
    Instant ready_since_{};
    Instant retire_at_{};
    std::uint32_t cells_ = 0;
    Pacer pacer_;
    std::map<StreamId, Stream> streams_;             // bounded: streams_per_circuit_max
    std::deque<std::pair<StreamId, Item>> control_;  // bounded: a SENDME per sendme_cells received, an END a stream
    StreamId last_served_;
    std::uint16_t next_stream_ = 1;
    std::vector<wire::Cell> cells_out_;  // bounded: drained after every input
    std::deque<Event> events_;           // bounded: drained after every input
};

}  // namespace shoal::circuit
