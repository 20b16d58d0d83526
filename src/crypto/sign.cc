#include "crypto/sign.h"

#include <sodium.h>

#include "base/assert.h"

namespace shoal::crypto {
namespace {

Bytes statement(const Domain& domain, const NetworkId& network, ByteView body) {
    Bytes out;
    out.reserve(8 + NetworkId::size + body.size());
    append(out, domain.view());
    append(out, network.view());
    append(out, body);
    return out;
}

}  // namespace

SigningKey SigningKey::generate(Rng& rng) {
    Key32 seed;
    rng.fill(seed.expose());
    return from_seed(seed);
}

SigningKey SigningKey::from_seed(const Key32& seed) {
    SigningKey key;
    ByteArray<32> public_key;
    ASSERT(crypto_sign_ed25519_seed_keypair(public_key.data(), key.secret_.expose().data(), seed.expose().data()) == 0);
    key.node_id_ = NodeId(public_key);
    return key;
}

Key32 SigningKey::seed() const {
    Key32 out;
    std::memcpy(out.expose().data(), secret_.expose().data(), 32);
    return out;
}

Signature SigningKey::sign(const Domain& domain, const NetworkId& network, ByteView body) const {
    const Bytes message = statement(domain, network, body);
    Signature out;
    ASSERT(crypto_sign_ed25519_detached(out.data(), nullptr, message.data(), message.size(), secret_.expose().data()) ==
           0);
    return out;
}

bool verify(const NodeId& signer, const Domain& domain, const NetworkId& network, ByteView body,
            const Signature& signature) {
    const Bytes message = statement(domain, network, body);
    return crypto_sign_ed25519_verify_detached(signature.data(), message.data(), message.size(),
                                               signer.bytes().data()) == 0;
}

}  // namespace shoal::crypto
