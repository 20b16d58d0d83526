// What computes the layers for a batcher: the loaded model itself (model_backbone.h), or stages on other machines
// (lead_backbone.h).
//
// One thread.
#pragma once

#include <llama.h>

#include <span>

#include "base/result.h"

namespace shoal::engine_worker {

struct BatchRow {
    llama_token token = 0;
    std::uint32_t position = 0;
    llama_seq_id sequence = 0;
    bool wanted = false;  // its logits are
};

class Backbone {
public:
    virtual ~Backbone() = default;
    // Steps that may be under way at once, at least 1. What is under way ends in the order in which it began.
    virtual std::size_t steps_max() const = 0;
    // At most limits::prefill_chunk_tokens rows; those of a sequence follow on from what it holds.
    virtual Status begin(std::span<const BatchRow> rows) = 0;
    // Forgets what the sequence holds from `length` on.
    virtual void truncate(llama_seq_id sequence, std::uint32_t length) = 0;
};

}  // namespace shoal::engine_worker
