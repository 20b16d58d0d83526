#include "wire/relay.h"

#include "wire/canonical.h"

namespace shoal::wire {
namespace {

void fuzz_relay(ByteView in) {
    if (in.size() != limits::cell_body_bytes) return;
    const auto block = first_bytes<limits::cell_body_bytes>(in);
    const auto payload = decode_relay(block);
    if (!payload) return;
    ASSERT(relay_recognised(block));
    expect_same(in, encode_relay(payload->command, payload->stream, payload->payload()));
}

}  // namespace
}  // namespace shoal::wire

// The first byte chooses the message.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    if (size == 0) return 0;
    const shoal::ByteView in(data + 1, size - 1);
    switch (data[0] % 5) {
        case 0: fuzz_relay(in); break;
        case 1: expect_canonical(in, decode_connect); break;
        case 2: expect_canonical(in, decode_extend); break;
        case 3: expect_canonical(in, decode_sendme); break;
        default: expect_canonical(in, decode_pad_negotiate); break;
    }
    return 0;
}
