// For fuzz targets only. What every one of this room asks: what decodes must encode to exactly the bytes that were
// read.
#pragma once

#include <algorithm>

#include "base/assert.h"
#include "base/bytes.h"

namespace shoal::wire {

inline void expect_same(ByteView in, ByteView again) {
    ASSERT(std::equal(in.begin(), in.end(), again.begin(), again.end()));
}

// Decodes, and if that succeeds encodes again and compares.
template <typename Decode>
void expect_canonical(ByteView in, Decode decode) {
    if (const auto m = decode(in)) expect_same(in, encode(*m));
}

}  // namespace shoal::wire
