// What a batcher keeps of prompts, described to other engines and handed to them (engine/prefixes.h).
//
// Rules
//   1. The end of a job whose sequence is kept is said when the snapshot of its prompt is hashed, so that it can name
//      it. Hashing takes place between steps, a part at a time: no stream stands still for it.
//   2. Of the prompt the whole blocks, not of the reply: how a reply is tokenized when it comes back as a message is
//      the template's business, and a prefix with which no prompt begins is of no use. And not less than tokens_min.
//   3. Hashing and reads have copies: the sequence may go meanwhile. All copies together hold little more than
//      limits::prefix_snapshot_bytes_max (of the last one, the reply as well); a job or a read without room does
//      without.
//   4. A read gives a snapshot that was named and nothing else. It never gives more pieces than it was asked for.
//
// One thread.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <map>

#include "engine/pipe.h"
#include "engine_worker/backbone.h"
#include "engine_worker/kv_snapshot.h"
#include "engine_worker/prefix_cache.h"

namespace shoal::engine_worker {

class PrefixGiver {
public:
    using Emit = std::function<void(const engine::pipe::FromWorker&)>;
    static constexpr std::uint32_t tokens_min = 64;
    // Hashed between two steps: a few milliseconds, or a tenth of what steps take, whichever is more.
    static constexpr std::size_t work_bytes = 2 * 1024 * 1024;
    static constexpr std::size_t work_bytes_per_ms = 100 * 1024;

    // Both must outlive it. `emit` must not call it.
    PrefixGiver(const Backbone& backbone, PrefixCache& kept, Emit emit,
                std::uint64_t copies_bytes_max = limits::prefix_snapshot_bytes_max);

    // A job has ended, and its sequence is kept with this prompt. Says `finished`, now or in work().
    void finish(const engine::Finished& finished, const PrefixScope& scope, std::span<const std::int32_t> prompt,
                std::int32_t sequence);
    bool busy() const { return !hashing_.empty(); }
    // Since the last call so much time was spent on a step.
    void work(std::chrono::steady_clock::duration step);
    bool knows(JobId job) const;
    // It need not wait for its name. False: it is not here.
    bool hurry(JobId job);

    void open(PrefixReadId read, const ByteArray<32>& chain, std::uint32_t tokens);
    void more(PrefixReadId read);
    void close(PrefixReadId read) { reads_.erase(read.value()); }

private:
    struct Hashing {
        engine::Finished finished;
        ByteArray<32> chain{};
        std::int32_t sequence = 0;
        SnapshotHashing hashing;
    };
    // Empty: no room for it, or the backbone cannot.
    std::optional<SnapshotRows> copy(std::int32_t sequence, std::uint32_t tokens) const;
    std::uint64_t copies_bytes() const;
    // As many as were asked for. False: that was the last.
    bool give(PrefixReadId read, SnapshotOutlet& outlet, unsigned pieces);

    const Backbone& backbone_;
    PrefixCache& kept_;
    Emit emit_;
    std::uint64_t copies_bytes_max_;
    std::list<Hashing> hashing_;                     // bounded: rule 3
    std::map<std::uint64_t, SnapshotOutlet> reads_;  // bounded: limits::prefix_reads_max
};

}  // namespace shoal::engine_worker
