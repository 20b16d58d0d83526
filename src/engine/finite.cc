#include "engine/finite.h"

namespace shoal::engine {
namespace {

constexpr std::size_t block_bytes = 34;  // of q8_0: a scale and 32 signed bytes

// Numbers of type Bits whose exponent is not all ones, one every `stride` bytes.
template <typename Bits>
bool are_finite(ByteView tensor, std::size_t stride, Bits exponent) {
    for (std::size_t at = 0; at + sizeof(Bits) <= tensor.size(); at += stride) {
        if ((load_le<Bits>(tensor.data() + at) & exponent) == exponent) return false;
    }
    return true;
}

}  // namespace

bool all_finite(wire::ActivationType type, ByteView tensor) {
    switch (type) {
        case wire::ActivationType::f32: return are_finite<std::uint32_t>(tensor, 4, 0x7f80'0000);
        case wire::ActivationType::f16: return are_finite<std::uint16_t>(tensor, 2, 0x7c00);
        case wire::ActivationType::q8_0: return are_finite<std::uint16_t>(tensor, block_bytes, 0x7c00);
    }
    return false;
}

}  // namespace shoal::engine
