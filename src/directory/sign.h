// The signatures of the directory: a node's on its descriptor, a verifier's on a snapshot.
//
// Both are Ed25519 over domain (8 ASCII) | network id (32) | body, so that a signature means one thing in one network.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "crypto/sign.h"
#include "wire/descriptor.h"
#include "wire/snapshot.h"

namespace shoal::directory {

inline constexpr crypto::Domain domain_descriptor{"SC1-DESC"};
inline constexpr crypto::Domain domain_snapshot{"SC1-SNAP"};

// `descriptor.node` must be the key's own id.
wire::SignedDescriptor sign_descriptor(const crypto::SigningKey& key, NetworkId network, wire::Descriptor descriptor);
// The descriptor, if its own node signed it for this network and its time is now.
// Errc::unauthenticated; Errc::expired: valid_until has passed, or valid_after is more than limits::clock_skew ahead;
// Errc::invalid: what wire::check_descriptor refuses.
Result<wire::Descriptor> verify_descriptor(const wire::SignedDescriptor& signed_descriptor, NetworkId network, Now now);

// `index` is the verifier's place in the genesis, `body` wire::encode_snapshot_body of the snapshot.
wire::CommitteeSignature sign_snapshot(const crypto::SigningKey& key, NetworkId network, std::uint8_t index,
                                       ByteView body);
bool verify_snapshot_signature(const NodeId& verifier, NetworkId network, const wire::CommitteeSignature& signature,
                               ByteView body);
// BLAKE2b-256 of the body: the name of a snapshot, what its successor calls `previous`.
ByteArray<32> snapshot_hash(ByteView body);

}  // namespace shoal::directory
