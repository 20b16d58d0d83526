#include "wire/channel.h"

#include "wire/canonical.h"

// The first byte chooses the message.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    if (size == 0) return 0;
    const shoal::ByteView in(data + 1, size - 1);
    switch (data[0] % 4) {
        case 0: expect_canonical(in, decode_channel_open); break;
        case 1: expect_canonical(in, decode_channel_data); break;
        case 2: expect_canonical(in, decode_channel_credit); break;
        default: expect_canonical(in, decode_channel_close); break;
    }
    return 0;
}
