#include "engine_worker/speculation.h"

#include <algorithm>

namespace shoal::engine_worker {

Guess Speculation::guess(llama_seq_id sequence, std::span<const llama_token> tokens, std::size_t most,
                         const Sampler& next) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < drafters_.size(); ++i) order.push_back(i);
    std::stable_sort(order.begin(), order.end(), [this](std::size_t a, std::size_t b) {
        return drafters_[a].length.best_rate() > drafters_[b].length.best_rate();
    });
    for (const std::size_t i : order) {
        const std::size_t count = drafters_[i].length.choose(most);
        if (count == 0) continue;
        Guess out{i, drafters_[i].drafter->draft(sequence, tokens, count, next)};
        if (!out.tokens.empty()) return out;
    }
    return {};
}

void Speculation::note(std::size_t drafter, std::size_t guessed, std::size_t right, Duration time) {
    // A round without guesses says to all what they are measured against.
    for (std::size_t i = 0; i < drafters_.size(); ++i) {
        if (guessed == 0 || i == drafter) drafters_[i].length.note(guessed, right, time);
    }
}

void Speculation::forget(llama_seq_id sequence) {
    for (Source& each : drafters_) each.drafter->forget(sequence);
}

}  // namespace shoal::engine_worker
