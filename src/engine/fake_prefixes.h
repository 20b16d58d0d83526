// FakePrefixes: the second door of the fake engine. What it "computed" of a prompt are bytes that follow from the scope
// and the number of tokens, so two fake engines make the same ones, as two real engines of a model do.
//
// Pure; one thread. For tests.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <set>

#include "engine/engine.h"
#include "engine/prefixes.h"

namespace shoal::engine {

class FakePrefixes final : public Prefixes {
public:
    // `settled`: a job that waited goes on, with so many tokens of its prompt that need not be read.
    using Settled = std::function<void(Now, JobId, std::uint32_t)>;
    FakePrefixes(std::uint32_t bytes_per_token, Settled settled)
        : bytes_per_token_(bytes_per_token), settled_(std::move(settled)) {}

    // After an answer: what a reply says. nullopt: the prompt has not even a block.
    std::optional<KeptPrefix> keep(const PrefixScope& scope, std::uint32_t prompt);
    // True: the job waits for what its request's source holds; `recompute` is what reading that would take.
    bool waits(const Job& job, std::uint32_t prompt, Duration recompute);
    void forget(JobId job);
    // Of everything, as a killed worker does.
    void clear();

    // What others read from now on has one byte changed.
    void alter() { alters_ = true; }

    void give(Now now, JobId job, Bytes bytes, bool last) override;
    bool takes(JobId job) const override { return waiting_.contains(job); }
    void give_up(Now now, JobId job) override;
    void open(Now now, PrefixReadId read, const ByteArray<32>& chain, std::uint32_t tokens) override;
    void more(Now now, PrefixReadId read) override;
    void close(Now now, PrefixReadId read) override;
    std::optional<PrefixEvent> poll_prefix() override;

private:
    struct Waiting {
        PrefixSource source;
        Bytes bytes;
    };
    struct Read {
        Bytes bytes;
        std::size_t at = 0;
    };
    Bytes snapshot(const ByteArray<32>& chain, std::uint32_t tokens) const;

    std::uint32_t bytes_per_token_;
    Settled settled_;
    bool alters_ = false;
    std::set<ByteArray<32>> kept_;        // bounded: by the test's questions
    std::map<JobId, Waiting> waiting_;    // bounded: the engine's sequences
    std::map<PrefixReadId, Read> reads_;  // bounded: prefix_reads_max
    std::deque<PrefixEvent> events_;      // bounded: one for each call
};

}  // namespace shoal::engine
