// What an engine keeps of each token: the form of its keys and values, layer by layer. Format: protocol/prefix.md
// (form) and protocol/stage.md (kv).
//
// Pure.
#pragma once

#include <optional>
#include <vector>

#include "base/codec.h"
#include "base/limits.h"
#include "base/result.h"

namespace shoal::wire {

// The codes of protocol/prefix.md.
enum class KvRowType : std::uint8_t { f16 = 0, q8_0 = 1 };
inline constexpr std::uint8_t kv_row_type_max = 1;

struct KvRows {
    KvRowType type = KvRowType::f16;
    std::uint32_t bytes = 0;  // of a token's row; 0: there are none
    friend bool operator==(const KvRows&, const KvRows&) = default;
};
struct KvLayer {
    KvRows keys, values;
    std::uint64_t token_bytes() const { return std::uint64_t{keys.bytes} + values.bytes; }
    friend bool operator==(const KvLayer&, const KvLayer&) = default;
};
// Of all engines that have the same layers and cache type.
struct KvShape {
    std::vector<KvLayer> layers;  // 1 to limits::model_layers_max; each has keys, and all have values or none has
    // Before they were quantised, rows were turned in blocks of so many numbers; 0: not.
    std::uint32_t turned_keys = 0, turned_values = 0;
    std::uint64_t token_bytes() const;
    friend bool operator==(const KvShape&, const KvShape&) = default;
};

// Empty, or why nothing can have this shape.
std::string_view kv_shape_fault(const KvShape& shape);

// The field of messages that say what is kept; nullopt: what cannot be moved. The shape has no fault (ASSERT).
void put_kv_shape(Writer& out, const std::optional<KvShape>& shape);
// Errc::malformed, Errc::invalid. A short read is told by the Reader's finish().
Result<std::optional<KvShape>> read_kv_shape(Reader& in);

}  // namespace shoal::wire
