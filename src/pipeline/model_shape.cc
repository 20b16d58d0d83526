#include "pipeline/model_shape.h"

#include <algorithm>
#include <string>

#include "base/limits.h"

namespace shoal::pipeline {
namespace {

Error no(const std::string& why) {
    return fail(Errc::invalid, "model: " + why);
}

Status check_layer(const LayerShape& layer, std::size_t number) {
    const std::string name = "layer " + std::to_string(number) + ": ";
    if (layer.weight_bytes < 1 || layer.weight_bytes > limits::layer_bytes_max) {
        return no(name + "1 to " + std::to_string(limits::layer_bytes_max) + " bytes");
    }
    if (layer.active_bytes < 1 || layer.active_bytes > layer.weight_bytes) {
        return no(name + "a token reads at least one byte of it, and at most all");
    }
    if (layer.kv_bytes_per_token > limits::layer_kv_bytes_per_token_max) {
        return no(name + "at most " + std::to_string(limits::layer_kv_bytes_per_token_max) + " bytes of KV a token");
    }
    return ok();
}

}  // namespace

std::vector<std::uint16_t> cuts_every(std::size_t step, std::size_t layers) {
    ASSERT(step > 0 && layers <= limits::model_layers_max);
    std::vector<std::uint16_t> out;
    for (std::size_t cut = step; cut < layers; cut += step) out.push_back(static_cast<std::uint16_t>(cut));
    return out;
}

Result<ModelShape> ModelShape::make(ModelDescription description) {
    const ModelDescription& d = description;
    if (d.layers.empty() || d.layers.size() > limits::model_layers_max) {
        return no("1 to " + std::to_string(limits::model_layers_max) + " layers");
    }
    for (std::size_t i = 0; i < d.layers.size(); ++i) TRY(check_layer(d.layers[i], i));
    if (d.embedding_bytes > limits::layer_bytes_max) return no("embedding out of range");
    if (d.head_bytes > limits::layer_bytes_max) return no("head out of range");
    if (d.tied_head && d.head_bytes != d.embedding_bytes) return no("a tied head is as large as the embedding");
    if (d.hidden_size < 1 || d.hidden_size > limits::hidden_size_max) return no("hidden size out of range");
    if (!std::ranges::is_sorted(d.cuts, std::less_equal<>()) ||
        (!d.cuts.empty() && (d.cuts.front() < 1 || d.cuts.back() >= d.layers.size()))) {
        return no("cuts must ascend, each between two layers");
    }
    return ModelShape(std::move(description));
}

std::uint64_t ModelShape::weight_bytes() const {
    std::uint64_t sum = ends_bytes();
    for (const LayerShape& layer : is_.layers) sum += layer.weight_bytes;
    return sum;
}

}  // namespace shoal::pipeline
