// Randomness as an argument. crypto/rng.h has the operating system's source and a seeded one for tests and simulation.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/time.h"

namespace shoal {

class Rng {
public:
    virtual ~Rng() = default;
    // Fills `out` with bytes that an observer of all earlier output cannot predict (seeded sources: only without the
    // seed).
    virtual void fill(ByteSpan out) = 0;

    template <std::size_t N>
    ByteArray<N> array() {
        ByteArray<N> out;
        fill(out);
        return out;
    }
    template <typename Id>
    Id id() {
        return Id(array<Id::size>());
    }
    std::uint64_t u64();
    // Uniform in [0, bound), without bias; bound > 0.
    std::uint64_t below(std::uint64_t bound);
    // Uniform in [0, 1), 53 bits.
    double uniform();
    // Uniform in [low, high).
    Duration between(Duration low, Duration high);
    // Exponential with the given mean.
    Duration exponential(Duration mean);
};

}  // namespace shoal
