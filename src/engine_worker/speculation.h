// Who guesses next, and how far: the drafters of a batcher, each with what was measured of it (draft_length.h).
//
// Pure but for its drafters. One thread.
#pragma once

#include <memory>
#include <vector>

#include "engine_worker/draft_length.h"
#include "engine_worker/drafter.h"

namespace shoal::engine_worker {

// Rows for guesses in one step, of all sequences together.
inline constexpr std::uint32_t guess_rows_max = 64;

// Tokens that may follow, and whose guess they are.
struct Guess {
    std::size_t drafter = 0;
    std::vector<llama_token> tokens;
};

class Speculation {
public:
    void add(std::unique_ptr<Drafter> drafter) { drafters_.push_back({std::move(drafter), {}}); }
    bool any() const { return !drafters_.empty(); }

    // By the drafter that promises the most tokens a second; where it has no guess, by the next. At most `most` tokens;
    // none where guessing does not pay.
    Guess guess(llama_seq_id sequence, std::span<const llama_token> tokens, std::size_t most, const Sampler& next);
    // A round of one sequence that took `time`, the guessing included: of so many guesses the first `right` were right.
    void note(std::size_t drafter, std::size_t guessed, std::size_t right, Duration time);
    void forget(llama_seq_id sequence);

private:
    struct Source {
        std::unique_ptr<Drafter> drafter;
        DraftLength length;
    };
    std::vector<Source> drafters_;
};

}  // namespace shoal::engine_worker
