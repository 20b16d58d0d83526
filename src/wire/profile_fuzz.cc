#include "wire/profile.h"

#include "wire/canonical.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    expect_canonical(shoal::ByteView(data, size), decode_signed_profile);
    return 0;
}
