// Both decoders on any bytes: what decodes, encodes to exactly what was read. How a stream is cut is pipe_fuzz's.
#include "engine/stage_pipe.h"
#include "wire/canonical.h"

namespace shoal::engine::stage_pipe {
namespace {

template <typename Message>
void expect_canonical(ByteView frame, const Result<Message>& message) {
    if (!message) {
        ASSERT(!message.error().message.empty());
        return;
    }
    const Bytes again = encode(*message);
    wire::expect_same(frame, ByteView(again).subspan(4));
}

}  // namespace
}  // namespace shoal::engine::stage_pipe

// The first byte says which way.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    using namespace shoal::engine::stage_pipe;
    if (size < 1) return 0;
    const ByteView frame(data + 1, size - 1);
    if ((data[0] & 1) == 0) {
        expect_canonical(frame, decode_to_stage(frame));
    } else {
        expect_canonical(frame, decode_from_stage(frame));
    }
    return 0;
}
