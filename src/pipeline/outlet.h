// Outlet: what one hop sends to the next, and what it keeps of it, so that another can take the next one's place.
//
//   rows that are settled, per sequence  |  operations that are not        ──▶ successor
//   (coalesced; only a fresh successor   |  (verbatim, by number; every
//   needs them)                          |  new successor needs some)
//
// Rules
//   1. An operation is settled when the coordinator has the results of it and of all before it. Every hop has then had
//      it, so only a fresh hop can need its rows, and of those only what no truncation took since.
//   2. A successor that joins says what it has. Fresh: it gets the settled rows as REPLAY, in pieces of stage_rows_max
//      rows, then the operations. Else: the operations behind the one that it received last.
//   3. What is kept is bounded by `bytes_max`. Above it the settled rows are dropped, and a fresh successor is refused.
//   4. A hop that was fresh itself is primed by its own predecessor's last REPLAY; until then nothing here is settled,
//      and rows go on as they come.
//
// Pure; one thread. Cost: one copy of each row.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <variant>

#include "wire/stage.h"

namespace shoal::pipeline {

using Operation = std::variant<wire::StageStep, wire::StageTruncate>;
std::uint64_t number_of(const Operation& operation);

class Outlet {
public:
    // `row_bytes` of the session's activations. The coordinator's outlet is primed from the start.
    Outlet(std::size_t row_bytes, std::size_t bytes_max, bool primed);

    // The next in order. What is settled by it moves over.
    void add(Operation operation);
    void add_replay(wire::StageReplay replay);
    // Coordinator only: results up to this operation are here.
    void settle(std::uint64_t number);

    // A successor joined. Errc::exhausted: it would need rows that were dropped.
    Status attach(const wire::StageJoined& joined);
    void detach();
    bool attached() const { return successor_.has_value(); }

    // For the successor, in order.
    std::optional<wire::StageMessage> poll();

    std::uint64_t settled() const { return settled_; }
    std::size_t bytes() const { return bytes_; }

private:
    void replay_all();
    // Sends rows [`from`, ...) of one sequence and what fits of the next ones; false: nothing is left.
    wire::StageReplay next_piece(std::map<std::uint16_t, std::uint32_t>& sent) const;
    void apply(const Operation& operation);
    void keep(const wire::StageRows& rows);
    void cut(std::uint16_t sequence, std::uint32_t length);

    std::size_t row_bytes_;
    std::size_t bytes_max_;
    bool primed_;
    bool dropped_ = false;
    std::uint64_t settled_ = 0;
    std::size_t bytes_ = 0;
    std::map<std::uint16_t, Bytes> rows_;  // bounded: bytes_max_; the settled ones from position 0 on
    std::deque<Operation> open_;           // bounded: operations_in_flight_max, by the coordinator
    std::optional<wire::StageJoined> successor_;
    std::deque<wire::StageMessage> out_;  // bounded: drained after every input
};

}  // namespace shoal::pipeline
