// What computes the layers for a batcher: the loaded model itself (model_backbone.h), or stages on other machines
// (lead_backbone.h).
//
// One thread.
#pragma once

#include <llama.h>

#include <span>

#include "base/result.h"
#include "engine_worker/kv_copy.h"
#include "wire/stage.h"

namespace shoal::engine_worker {

struct BatchRow {
    llama_token token = 0;
    std::uint32_t position = 0;
    llama_seq_id sequence = 0;
    bool wanted = false;  // its logits are
};

// For a model of this width: attention passes over the cells of all sequences, also those that it has nothing to do
// with. Measured with widths 256 and 1024 (5 % slower beside 900 and 2100 tokens); the wider, the less a cell counts.
inline std::uint32_t beside_tokens(std::uint32_t width) {
    return 512 + width;
}

class Backbone {
public:
    virtual ~Backbone() = default;
    // Steps that may be under way at once, at least 1. What is under way ends in the order in which it began.
    virtual std::size_t steps_max() const = 0;
    // At most limits::prefill_chunk_tokens rows; those of a sequence follow on from what it holds.
    virtual Status begin(std::span<const BatchRow> rows) = 0;
    // Forgets what the sequence holds from `length` on.
    virtual void truncate(llama_seq_id sequence, std::uint32_t length) = 0;
    // Tokens that sequences without a job may go on holding, all together.
    virtual std::uint32_t kept_tokens_max() const { return 0; }
    // Tokens of other sequences beside which one is computed at most a twentieth slower.
    virtual std::uint32_t beside_tokens_max() const { return UINT32_MAX; }
    // Whether the sequence holds just the first `length` tokens that it was given.
    virtual bool holds(llama_seq_id /*sequence*/, std::uint32_t /*length*/) const { return false; }

    // nullptr: nothing can be put into a sequence.
    virtual const KvShape* kv_shape() const { return nullptr; }
    // Of a snapshot that can be moved.
    virtual std::uint64_t moved_bytes_max() const { return limits::prefix_snapshot_bytes_max; }
    virtual Result<KvCopy> copy(llama_seq_id /*sequence*/) const {
        return fail(Errc::unsupported, "sequences cannot be copied");
    }
    // In place of what the sequence holds. After an error it holds nothing. Only where moves_by_steps() is not so.
    virtual Status place(llama_seq_id /*sequence*/, const KvCopy& /*copy*/) {
        return fail(Errc::unsupported, "nothing can be put into a sequence");
    }
    // Where sequences are elsewhere: a copy is put there in pieces, from token 0 on, and what is there is read in
    // pieces. Each is a step and ends as one.
    virtual bool moves_by_steps() const { return false; }
    // Of the copy from token `from` on; gives how many tokens. From 0 on: in place of what the sequence holds.
    virtual std::uint32_t begin_place(llama_seq_id /*sequence*/, const KvCopy& /*copy*/, std::uint32_t /*from*/) {
        return 0;
    }
    virtual void begin_read(const wire::StageReadOf& /*of*/) {}
};

}  // namespace shoal::engine_worker
