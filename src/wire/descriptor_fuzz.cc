#include "wire/descriptor.h"

#include "wire/canonical.h"

// The input is read as a descriptor and as the text of an address.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    const shoal::ByteView in(data, size);
    expect_canonical(in, decode_signed_descriptor);
    if (const auto address = parse_address(shoal::as_text(in))) {
        const auto again = parse_address(address->text());
        ASSERT(again.has_value() && *again == *address);
    }
    return 0;
}
