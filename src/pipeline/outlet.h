// Outlet: what one hop sends to the next, and what it keeps of it, so that another can take the next one's place.
//
//   rows that are settled, per sequence  |  operations that are not        ──▶ successor
//   (coalesced; only a fresh successor   |  (verbatim, by number; every
//   needs them)                          |  new successor needs some)
//
// Rules
//   1. An operation is settled when the coordinator has the results of it and of all before it. Every hop has then had
//      it, so only a fresh hop can need its rows, and of those only what no truncation took since.
//   2. A successor that joins says what it has. Fresh: it gets what is settled as REFILL and REPLAY, in pieces of
//      stage_rows_max rows and stage_piece_bytes at most, then the operations. Else: the operations behind the one that
//      it received last. All of it is made as it is polled: who has room for one message does not hold them all.
//      Nothing is settled meanwhile.
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

using Operation = std::variant<wire::StageStep, wire::StageTruncate, wire::StageFill, wire::StageRead>;
std::uint64_t number_of(const Operation& operation);
std::uint64_t settled_by(const Operation& operation);

class Outlet {
public:
    // `row_bytes` of the session's activations. The coordinator's outlet is primed from the start.
    Outlet(std::size_t row_bytes, std::size_t bytes_max, bool primed);

    // The next in order. What is settled by it moves over. Errc::exhausted: more is unsettled than may be, since
    // nothing is settled while a replay is on its way.
    Status add(Operation operation);
    // Errc::exhausted: more than may be kept.
    Status add_replay(const wire::StageReplay& replay);
    Status add_refill(const wire::StageRefill& refill);
    // Coordinator only: results up to this operation are here.
    void settle(std::uint64_t number);

    // A successor joined. Errc::exhausted: it would need rows that were dropped. Errc::invalid: it has lost what it
    // had.
    Status attach(const wire::StageJoined& joined);
    void detach();
    bool attached() const { return attached_; }

    // The next one for the successor; nullopt: nothing now, or nobody is there.
    std::optional<wire::StageMessage> poll();

    // That is not settled; nullptr: none has this number.
    const Operation* unsettled(std::uint64_t number) const;
    std::uint64_t settled() const { return settled_; }
    std::size_t bytes() const { return bytes_; }
    // No successor was ever given an operation behind this one.
    std::uint64_t most_sent() const { return most_sent_; }

private:
    using Lengths = std::map<std::uint16_t, std::uint32_t>;  // of each sequence, in rows
    // Of a sequence, from position 0 on: what it was filled with, then the rows.
    struct Kept {
        std::uint32_t filled = 0;  // tokens
        Bytes fills;               // as many rows; behind the last hop they have no bytes
        Bytes rows;
    };

    std::optional<wire::StageMessage> poll_replay();
    // From what `sent` has not, as much as one message takes; `sent` moves on.
    wire::StageRows next_rows(Lengths& sent) const;
    void settle_what_is();
    Status within_bounds() const;
    void apply(const Operation& operation);
    void keep(const wire::StageRows& rows);
    void keep(const wire::StageKvRows& rows);
    std::uint32_t length(const Kept& kept) const;
    // The next piece of what sequences were filled with.
    std::optional<wire::StageRefill> next_fill(Lengths& sent) const;
    void cut(std::uint16_t sequence, std::uint32_t length);

    std::size_t row_bytes_;
    std::size_t bytes_max_;
    bool primed_;
    bool dropped_ = false;
    std::uint64_t settled_ = 0;     // up to here operations are in rows_
    std::uint64_t may_settle_ = 0;  // up to here they may go there
    std::size_t bytes_ = 0;
    std::map<std::uint16_t, Kept> kept_;  // bounded: bytes_max_; what is settled
    std::deque<Operation> open_;          // bounded: limits::stage_open_max
    bool attached_ = false;
    std::optional<Lengths> replayed_;  // to a fresh successor that has not had the final REPLAY; bounded: sequences
    std::uint64_t sent_ = 0;           // operations up to here are not for this successor
    std::uint64_t most_sent_ = 0;
};

}  // namespace shoal::pipeline
