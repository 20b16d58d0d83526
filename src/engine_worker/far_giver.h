// What the hops of a lead keep of prompts, described to other engines and handed to them: as prefix_giver.h, but what
// is hashed and read lies elsewhere, and each piece of it is a step (backbone.h).
//
// Rules
//   1. The end of a job whose sequence is kept is said when the hops have hashed the beginning of it. That is one step.
//   2. Of a snapshot that was named, pieces are read as they are asked for, and what is read is not copied before: a
//      read ends with PrefixGone when the sequence goes to another job.
//   3. Steps end in their order, so what is asked for before a sequence is set back is what it held until then.
//
// Bounds: a job each of those that are kept, limits::prefix_reads_max reads. One thread.
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <map>

#include "engine/pipe.h"
#include "engine_worker/backbone.h"
#include "engine_worker/kv_snapshot.h"
#include "engine_worker/prefix_cache.h"

namespace shoal::engine_worker {

class FarGiver {
public:
    using Emit = std::function<void(const engine::pipe::FromWorker&)>;

    // Both must outlive it. `emit` must not call it.
    FarGiver(Backbone& backbone, PrefixCache& kept, Emit emit)
        : backbone_(backbone), kept_(kept), emit_(std::move(emit)) {}

    // As those of PrefixGiver.
    void finish(const engine::Finished& finished, const PrefixScope& scope, std::span<const std::int32_t> prompt,
                std::int32_t sequence);
    bool knows(JobId job) const;
    bool hurry(JobId job);
    void open(PrefixReadId read, const ByteArray<32>& chain, std::uint32_t tokens);
    void more(PrefixReadId read);
    void close(PrefixReadId read) { reads_.erase(read.value()); }

    // One more step begins; false: nothing is wanted.
    bool begin();
    // The oldest of them has ended.
    void given(Bytes bytes);
    // None that is under way will end, and nothing is held any more.
    void lost();

private:
    struct Naming {
        engine::Finished finished;
        ByteArray<32> chain{};
        std::int32_t sequence = 0;
        std::uint32_t tokens = 0;
        bool asked = false;
    };
    struct Reading {
        ByteArray<32> chain{};
        std::uint32_t tokens = 0;
        KvShape shape;
        unsigned wanted = 0;  // pieces
        std::size_t layer = 0;
        KvSide side = KvSide::keys;
        std::uint32_t position = 0;
    };
    struct Asked {
        std::optional<JobId> naming;
        std::uint64_t read = 0;
        bool last = false;
    };
    bool ask_hashes();
    bool ask_rows();
    void name(Naming& naming, ByteView hashes);

    Backbone& backbone_;
    PrefixCache& kept_;
    Emit emit_;
    std::list<Naming> naming_;                // bounded: limits::engine_sequences_max
    std::map<std::uint64_t, Reading> reads_;  // bounded: limits::prefix_reads_max
    std::deque<Asked> asked_;                 // bounded: Backbone::steps_max
    std::uint64_t last_read_ = 0;             // that was asked for: they take turns
};

}  // namespace shoal::engine_worker
