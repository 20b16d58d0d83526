// The loaded model as the backbone of a batcher: a step is computed when begin() returns.
#pragma once

#include "engine_worker/backbone.h"
#include "engine_worker/model.h"

namespace shoal::engine_worker {

class ModelBackbone final : public Backbone {
public:
    // `model` must outlive it.
    explicit ModelBackbone(Model& model);
    ~ModelBackbone() override;
    ModelBackbone(const ModelBackbone&) = delete;
    ModelBackbone& operator=(const ModelBackbone&) = delete;

    std::size_t steps_max() const override { return 1; }
    // Errc::internal: the library refused the step; the memory of all sequences is empty then.
    Status begin(std::span<const BatchRow> rows) override;
    void truncate(llama_seq_id sequence, std::uint32_t length) override;
    std::uint32_t kept_tokens_max() const override { return model_.cells; }
    std::uint32_t beside_tokens_max() const override;
    bool holds(llama_seq_id sequence, std::uint32_t length) const override;
    const KvShape* kv_shape() const override { return model_.kv ? &*model_.kv : nullptr; }
    Result<KvCopy> copy(llama_seq_id sequence) const override;
    Status place(llama_seq_id sequence, const KvCopy& copy) override;
    // Of a row of the last step that was wanted; nullptr: the library has none.
    const float* logits(std::size_t row) const;

private:
    Model& model_;
    llama_batch batch_;
};

}  // namespace shoal::engine_worker
