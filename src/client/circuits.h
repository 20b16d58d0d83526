// Circuits: the client's supply. Builds ahead, so that a question finds its circuits ready; mends what is lost.
//
// Rules
//   1. limits::circuits_ready_target circuits are kept ready and unused, evenly over the guards in use, and more while
//      questions wait. Building happens in the background, at most circuits_building_max at once.
//   2. A circuit serves one question and is then retired. Rationale: two questions over one circuit would be linked at
//      its proxy.
//   3. A failed build is counted against the hop that did not answer, and against the guard for the first. After
//      build_failures_max failures in build_failure_window builds come one at a time, further and further apart;
//      builds that were under way together count as one there.
//      Rationale: who makes others' circuits fail would otherwise choose whose succeed.
//   4. Circuits are built in sets: one avoids the relays, families and subnets of the others of its set, and a question
//      takes a whole set where there is one. Rationale: in a small network circuits drawn each for itself overlap so
//      often that one question in seven found eight ready and no four of them disjoint.
//   5. Where a circuit cannot avoid the others of its set it is drawn for itself. Where all that may be built is ready
//      and yet no set of it is disjoint, half of it, drawn at random, is let go and built anew, at most once in 100 ms.
//      Rationale: a question would otherwise wait for ever among ready circuits.
//   6. Paths and their disjointness are circuit/path.h's.
//
// Pure; one thread.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "circuit/origin.h"
#include "circuit/path.h"
#include "crypto/sign.h"
#include "directory/view.h"

namespace shoal::client {

// A circuit of this client, over its whole life; never reused.
using CircuitNumber = StrongInt<struct CircuitNumberTag, std::uint64_t>;
using AskId = StrongInt<struct AskIdTag, std::uint64_t>;

struct CircuitsConfig {
    NetworkId network;
    PacerMode pacer = PacerMode::shaped;
    PacerClass rate = PacerClass::ten;
    std::size_t ready_target = limits::circuits_ready_target;
    std::size_t set_size = limits::cloves_default;  // how many circuits a question takes
    circuit::Exclusions self;                       // own relay and family, if this machine is one
};

class Circuits {
public:
    // Outputs
    struct GuardWanted {  // a link to this guard; answer with on_guard_up or on_guard_failed
        NodeId guard;
    };
    struct SendCell {
        LinkId link;
        wire::Cell cell;
    };
    struct StreamData {
        CircuitNumber circuit;
        StreamId stream;
        ByteArray<limits::sealed_record_bytes> sealed;
    };
    struct StreamEnd {
        CircuitNumber circuit;
        StreamId stream;
        wire::StreamEndReason reason;
    };
    // One more is ready, or the directory changed: who waits may try again.
    struct Changed {};
    using Output = std::variant<GuardWanted, SendCell, StreamData, StreamEnd, Changed>;

    // `rng` outlives the object.
    Circuits(CircuitsConfig config, Rng& rng);

    void on_directory(Now now, const directory::View& view);
    void on_guard_up(Now now, const NodeId& guard, LinkId link);
    // The dial failed, or an established link went down.
    void on_guard_failed(Now now, const NodeId& guard);
    void on_cell(Now now, LinkId link, const wire::Cell& cell);
    // The link's queue is full: the circuit of the cell is lost.
    void on_send_refused(Now now, LinkId link, const wire::Cell& cell);
    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<Output> poll();

    // n ready circuits for one question to `node`, disjoint, as even over the guards as there are guards, none through
    // the node itself; they are then in use. nullopt: not now; more are being built for it.
    std::optional<std::vector<CircuitNumber>> take_set(Now now, std::size_t n, const NodeId& node);
    // One more for a question that uses `others` already, preferably through a guard of this side (0 or 1).
    std::optional<CircuitNumber> take_one(Now now, const std::vector<CircuitNumber>& others, const NodeId& node,
                                          std::size_t side);
    // Which side of the guards a circuit is on: 0 or 1; parity of its clove.
    std::size_t side_of(CircuitNumber circuit) const;
    // These three only queue; flush() ends the turn.
    std::optional<StreamId> open_stream(CircuitNumber circuit, const wire::Connect& connect);
    void send(CircuitNumber circuit, StreamId stream, ByteView sealed);
    void end_stream(CircuitNumber circuit, StreamId stream);
    // Lets what was queued leave, each circuit by its pacer. False: nothing was queued.
    bool flush(Now now);
    // Its question is over: destroyed once what it still sends has gone.
    void release(CircuitNumber circuit);
    // To the far end and back, by the time that building took.
    Duration round_trip(CircuitNumber circuit) const;
    const circuit::Path* path(CircuitNumber circuit) const;

    // How many questions wait for a set.
    void set_waiting(Now now, std::size_t questions);
    std::size_t ready() const;
    // The directory has too few relays for n disjoint circuits over two guards.
    bool starved(std::size_t n) const {
        return guards_.in_use().size() < limits::guards || relays_.size() < limits::guards + (limits::hops - 1) * n;
    }
    std::size_t building() const;
    std::vector<NodeId> guards() const { return guards_.in_use(); }
    circuit::Guards& guard_set() { return guards_; }
    // A guard in use, or a circuit. A link that only fetched the directory may go.
    bool uses_link(LinkId link) const;

private:
    struct Slot {
        std::unique_ptr<circuit::Origin> origin;
        circuit::Path path;
        LinkId link;
        std::uint64_t set = 0;  // those of one number are disjoint but for their guards
        Instant begun{};
        bool in_use = false;
        bool released = false;
        bool link_lost = false;  // our own link to the guard
    };
    struct Guard {
        std::optional<LinkId> link;
        bool wanted = false;
    };

    void build_more(Now now);
    bool build_one(Now now, const NodeId& guard);
    circuit::Exclusions excluded() const;
    // The sets that want a circuit through this guard, the oldest first.
    std::vector<std::uint64_t> open_sets(const NodeId& guard) const;
    std::optional<std::vector<CircuitNumber>> choose(std::size_t n, const std::vector<CircuitNumber>& free);
    void renew(Now now, const std::vector<CircuitNumber>& free);
    void drain(Now now, CircuitNumber number);
    void on_closed(Now now, const Slot& slot, const circuit::Origin::Closed& closed);
    void lose(Now now, CircuitNumber number);
    static bool done(const Slot& slot);
    void sweep(Now now);
    std::size_t usable_through(const NodeId& guard) const;
    static bool free_for(const Slot& slot, const NodeId& node);
    std::optional<CircuitId> draw_id(LinkId link);
    bool backing_off(Now now) const { return now.mono < build_not_before_; }

    CircuitsConfig config_;
    Rng& rng_;
    circuit::Guards guards_;
    circuit::SuccessRecord record_;
    std::vector<circuit::RelayInfo> relays_;                           // of the directory; bounded: snapshot_nodes_max
    circuit::RelayIndex index_{relays_};                               // of relays_
    std::map<NodeId, ByteArray<32>> onion_keys_;                       // likewise
    std::map<NodeId, Guard> links_;                                    // bounded: guards_kept_max
    std::map<CircuitNumber, Slot> slots_;                              // bounded: client_circuits_max
    std::map<std::pair<LinkId, std::uint32_t>, CircuitNumber> by_id_;  // bounded: as slots_
    std::set<CircuitNumber> queued_;  // for flush(); bounded: client_circuits_max, since it is flushed every turn
    std::uint64_t next_number_ = 1;
    std::uint64_t next_set_ = 1;
    std::deque<Instant> failures_;  // bounded: build_failures_max; of the last builds that failed
    Instant build_not_before_ = Instant::min();
    Instant renew_not_before_ = Instant::min();
    Duration backoff_{};
    Instant backoff_since_ = Instant::min();  // when it was last raised
    std::vector<Duration> build_times_;       // bounded: build_times_kept; the newest last
    std::size_t waiting_questions_ = 0;
    std::deque<Output> out_;  // bounded: drained after every input
};

// What path selection needs of the directory.
std::vector<circuit::RelayInfo> relays_of(const directory::View& view);

}  // namespace shoal::client
