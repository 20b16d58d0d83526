// Arithmetic in GF(2^8) modulo x^8+x^4+x^3+x^2+1 (0x11D), for secret sharing and erasure coding.
//
// Polynomials of degree < k are given by values at k points; lagrange_row says how a value at another point follows.
// Matrices are applied to whole byte rows at once by ISA-L's vector code.
#pragma once

#include <span>
#include <vector>

#include "base/bytes.h"

namespace shoal::crypto {

// For public values only (indices, matrix entries): the time may depend on them.
std::uint8_t gf_mul(std::uint8_t a, std::uint8_t b);
std::uint8_t gf_inverse(std::uint8_t a);  // a != 0

// Coefficients c with p(at) = sum of c[j] * p(points[j]) for every polynomial p of degree < points.size().
// The points differ from one another.
std::vector<std::uint8_t> lagrange_row(ByteView points, std::uint8_t at);

// Rows of vector code below this length are done by table look-up, which would leak secret bytes to a neighbour on the
// same processor's cache. Secrets are padded to it.
inline constexpr std::size_t gf_row_bytes_min = 64;

// A matrix, prepared for rows of bytes: outputs[r] = sum over c of m[r][c] * inputs[c].
class GfMatrix {
public:
    // `entries` is row-major, rows * columns of them; at most 32 of each.
    GfMatrix(ByteView entries, std::size_t rows, std::size_t columns);
    // `columns` inputs and `rows` outputs of `length` bytes each; outputs are apart from inputs.
    void apply(std::span<const std::uint8_t* const> inputs, std::span<std::uint8_t* const> outputs,
               std::size_t length) const;

private:
    std::size_t rows_;
    std::size_t columns_;
    std::vector<std::uint8_t> tables_;
};

}  // namespace shoal::crypto
