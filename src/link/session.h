// Session: one link between two nodes, over a byte stream that is already encrypted and authenticated (net/ makes it).
//
// Turns bytes into cells and cells into bytes, checks that both ends speak the same version in the same network, keeps
// priorities, and notices when the other side is gone.
//
//   opening --VERSIONS received--> open --error, timeout--> (the owner destroys the session)
//
// Rules
//   1. The first cell in each direction is VERSIONS; before it nothing else is taken, after it no second one.
//      Rationale: a peer of another network is refused before it can cost anything.
//   2. Cells leave in four classes: control (handshakes, windows) before data before those of the source (channels)
//      before directory. DESTROY and STREAM_END are data: they may not overtake what was sent before them.
//      Rationale: a circuit should not wait for a directory to be built or for the rows of a long prompt, and windows
//      should not wait for anything.
//   3. A side that has sent nothing for link_keepalive sends PADDING; a side that has heard nothing for 2.5 times that
//      declares the link dead. Rationale: TCP alone notices a lost peer after many minutes.
//   4. A PING is answered by PONG, link_pings_at_once and then one each link_ping_interval; others are ignored. PONGs
//      are for the sink. Rationale: who pings gets no more out of this node than he puts in, and not much of that.
//   5. Nothing grows past limits::link_queue_cells_max: send() then says no, and the caller closes what overflowed.
//
// What the peer can do: send any bytes. Each cell costs one copy; a malformed one ends the link.
// Pure; one thread.
#pragma once

#include <array>
#include <deque>

#include "base/bounded.h"
#include "base/rng.h"
#include "link/cell_source.h"

namespace shoal::link {

struct SessionStats {
    std::uint64_t cells_in = 0;
    std::uint64_t cells_out = 0;
};

class CellSink {
public:
    virtual ~CellSink() = default;
    virtual void on_cell(Now now, const wire::Cell& cell) = 0;
};

class Session {
public:
    // Queues our VERSIONS. `rng` outlives the session.
    Session(Now now, NetworkId network, Rng& rng);

    // Outlives the session, or is taken away by nullptr.
    void set_source(CellSource* source) { source_ = source; }

    bool open() const { return open_; }
    // Whole cells go to `sink`, in order; an incomplete one is kept. An error (malformed, unsupported) ends the link.
    Status on_bytes(Now now, ByteView bytes, CellSink& sink);
    // False: the queue is full. Cells wait until the session is open.
    [[nodiscard]] bool send(const wire::Cell& cell);
    // Appends whole cells to `out`, at most `bytes_max` bytes, in the order of rule 2.
    void take_output(Now now, std::size_t bytes_max, Bytes& out);
    bool has_output() const;

    // Errc::timeout: the handshake or the peer took too long.
    Status on_tick(Now now);
    Instant next_deadline() const;

    // Of a cell that has not arrived whole.
    std::size_t partial_bytes() const { return partial_.size(); }
    std::size_t queued_cells() const;
    // Directory cells that have not left.
    std::size_t queued_bulk() const { return queues_[bulk].size(); }
    const SessionStats& stats() const { return stats_; }
    Instant last_heard() const { return last_heard_; }

private:
    enum Class : std::size_t { control = 0, data = 1, bulk = 2, classes = 3 };
    static Class class_of(wire::CellCommand command);
    void answer(Now now, const wire::Ping& ping);
    Status take_cell(Now now, std::span<const std::uint8_t, limits::cell_bytes> raw, CellSink& sink);

    static constexpr Duration dead_after = limits::link_keepalive * 5 / 2;

    NetworkId network_;
    Rng& rng_;
    bool open_ = false;
    bool versions_sent_ = false;
    wire::Cell versions_;
    Instant started_;
    Instant last_heard_;
    Instant last_sent_;
    std::int64_t pongs_left_ = limits::link_pings_at_once;
    Instant pongs_counted_;  // until when pongs_left_ has grown
    std::array<BoundedQueue<wire::Cell>, classes> queues_;
    CellSource* source_ = nullptr;
    Bytes partial_;  // bounded: less than one cell
    SessionStats stats_;
};

}  // namespace shoal::link
