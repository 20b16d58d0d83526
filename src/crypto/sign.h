// Ed25519 signatures of nodes (CRYPTO 7): over domain (8 ASCII bytes) | network id (32) | body.
//
// The domain says what kind of statement is signed and the network id in which network, so that no signature means
// anything in another place.
#pragma once

#include "base/ids.h"
#include "base/rng.h"
#include "base/secret.h"

namespace shoal::crypto {

using Signature = ByteArray<64>;

// Made from a literal of exactly eight characters: sign("SC1-DESC", …).
class Domain {
public:
    constexpr Domain(const char (&text)[9]) {  // NOLINT(google-explicit-constructor): reads as text where it is used
        for (std::size_t i = 0; i < 8; ++i) bytes_[i] = static_cast<std::uint8_t>(text[i]);
    }
    ByteView view() const { return bytes_; }

private:
    ByteArray<8> bytes_{};
};

class SigningKey {
public:
    static SigningKey generate(Rng& rng);
    // The seed is the private key of RFC 8032; the same seed gives the same identity.
    static SigningKey from_seed(const Key32& seed);

    const NodeId& node_id() const { return node_id_; }
    Key32 seed() const;
    SigningKey clone() const { return from_seed(seed()); }
    Signature sign(const Domain& domain, const NetworkId& network, ByteView body) const;

private:
    SigningKey() = default;
    Sensitive<ByteArray<64>> secret_;  // seed | public key, as libsodium keeps it
    NodeId node_id_;
};

// Checked by libsodium and by nothing else in the whole project: libraries disagree on non-canonical encodings and
// points of small order, and members of a committee that disagree on one signature split. Refuses both.
[[nodiscard]] bool verify(const NodeId& signer, const Domain& domain, const NetworkId& network, ByteView body,
                          const Signature& signature);

}  // namespace shoal::crypto
