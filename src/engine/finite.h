// Whether rows of a hidden state, as they travel (protocol/stage.md), are numbers: what is none would spread over every
// later row of its sequence, and be found at somebody else's.
//
// Pure; O(bytes).
#pragma once

#include "wire/stage.h"

namespace shoal::engine {

// No infinity, and nothing that is no number. Of q8_0 the scales are looked at.
bool all_finite(wire::ActivationType type, ByteView tensor);

}  // namespace shoal::engine
