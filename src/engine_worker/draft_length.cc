#include "engine_worker/draft_length.h"

#include <algorithm>
#include <cmath>

namespace shoal::engine_worker {
namespace {

constexpr double weight_of_new = 0.2;  // of a round's time
constexpr double kept = 0.97;          // of the sums of right and wrong, a round

}  // namespace

// The longest of the scale that is no longer.
std::size_t DraftLength::place_of(std::size_t length) {
    const auto behind = std::upper_bound(lengths.begin(), lengths.end(), length);
    return static_cast<std::size_t>(behind - lengths.begin()) - 1;
}

double DraftLength::seconds(std::size_t place) const {
    for (std::size_t i = place + 1; i > 0; --i) {
        if (rounds_[i - 1].known) return rounds_[i - 1].seconds;
    }
    return 0;
}

double DraftLength::rate_at(std::size_t place) const {
    const double time = seconds(place);
    if (time <= 0) return 0;
    const double share = std::min(right_share(), 0.999);
    return (1 - std::pow(share, static_cast<double>(lengths[place] + 1))) / (1 - share) / time;
}

std::size_t DraftLength::best(std::size_t places) const {
    std::size_t out = 0;
    for (std::size_t i = 1; i < places; ++i) {
        if (rate_at(i) > rate_at(out)) out = i;
    }
    return out;
}

std::size_t DraftLength::choose(std::size_t most) {
    const std::size_t places = place_of(most) + 1;
    if (!rounds_[0].known) return 0;  // what a plain round takes is asked first
    const std::size_t now = best(places);
    if ((now == 0) != (chosen_ == 0)) pause_ = probe_pause_min;
    chosen_ = now;
    if (count_ < probe_at_) return lengths[now];
    probe_at_ = count_ + pause_;
    pause_ = std::min(2 * pause_, probe_pause_max);
    std::size_t oldest = 0;
    for (std::size_t i = 1; i < places; ++i) {
        if (rounds_[i].measured_at < rounds_[oldest].measured_at) oldest = i;
    }
    return lengths[oldest];
}

void DraftLength::note(std::size_t guessed, std::size_t right, Duration time) {
    ++count_;
    Round& round = rounds_[place_of(guessed)];
    const double seconds = std::chrono::duration<double>(time).count();
    round.seconds += (seconds - round.seconds) * (round.known ? weight_of_new : 1.0);
    round.known = true;
    round.measured_at = count_;
    if (guessed == 0) return;
    right_ = right_ * kept + static_cast<double>(right);
    wrong_ = wrong_ * kept + (right < guessed ? 1.0 : 0.0);
    wrong_ = std::max(wrong_, 0.001);
}

}  // namespace shoal::engine_worker
