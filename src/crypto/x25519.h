// X25519 (RFC 7748): the Diffie-Hellman under onion handshakes and sealed streams.
#pragma once

#include "base/result.h"
#include "base/rng.h"
#include "base/secret.h"

namespace shoal::crypto {

using PublicKey = ByteArray<32>;

struct KeyPair {
    Key32 secret;
    PublicKey public_key{};

    static KeyPair generate(Rng& rng);
    static KeyPair from_secret(Key32 secret);
    KeyPair clone() const { return {secret.clone(), public_key}; }
};

// The shared secret: the raw 32 bytes, to be hashed and not to be used as a key. Errc::invalid when they are all zero,
// which happens exactly for points of small order: such a "key" makes the secret known to everyone. The check takes
// the same time either way.
Result<Key32> dh(const Key32& secret, const PublicKey& peer);

}  // namespace shoal::crypto
