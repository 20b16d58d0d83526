// The end of a model without its blocks: the last norm and the head, from rows of the hidden state to logits.
//
// For a coordinator whose stages give hidden states back: so no token and no logit is on any wire, and no stage holds
// the head. A graph of our own of four to seven nodes, since the library knows no model without blocks; its weights lie
// in the same kind of buffer that the library would choose, so the logits are the same to the last bit.
//
// One thread calls; `threads` compute.
#pragma once

#include <ggml-cpp.h>

#include <memory>
#include <span>
#include <vector>

#include "engine_worker/shard.h"

namespace shoal::engine_worker {

class Head {
public:
    // Reads norm and head. Call load_backends() before. Errc::unsupported: something about the head that is not known.
    // Errc::malformed: tensors of other shapes. Errc::io, Errc::exhausted.
    static Result<std::unique_ptr<Head>> load(const WholeModel& model, std::uint32_t threads);
    ~Head();

    std::uint32_t vocabulary() const { return vocabulary_; }
    // `rows` is f32 [n, width], as a stage without a head gives them; the answer is f32 [n, vocabulary].
    // Errc::invalid: no whole rows, or numbers that are none. Errc::internal: the library failed.
    Result<std::vector<float>> logits(std::span<const float> rows);

private:
    struct Weight {
        ggml_context_ptr context;
        ggml_backend_buffer_ptr buffer;
        ggml_tensor* tensor = nullptr;
    };
    Head() = default;
    Status read_numbers(const WholeModel& model);
    Result<Weight> load_weight(const WholeModel& model, const char* name, std::uint64_t columns, std::uint64_t rows);
    ggml_tensor* build(ggml_context* context, ggml_tensor* in) const;

    std::uint32_t width_ = 0;
    std::uint32_t vocabulary_ = 0;
    float epsilon_ = 0;
    float bend_ = 0;  // 0: logits are as they come
    bool centred_ = false;
    ggml_backend_ptr backend_;
    ggml_gallocr_ptr memory_;
    Weight norm_, norm_bias_, head_, head_bias_;  // biases: where the model has them
};

}  // namespace shoal::engine_worker
