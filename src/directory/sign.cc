#include "directory/sign.h"

#include "crypto/hash.h"

namespace shoal::directory {

wire::SignedDescriptor sign_descriptor(const crypto::SigningKey& key, NetworkId network, wire::Descriptor descriptor) {
    ASSERT(descriptor.node == key.node_id());
    wire::SignedDescriptor out{std::move(descriptor), {}};
    out.signature = key.sign(domain_descriptor, network, wire::encode_descriptor_body(out.descriptor));
    return out;
}

Result<wire::Descriptor> verify_descriptor(const wire::SignedDescriptor& signed_descriptor, NetworkId network,
                                           Now now) {
    const wire::Descriptor& d = signed_descriptor.descriptor;
    // The cheap refusals first: a flood of stale descriptors must not cost a signature check each.
    if (now.wall >= d.valid_until) return fail(Errc::expired, "descriptor: it has ended; is the node's clock right?");
    if (d.valid_after > now.wall + std::chrono::duration_cast<std::chrono::seconds>(limits::clock_skew)) {
        return fail(Errc::expired, "descriptor: it begins in the future; is the node's clock right?");
    }
    TRY(wire::check_descriptor(d));
    if (!crypto::verify(d.node, domain_descriptor, network, wire::encode_descriptor_body(d),
                        signed_descriptor.signature)) {
        return fail(Errc::unauthenticated, "descriptor: the signature is not its node's for this network");
    }
    return d;
}

wire::CommitteeSignature sign_snapshot(const crypto::SigningKey& key, NetworkId network, std::uint8_t index,
                                       ByteView body) {
    return {index, key.sign(domain_snapshot, network, body)};
}

bool verify_snapshot_signature(const NodeId& verifier, NetworkId network, const wire::CommitteeSignature& signature,
                               ByteView body) {
    return crypto::verify(verifier, domain_snapshot, network, body, signature.signature);
}

ByteArray<32> snapshot_hash(ByteView body) {
    return crypto::blake2b<32>({body});
}

}  // namespace shoal::directory
