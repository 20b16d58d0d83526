#include "engine_worker/shard_table.h"

#include <algorithm>

namespace shoal::engine_worker {
namespace {

constexpr Architecture table[] = {
    {.name = "deepseek"},
    // 26, 27 and 48 blocks are "lite" models to the library: other tensors, no compressed queries.
    {.name = "deepseek2", .telling_counts = {26, 27, 48}, .needed_key = "attention.q_lora_rank"},
    {.name = "exaone", .divides_as = "exaone"},
    {.name = "gemma", .scales_embedding = true, .entry = "inp_scaled"},
    // 46 blocks (gemma2) or 62 (gemma3) are the 27 B model: attention is scaled by another rule.
    {.name = "gemma2",
     .window_period = 2,
     .scales_embedding = true,
     .entry = "inp_scaled",
     .bends_logits = true,
     .telling_counts = {46}},
    {.name = "gemma3",
     .window_period = 6,
     .window_is_optional = true,
     .scales_embedding = true,
     .entry = "inp_scaled",
     .telling_counts = {62}},
    {.name = "glm4"},
    {.name = "internlm2", .divides_as = "llama"},
    {.name = "llama", .divides_as = "llama"},
    {.name = "mamba", .recurrent = true},
    {.name = "mamba2", .recurrent = true},
    {.name = "mistral3", .divides_as = "mistral3"},
    {.name = "phi3"},
    {.name = "qwen2", .divides_as = "seed_oss"},
    {.name = "qwen3", .divides_as = "qwen3"},
    {.name = "qwen3moe"},
    {.name = "seed_oss", .divides_as = "seed_oss"},
    // Every fourth block turns no positions.
    {.name = "smollm3", .cut_multiple = 4, .divides_as = "smollm3"},
    {.name = "starcoder2", .centred_norm = true},
};

bool is_telling(const Architecture& kind, std::uint32_t count) {
    return count != 0 &&
           std::find(kind.telling_counts.begin(), kind.telling_counts.end(), count) != kind.telling_counts.end();
}

std::string stage_name(LayerRange range) {
    return "blocks " + std::to_string(range.first) + " to " + std::to_string(range.end);
}

}  // namespace

const Architecture* find_architecture(std::string_view name) {
    const auto* found = std::find_if(std::begin(table), std::end(table),
                                     [name](const Architecture& kind) { return kind.name == name; });
    return found == std::end(table) ? nullptr : found;
}

std::string architecture_names() {
    std::string out;
    for (const Architecture& kind : table) out += (out.empty() ? "" : ", ") + std::string(kind.name);
    return out;
}

std::string dividing_architecture_names() {
    std::string out;
    for (const Architecture& kind : table) {
        if (!kind.divides_as.empty()) out += (out.empty() ? "" : ", ") + std::string(kind.name);
    }
    return out;
}

Status check_layers(const Architecture& kind, std::uint32_t layers) {
    if (layers == 0) return fail(Errc::unsupported, "the model has no blocks");
    if (!is_telling(kind, layers)) return ok();
    return fail(Errc::unsupported, std::string(kind.name) + " of " + std::to_string(layers) +
                                       " blocks cannot be cut: the inference library knows this model by its number "
                                       "of blocks; run it whole");
}

Status check_range(const Architecture& kind, std::uint32_t layers, LayerRange range, const std::vector<bool>& slides) {
    const std::string what = stage_name(range) + " cannot be a stage of this " + std::string(kind.name) + " model: ";
    if (range.first >= range.end || range.end > layers) {
        return fail(Errc::invalid, what + "it has the blocks 0 to " + std::to_string(layers) +
                                       ", and any [a, b) with 0 "
                                       "<= a < b is allowed");
    }
    if (range.first % kind.cut_multiple != 0 || (range.end % kind.cut_multiple != 0 && range.end != layers)) {
        return fail(Errc::invalid, what + "cuts at multiples of " + std::to_string(kind.cut_multiple) + " are allowed");
    }
    if (is_telling(kind, range.count())) {
        return fail(Errc::invalid, what + std::to_string(range.count()) +
                                       " blocks would be taken for another model; any other number is allowed");
    }
    const auto begin = slides.begin();
    if (std::find(slides.begin(), slides.end(), true) == slides.end() ||
        std::find(begin + range.first, begin + range.end, true) != begin + range.end) {
        return ok();
    }
    return fail(Errc::invalid,
                what + "none of them looks at a sliding window; any stage that holds one that does is allowed");
}

}  // namespace shoal::engine_worker
