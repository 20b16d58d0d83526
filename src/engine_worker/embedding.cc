#include "engine_worker/embedding.h"

#include <ggml.h>

namespace shoal::engine_worker {

Result<Embedding> Embedding::open(const WholeModel& model) {
    Embedding out;
    out.tensor_ = model.embedding();
    out.read_ = model.read();
    out.width_ = model.shape().width;
    out.vocabulary_ = model.shape().vocabulary;
    ASSERT(out.tensor_.type < GGML_TYPE_COUNT);  // read_gguf() asked the library
    const auto type = static_cast<ggml_type>(out.tensor_.type);
    if (type != GGML_TYPE_F32 && ggml_get_type_traits(type)->to_float == nullptr) {
        return fail(Errc::unsupported, std::string("an embedding of type ") + ggml_type_name(type) + " cannot be read");
    }
    return out;
}

Result<std::vector<float>> Embedding::rows(std::span<const std::int32_t> tokens) const {
    const auto type = static_cast<ggml_type>(tensor_.type);
    Bytes row(tensor_.bytes / vocabulary_);
    std::vector<float> out(tokens.size() * width_);
    float* to = out.data();
    for (std::int32_t token : tokens) {
        if (token < 0 || static_cast<std::uint32_t>(token) >= vocabulary_) {
            return fail(Errc::invalid, "the model has no token " + std::to_string(token));
        }
        if (!read_(tensor_.offset + static_cast<std::uint64_t>(token) * row.size(), row)) {
            return fail(Errc::io, "the model file cannot be read");
        }
        if (type == GGML_TYPE_F32) {
            std::memcpy(to, row.data(), row.size());
        } else {
            ggml_get_type_traits(type)->to_float(row.data(), to, width_);
        }
        to += width_;
    }
    return out;
}

}  // namespace shoal::engine_worker
