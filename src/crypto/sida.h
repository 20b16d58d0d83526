// S-IDA (Krawczyk 1993; CRYPTO 6.5): a message becomes n fragments, any k of which give it back, and fewer than k give
// nothing but its length.
//
//     C = ChaCha20-Poly1305(K, nonce 0, P, AD = "clove-v2\0" | k | n | message id | u32 |P|), K fresh
//     C, zero-padded to a multiple of k, is cut into fragments 1..k; fragment i is the value at x = i of the polynomial
//     of degree < k through them, byte by byte, in GF(2^8)/0x11D
//     K is shared the same way (Shamir): share i is the value at x = i of a polynomial with K at 0
//
// Shamir's coefficients are uniform, zero included: leaving zero out would make k - 1 shares rule out one value of each
// key byte. A fragment proves nothing by itself; the seal of its stream does (stream_seal.h). What is wrong anyway is
// found, because only right ones open C.
#pragma once

#include <span>
#include <vector>

#include "base/ids.h"
#include "base/limits.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/secret.h"

namespace shoal::crypto {

struct Fragment {
    std::uint8_t index = 0;  // 1..n
    ByteArray<32> share{};
    Bytes bytes;
};

// What all fragments of a message have in common. From the network: combine checks it.
struct SidaGeometry {
    std::uint8_t k = 0;  // 1..n
    std::uint8_t n = 0;  // 1..limits::cloves_max
    MessageId message;
    std::uint32_t ciphertext_bytes = 0;  // |P| + 16

    // Length of each fragment.
    std::size_t fragment_bytes() const { return (std::size_t{ciphertext_bytes} + k - 1) / k; }
};

struct SidaSplit {
    SidaGeometry geometry;
    std::vector<Fragment> fragments;  // n, in order of index
};

// 1 <= k <= n <= limits::cloves_max, and a fragment at most limits::fragment_bytes_max: the caller's own numbers.
SidaSplit sida_split(ByteView plaintext, std::uint8_t k, std::uint8_t n, const MessageId& message, Rng& rng);

struct SidaMessage {
    Bytes plaintext;
    // Of the fragments that were given, those that do not belong to the message, in the order given. For the bytes this
    // is certain. A share is held against the k shares that opened the message, so two of these that were changed
    // together, in a way that cancels, put the blame on others: k shares are all that is known of the polynomial.
    std::vector<std::uint8_t> wrong;
};

// Puts a message together from at least k fragments. With more than k it tries one k-subset after the other until one
// opens, limits::clove_subsets_max at most.
// Errc::malformed: geometry out of range, a length that does not fit it, an index out of range or given twice.
// Errc::unavailable: fewer than k. Errc::unauthenticated: no subset opens; with more fragments it may still.
Result<SidaMessage> sida_combine(const SidaGeometry& geometry, std::span<const Fragment> fragments);

// ---- the parts, for tests and for who needs only one of them -----------------------------------------------------

// Share i + 1 of the secret is element i. `coefficients` has 32 * (k - 1) bytes, for each byte of the secret
// a_1..a_{k-1}.
std::vector<ByteArray<32>> shamir_split(const Key32& secret, std::uint8_t k, std::uint8_t n, ByteView coefficients);
// `points[j]` is the index of shares[j]; k of each, different and not zero.
Key32 shamir_combine(ByteView points, std::span<const ByteArray<32>> shares);
// Fragment i + 1 is element i.
std::vector<Bytes> ida_encode(ByteView data, std::uint8_t k, std::uint8_t n);
// Of k fragments of equal length, the first data_bytes bytes of the data.
Bytes ida_decode(ByteView points, std::span<const ByteView> fragments, std::size_t data_bytes);

}  // namespace shoal::crypto
