#include "wire/kv_shape.h"

#include <algorithm>

#include "wire/fields.h"

namespace shoal::wire {
namespace {

std::uint32_t unit_bytes(KvRowType type) {
    return type == KvRowType::f16 ? 2 : 34;
}

bool fits(const KvRows& rows) {
    return rows.bytes <= limits::layer_kv_bytes_per_token_max && rows.bytes % unit_bytes(rows.type) == 0;
}

void put(Writer& out, const KvRows& rows) {
    out.u8(static_cast<std::uint8_t>(rows.type));
    out.u32(rows.bytes);
}

Result<KvRows> read_rows(Reader& in) {
    const auto type = TRY(read_enum<KvRowType>(in, kv_row_type_max, "kv shape: type"));
    return KvRows{type, in.u32()};
}

}  // namespace

std::uint64_t KvShape::token_bytes() const {
    std::uint64_t out = 0;
    for (const KvLayer& layer : layers) out += layer.token_bytes();
    return out;
}

std::string_view kv_shape_fault(const KvShape& shape) {
    if (shape.layers.empty() || shape.layers.size() > limits::model_layers_max) return "kv shape: layers out of range";
    const bool values = shape.layers.front().values.bytes > 0;
    for (const KvLayer& layer : shape.layers) {
        if (!fits(layer.keys) || !fits(layer.values) || layer.keys.bytes == 0) return "kv shape: a row out of range";
        if ((layer.values.bytes > 0) != values) return "kv shape: values in some layers only";
        if (!values && layer.values.type != KvRowType::f16) return "kv shape: a type of nothing";
    }
    return {};
}

void put_kv_shape(Writer& out, const std::optional<KvShape>& shape) {
    ASSERT(!shape || kv_shape_fault(*shape).empty());
    out.u16(shape ? static_cast<std::uint16_t>(shape->layers.size()) : 0);
    if (!shape) return;
    out.u32(shape->turned_keys);
    out.u32(shape->turned_values);
    for (const KvLayer& layer : shape->layers) {
        put(out, layer.keys);
        put(out, layer.values);
    }
}

Result<std::optional<KvShape>> read_kv_shape(Reader& in) {
    const std::uint16_t count = in.u16();
    if (count == 0) return std::optional<KvShape>();
    if (count > limits::model_layers_max) return fail(Errc::invalid, "kv shape: layers out of range");
    KvShape shape;
    shape.turned_keys = in.u32();
    shape.turned_values = in.u32();
    for (std::uint16_t i = 0; i < count; ++i) {
        const KvRows keys = TRY(read_rows(in));
        const KvRows values = TRY(read_rows(in));
        shape.layers.push_back({keys, values});
    }
    TRY(in.check("kv shape"));
    const std::string_view fault = kv_shape_fault(shape);
    if (!fault.empty()) return fail(Errc::invalid, std::string(fault));
    return std::optional(std::move(shape));
}

}  // namespace shoal::wire
