// Rows of a model's embedding, looked up without the model: what the first stage is fed with.
//
// The coordinator reads the few rows that it needs from the file, so it holds neither the table nor a stage.
#pragma once

#include <span>
#include <vector>

#include "engine_worker/shard.h"

namespace shoal::engine_worker {

class Embedding {
public:
    // Errc::unsupported: a type of tensor that cannot be turned into numbers.
    static Result<Embedding> open(const WholeModel& model);

    std::uint32_t width() const { return width_; }
    // f32 [tokens, width], row after row, as the model stores them: a Stage scales them where its architecture asks for
    // it. Errc::invalid: no such token. Errc::io.
    Result<std::vector<float>> rows(std::span<const std::int32_t> tokens) const;

private:
    GgufTensor tensor_;
    ReadAt read_;
    std::uint32_t width_ = 0;
    std::uint32_t vocabulary_ = 0;
};

}  // namespace shoal::engine_worker
