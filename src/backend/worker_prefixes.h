// The second door of an engine in a process of its own (engine/prefixes.h), over the frames of protocol/pipe.md.
//
// Rules, beside those of prefixes.h
//   1. A worker may lie: it asks once for a job, and only for one that named a source; of a read it sends no more
//      pieces than it was asked for, and nothing after the last. What does not fit ends it, as a malformed frame does.
//   2. A worker sends pipe::prefix_pieces_ahead pieces of a read ahead: between two pieces lies a step of its batch,
//      and one piece a step is slow. They wait here, so that more() mostly has something at once.
//   3. When the worker goes, its reads are gone and its jobs wait no more.
//
// Bounds: what given_bytes_max says of what was given, limits::prefix_reads_max times what is sent ahead of what is
// read. Thread: the engine's.
#pragma once

#include <deque>
#include <functional>
#include <map>

#include "engine/pipe.h"

namespace shoal::backend {

class WorkerPrefixes final : public engine::Prefixes {
public:
    // Above the first takes() says no; above the second, whoever does not ask it, a transfer is given up.
    static constexpr std::size_t given_bytes_high = 4 * 1024 * 1024;
    static constexpr std::size_t given_bytes_max = 16 * 1024 * 1024;

    // `send` hands a frame to the worker; `unsent` says how many bytes of frames it has not taken.
    WorkerPrefixes(std::function<void(const engine::pipe::ToWorker&)> send, std::function<std::size_t()> unsent)
        : send_(std::move(send)), unsent_(std::move(unsent)) {}

    void give(Now now, JobId job, Bytes bytes, bool last) override;
    bool takes(JobId job) const override;
    void give_up(Now now, JobId job) override;
    void open(Now now, PrefixReadId read, const ByteArray<32>& chain, std::uint32_t tokens) override;
    void more(Now now, PrefixReadId read) override;
    void close(Now now, PrefixReadId read) override;
    std::optional<engine::PrefixEvent> poll_prefix() override;

    // A worker is ready, or gone.
    void set_ready(bool ready);
    void on_submit(JobId job, const std::optional<PrefixSource>& source);
    void on_end(JobId job) { jobs_.erase(job.value()); }
    // False: it cannot come now.
    bool on_message(const engine::pipe::PrefixAsk& ask);
    bool on_message(engine::PrefixRefused refused);
    bool on_message(engine::PrefixPiece piece);
    bool on_message(const engine::PrefixGone& gone);

private:
    // A job that named a source.
    struct Job {
        PrefixSource source;
        bool asked = false;
        bool waits = false;
        bool refused = false;
    };
    struct Read {
        std::deque<engine::PrefixPiece> ahead;             // at most prefix_pieces_ahead
        unsigned due = engine::pipe::prefix_pieces_ahead;  // that the worker may still send
        bool wanted = true;                                // the next piece is, at once
        bool ended = false;                                // the last has come
    };
    void hand_on(PrefixReadId read);

    std::function<void(const engine::pipe::ToWorker&)> send_;
    std::function<std::size_t()> unsent_;
    bool ready_ = false;
    std::map<std::uint64_t, Job> jobs_;    // bounded: open jobs of the engine
    std::map<std::uint64_t, Read> reads_;  // bounded: limits::prefix_reads_max
    // Bounded: for each open job one that asks and one that refuses, for each read one; and one that is gone for each
    // open() that the owner made since it last asked.
    std::deque<engine::PrefixEvent> events_;
};

}  // namespace shoal::backend
