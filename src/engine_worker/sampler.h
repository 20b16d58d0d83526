// From logits to the next token, so that anyone with the same logits finds the same one. Rules: protocol/sampling.md.
//
// The noise of a position is fixed by the request (DESIGN 5.8), never by the node: a node cannot pick among the tokens
// that its model allows, and whoever re-computes the logits can check each choice.
//
// Pure but for its scratch memory. O(vocabulary), and O(n log n) in what top_p keeps. One thread.
#pragma once

#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/chat.h"

namespace shoal::engine_worker {

// "sc1/noise" of a generation: what its positions are derived from.
class Noise {
public:
    // `client_seed` is that of the job. A `seed` in the sampling parameters takes its place (protocol/sampling.md).
    Noise(const ByteArray<32>& client_seed, std::optional<std::uint64_t> seed, std::span<const std::int32_t> prompt);
    // Uniform in [0, 1) with 53 bits.
    double at(std::uint64_t position) const;

private:
    ByteArray<32> seed_{};
    ByteArray<32> prompt_hash_{};
};

class Sampler {
public:
    Sampler(const Sampling& sampling, Noise noise) : sampling_(sampling), noise_(noise) {}
    // The token of the next position, which then counts for the penalties. nullopt: no logit is finite, so the model
    // or its arithmetic is broken.
    std::optional<std::int32_t> next(std::span<const float> logits);
    std::uint64_t position() const { return position_; }
    // Another one at the same place: what it draws, this one does not know of.
    Sampler fork() const;

private:
    struct Candidate {
        std::int32_t id;
        float logit;
    };
    float penalty(std::int32_t id) const;
    std::optional<std::int32_t> greedy(std::span<const float> logits) const;
    std::optional<std::int32_t> draw(std::span<const float> logits);
    void keep_top_k();
    void keep_top_p();
    void keep_min_p();

    Sampling sampling_;
    Noise noise_;
    std::uint64_t position_ = 0;
    std::unordered_map<std::int32_t, std::uint32_t> counts_;  // of generated tokens; kept only with penalties
    std::vector<Candidate> candidates_;                       // scratch, kept for its memory
};

}  // namespace shoal::engine_worker
