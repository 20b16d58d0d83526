#include "base/pacer.h"

#include <algorithm>

namespace shoal {

Pacer::Pacer(PacerMode mode, PacerClass start, Rng& rng) : mode_(mode), class_(start), rng_(rng) {
    phase_ = rng_.between(Duration::zero(), tick);
}

Pacer::Departure Pacer::poll(Instant now, std::size_t waiting) {
    return mode_ == PacerMode::fast ? poll_fast(now, waiting) : poll_shaped(now, waiting);
}

std::optional<Instant> Pacer::next_deadline(std::size_t waiting) const {
    if (mode_ == PacerMode::shaped && next_tick_) return next_tick_;
    if (waiting == 0) return std::nullopt;
    if (mode_ == PacerMode::fast && last_departure_) return *last_departure_ + fast_flush;
    return Instant::min();  // at once
}

Pacer::Departure Pacer::poll_fast(Instant now, std::size_t waiting) {
    if (waiting == 0) return {};
    // A clock that steps back must not hold data longer than one flush.
    if (last_departure_ && now >= *last_departure_ && now < *last_departure_ + fast_flush) return {};
    last_departure_ = now;
    return {.data = waiting, .padding = 0};
}

Pacer::Departure Pacer::poll_shaped(Instant now, std::size_t waiting) {
    if (!next_tick_) {
        if (waiting == 0) return {};
        start_train(now);
    }
    follow_clock_back(now);
    Departure out;
    while (next_tick_ && *next_tick_ <= now) {
        const Instant at = *next_tick_;
        const std::size_t left = waiting - out.data;
        if (left > 0) train_until_ = at + tail_;
        if (left == 0 && at > train_until_) {
            next_tick_.reset();
            break;
        }
        maybe_change_class(at, left);
        const std::size_t real = std::min(left, cells_per_tick());
        out.data += real;
        out.padding += cells_per_tick() - real;
        *next_tick_ += tick;
        // A driver that slept must not send a burst that says so: missed ticks are gone.
        if (*next_tick_ <= now) *next_tick_ += tick * ((now - *next_tick_) / tick + 1);
    }
    return out;
}

Instant Pacer::next_grid_point(Instant now) const {
    auto into = (now.time_since_epoch() - phase_) % tick;
    if (into < Duration::zero()) into += tick;
    return into == Duration::zero() ? now : now + (tick - into);
}

void Pacer::start_train(Instant now) {
    // The first tick is the next point of this pacer's own grid, wherever in the interval the data came.
    next_tick_ = next_grid_point(now);
    class_until_ = *next_tick_ + rng_.between(class_hold_min, class_hold_max);
    // Drawn once a train, so that how much randomness is used does not depend on when data came.
    tail_ = std::clamp(rng_.exponential(tail_mean), tail_min, tail_max);
    train_until_ = *next_tick_ + tail_;
}

void Pacer::follow_clock_back(Instant now) {
    // The next tick is never further away than one interval, unless the clock went back: then the whole train does.
    if (*next_tick_ - now <= tick) return;
    const Duration back = *next_tick_ - next_grid_point(now);
    *next_tick_ -= back;
    class_until_ -= back;
    train_until_ -= back;
}

void Pacer::maybe_change_class(Instant tick_at, std::size_t waiting) {
    if (tick_at < class_until_) return;
    class_until_ = tick_at + rng_.between(class_hold_min, class_hold_max);
    // More than a second's worth waits: go faster. Nothing waits: slower. Between: stay.
    const auto rate = static_cast<std::size_t>(class_);
    if (waiting > rate) {
        class_ = class_ == PacerClass::five ? PacerClass::ten : PacerClass::twenty;
    } else if (waiting == 0) {
        class_ = class_ == PacerClass::twenty ? PacerClass::ten : PacerClass::five;
    }
}

}  // namespace shoal
