// The shape of a model as a planner needs it: how large each layer is and where it may be cut. No weights, no names.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace shoal::pipeline {

struct LayerShape {
    std::uint64_t weight_bytes = 0;  // what it occupies; 1 to limits::layer_bytes_max
    std::uint64_t active_bytes = 0;  // what one token reads of it: less than all in a mixture of experts; 1 to all
    std::uint64_t kv_bytes_per_token = 0;  // at most limits::layer_kv_bytes_per_token_max; 0 for a recurrent layer
};

struct ModelDescription {
    std::vector<LayerShape> layers;     // 1 to limits::model_layers_max
    std::uint64_t embedding_bytes = 0;  // at most layer_bytes_max, as head_bytes
    std::uint64_t head_bytes = 0;
    bool tied_head = false;           // head and embedding are the same tensor: whoever holds both holds it once
    std::uint32_t hidden_size = 0;    // 1 to limits::hidden_size_max
    std::uint8_t quantisation = 0;    // ggml file type
    std::vector<std::uint16_t> cuts;  // where a stage may end: strictly ascending, each between two layers
};

// The cuts of an architecture that may be cut after every `step` layers.
std::vector<std::uint16_t> cuts_every(std::size_t step, std::size_t layers);

// A description whose numbers are within their bounds.
class ModelShape {
public:
    // Errc::invalid, naming the value and, of a layer, its number.
    static Result<ModelShape> make(ModelDescription description);

    const std::vector<LayerShape>& layers() const { return is_.layers; }
    std::uint64_t embedding_bytes() const { return is_.embedding_bytes; }
    std::uint64_t head_bytes() const { return is_.head_bytes; }
    // Of one machine that holds both.
    std::uint64_t ends_bytes() const {
        return is_.tied_head ? is_.embedding_bytes : is_.embedding_bytes + is_.head_bytes;
    }
    std::uint32_t hidden_size() const { return is_.hidden_size; }
    std::uint8_t quantisation() const { return is_.quantisation; }
    const std::vector<std::uint16_t>& cuts() const { return is_.cuts; }
    std::uint64_t weight_bytes() const;  // all of it

private:
    explicit ModelShape(ModelDescription description) : is_(std::move(description)) {}
    ModelDescription is_;
};

}  // namespace shoal::pipeline
