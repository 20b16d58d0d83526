// Sealed streams (CRYPTO 6.5): records between a client and a model node, unreadable and all of one size to the relays,
// the proxy and the links between.
//
// Every stream is an HPKE context of its own to the node's HPKE key, with info "sc1/stream" | network id | node id. The
// exporter gives one key a direction, labels "sc1/fwd" (client to node) and "sc1/bwd". A record of 1354 bytes becomes
// ChaCha20-Poly1305(key of the direction, nonce = counter, no associated data), 1370 bytes, one relay cell.
//
// An attacker on the way can withhold, and nothing more: a changed, repeated, reordered or foreign record does not
// open. Two streams of one client have nothing in common. Who holds the node's HPKE key later and recorded the stream
// can read it; so those keys live a week.
#pragma once

#include "base/ids.h"
#include "crypto/aead.h"
#include "crypto/x25519.h"

namespace shoal::crypto {

using StreamRecord = ByteArray<limits::record_bytes>;
using SealedRecord = ByteArray<limits::sealed_record_bytes>;

// One end of one stream. One thread.
class StreamSealer {
public:
    struct Client;
    // Draws the ephemeral key. Errc::invalid: hpke_key is a point of small order (the directory let it in).
    static Result<Client> client(const NetworkId& network, const NodeId& destination, const PublicKey& hpke_key,
                                 Rng& rng);
    // `encapsulated` is what STREAM_OPEN carried. Errc::invalid: it is a point of small order.
    // A wrong key, network or identity is not seen here, but by the first open().
    static Result<StreamSealer> server(const NetworkId& network, const NodeId& self, const KeyPair& hpke_key,
                                       const PublicKey& encapsulated);

    SealedRecord seal(const StreamRecord& record);
    // The next record of the other side. Errc::unauthenticated: it does not open. The counter stays, and the stream is
    // to be closed: the links are reliable and in order, so what does not open was tampered with.
    Result<StreamRecord> open(const SealedRecord& sealed);

private:
    StreamSealer(AeadKey out, AeadKey in) : out_(std::move(out)), in_(std::move(in)) {}
    AeadKey out_;
    AeadKey in_;
    std::uint64_t sealed_count_ = 0;
    std::uint64_t opened_count_ = 0;
};
struct StreamSealer::Client {
    PublicKey encapsulated{};  // for CONNECT
    StreamSealer sealer;
};

}  // namespace shoal::crypto
