#include "base/rng.h"

#include <cmath>

#include "base/assert.h"

namespace shoal {

std::uint64_t Rng::u64() {
    std::uint8_t raw[8];
    fill(raw);
    return load_le<std::uint64_t>(raw);
}

std::uint64_t Rng::below(std::uint64_t bound) {
    ASSERT(bound > 0);
    // Values below `threshold` = 2^64 mod bound would make the low residues likelier; draw again.
    const std::uint64_t threshold = (0 - bound) % bound;
    for (;;) {
        const std::uint64_t v = u64();
        if (v >= threshold) return v % bound;
    }
}

double Rng::uniform() {
    return static_cast<double>(u64() >> 11) * 0x1.0p-53;
}

Duration Rng::between(Duration low, Duration high) {
    ASSERT(low < high);
    return low + Duration(static_cast<Duration::rep>(below(static_cast<std::uint64_t>((high - low).count()))));
}

Duration Rng::exponential(Duration mean) {
    return from_seconds(-to_seconds(mean) * std::log1p(-uniform()));
}

}  // namespace shoal
