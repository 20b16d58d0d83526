#include "engine_worker/gguf_writer.h"

#include "base/codec.h"

namespace shoal::engine_worker {
namespace {

void text64(Writer& out, std::string_view text) {
    out.u64(text.size());
    out.bytes(as_bytes(text));
}
std::uint64_t aligned(std::uint64_t bytes) {
    return (bytes + GgufWriter::alignment - 1) / GgufWriter::alignment * GgufWriter::alignment;
}

}  // namespace

std::size_t gguf_value_bytes(GgufType type) {
    switch (type) {
        case GgufType::u8:
        case GgufType::i8:
        case GgufType::boolean: return 1;
        case GgufType::u16:
        case GgufType::i16: return 2;
        case GgufType::u32:
        case GgufType::i32:
        case GgufType::f32: return 4;
        case GgufType::u64:
        case GgufType::i64:
        case GgufType::f64: return 8;
        case GgufType::text:
        case GgufType::array: break;
    }
    return 0;
}

void GgufWriter::text(const std::string& key, std::string_view value) {
    Writer out;
    out.u32(static_cast<std::uint32_t>(GgufType::text));
    text64(out, value);
    raw(key, out.take());
}

void GgufWriter::u32(const std::string& key, std::uint32_t value) {
    Writer out;
    out.u32(static_cast<std::uint32_t>(GgufType::u32));
    out.u32(value);
    raw(key, out.take());
}

void GgufWriter::f32(const std::string& key, float value) {
    Writer out;
    out.u32(static_cast<std::uint32_t>(GgufType::f32));
    out.f32(value);
    raw(key, out.take());
}

void GgufWriter::u32s(const std::string& key, const std::vector<std::uint32_t>& values) {
    Writer out;
    out.u32(static_cast<std::uint32_t>(GgufType::array));
    out.u32(static_cast<std::uint32_t>(GgufType::u32));
    out.u64(values.size());
    for (std::uint32_t value : values) out.u32(value);
    raw(key, out.take());
}

std::uint64_t GgufWriter::tensor(const std::string& name, std::uint32_t type, const std::vector<std::uint64_t>& dims,
                                 std::uint64_t bytes) {
    const std::uint64_t at = data_bytes_;
    Writer out;
    text64(out, name);
    out.u32(static_cast<std::uint32_t>(dims.size()));
    for (std::uint64_t dim : dims) out.u64(dim);
    out.u32(type);
    out.u64(at);
    append(tensors_, out.view());
    ++tensor_count_;
    data_bytes_ = aligned(at + bytes);
    return at;
}

Bytes GgufWriter::finish() const {
    Writer out;
    out.bytes(as_bytes("GGUF"));
    out.u32(3);
    out.u64(tensor_count_);
    out.u64(values_.size());
    for (const auto& [key, value] : values_) {
        text64(out, key);
        out.bytes(value);
    }
    out.bytes(tensors_);
    out.zeros(aligned(out.size()) - out.size());
    return out.take();
}

}  // namespace shoal::engine_worker
