#include "wire/stage.h"

#include "wire/canonical.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    const shoal::ByteView in(data, size);
    if (const auto message = decode_stage_message(in)) expect_same(in, encode_stage_message(*message));
    return 0;
}
