// The second door of an engine that can hand on what it computed of a prompt, and take over what another engine of the
// same model did (protocol/prefix.md). The node carries the bytes between two engines and never looks into them.
//
//   engine that asks                                engine that holds
//     PrefixWanted ──▶ node ── FETCH ──▶ node ──▶ open, more …
//     give, give …  ◀── node ◀── pieces ── node ◀── PrefixPiece …, the last one says so
//
// Rules
//   1. A job whose request names a source that is worth a transfer gives one PrefixWanted and then waits for a give()
//      with `last`, or for give_up(); until then it has no row in any step. Other jobs go on.
//   2. The engine checks all that it is given against the digest that the request named, before it uses any of it.
//      What does not match gives PrefixRefused, and the job reads its prompt itself. It is never an error of the job.
//   3. A prefix is found by its chain, the last of a chain of hashes keyed with the scope of the conversation
//      (engine_worker/prefix_cache.h): who cannot say it cannot have it.
//   4. One piece is read at a time: the next comes after more(). A read ends with the piece that is `last`, with
//      PrefixGone, or with close().
//
// Bounds: limits::prefix_reads_max reads at a time, limits::prefix_piece_bytes a piece. Thread: the engine's.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "base/chat.h"
#include "base/ids.h"
#include "base/time.h"

namespace shoal::engine {

struct PrefixWanted {
    JobId job;
    ByteArray<32> chain{};  // of the first kept.tokens of the prompt
    PrefixSource source;
    Duration recompute{};  // that reading these tokens would take here, as measured so far
};
struct PrefixRefused {
    JobId job;
    std::string reason;  // one line, for people
};
struct PrefixPiece {
    PrefixReadId read;
    Bytes bytes;
    bool last = false;
};
// It is not there, or not any more.
struct PrefixGone {
    PrefixReadId read;
};
using PrefixEvent = std::variant<PrefixWanted, PrefixRefused, PrefixPiece, PrefixGone>;

class Prefixes {
public:
    virtual ~Prefixes() = default;

    // The next bytes of what a job waits for. Of a job that does not wait they are dropped.
    virtual void give(Now now, JobId job, Bytes bytes, bool last) = 0;
    // False: so much of what was given waits for the engine that what comes next should wait too; ask again after the
    // engine's next wake. So a busy engine slows a transfer as a slow link would. False of a job that does not wait.
    virtual bool takes(JobId job) const = 0;
    // Nothing, or nothing more, will come: the job reads its prompt itself.
    virtual void give_up(Now now, JobId job) = 0;

    // Begins to read what is kept under `chain`; the first piece comes unasked. Beyond prefix_reads_max: PrefixGone.
    virtual void open(Now now, PrefixReadId read, const ByteArray<32>& chain, std::uint32_t tokens) = 0;
    virtual void more(Now now, PrefixReadId read) = 0;
    virtual void close(Now now, PrefixReadId read) = 0;

    virtual std::optional<PrefixEvent> poll_prefix() = 0;
};

}  // namespace shoal::engine
