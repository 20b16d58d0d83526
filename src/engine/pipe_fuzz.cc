// Both decoders on any bytes: what decodes, encodes to exactly what was read; and the cutter gives the same frames
// whatever the pieces are.
#include <algorithm>

#include "base/assert.h"
#include "engine/pipe.h"

namespace shoal::engine::pipe {
namespace {

template <typename Message>
void expect_canonical(ByteView frame, const Result<Message>& message) {
    if (!message) {
        ASSERT(!message.error().message.empty());
        return;
    }
    const auto again = encode(*message);
    ASSERT(again.has_value());
    const ByteView body = ByteView(*again).subspan(4);
    ASSERT(std::equal(body.begin(), body.end(), frame.begin(), frame.end()));
}

}  // namespace
}  // namespace shoal::engine::pipe

// The first byte says which way and how the stream is cut.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    using namespace shoal::engine::pipe;
    if (size < 1) return 0;
    const ByteView stream(data + 1, size - 1);
    Frames whole;
    const auto frames = whole.feed(stream);

    Frames cut;
    std::vector<Bytes> pieces;
    bool refused = false;
    const std::size_t step = 1 + (data[0] >> 1);
    for (ByteView rest = stream; !rest.empty() && !refused;) {
        const ByteView piece = rest.first(std::min(step, rest.size()));
        rest = rest.subspan(piece.size());
        auto some = cut.feed(piece);
        refused = !some;
        if (some) std::move(some->begin(), some->end(), std::back_inserter(pieces));
    }
    ASSERT(refused == !frames);
    if (!frames) return 0;
    ASSERT(pieces == *frames && cut.at_boundary() == whole.at_boundary());
    for (const Bytes& frame : *frames) {
        if ((data[0] & 1) == 0) {
            expect_canonical(frame, decode_to_worker(frame));
        } else {
            expect_canonical(frame, decode_from_worker(frame));
        }
    }
    return 0;
}
