// Which layers a GPU computes: the last ones, as many as were asked for or as its free memory takes, and the head with
// them. The processor keeps the others and the embedding.
//
// What they take is counted before anything is loaded, from the tensors as the file has them, the cache and the buffers
// that a step needs: an estimate that rounds up. Rationale: some drivers lend what they do not have and become slow, or
// end other programs; a refusal with figures is better than either.
//
// Pure but for the reader. One thread.
#pragma once

#include <llama.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "engine_worker/gguf.h"

namespace shoal::engine_worker {

// Where layers are to go. Without a device all of them stay with the processor.
struct Offload {
    ggml_backend_dev_t device = nullptr;
    std::string name;                     // of the device, for people
    std::optional<std::uint32_t> layers;  // none: as many as fit
    std::uint64_t free_bytes = 0;         // of its memory, when it was opened: behind the walls a driver cannot tell
    explicit operator bool() const { return device != nullptr; }
};

// Bytes that a GPU needs. Each layer with its part of the cache.
struct GpuSizes {
    std::vector<std::uint64_t> layers;  // first to last
    std::uint64_t head = 0;             // with the last norm, and whatever else belongs to no layer
    std::uint64_t buffers = 0;          // of a step
};

// What a context will hold.
struct ContextSizes {
    std::uint64_t cells = 0;
    std::uint64_t sequences = 0;
    std::uint64_t rows = 0;     // of a step
    std::uint64_t outputs = 0;  // rows of a step whose logits are wanted
    bool small_cache = false;   // q8_0 in place of f16
};

// The whole number under "<architecture>.<name>", of an array its largest element; `otherwise` where there is none or
// something else. Absurd ones are made smaller.
std::uint64_t number_of(const Gguf& gguf, const ReadAt& read, std::string_view name, std::uint64_t otherwise);

// Bytes that a token takes in the cache of all layers. Where layers differ the largest counts for each.
std::uint64_t cache_bytes_per_token(const Gguf& gguf, const ReadAt& read, bool small_cache);

// Errc::malformed: a model without layers, or with too many. `gguf` may be that of a shard.
Result<GpuSizes> gpu_sizes(const Gguf& gguf, const ReadAt& read, const ContextSizes& context);

// How many of the last layers fit into `free_bytes` beside head and buffers, when a part of it is left to others.
std::uint32_t gpu_layers(const GpuSizes& sizes, std::uint64_t free_bytes);

// The number of layers to put there: 1 to all. Errc::invalid, with the figures: there are fewer than were asked for, or
// they do not fit.
Result<std::uint32_t> place_layers(const Offload& offload, const GpuSizes& sizes);

// Fills in what the library is to be told. `devices` must live until the model is loaded.
using DeviceList = std::array<ggml_backend_dev_t, 2>;
void set_devices(const Offload& offload, std::uint32_t layers, DeviceList& devices, llama_model_params& params);

}  // namespace shoal::engine_worker
