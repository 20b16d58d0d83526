// What guesses tokens ahead: a smaller model (draft_model.h), or what the conversation repeats (repeats.h).
//
// A guess costs nothing but time where it is wrong: the batcher keeps a token only when the sampler finds the same one
// from the model's own logits. One thread.
#pragma once

#include <llama.h>

#include <span>
#include <vector>

#include "engine_worker/sampler.h"

namespace shoal::engine_worker {

class Drafter {
public:
    virtual ~Drafter() = default;
    // At most `count` tokens that may follow `tokens`, the prompt and all that was said; fewer, or none, where there is
    // no guess. `next` stands before the first of them: with the noise of each position a draft that is unsure draws
    // what the model, unsure in the same way, will draw.
    virtual std::vector<llama_token> draft(llama_seq_id sequence, std::span<const llama_token> tokens,
                                           std::size_t count, const Sampler& next) = 0;
    // The sequence begins anew.
    virtual void forget(llama_seq_id sequence) = 0;
};

}  // namespace shoal::engine_worker
