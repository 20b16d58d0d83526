// The header of a model from a stranger: any bytes give a Gguf whose tensors lie inside the file, or a plain line.
#include "base/assert.h"
#include "engine_worker/gguf.h"
#include "wire/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    const engine_worker::ReadAt read = [data, size](std::uint64_t offset, ByteSpan out) {
        if (offset > size || out.size() > size - offset) return false;
        std::copy_n(data + offset, out.size(), out.begin());
        return true;
    };
    const auto block_of = [](std::uint32_t type) {
        if (type == 8) return engine_worker::BlockSize{32, 34};
        return type < 2 ? engine_worker::BlockSize{1, 4 - 2 * type} : engine_worker::BlockSize{};
    };
    const auto parsed = engine_worker::read_gguf(read, size, block_of);
    if (!parsed) {
        ASSERT(!parsed.error().message.empty() && wire::is_plain_text(parsed.error().message));
        return 0;
    }
    for (const auto& tensor : parsed->tensors) ASSERT(tensor.offset + tensor.bytes <= size);
    ASSERT(engine_worker::model_id(*parsed, read, [](double) {}).has_value());
    return 0;
}
