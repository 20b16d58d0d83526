#include "crypto/sida.h"

#include <algorithm>
#include <numeric>

#include "base/assert.h"
#include "base/codec.h"
#include "crypto/aead.h"
#include "crypto/gf256.h"

namespace shoal::crypto {
namespace {

constexpr std::size_t points_max = limits::cloves_max;
using PaddedShare = ByteArray<gf_row_bytes_min>;
static_assert(gf_row_bytes_min >= 32);

Bytes associated_data(const SidaGeometry& geometry) {
    constexpr std::string_view label("clove-v2\0", 9);
    Writer out(label.size() + 2 + MessageId::size + 4);
    out.bytes(as_bytes(label));
    out.u8(geometry.k);
    out.u8(geometry.n);
    out.bytes(geometry.message.view());
    out.u32(geometry.ciphertext_bytes - static_cast<std::uint32_t>(limits::aead_tag_bytes));
    return out.take();
}

// 1, 2, … count.
Bytes first_points(std::size_t count) {
    Bytes out(count);
    std::iota(out.begin(), out.end(), std::uint8_t{1});
    return out;
}

// The rows that turn values at `points` into values at each of `at`.
GfMatrix interpolation(ByteView points, ByteView at) {
    Bytes rows;
    rows.reserve(points.size() * at.size());
    for (const std::uint8_t x : at) append(rows, lagrange_row(points, x));
    return GfMatrix(rows, at.size(), points.size());
}

// The value at x = `at` of the polynomials through `shares`.
Key32 interpolate_share(ByteView points, std::span<const ByteArray<32>> shares, std::uint8_t at) {
    ASSERT(!points.empty() && points.size() <= points_max && points.size() == shares.size());
    Sensitive<std::array<PaddedShare, points_max>> rows;
    Sensitive<PaddedShare> result;
    std::array<const std::uint8_t*, points_max> in{};
    for (std::size_t j = 0; j < shares.size(); ++j) {
        std::memcpy(rows.expose()[j].data(), shares[j].data(), 32);
        in[j] = rows.expose()[j].data();
    }
    std::uint8_t* out = result.expose().data();
    interpolation(points, {&at, 1}).apply(std::span(in).first(points.size()), {&out, 1}, gf_row_bytes_min);
    return Key32(first_bytes<32>(result.expose()));
}

Status check_geometry(const SidaGeometry& g, std::span<const Fragment> fragments) {
    const auto refuse = [](const char* why) { return fail(Errc::malformed, std::string("cloves: ") + why); };
    if (g.k < 1 || g.k > g.n || g.n > limits::cloves_max) return refuse("k and n out of range");
    if (g.ciphertext_bytes < limits::aead_tag_bytes) return refuse("a message shorter than its tag");
    if (g.fragment_bytes() > limits::fragment_bytes_max) return refuse("a message longer than any request");
    std::array<bool, points_max + 1> seen{};
    for (const Fragment& fragment : fragments) {
        if (fragment.index < 1 || fragment.index > g.n) return refuse("an index out of range");
        if (seen[fragment.index]) return refuse("an index given twice");
        if (fragment.bytes.size() != g.fragment_bytes()) return refuse("a fragment of another length");
        seen[fragment.index] = true;
    }
    return ok();
}

// What one choice of k fragments gives.
struct Attempt {
    Bytes points;
    std::vector<ByteArray<32>> shares;
    std::vector<ByteView> parts;

    Attempt(std::span<const Fragment> fragments, std::span<const std::size_t> chosen) {
        for (const std::size_t i : chosen) {
            points.push_back(fragments[i].index);
            shares.push_back(fragments[i].share);
            parts.emplace_back(fragments[i].bytes);
        }
    }
};

// The fragments that are not of this message: those whose bytes are not what the ciphertext, vouched for by its tag,
// encodes to, and those whose share is not on the polynomial that opened it.
std::vector<std::uint8_t> wrong_ones(const SidaGeometry& geometry, std::span<const Fragment> fragments,
                                     const Attempt& attempt, ByteView sealed) {
    std::vector<std::uint8_t> out;
    const auto right = ida_encode(sealed, geometry.k, geometry.n);
    for (const Fragment& fragment : fragments) {
        const bool good = fragment.bytes == right[fragment.index - 1U] &&
                          fragment.share == interpolate_share(attempt.points, attempt.shares, fragment.index).expose();
        if (!good) out.push_back(fragment.index);
    }
    return out;
}

// The next k-subset in lexicographic order, as ascending positions below `count`; false after the last.
bool next_subset(std::vector<std::size_t>& chosen, std::size_t count) {
    const std::size_t k = chosen.size();
    for (std::size_t i = k; i-- > 0;) {
        if (chosen[i] == count - k + i) continue;
        ++chosen[i];
        for (std::size_t j = i + 1; j < k; ++j) chosen[j] = chosen[j - 1] + 1;
        return true;
    }
    return false;
}

}  // namespace

SidaSplit sida_split(ByteView plaintext, std::uint8_t k, std::uint8_t n, const MessageId& message, Rng& rng) {
    ASSERT(k >= 1 && k <= n && n <= limits::cloves_max);
    const std::size_t ciphertext_bytes = plaintext.size() + limits::aead_tag_bytes;
    ASSERT(ciphertext_bytes <= k * limits::fragment_bytes_max);
    SidaSplit out;
    out.geometry = {k, n, message, static_cast<std::uint32_t>(ciphertext_bytes)};

    Key32 key;
    rng.fill(key.expose());
    Sensitive<ByteArray<32 * points_max>> coefficients;
    const ByteSpan used = ByteSpan(coefficients.expose()).first(32 * (std::size_t{k} - 1));
    rng.fill(used);
    const auto shares = shamir_split(key, k, n, used);
    const Bytes sealed = AeadKey(key).seal(counter_nonce(0), associated_data(out.geometry), plaintext);
    auto parts = ida_encode(sealed, k, n);
    for (std::size_t i = 0; i < n; ++i) {
        out.fragments.push_back({static_cast<std::uint8_t>(i + 1), shares[i], std::move(parts[i])});
    }
    return out;
}

Result<SidaMessage> sida_combine(const SidaGeometry& geometry, std::span<const Fragment> fragments) {
    TRY(check_geometry(geometry, fragments));
    if (fragments.size() < geometry.k) return fail(Errc::unavailable, "cloves: fewer than the message needs");
    std::vector<std::size_t> chosen(geometry.k);
    std::iota(chosen.begin(), chosen.end(), std::size_t{0});
    std::size_t tried = 0;
    do {
        const Attempt attempt(fragments, chosen);
        const Bytes sealed = ida_decode(attempt.points, attempt.parts, geometry.ciphertext_bytes);
        AeadKey key(shamir_combine(attempt.points, attempt.shares));
        auto opened = key.open(counter_nonce(0), associated_data(geometry), sealed);
        if (!opened) continue;
        return SidaMessage{std::move(*opened), wrong_ones(geometry, fragments, attempt, sealed)};
    } while (++tried < limits::clove_subsets_max && next_subset(chosen, fragments.size()));
    return fail(Errc::unauthenticated, "cloves: no choice of them gives the message; ask for another");
}

std::vector<ByteArray<32>> shamir_split(const Key32& secret, std::uint8_t k, std::uint8_t n, ByteView coefficients) {
    ASSERT(k >= 1 && k <= n && n <= points_max && coefficients.size() == 32 * (std::size_t{k} - 1));
    // Row c of the input holds coefficient c of all 32 polynomials; row i of the matrix the powers of x = i + 1.
    Sensitive<std::array<PaddedShare, points_max>> rows;
    std::memcpy(rows.expose()[0].data(), secret.expose().data(), 32);
    for (std::size_t byte = 0; byte < 32; ++byte) {
        for (std::size_t c = 1; c < k; ++c) rows.expose()[c][byte] = coefficients[byte * (k - 1U) + c - 1];
    }
    Bytes powers;
    for (std::uint8_t x = 1; x <= n; ++x) {
        std::uint8_t power = 1;
        for (std::size_t c = 0; c < k; ++c, power = gf_mul(power, x)) powers.push_back(power);
    }
    std::array<PaddedShare, points_max> results;
    std::array<const std::uint8_t*, points_max> in{};
    std::array<std::uint8_t*, points_max> out{};
    for (std::size_t c = 0; c < k; ++c) in[c] = rows.expose()[c].data();
    for (std::size_t i = 0; i < n; ++i) out[i] = results[i].data();
    GfMatrix(powers, n, k).apply(std::span(in).first(k), std::span(out).first(n), gf_row_bytes_min);
    std::vector<ByteArray<32>> shares;
    shares.reserve(n);
    for (std::size_t i = 0; i < n; ++i) shares.push_back(first_bytes<32>(results[i]));
    return shares;
}

Key32 shamir_combine(ByteView points, std::span<const ByteArray<32>> shares) {
    return interpolate_share(points, shares, 0);
}

std::vector<Bytes> ida_encode(ByteView data, std::uint8_t k, std::uint8_t n) {
    ASSERT(k >= 1 && k <= n && n <= points_max && !data.empty());
    const std::size_t length = (data.size() + k - 1) / k;
    std::vector<Bytes> fragments(n);
    std::array<const std::uint8_t*, points_max> in{};
    std::array<std::uint8_t*, points_max> out{};
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t begin = std::min(i * length, data.size());
        // Behind the data, zeros; the fragments after k are filled below.
        if (i < k) append(fragments[i], data.subspan(begin, std::min(length, data.size() - begin)));
        fragments[i].resize(length);
        if (i < k) in[i] = fragments[i].data();
        if (i >= k) out[i - k] = fragments[i].data();
    }
    if (n == k) return fragments;
    const Bytes points = first_points(n);
    interpolation(ByteView(points).first(k), ByteView(points).subspan(k))
        .apply(std::span(in).first(k), std::span(out).first(n - std::size_t{k}), length);
    return fragments;
}

Bytes ida_decode(ByteView points, std::span<const ByteView> fragments, std::size_t data_bytes) {
    const std::size_t k = points.size();
    ASSERT(k >= 1 && k <= points_max && fragments.size() == k);
    const std::size_t length = fragments[0].size();
    ASSERT(data_bytes <= k * length);
    Bytes data(k * length);
    std::array<const std::uint8_t*, points_max> in{};
    std::array<std::uint8_t*, points_max> out{};
    Bytes missing;  // of 1..k
    for (std::size_t j = 0; j < k; ++j) {
        ASSERT(fragments[j].size() == length);
        in[j] = fragments[j].data();
    }
    for (std::size_t i = 0; i < k; ++i) {
        const auto at = std::find(points.begin(), points.end(), i + 1);
        std::uint8_t* place = data.data() + i * length;
        if (at != points.end()) {
            std::memcpy(place, in[static_cast<std::size_t>(at - points.begin())], length);
        } else {
            out[missing.size()] = place;
            missing.push_back(static_cast<std::uint8_t>(i + 1));
        }
    }
    if (!missing.empty()) {
        interpolation(points, missing).apply(std::span(in).first(k), std::span(out).first(missing.size()), length);
    }
    data.resize(data_bytes);
    return data;
}

}  // namespace shoal::crypto
