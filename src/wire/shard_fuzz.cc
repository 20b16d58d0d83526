#include "wire/shard.h"

#include "wire/canonical.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    expect_canonical(shoal::ByteView(data, size), decode_manifest);
    return 0;
}
