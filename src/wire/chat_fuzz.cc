#include "wire/chat.h"

#include "wire/canonical.h"

namespace shoal::wire {
namespace {

void fuzz_request(ByteView in) {
    const auto request = decode_chat_request(in);
    if (!request) return;
    const auto again = encode_chat_request(*request);
    ASSERT(again.has_value());
    expect_same(in, *again);
}

// Whole and in pieces of `piece` bytes the frames must be the same; encoded again they are what was read.
void fuzz_reply(ByteView in, std::size_t piece) {
    ReplyFrames whole;
    const auto frames = whole.feed(in);
    Bytes again;
    if (frames) {
        for (const auto& frame : *frames) append_reply_frame(again, frame);
        ASSERT(again.size() <= in.size());
        ASSERT(whole.at_boundary() == (again.size() == in.size()));
        expect_same(in.first(again.size()), again);
    }
    ReplyFrames cut;
    Bytes pieces;
    bool refused = false;
    for (ByteView rest = in; !rest.empty() && !refused;) {
        const ByteView part = rest.first(std::min(piece, rest.size()));
        rest = rest.subspan(part.size());
        const auto more = cut.feed(part);
        refused = !more;
        if (more) {
            for (const auto& frame : *more) append_reply_frame(pieces, frame);
        }
    }
    ASSERT(refused == !frames);
    if (frames) expect_same(again, pieces);
}

}  // namespace
}  // namespace shoal::wire

// The first byte chooses between request (even) and reply (odd), and how a reply is cut.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const shoal::ByteView in(data + 1, size - 1);
    if (data[0] % 2 == 0) {
        shoal::wire::fuzz_request(in);
    } else {
        shoal::wire::fuzz_reply(in, 1 + data[0] / 2);
    }
    return 0;
}
