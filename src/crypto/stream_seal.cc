#include "crypto/stream_seal.h"

#include "base/assert.h"
#include "crypto/hpke.h"

namespace shoal::crypto {
namespace {

Bytes stream_info(const NetworkId& network, const NodeId& destination) {
    constexpr std::string_view label = "sc1/stream";
    Bytes out;
    out.reserve(label.size() + NetworkId::size + NodeId::size);
    append(out, as_bytes(label));
    append(out, network.view());
    append(out, destination.view());
    return out;
}

AeadKey exported_key(const HpkeContext& context, std::string_view label) {
    return AeadKey(context.export_secret(as_bytes(label)));
}

}  // namespace

Result<StreamSealer::Client> StreamSealer::client(const NetworkId& network, const NodeId& destination,
                                                  const PublicKey& hpke_key, Rng& rng) {
    const auto setup = TRY(HpkeSender::setup(hpke_key, stream_info(network, destination), rng));
    return Client{setup.encapsulated,
                  StreamSealer(exported_key(setup.sender, "sc1/fwd"), exported_key(setup.sender, "sc1/bwd"))};
}

Result<StreamSealer> StreamSealer::server(const NetworkId& network, const NodeId& self, const KeyPair& hpke_key,
                                          const PublicKey& encapsulated) {
    const auto context = TRY(HpkeReceiver::setup(hpke_key, encapsulated, stream_info(network, self)));
    return StreamSealer(exported_key(context, "sc1/bwd"), exported_key(context, "sc1/fwd"));
}

SealedRecord StreamSealer::seal(const StreamRecord& record) {
    ASSERT(sealed_count_ < UINT64_MAX);
    SealedRecord out;
    out_.seal_into(counter_nonce(sealed_count_), {}, record, out);
    ++sealed_count_;
    return out;
}

Result<StreamRecord> StreamSealer::open(const SealedRecord& sealed) {
    ASSERT(opened_count_ < UINT64_MAX);
    StreamRecord out;
    TRY(in_.open_into(counter_nonce(opened_count_), {}, sealed, out));
    ++opened_count_;
    return out;
}

}  // namespace shoal::crypto
