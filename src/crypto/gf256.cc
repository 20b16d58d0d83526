#include "crypto/gf256.h"

#include <isa-l.h>

#include "base/assert.h"

namespace shoal::crypto {

std::uint8_t gf_mul(std::uint8_t a, std::uint8_t b) {
    return ::gf_mul(a, b);
}

std::uint8_t gf_inverse(std::uint8_t a) {
    ASSERT(a != 0);
    return ::gf_inv(a);
}

std::vector<std::uint8_t> lagrange_row(ByteView points, std::uint8_t at) {
    std::vector<std::uint8_t> row;
    row.reserve(points.size());
    for (std::size_t j = 0; j < points.size(); ++j) {
        std::uint8_t numerator = 1;
        std::uint8_t denominator = 1;
        for (std::size_t m = 0; m < points.size(); ++m) {
            if (m == j) continue;
            numerator = gf_mul(numerator, at ^ points[m]);
            denominator = gf_mul(denominator, points[j] ^ points[m]);
        }
        row.push_back(gf_mul(numerator, gf_inverse(denominator)));
    }
    return row;
}

GfMatrix::GfMatrix(ByteView entries, std::size_t rows, std::size_t columns)
    : rows_(rows), columns_(columns), tables_(32 * rows * columns) {
    ASSERT(rows >= 1 && rows <= 32 && columns >= 1 && columns <= 32 && entries.size() == rows * columns);
    Bytes copy = to_bytes(entries);  // ISA-L asks for memory it could write to
    ec_init_tables(static_cast<int>(columns), static_cast<int>(rows), copy.data(), tables_.data());
}

void GfMatrix::apply(std::span<const std::uint8_t* const> inputs, std::span<std::uint8_t* const> outputs,
                     std::size_t length) const {
    ASSERT(inputs.size() == columns_ && outputs.size() == rows_ && length <= INT32_MAX);
    std::uint8_t* in[32];
    std::uint8_t* out[32];
    // ISA-L's prototype takes inputs and tables that it only reads as if it wrote them.
    for (std::size_t c = 0; c < columns_; ++c) in[c] = const_cast<std::uint8_t*>(inputs[c]);
    for (std::size_t r = 0; r < rows_; ++r) out[r] = outputs[r];
    ec_encode_data(static_cast<int>(length), static_cast<int>(columns_), static_cast<int>(rows_),
                   const_cast<std::uint8_t*>(tables_.data()), in, out);
}

}  // namespace shoal::crypto
