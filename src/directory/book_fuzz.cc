// Hostile snapshots against a book: nothing may crash it, and nothing that the verifier did not sign may get in.
//
// The first byte says how the rest is meant: raw bytes off a link, a body that is signed as it stands (a hostile
// committee: everything behind the signature check is then reached), the cache on disk, or time that passes.
#include <cstdio>
#include <cstdlib>

#include "crypto/rng.h"
#include "directory/book.h"
#include "directory/sign.h"

namespace {

using namespace shoal;

struct Network {
    crypto::SeededRng rng{1};
    crypto::SigningKey verifier = crypto::SigningKey::generate(rng);
    directory::Genesis genesis;
    Network() {
        genesis.name = "fuzz";
        genesis.verifiers = {{verifier.node_id(), 1}};
    }
};

void check(const directory::Book& book, Now now) {
    const auto view = book.current(now);
    if (!view) return;
    ASSERT(view->running(now) && view->epoch().value() > 0);
    ASSERT(directory::View::verify(book.genesis(), *wire::decode_signed_snapshot(view->encoded()), now));
    for (const std::uint32_t i : view->relays()) {
        const NodeId& node = view->entries()[i].descriptor.node;
        ASSERT(book.find(node, now) != nullptr);
    }
    for (const directory::ModelSummary& model : view->models()) {
        ASSERT(view->nodes_of(model.id).size() == model.nodes);
        ASSERT(view->find_model(model.name).has_value());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Network network;
    directory::Book book(network.genesis);
    Now now{Instant(1s), UnixTime(1'800'000'000s)};
    Reader in({data, size});
    while (in.remaining() > 3) {
        const std::uint8_t kind = in.u8() % 4;
        const ByteView bytes = in.bytes(std::min<std::size_t>(in.u16(), in.remaining()));
        const std::uint64_t before = book.current(now) ? book.current(now)->epoch().value() : 0;
        if (kind == 0) {
            auto snapshot = wire::decode_signed_snapshot(bytes);
            if (snapshot) (void)book.accept(now, *snapshot);
        } else if (kind == 1) {
            wire::SignedSnapshot snapshot;
            snapshot.body = to_bytes(bytes);
            const NetworkId id = network.genesis.network();
            // The fuzzer cannot guess the network's id; it may have it.
            if (snapshot.body.size() >= 37) std::ranges::copy(id.view(), snapshot.body.begin() + 5);
            snapshot.signatures = {directory::sign_snapshot(network.verifier, id, 0, snapshot.body)};
            (void)book.accept(now, snapshot);
        } else if (kind == 2) {
            (void)book.restore(now, bytes);
        } else if (bytes.size() >= 2) {
            now.wall += std::chrono::seconds(load_le<std::uint16_t>(bytes.data()));
        }
        check(book, now);
        if (kind != 3 && book.current(now)) ASSERT(book.current(now)->epoch().value() >= before);
    }
    return 0;
}
