#include "engine_worker/activation.h"

#include <ggml.h>

#include <algorithm>
#include <cmath>

namespace shoal::engine_worker {
namespace {

ggml_type library_type(wire::ActivationType type) {
    switch (type) {
        case wire::ActivationType::f32: return GGML_TYPE_F32;
        case wire::ActivationType::f16: return GGML_TYPE_F16;
        case wire::ActivationType::q8_0: return GGML_TYPE_Q8_0;
    }
    return GGML_TYPE_F32;
}

bool all_finite(std::span<const float> numbers) {
    return std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); });
}

}  // namespace

Result<std::vector<float>> from_activation(wire::ActivationType type, std::uint32_t width, ByteView tensor) {
    const std::size_t row_bytes = wire::activation_row_bytes(type, width);
    if (tensor.empty() || tensor.size() % row_bytes != 0) return fail(Errc::invalid, "the tensor is no whole rows");
    const std::size_t rows = tensor.size() / row_bytes;
    std::vector<float> out(rows * width);
    if (type == wire::ActivationType::f32) {
        std::memcpy(out.data(), tensor.data(), tensor.size());
    } else {
        const ggml_to_float_t convert = ggml_get_type_traits(library_type(type))->to_float;
        convert(tensor.data(), out.data(), static_cast<std::int64_t>(out.size()));
    }
    if (!all_finite(out)) return fail(Errc::invalid, "the rows hold numbers that are none");
    return out;
}

Result<Bytes> to_activation(wire::ActivationType type, std::uint32_t width, std::span<const float> rows) {
    ASSERT(width % 32 == 0 && rows.size() % width == 0);
    Bytes out(rows.size() / width * wire::activation_row_bytes(type, width));
    if (type == wire::ActivationType::f32) {
        if (!all_finite(rows)) return fail(Errc::invalid, "the rows hold numbers that are none");
        std::memcpy(out.data(), rows.data(), out.size());
        return out;
    }
    // Halves reach to 65,504: what lies beyond would travel as infinity.
    const float most = type == wire::ActivationType::f16 ? 65'504.0F : 127.0F * 65'504.0F;
    const bool fits = std::all_of(rows.begin(), rows.end(), [most](float x) { return std::abs(x) <= most; });
    if (!fits) return fail(Errc::invalid, "the rows hold numbers that are none, or too large for how they travel");
    ggml_quantize_chunk(library_type(type), rows.data(), out.data(), 0, static_cast<std::int64_t>(rows.size() / width),
                        width, nullptr);
    return out;
}

}  // namespace shoal::engine_worker
