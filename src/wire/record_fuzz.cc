#include "wire/record.h"

#include "wire/canonical.h"

// Shorter inputs are filled with the zeros that a record has anyway.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    RecordBytes in{};
    if (size > in.size()) return 0;
    std::copy(data, data + size, in.begin());
    if (const auto record = decode_record(in)) expect_same(in, encode_record(*record));
    return 0;
}
