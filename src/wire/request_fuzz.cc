#include "wire/request.h"

#include "wire/canonical.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    const shoal::ByteView in(data, size);
    const auto request = decode_request(in);
    if (!request) return 0;
    shoal::Bytes again = encode_request(*request);
    ASSERT(again.size() <= size);
    again.resize(size);  // the padding
    expect_same(in, again);
    return 0;
}
