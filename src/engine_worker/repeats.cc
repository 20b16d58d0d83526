#include "engine_worker/repeats.h"

#include <algorithm>

namespace shoal::engine_worker {

std::vector<llama_token> Repeats::draft(llama_seq_id, std::span<const llama_token> tokens, std::size_t count,
                                        const Sampler&) {
    if (tokens.size() > tokens_searched_max) tokens = tokens.last(tokens_searched_max);
    for (std::size_t length = pattern_max; length >= pattern_min && count > 0; --length) {
        if (tokens.size() <= length) continue;
        const std::span<const llama_token> pattern = tokens.last(length);
        // The latest place but the end itself.
        const std::span<const llama_token> earlier = tokens.first(tokens.size() - 1);
        const auto at = std::find_end(earlier.begin(), earlier.end(), pattern.begin(), pattern.end());
        if (at == earlier.end()) continue;
        const auto from = static_cast<std::size_t>(at - earlier.begin()) + length;
        const std::span<const llama_token> guess = tokens.subspan(from, std::min(count, tokens.size() - from));
        return {guess.begin(), guess.end()};
    }
    return {};
}

}  // namespace shoal::engine_worker
