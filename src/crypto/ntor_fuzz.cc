// Both messages of the circuit handshake, as the other side may send them.
#include "crypto/init.h"
#include "crypto/ntor.h"
#include "crypto/rng.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    shoal::crypto::init();
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    using namespace shoal::crypto;
    static SeededRng rng(1);
    static const NodeId relay(ByteArray<32>{2});
    static const NtorProfile profile = NtorProfile::circuit(NetworkId(ByteArray<32>{1}));
    static const KeyPair onion = KeyPair::generate(rng);
    static const NtorClient client = std::move(*NtorClient::start(profile, relay, onion.public_key, {}, rng));
    static const NtorAnswer right =
        std::move(*ntor_answer(profile, relay, onion, nullptr, *NtorHello::parse(client.hello()), {}, rng));

    // The client must refuse every answer that the relay did not give.
    const ByteView input(data, size);
    ASSERT(!client.finish(input) || Bytes(input.begin(), input.end()) == right.answer);

    // The relay must refuse every message that is not the client's; the input replaces its changing part.
    Bytes hello = to_bytes(ByteView(client.hello()).first(64));
    append(hello, input);
    const auto parsed = NtorHello::parse(hello);
    if (parsed) ASSERT(!ntor_answer(profile, relay, onion, nullptr, *parsed, {}, rng) || hello == client.hello());
    (void)NtorHello::parse(input);
    return 0;
}
