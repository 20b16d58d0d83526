// Guesses that a conversation goes on as it did before: the last tokens are looked for earlier in it, and what followed
// them there is the guess. Free, and good at code, names and quotations.
//
// Source: prompt look-up decoding (Saxena 2023). Pure. O(tokens looked at x length of the pattern).
#pragma once

#include "engine_worker/drafter.h"

namespace shoal::engine_worker {

class Repeats final : public Drafter {
public:
    // Longest first: a long match is the surer one.
    static constexpr std::size_t pattern_max = 4;
    static constexpr std::size_t pattern_min = 2;
    // How far back it looks: a step must not wait for a long conversation.
    static constexpr std::size_t tokens_searched_max = 16384;

    std::vector<llama_token> draft(llama_seq_id sequence, std::span<const llama_token> tokens, std::size_t count,
                                   const Sampler& next) override;
    void forget(llama_seq_id) override {}
};

}  // namespace shoal::engine_worker
