#include "engine_worker/offload.h"

#include <ggml-backend.h>
#include <ggml.h>

#include <algorithm>
#include <charconv>

#include "base/codec.h"
#include "base/limits.h"
#include "engine_worker/gguf_writer.h"

namespace shoal::engine_worker {
namespace {

constexpr std::uint64_t value_bytes_max = 64 * 1024;
constexpr std::uint64_t mib = 1 << 20;
// What stays free: the driver's own buffers and compiled programs, and what else draws on that screen.
constexpr std::uint64_t left_to_others = 128 * mib;
constexpr std::uint64_t left_to_others_part = 16;
// Rows of intermediate results that live at a time, of the model's width and of the feed-forward layer's.
constexpr std::uint64_t wide_rows = 16;
constexpr std::uint64_t inner_rows = 6;
// Sizes come from a stranger's file: what is larger counts as this, so that no product leaves 64 bits.
constexpr std::uint64_t number_max = 1 << 20;
constexpr std::uint64_t cache_numbers_max = 1 << 24;
constexpr std::uint64_t state_bytes_max = 1ULL << 40;

// Numbers of a layer's keys and values together.
std::uint64_t cache_numbers(const Gguf& gguf, const ReadAt& read) {
    const std::uint64_t width = number_of(gguf, read, "embedding_length", 0);
    const std::uint64_t heads = std::max<std::uint64_t>(number_of(gguf, read, "attention.head_count", 1), 1);
    const std::uint64_t kv_heads = number_of(gguf, read, "attention.head_count_kv", heads);
    const std::uint64_t head = (width + heads - 1) / heads;
    const std::uint64_t numbers =
        number_of(gguf, read, "attention.key_length", head) + number_of(gguf, read, "attention.value_length", head);
    return std::min(kv_heads * numbers, cache_numbers_max);
}

std::uint64_t cache_bytes(std::uint64_t numbers, bool small_cache) {
    const ggml_type type = small_cache ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
    const auto block = static_cast<std::uint64_t>(ggml_blck_size(type));
    return (numbers + block - 1) / block * ggml_type_size(type);
}

// What a sequence takes in a layer of a recurrent model.
std::uint64_t state_bytes(const Gguf& gguf, const ReadAt& read) {
    const std::uint64_t inner = number_of(gguf, read, "ssm.inner_size", 0);
    const std::uint64_t state = number_of(gguf, read, "ssm.state_size", 0);
    const std::uint64_t groups = std::min<std::uint64_t>(number_of(gguf, read, "ssm.group_count", 0), 1 << 10);
    const std::uint64_t kernel = std::min<std::uint64_t>(number_of(gguf, read, "ssm.conv_kernel", 0), 1 << 10);
    return std::min(sizeof(float) * (kernel * (inner + 2 * groups * state) + state * inner), state_bytes_max);
}

std::uint64_t elements(const GgufTensor& tensor) {
    std::uint64_t out = 1;
    for (const std::uint64_t size : tensor.dims) out *= size;
    return out;
}

// The number in "blk.NUMBER.…"; nullopt: of no layer.
std::optional<std::uint64_t> layer_of(std::string_view name) {
    constexpr std::string_view prefix = "blk.";
    if (!name.starts_with(prefix)) return std::nullopt;
    std::uint64_t out = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, out);
    return error == std::errc() && stop != end && *stop == '.' ? std::optional(out) : std::nullopt;
}

std::string mib_text(std::uint64_t bytes) {
    return std::to_string((bytes + mib - 1) / mib) + " MiB";
}

std::uint64_t needed(const GpuSizes& sizes, std::uint32_t count) {
    std::uint64_t out = sizes.head + sizes.buffers;
    for (std::size_t i = sizes.layers.size() - count; i < sizes.layers.size(); ++i) out += sizes.layers[i];
    return out;
}

std::uint64_t usable(std::uint64_t free_bytes) {
    const std::uint64_t kept = left_to_others + free_bytes / left_to_others_part;
    return free_bytes > kept ? free_bytes - kept : 0;
}

}  // namespace

std::uint64_t number_of(const Gguf& gguf, const ReadAt& read, std::string_view name, std::uint64_t otherwise) {
    const std::string key = gguf.architecture + "." + std::string(name);
    const auto pair = std::lower_bound(gguf.metadata.begin(), gguf.metadata.end(), key,
                                       [](const GgufPair& p, const std::string& k) { return p.key < k; });
    if (pair == gguf.metadata.end() || pair->key != key || pair->bytes > value_bytes_max) return otherwise;
    Bytes raw(pair->bytes);
    if (!read(pair->offset, raw)) return otherwise;
    Reader in(raw);
    auto type = static_cast<GgufType>(in.u32());
    std::uint64_t count = 1;
    if (type == GgufType::array) {
        type = static_cast<GgufType>(in.u32());
        count = in.u64();
    }
    const ByteView data = in.rest();
    const std::size_t bytes = gguf_value_bytes(type);
    if (bytes == 0 || type == GgufType::f32 || type == GgufType::f64 || count > data.size() / bytes) return otherwise;
    std::uint64_t out = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        std::uint8_t wide[8] = {};
        std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(i * bytes), bytes, wide);
        out = std::max(out, std::min(load_le<std::uint64_t>(wide), number_max));
    }
    return count == 0 ? otherwise : out;
}

std::uint64_t cache_bytes_per_token(const Gguf& gguf, const ReadAt& read, bool small_cache) {
    const std::uint64_t layers = std::min<std::uint64_t>(number_of(gguf, read, "block_count", 1), 1 << 16);
    return std::max<std::uint64_t>(layers * cache_bytes(cache_numbers(gguf, read), small_cache), 1);
}

Result<GpuSizes> gpu_sizes(const Gguf& gguf, const ReadAt& read, const ContextSizes& context) {
    const std::uint64_t layers = number_of(gguf, read, "block_count", 0);
    if (layers == 0 || layers > limits::model_layers_max) {
        return fail(Errc::malformed, "a model of " + std::to_string(layers) + " layers cannot be divided with a GPU");
    }
    GpuSizes out;
    const std::uint64_t cache = context.cells * cache_bytes(cache_numbers(gguf, read), context.small_cache) +
                                context.sequences * state_bytes(gguf, read);
    out.layers.assign(layers, cache);
    std::uint64_t embedding = 0, vocabulary = 0, inner = 0, matrix = 0;
    bool has_head = false;
    for (const GgufTensor& tensor : gguf.tensors) {
        const auto layer = layer_of(tensor.name);
        if (layer) {
            if (*layer < layers) out.layers[*layer] += tensor.bytes;
            if (tensor.dims.size() > 1) inner = std::max(inner, std::max(tensor.dims[0], tensor.dims[1]));
            // Of experts one at a time is laid out anew.
            const std::uint64_t experts = tensor.dims.size() > 2 ? tensor.dims[2] : 1;
            matrix = std::max(matrix, elements(tensor) / experts);
        } else if (tensor.name == "token_embd.weight") {
            embedding = tensor.bytes;
            vocabulary = tensor.dims.back();
        } else {
            has_head = has_head || tensor.name == "output.weight";
            out.head += tensor.bytes;
        }
    }
    if (!has_head) out.head += embedding;  // it is the head, too: once more there
    const std::uint64_t width = number_of(gguf, read, "embedding_length", 0);
    const std::uint64_t heads = number_of(gguf, read, "attention.head_count", 1);
    const std::uint64_t a_row = wide_rows * width + inner_rows * inner + 2 * heads;
    out.buffers = sizeof(float) * (context.rows * a_row + context.outputs * vocabulary) +
                  (sizeof(float) + sizeof(std::uint16_t)) * context.rows * context.cells +  // who may look at whom
                  sizeof(std::uint16_t) * matrix;  // one that the driver lays out anew
    return out;
}

std::uint32_t gpu_layers(const GpuSizes& sizes, std::uint64_t free_bytes) {
    const std::uint64_t room = usable(free_bytes);
    auto count = static_cast<std::uint32_t>(sizes.layers.size());
    while (count > 0 && needed(sizes, count) > room) --count;
    return count;
}

Result<std::uint32_t> place_layers(const Offload& offload, const GpuSizes& sizes) {
    const std::uint64_t free_bytes = offload.free_bytes;
    const auto all = static_cast<std::uint32_t>(sizes.layers.size());
    const std::uint32_t fitting = gpu_layers(sizes, free_bytes);
    const std::string memory = std::to_string(usable(free_bytes) / mib) + " MiB of the " +
                               std::to_string(free_bytes / mib) + " that are free on " + offload.name + " can be used";
    if (!offload.layers) {
        if (fitting > 0) return fitting;
        return fail(Errc::invalid, "not one layer fits on the GPU: with the head, its cache and buffers it takes " +
                                       mib_text(needed(sizes, 1)) + ", and " + memory +
                                       "; choose a smaller context or leave --gpu out");
    }
    if (*offload.layers > all) {
        return fail(Errc::invalid, std::to_string(*offload.layers) + " layers cannot go to the GPU: only " +
                                       std::to_string(all) + " are computed here; choose 1 to " + std::to_string(all) +
                                       ", or auto");
    }
    if (*offload.layers <= fitting) return *offload.layers;
    return fail(Errc::invalid, std::to_string(*offload.layers) + " layers do not fit on the GPU: they take " +
                                   mib_text(needed(sizes, *offload.layers)) + ", and " + memory + "; " +
                                   std::to_string(fitting) + " would fit");
}

void set_devices(const Offload& offload, std::uint32_t layers, DeviceList& devices, llama_model_params& params) {
    devices = {offload.device, nullptr};
    params.devices = devices.data();
    // The library counts the head as one more, behind the last layer.
    params.n_gpu_layers = offload ? static_cast<std::int32_t>(layers) + 1 : 0;
}

}  // namespace shoal::engine_worker
