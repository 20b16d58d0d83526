// Gauge: how long one link takes there and back, and how many bytes a second it carries from here, measured over the
// link itself with PING and PADDING cells (protocol/cell.md).
//
//   pings, one after the other --the last PONG--> trains, each twice the last --long enough, or bytes_max--> done
//        | a cell that nobody asked for, or nothing measured within gauge_timeout
//        +--> an error of on_cell() or on_tick()
//
// Rules
//   1. Of the pings the shortest counts. Rationale: whatever else the two machines do only lengthens them.
//   2. A train is PADDING with a PING at its end, whose PONG says that all of it is there. The longest train counts,
//      less the round trip: the ones before it have opened TCP's window.
//   3. Tokens are random and used once. Rationale: a peer cannot answer what has not arrived, so it can make a link
//      look longer and narrower than it is, never shorter or wider.
//   4. Nothing is taken for granted of the peer: the sum of all trains is at most gauge_bytes_max, all of it ends after
//      gauge_timeout; a train that has come back by then counts.
//
// What the peer can do: cost this node gauge_bytes_max of sending and gauge_timeout of time, and look slow.
// Pure; one thread. It is the source of cells of its session (Session::set_source), which has nothing else to send.
#pragma once

#include <optional>

#include "base/rng.h"
#include "link/cell_source.h"

namespace shoal::link {

struct LinkFigures {
    Duration round_trip{};               // at least 1 ns
    std::uint64_t bytes_per_second = 0;  // of bodies of cells
};

class Gauge final : public CellSource {
public:
    // When the link is open. `rng` outlives it.
    Gauge(Now now, Rng& rng);

    bool has_cell() const override { return left_ > 0; }
    wire::Cell next_cell() override;
    // What the session hands on. Errc::malformed: no PONG with the token that is waited for.
    Status on_cell(Now now, const wire::Cell& cell);
    // Errc::timeout: nothing was measured in time.
    Status on_tick(Now now);
    Instant next_deadline() const { return deadline_; }
    bool done() const { return done_; }
    // When done.
    LinkFigures figures() const;

private:
    void begin(Now now, std::size_t cells);
    void on_train(Duration took);

    Rng& rng_;
    Instant deadline_;
    ByteArray<limits::cell_body_bytes> filler_{};
    int pings_ = 0;  // that came back
    Duration round_trip_ = Duration::max();
    std::optional<std::uint64_t> bytes_per_second_;
    bool done_ = false;
    // What is under way: a ping is a train of one cell.
    std::uint64_t token_ = 0;
    Instant begun_{};
    std::size_t cells_ = 0;
    std::size_t left_ = 0;  // of them, that have not left
    std::size_t sent_bytes_ = 0;
};

}  // namespace shoal::link
