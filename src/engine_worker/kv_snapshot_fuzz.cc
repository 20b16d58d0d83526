// A snapshot from a stranger: whatever the bytes and the pieces, only the one that the digest names is taken, and it is
// taken as it was.
#include <algorithm>

#include "base/assert.h"
#include "engine_worker/kv_snapshot.h"

namespace shoal::engine_worker {
namespace {

const KvShape shape{{{{KvRowType::f16, 4}, {KvRowType::f16, 4}}, {{KvRowType::f16, 4}, {KvRowType::f16, 4}}}};
constexpr std::uint32_t tokens = 16;
constexpr std::size_t header_bytes = 37;
constexpr std::size_t head_bytes = header_bytes + 2 * 32;

// Of a stranger who names what he sends: the digest is right for whatever the head is.
SnapshotDigest digest_of(ByteView bytes) {
    return SnapshotHead{to_bytes(bytes.first(std::min(bytes.size(), head_bytes)))}.digest();
}

}  // namespace
}  // namespace shoal::engine_worker

// The first byte says how the rest is cut.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    using namespace shoal::engine_worker;
    if (size < 1) return 0;
    const ByteView sent(data + 1, size - 1);
    SnapshotIntake intake(shape, tokens, digest_of(sent));
    const std::size_t step = 1 + data[0];
    bool refused = false;
    for (ByteView rest = sent; !rest.empty() && !refused;) {
        const ByteView piece = rest.first(std::min(step, rest.size()));
        rest = rest.subspan(piece.size());
        const auto fed = intake.feed(piece);
        refused = !fed;
        if (!fed) ASSERT(!fed.error().message.empty());
    }
    if (refused) ASSERT(!intake.complete() && !intake.feed(sent.first(1)));
    if (!intake.complete()) return 0;
    ASSERT(sent.size() == snapshot_bytes(shape, tokens));
    // What was taken gives the same snapshot.
    SnapshotHashing hashing(SnapshotRows(intake.take(), tokens));
    while (!hashing.work(step)) {
    }
    const Bytes head = hashing.head().bytes;
    ASSERT(std::equal(head.begin(), head.end(), sent.begin()));
    return 0;
}
