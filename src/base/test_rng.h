// A source that anyone can predict, for tests only: the same seed gives the same bytes.
#pragma once

#include "base/rng.h"

namespace shoal {

// SplitMix64 (Steele, Lea, Flood 2014).
class TestRng final : public Rng {
public:
    explicit TestRng(std::uint64_t seed) : state_(seed) {}
    void fill(ByteSpan out) override {
        for (std::uint8_t& byte : out) {
            if (left_ == 0) refill();
            byte = static_cast<std::uint8_t>(word_);
            word_ >>= 8;
            --left_;
        }
    }
    Bytes bytes(std::size_t count) {
        Bytes out(count);
        fill(out);
        return out;
    }

private:
    void refill() {
        state_ += 0x9E3779B97F4A7C15;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        word_ = z ^ (z >> 31);
        left_ = 8;
    }
    std::uint64_t state_;
    std::uint64_t word_ = 0;
    unsigned left_ = 0;
};

}  // namespace shoal
