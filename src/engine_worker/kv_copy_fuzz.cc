// The library's bytes of a sequence, and bytes that only look like them: what is read has all its rows inside.
#include <algorithm>

#include "base/assert.h"
#include "engine_worker/kv_copy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    using namespace shoal::engine_worker;
    const auto copy = KvCopy::read(Bytes(data, data + size));
    if (!copy) {
        ASSERT(!copy.error().message.empty());
        return 0;
    }
    // Made anew with the same rows, it is as long, and its rows are these.
    KvCopy anew = KvCopy::blank(copy->shape(), copy->tokens());
    ASSERT(anew.blob().size() == size);
    for (std::size_t layer = 0; layer < copy->shape().layers.size(); ++layer) {
        for (const KvSide side : {KvSide::keys, KvSide::values}) {
            const ByteSpan place = anew.rows_to_fill(layer, side);
            if (place.empty()) continue;
            std::size_t at = 0;
            for (std::uint32_t token = 0; token < copy->tokens();) {
                const ByteView rows = copy->rows(layer, side, token);
                ASSERT(!rows.empty() && rows.size() <= place.size() - at);
                std::copy(rows.begin(), rows.end(), place.subspan(at).begin());
                at += rows.size();
                token += static_cast<std::uint32_t>(rows.size() / (place.size() / copy->tokens()));
            }
            ASSERT(at == place.size());
        }
    }
    const auto again = KvCopy::read(to_bytes(anew.blob()));
    ASSERT(again && again->shape() == copy->shape() && again->tokens() == copy->tokens());
    return 0;
}
