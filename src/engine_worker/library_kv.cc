#include "engine_worker/library_kv.h"

#include <algorithm>

#include "base/secret.h"

namespace shoal::engine_worker {
namespace {

Bytes blob_of(llama_context* context, llama_seq_id sequence) {
    Bytes blob(llama_state_seq_get_size(context, sequence));
    const std::size_t written = llama_state_seq_get_data(context, blob.data(), blob.size(), sequence);
    if (written != blob.size()) blob.clear();
    return blob;
}

// The same rows in bytes of our own making.
KvCopy made_anew(const KvCopy& copy) {
    KvCopy out = KvCopy::blank(copy.shape(), copy.tokens());
    for (std::size_t layer = 0; layer < copy.shape().layers.size(); ++layer) {
        for (const KvSide side : {KvSide::keys, KvSide::values}) {
            const ByteView rows = copy.rows(layer, side, 0);
            std::copy(rows.begin(), rows.end(), out.rows_to_fill(layer, side).begin());
        }
    }
    return out;
}

}  // namespace

Result<KvCopy> copy_sequence(llama_context* context, llama_seq_id sequence) {
    return KvCopy::read(blob_of(context, sequence));
}

Status place_sequence(llama_context* context, llama_seq_id sequence, const KvCopy& copy) {
    llama_memory_t memory = llama_get_memory(context);
    llama_memory_seq_rm(memory, sequence, -1, -1);
    const ByteView blob = copy.blob();
    if (llama_state_seq_set_data(context, blob.data(), blob.size(), sequence) == blob.size()) return ok();
    llama_memory_seq_rm(memory, sequence, -1, -1);
    return fail(Errc::exhausted, "the library does not take what another engine computed");
}

std::optional<KvShape> learn_kv_shape(const llama_model* model, llama_context* context) {
    if (llama_model_is_recurrent(model) || llama_model_is_hybrid(model) || llama_model_n_swa(model) != 0) {
        return std::nullopt;
    }
    const Result<KvCopy> read = copy_sequence(context, 0);
    if (!read || read->shape().layers.size() != static_cast<std::size_t>(std::max(llama_model_n_layer(model), 0))) {
        return std::nullopt;
    }
    const KvCopy made = made_anew(*read);
    const ByteView before = read->blob();
    const ByteView ours = made.blob();
    if (!std::equal(before.begin(), before.end(), ours.begin(), ours.end())) return std::nullopt;
    if (!place_sequence(context, 0, made)) return std::nullopt;
    Bytes after = blob_of(context, 0);
    const bool same = std::equal(before.begin(), before.end(), after.begin(), after.end());
    wipe(after.data(), after.size());
    return same ? std::optional(read->shape()) : std::nullopt;
}

}  // namespace shoal::engine_worker
