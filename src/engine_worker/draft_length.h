// How many tokens are worth guessing, from what was measured: how long a round takes with so many guesses in it, and
// how often a guess is right. 0 where guessing does not pay.
//
//   tokens a round = 1 + a + a^2 + ... + a^n    a: share of guesses that are right, n guesses
//   choice         = the n whose tokens a round, divided by the time of a round, are the most
//
// Source: the expected length of accepted runs in speculative decoding (Leviathan et al., 2211.17192, equation 1).
//
// Rules
//   1. Lengths are a few steps of a scale. One that was never measured is thought to take as long as the next shorter
//      one that was: so each is tried once.
//   2. Measures age: after some rounds the length that was measured longest ago is tried again; the pause doubles
//      up to probe_pause_max as long as guessing stays worth it, or not worth it. Rationale: load and text change, and
//      a bad length must not cost more than a hundredth.
//
// Pure. One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace shoal::engine_worker {

class DraftLength {
public:
    static constexpr std::array<std::size_t, 7> lengths = {0, 1, 2, 4, 6, 10, 16};
    static constexpr std::size_t length_max = lengths.back();
    static constexpr std::uint32_t probe_pause_min = 16;
    static constexpr std::uint32_t probe_pause_max = 512;

    // For the next round, at most `most`.
    std::size_t choose(std::size_t most);
    // A round with `guessed` guesses, of which the first `right` were right, took `time`, the guessing included.
    void note(std::size_t guessed, std::size_t right, Duration time);

    // Share of guesses that are right, 0 to 1.
    double right_share() const { return right_ / (right_ + wrong_); }
    // Tokens a second of the best length, by what is known; 0: nothing is known.
    double best_rate() const { return rate_at(best(lengths.size())); }

private:
    struct Round {
        double seconds = 0;  // moving average
        std::uint64_t measured_at = 0;
        bool known = false;
    };
    static std::size_t place_of(std::size_t length);
    double seconds(std::size_t place) const;
    double rate_at(std::size_t place) const;
    std::size_t best(std::size_t places) const;

    std::array<Round, lengths.size()> rounds_;
    std::uint64_t count_ = 0;  // rounds noted
    std::uint64_t probe_at_ = probe_pause_min;
    std::uint32_t pause_ = probe_pause_min;
    std::size_t chosen_ = 0;  // place of the last choice that was no probe
    // Moving sums; at the start a guess is thought to be right twice in three.
    double right_ = 2;
    double wrong_ = 1;
};

}  // namespace shoal::engine_worker
