#include "wire/cell.h"

#include "wire/canonical.h"

namespace shoal::wire {
namespace {

void fuzz_cell(ByteView in) {
    if (in.size() != limits::cell_bytes) return;
    const auto cell = decode_cell(in.first<limits::cell_bytes>());
    if (!cell) return;
    ASSERT(cell->payload().size() == cell->length);
    ByteArray<limits::cell_bytes> again;
    encode_cell(*cell, again);
    expect_same(in, again);
}

}  // namespace
}  // namespace shoal::wire

// The first byte chooses the message.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    if (size == 0) return 0;
    const shoal::ByteView in(data + 1, size - 1);
    switch (data[0] % 9) {
        case 0: fuzz_cell(in); break;
        case 1: expect_canonical(in, decode_versions); break;
        case 2: expect_canonical(in, decode_handshake); break;
        case 3: expect_canonical(in, decode_destroy); break;
        case 4: expect_canonical(in, decode_stream_end); break;
        case 5: expect_canonical(in, decode_stream_open); break;
        case 6: expect_canonical(in, decode_stream_sendme); break;
        case 7: expect_canonical(in, decode_link_pad_negotiate); break;
        default: expect_canonical(in, decode_ping); break;
    }
    return 0;
}
