#include "wire/prefix.h"

#include "wire/canonical.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    const shoal::ByteView in(data, size);
    if (const auto message = decode_prefix_message(in)) expect_same(in, encode_prefix_message(*message));
    return 0;
}
