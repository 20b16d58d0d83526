// The library's memory of a sequence as a KvCopy, and a KvCopy as the memory of a sequence.
//
// One thread, the context's.
#pragma once

#include <llama.h>

#include "engine_worker/kv_copy.h"

namespace shoal::engine_worker {

// Errors as of KvCopy::read.
Result<KvCopy> copy_sequence(llama_context* context, llama_seq_id sequence);
// What the sequence held before is forgotten. Errc::exhausted: the library has no room; it holds nothing then.
Status place_sequence(llama_context* context, llama_seq_id sequence, const KvCopy& copy);

// What sequence 0 holds, a token or more, is read, made anew, put back and read again. The shape of it, where that
// gives the same bytes and the memory holds all that matters: plain attention in every layer. It stays in sequence 0.
std::optional<KvShape> learn_kv_shape(const llama_model* model, llama_context* context);

}  // namespace shoal::engine_worker
