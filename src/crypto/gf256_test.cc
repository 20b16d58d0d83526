#include "crypto/gf256.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "crypto/rng.h"

namespace shoal::crypto {
namespace {

// The definition: shift and add, reduced by 0x11D.
std::uint8_t slow_mul(std::uint8_t a, std::uint8_t b) {
    unsigned product = 0;
    for (unsigned bit = 0; bit < 8; ++bit) {
        if ((b >> bit & 1U) != 0) product ^= unsigned{a} << bit;
    }
    for (unsigned bit = 15; bit >= 8; --bit) {
        if ((product >> bit & 1U) != 0) product ^= 0x11DU << (bit - 8);
    }
    return static_cast<std::uint8_t>(product);
}

TEST(Gf256, MultiplicationAndInverseFollowTheDefinition) {
    for (unsigned a = 0; a < 256; ++a) {
        for (unsigned b = 0; b < 256; ++b) {
            const auto x = static_cast<std::uint8_t>(a);
            const auto y = static_cast<std::uint8_t>(b);
            ASSERT_EQ(gf_mul(x, y), slow_mul(x, y)) << a << " * " << b;
        }
        if (a != 0) {
            const auto x = static_cast<std::uint8_t>(a);
            EXPECT_EQ(gf_mul(x, gf_inverse(x)), 1);
        }
    }
}

// All lengths around the widths of the vector code.
TEST(Gf256, AMatrixAppliesToEveryByteOfItsRows) {
    SeededRng rng(1);
    for (const std::size_t length : {1U, 31U, 32U, 33U, 63U, 64U, 65U, 127U, 1290U}) {
        Bytes entries(6);
        rng.fill(entries);
        std::vector<Bytes> in(3, Bytes(length));
        std::vector<Bytes> out(2, Bytes(length));
        for (Bytes& row : in) rng.fill(row);
        const std::uint8_t* const inputs[] = {in[0].data(), in[1].data(), in[2].data()};
        std::uint8_t* const outputs[] = {out[0].data(), out[1].data()};
        GfMatrix(entries, 2, 3).apply(inputs, outputs, length);
        for (std::size_t r = 0; r < 2; ++r) {
            for (std::size_t i = 0; i < length; ++i) {
                std::uint8_t expected = 0;
                for (std::size_t c = 0; c < 3; ++c) expected ^= slow_mul(entries[3 * r + c], in[c][i]);
                ASSERT_EQ(out[r][i], expected) << length << ' ' << r << ' ' << i;
            }
        }
    }
}

RC_GTEST_PROP(Gf256, ALagrangeRowEvaluatesThePolynomial, ()) {
    const auto coefficients = *rc::gen::nonEmpty<Bytes>();
    RC_PRE(coefficients.size() <= 16);
    const auto evaluate = [&](std::uint8_t x) {
        std::uint8_t value = 0;
        for (std::size_t i = coefficients.size(); i-- > 0;) value = slow_mul(value, x) ^ coefficients[i];
        return value;
    };
    const auto at = *rc::gen::arbitrary<std::uint8_t>();
    const auto first = *rc::gen::arbitrary<std::uint8_t>();
    Bytes points;
    for (std::size_t i = 0; i < coefficients.size(); ++i) points.push_back(static_cast<std::uint8_t>(first + 13 * i));
    const auto row = lagrange_row(points, at);
    std::uint8_t value = 0;
    for (std::size_t j = 0; j < points.size(); ++j) value ^= slow_mul(row[j], evaluate(points[j]));
    RC_ASSERT(value == evaluate(at));
}

}  // namespace
}  // namespace shoal::crypto
