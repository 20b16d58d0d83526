#include "engine/finite.h"

#include <gtest/gtest.h>

namespace shoal::engine {
namespace {

using wire::ActivationType;

constexpr std::uint32_t width = 64;

// Two rows of zeros, with these bytes from `at` on.
bool is_finite_with(ActivationType type, std::size_t at, const Bytes& bytes) {
    Bytes tensor(2 * wire::activation_row_bytes(type, width));
    std::copy(bytes.begin(), bytes.end(), tensor.begin() + static_cast<std::ptrdiff_t>(at));
    return all_finite(type, tensor);
}

TEST(Finite, WhatIsNoneIsFoundWhereverItIs) {
    for (std::size_t i = 0; i < std::size_t{2} * width; ++i) {
        EXPECT_FALSE(is_finite_with(ActivationType::f32, 4 * i, {0, 0, 0x80, 0x7f})) << i;       // infinity
        EXPECT_FALSE(is_finite_with(ActivationType::f32, 4 * i, {1, 0, 0xc0, 0xff})) << i;       // no number
        EXPECT_TRUE(is_finite_with(ActivationType::f32, 4 * i, {0xff, 0xff, 0x7f, 0xff})) << i;  // the least one
        EXPECT_FALSE(is_finite_with(ActivationType::f16, 2 * i, {0, 0xfc})) << i;
        EXPECT_FALSE(is_finite_with(ActivationType::f16, 2 * i, {1, 0x7e})) << i;
        EXPECT_TRUE(is_finite_with(ActivationType::f16, 2 * i, {0xff, 0x7b})) << i;  // 65,504
    }
    for (std::size_t block = 0; block < 4; ++block) {
        EXPECT_FALSE(is_finite_with(ActivationType::q8_0, 34 * block, {0, 0x7c})) << block;
        EXPECT_TRUE(is_finite_with(ActivationType::q8_0, 34 * block, {0xff, 0x7b, 0xff, 0xff, 0, 0x7c})) << block;
    }
}

}  // namespace
}  // namespace shoal::engine
