// The one sending clock, for client, proxy and model node: when cells may leave, and how many of them are real.
//
// A pacer never sees content. It is told that cells are waiting and answers with how many leave now and how much
// padding goes with them. What an observer of the link sees is exactly the sequence of (time, count) that poll() gives.
//
// fast    Cells leave at once when the pacer has been silent for fast_flush, else when fast_flush has passed since the
//         last departure: at most 10 ms after they are there. Silent otherwise.
//         Rationale: the delay of the direct path, with token boundaries closer than 10 ms hidden. Leaks the timing of
//         everything slower.
// shaped  A 200 ms tick with a phase of its own. Each tick emits exactly class/5 cells, padding where data is missing,
//         from the first data until a tail of Exp(10 s), clipped to [3, 30] s, after the last. The class changes only
//         at instants drawn in advance, U(5, 15) s apart, by what is waiting then.
//         Rationale: inside a class the sequence does not depend on when data came. What still leaks: that something
//         was sent, the class, and the length rounded up to the tail (CRYPTO 6.7).
//
// A clock that jumps forwards costs the ticks it jumped over: they are not made up for. One that steps back takes the
// train with it. Neither makes a burst or a stall.
//
// Pure: time and randomness are arguments. One thread.
#pragma once

#include <cstddef>
#include <optional>

#include "base/rng.h"
#include "base/time.h"

namespace shoal {

enum class PacerMode : std::uint8_t { fast = 0, shaped = 1 };

// Cells a second.
enum class PacerClass : std::uint8_t { five = 5, ten = 10, twenty = 20 };

class Pacer {
public:
    static constexpr Duration fast_flush = 10ms;
    static constexpr Duration tick = 200ms;
    static constexpr Duration tail_mean = 10s;
    static constexpr Duration tail_min = 3s;
    static constexpr Duration tail_max = 30s;
    static constexpr Duration class_hold_min = 5s;
    static constexpr Duration class_hold_max = 15s;

    struct Departure {
        std::size_t data = 0;
        std::size_t padding = 0;
    };

    // Draws the phase (shaped) from `rng`, which must outlive the pacer.
    Pacer(PacerMode mode, PacerClass start, Rng& rng);

    // How many of the `waiting` cells leave now, and how much padding. Call when data arrives and at next_deadline().
    Departure poll(Instant now, std::size_t waiting);
    // When poll() should be called again if nothing new arrives; nullopt: when there is data.
    std::optional<Instant> next_deadline(std::size_t waiting) const;

    PacerMode mode() const { return mode_; }
    PacerClass current_class() const { return class_; }
    // Shaped and inside the train of ticks (tail included).
    bool running() const { return next_tick_.has_value(); }

private:
    Departure poll_fast(Instant now, std::size_t waiting);
    Departure poll_shaped(Instant now, std::size_t waiting);
    // The first instant of this pacer's grid that is not before `now`.
    Instant next_grid_point(Instant now) const;
    void start_train(Instant now);
    void follow_clock_back(Instant now);
    void maybe_change_class(Instant tick_at, std::size_t waiting);
    std::size_t cells_per_tick() const { return static_cast<std::size_t>(class_) / 5; }

    PacerMode mode_;
    PacerClass class_;
    Rng& rng_;
    std::optional<Instant> last_departure_;  // fast
    Duration phase_{};                       // shaped, in [0, tick)
    std::optional<Instant> next_tick_;       // shaped; set while the train runs
    Instant class_until_{};
    Instant train_until_{};
    Duration tail_{};
};

}  // namespace shoal
