// A model from a stranger, cut into stages: any bytes give shards that lie inside the file, are no larger than it and a
// header, and parse; or a plain line.
#include "base/assert.h"
#include "engine_worker/shard.h"
#include "wire/text.h"

namespace {

using namespace shoal;
using namespace shoal::engine_worker;

BlockSize block_of(std::uint32_t type) {
    if (type == 8) return {32, 34};
    return type < 2 ? BlockSize{1, 4 - 2 * type} : BlockSize{};
}

void check_reason(const Error& error) {
    ASSERT(!error.message.empty() && wire::is_plain_text(error.message));
}

void check_shard(const Shard& shard, std::size_t file_bytes) {
    ASSERT(shard.weight_bytes() <= file_bytes);
    std::uint64_t end = shard.header().size();
    for (const Shard::Extent& extent : shard.extents()) {
        ASSERT(extent.at >= end && extent.at + extent.bytes <= shard.bytes());
        ASSERT(!extent.source || *extent.source + extent.bytes <= file_bytes);
        end = extent.at + extent.bytes;
    }
    // What was written for the library reads back; its zeros may be large, and are not held.
    const auto read = [&shard](std::uint64_t offset, ByteSpan out) { return shard.read(offset, out); };
    const auto again = read_gguf(read, shard.bytes(), block_of);
    ASSERT(again.has_value());
    ASSERT(again->tensors.size() == shard.extents().size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ReadAt read = [data, size](std::uint64_t offset, ByteSpan out) {
        if (offset > size || out.size() > size - offset) return false;
        std::copy_n(data + offset, out.size(), out.begin());
        return true;
    };
    auto gguf = read_gguf(read, size, block_of);
    if (!gguf) return 0;
    const auto model = WholeModel::open(std::move(*gguf), read, block_of);
    if (!model) {
        check_reason(model.error());
        return 0;
    }
    const std::uint32_t layers = model->shape().layers;
    const LayerRange ranges[] = {{0, layers}, {0, (layers + 1) / 2}, {layers / 2, layers}, {layers / 3, layers / 2}};
    for (const LayerRange range : ranges) {
        const auto shard = model->cut(range);
        if (shard) {
            check_shard(*shard, size);
        } else {
            check_reason(shard.error());
        }
    }
    return 0;
}
