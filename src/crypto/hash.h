// Hashes, MACs and key derivation. All take their input as a list of parts, which are hashed one behind the other:
//
//     const auto id = blake2b<32>({as_bytes("sc1-dht"), node.view()});
//
// The parts leave no trace of where one ends. A caller whose parts vary in length puts the lengths in as well.
// BLAKE2b (RFC 7693) is ours for everything that is free to choose; SHA-2 and SHA-3 are here because HPKE (RFC 9180)
// and ntor-v3 name them.
#pragma once

#include <initializer_list>

#include "base/bytes.h"
#include "base/secret.h"

namespace shoal::crypto {

using Parts = std::initializer_list<ByteView>;

// ---- BLAKE2b -----------------------------------------------------------------------------------------------------

// Digest of out.size() bytes, 16 to 64. The size is an input of the hash: a short digest is no prefix of a long one.
// The key has 0 to 64 bytes; empty means unkeyed.
void blake2b_into(ByteSpan out, ByteView key, Parts parts);

template <std::size_t N>
ByteArray<N> blake2b(ByteView key, Parts parts) {
    static_assert(N == 16 || N == 32 || N == 64);
    ByteArray<N> out;
    blake2b_into(out, key, parts);
    return out;
}
template <std::size_t N>
ByteArray<N> blake2b(Parts parts) {
    return blake2b<N>(ByteView{}, parts);
}

// BLAKE2b-256 of what arrives piece by piece. A value: copying it forks the hash. Wiped at its end.
class Blake2b256 {
public:
    explicit Blake2b256(ByteView key = {});
    Blake2b256(const Blake2b256&) = default;
    Blake2b256& operator=(const Blake2b256&) = default;
    ~Blake2b256();

    void update(ByteView more);
    // The digest of all so far. The object goes on: more may be added, and a later digest covers it as well.
    ByteArray<32> digest() const;

private:
    alignas(64) ByteArray<384> state_;  // libsodium's
};

// ---- SHA-2, SHA-3 ------------------------------------------------------------------------------------------------

ByteArray<32> sha256(Parts parts);
ByteArray<32> sha3_256(Parts parts);
// Fills `out` with the first out.size() bytes of SHAKE256.
void shake256(ByteSpan out, Parts parts);

// ---- HMAC-SHA256 and HKDF (RFC 5869) -----------------------------------------------------------------------------

ByteArray<32> hmac_sha256(ByteView key, Parts parts);
Key32 hkdf_extract(ByteView salt, Parts input_key);
// out.size() is at most 255 * 32.
void hkdf_expand(ByteSpan out, const Key32& pseudorandom_key, Parts info);

// Whether a and b are the same bytes, in time that depends on the lengths only. For MACs and secrets.
bool equal_constant_time(ByteView a, ByteView b);

}  // namespace shoal::crypto
