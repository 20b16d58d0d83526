// Rows of the hidden state as they travel between stages, and as they are computed with (protocol/stage.md).
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "wire/stage.h"

namespace shoal::engine_worker {

// f32 [rows, width]. Errc::invalid: bytes that are no whole rows, or numbers that are none.
Result<std::vector<float>> from_activation(wire::ActivationType type, std::uint32_t width, ByteView tensor);
// `rows` is f32 [n, width], `width` a multiple of 32. Errc::invalid: numbers that are none, or too large for the type.
Result<Bytes> to_activation(wire::ActivationType type, std::uint32_t width, std::span<const float> rows);

}  // namespace shoal::engine_worker
