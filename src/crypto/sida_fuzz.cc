// Cloves as a hostile client may send them: any geometry, any fragments.
#include <algorithm>

#include "base/codec.h"
#include "crypto/init.h"
#include "crypto/rng.h"
#include "crypto/sida.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    shoal::crypto::init();
    return 0;
}

namespace {

using namespace shoal;
using namespace shoal::crypto;

// Geometry and fragments straight from the input.
void combine_anything(Reader in) {
    SidaGeometry geometry{in.u8(), in.u8(), MessageId(in.array<16>()), in.u32()};
    std::vector<Fragment> fragments(in.u8() % 20);
    for (Fragment& fragment : fragments) {
        fragment.index = in.u8();
        fragment.share = in.array<32>();
        fragment.bytes = to_bytes(in.bytes(std::min<std::size_t>(in.u16(), in.remaining())));
    }
    const auto combined = sida_combine(geometry, fragments);
    if (combined) ASSERT(combined->plaintext.size() + limits::aead_tag_bytes == geometry.ciphertext_bytes);
}

// A good split with some fragments changed: either the message comes back whole and exactly the changed bytes are
// named, or nothing does. Changed shares may be blamed on others (sida.h), so they only must not change the message.
void combine_damaged(Reader in) {
    const auto n = static_cast<std::uint8_t>(1 + in.u8() % limits::cloves_max);
    const auto k = static_cast<std::uint8_t>(1 + in.u8() % n);
    SeededRng rng(1);
    const Bytes plaintext(in.u8(), 0x61);
    SidaSplit split = sida_split(plaintext, k, n, MessageId(), rng);
    Bytes changed;
    bool shares_changed = false;
    for (std::size_t i = 0; i < n && in.remaining() >= 2; ++i) {
        const std::uint8_t at = in.u8();
        const std::uint8_t by = in.u8();
        if (by == 0) continue;
        Fragment& fragment = split.fragments[i];
        shares_changed = shares_changed || at < 32;
        (at < 32 ? fragment.share[at] : fragment.bytes[at % fragment.bytes.size()]) ^= by;
        changed.push_back(fragment.index);
    }
    const auto combined = sida_combine(split.geometry, split.fragments);
    if (!combined) {
        ASSERT(!changed.empty());
        return;
    }
    ASSERT(combined->plaintext == plaintext);
    if (!shares_changed) ASSERT(combined->wrong == changed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    combine_anything(Reader(ByteView(data, size)));
    combine_damaged(Reader(ByteView(data, size)));
    return 0;
}
