// Intake: what one hop takes from the one before it. Holds the order of operations and the length of each sequence, so
// that what reaches the engine is what the hop before computed, each row once and at its place.
//
// Rules
//   1. A fresh hop takes REPLAY until the one that is final; the coordinator's result side and a primed hop take none.
//   2. Operations come by number without a gap. Rows start where their sequence ends and stay within the context; a
//      tensor has the bytes of its rows.
//   3. Rows of a REPLAY are of sequences at most as long as the context, from position 0 on.
//   4. Read is what a sequence holds.
//   5. A sequence is filled from position 0 on, and at one go: not behind rows that were computed, truncated or read.
//
// Pure; one thread.
#pragma once

#include <map>

#include "pipeline/outlet.h"

namespace shoal::pipeline {

class Intake {
public:
    Intake(std::size_t row_bytes, std::uint32_t context, std::uint16_t sequences, bool primed);

    // Errc::invalid: it does not fit; nothing has changed.
    Status take(const wire::StageReplay& replay);
    Status take(const wire::StageRefill& refill);
    Status take(const Operation& operation);

    // For who joins. A hop that was replayed to in part starts over: the owner clears its engine then.
    wire::StageJoined joined() const { return {!primed_, primed_ ? last_ : 0}; }
    bool primed() const { return primed_; }
    // Something of a sequence has come.
    bool began() const { return !lengths_.empty(); }
    // Forgets what an unfinished replay brought.
    void start_over();
    std::uint64_t last() const { return last_; }

private:
    struct Length {
        std::uint32_t all = 0;
        bool filling = false;  // the last thing was a fill
    };
    Status fits(const wire::StageRows& rows) const;
    Status fits(const wire::StageKvRows& rows) const;
    Status fits(const wire::StageReadOf& of) const;
    void grow(const wire::StageRows& rows);
    void grow(const wire::StageKvRows& rows);

    std::size_t row_bytes_;
    std::uint32_t context_;
    std::uint16_t sequences_;
    bool primed_;
    std::uint64_t last_ = 0;
    std::map<std::uint16_t, Length> lengths_;  // bounded: sequences_
};

}  // namespace shoal::pipeline
