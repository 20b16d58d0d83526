#include "engine_worker/model_backbone.h"

#include <algorithm>

#include "engine_worker/library_kv.h"

namespace shoal::engine_worker {

ModelBackbone::ModelBackbone(Model& model)
    : model_(model), batch_(llama_batch_init(static_cast<std::int32_t>(limits::prefill_chunk_tokens), 0, 1)) {}

ModelBackbone::~ModelBackbone() {
    llama_batch_free(batch_);
}

Status ModelBackbone::begin(std::span<const BatchRow> rows) {
    ASSERT(rows.size() <= limits::prefill_chunk_tokens);
    batch_.n_tokens = static_cast<std::int32_t>(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        batch_.token[i] = rows[i].token;
        batch_.pos[i] = static_cast<llama_pos>(rows[i].position);
        batch_.n_seq_id[i] = 1;
        batch_.seq_id[i][0] = rows[i].sequence;
        batch_.logits[i] = rows[i].wanted ? 1 : 0;
    }
    if (llama_decode(model_.context.get(), batch_) == 0) return ok();
    llama_memory_clear(llama_get_memory(model_.context.get()), true);
    return fail(Errc::internal, "the model cannot be computed");
}

void ModelBackbone::truncate(llama_seq_id sequence, std::uint32_t length) {
    llama_memory_seq_rm(llama_get_memory(model_.context.get()), sequence, static_cast<llama_pos>(length), -1);
}

std::uint32_t ModelBackbone::beside_tokens_max() const {
    return beside_tokens(static_cast<std::uint32_t>(std::max(llama_model_n_embd(model_.weights.get()), 0)));
}

bool ModelBackbone::holds(llama_seq_id sequence, std::uint32_t length) const {
    llama_memory_t memory = llama_get_memory(model_.context.get());
    return llama_memory_seq_pos_min(memory, sequence) == 0 &&
           llama_memory_seq_pos_max(memory, sequence) == static_cast<llama_pos>(length) - 1;
}

Result<KvCopy> ModelBackbone::copy(llama_seq_id sequence) const {
    return copy_sequence(model_.context.get(), sequence);
}

Status ModelBackbone::place(llama_seq_id sequence, const KvCopy& copy) {
    return place_sequence(model_.context.get(), sequence, copy);
}

const float* ModelBackbone::logits(std::size_t row) const {
    return llama_get_logits_ith(model_.context.get(), static_cast<std::int32_t>(row));
}

}  // namespace shoal::engine_worker
