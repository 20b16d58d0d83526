// ChaCha20-Poly1305 (RFC 8439): encryption with a 16-byte tag and associated data that is only authenticated.
//
// A nonce must never be used twice with a key. Who uses a counter takes counter_nonce; who draws a fresh key for each
// message takes counter 0.
#pragma once

#include <memory>

#include "base/limits.h"
#include "base/result.h"
#include "base/secret.h"

namespace shoal::crypto {

using Nonce = ByteArray<12>;

// Four zero bytes, then the counter as eight bytes little-endian.
Nonce counter_nonce(std::uint64_t counter);

// A key, set up once and used for many messages. Neither seal_into nor open_into allocates. One thread.
class AeadKey {
public:
    explicit AeadKey(const Key32& key);
    AeadKey(AeadKey&&) noexcept;
    AeadKey& operator=(AeadKey&&) noexcept;
    ~AeadKey();

    // out.size() must be plain.size() + 16. `out` may begin where `plain` begins (in place); otherwise they are apart.
    void seal_into(const Nonce& nonce, ByteView associated, ByteView plain, ByteSpan out);
    // sealed.size() must be out.size() + 16. `out` may begin where `sealed` begins. Errc::unauthenticated: the tag does
    // not hold; `out` is then all zeros, so that nobody reads what nobody vouches for.
    Status open_into(const Nonce& nonce, ByteView associated, ByteView sealed, ByteSpan out);

    Bytes seal(const Nonce& nonce, ByteView associated, ByteView plain);
    // Also Errc::unauthenticated when `sealed` is shorter than a tag.
    Result<Bytes> open(const Nonce& nonce, ByteView associated, ByteView sealed);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace shoal::crypto
