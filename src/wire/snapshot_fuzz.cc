#include "wire/snapshot.h"

#include "wire/canonical.h"

namespace shoal::wire {
namespace {

void fuzz_snapshot(ByteView in) {
    const auto m = decode_signed_snapshot(in);
    if (!m) return;
    expect_same(m->body, encode_snapshot_body(m->snapshot));
    expect_same(in, encode(*m));
}

void fuzz_message(ByteView in) {
    if (const auto m = decode_directory_message(in)) expect_same(in, encode_directory_message(*m));
}

// Lengths and fragments, until one is refused: memory stays within what came.
void fuzz_assembler(ByteView in) {
    DirectoryAssembler assembler(100'000);
    std::size_t came = 0;
    while (in.size() >= 2) {
        const std::size_t length = std::min<std::size_t>(load_le<std::uint16_t>(in.data()), in.size() - 2);
        const auto got = assembler.feed(in.subspan(2, length));
        came += length;
        ASSERT(assembler.bytes_held() <= 2 * came);
        if (!got) return;
        if (*got) ASSERT(!fragment_directory(**got).empty());
        in = in.subspan(2 + length);
    }
}

}  // namespace
}  // namespace shoal::wire

// The first byte chooses: a snapshot, a message, a sequence of fragments.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::wire;
    if (size == 0) return 0;
    const shoal::ByteView in(data + 1, size - 1);
    switch (data[0] % 3) {
        case 0: fuzz_snapshot(in); break;
        case 1: fuzz_message(in); break;
        default: fuzz_assembler(in); break;
    }
    return 0;
}
