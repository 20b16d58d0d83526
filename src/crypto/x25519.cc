#include "crypto/x25519.h"

#include <sodium.h>

namespace shoal::crypto {

KeyPair KeyPair::generate(Rng& rng) {
    Key32 secret;
    rng.fill(secret.expose());
    return from_secret(std::move(secret));
}

KeyPair KeyPair::from_secret(Key32 secret) {
    KeyPair out;
    ASSERT(crypto_scalarmult_curve25519_base(out.public_key.data(), secret.expose().data()) == 0);
    out.secret = std::move(secret);
    return out;
}

Result<Key32> dh(const Key32& secret, const PublicKey& peer) {
    Key32 out;
    // libsodium's return value is the test for an all-zero result, made without a branch on the bytes.
    if (crypto_scalarmult_curve25519(out.expose().data(), secret.expose().data(), peer.data()) != 0) {
        return fail(Errc::invalid, "the peer's X25519 key is a point of small order; refuse the peer");
    }
    return out;
}

}  // namespace shoal::crypto
