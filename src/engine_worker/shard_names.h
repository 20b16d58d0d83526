// Names of tensors, between the files that cut shards.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "wire/text.h"

namespace shoal::engine_worker {

inline std::string quoted(std::string_view name) {
    return "'" + wire::plain_text(name, 64) + "'";
}

struct BlockTensor {
    std::uint64_t block = 0;
    std::string_view rest;  // with its point: ".attn_q.weight"
};

// "blk.<number>.<rest>", the number as the library writes it. nullopt: of no block.
inline std::optional<BlockTensor> block_tensor(std::string_view name) {
    constexpr std::string_view prefix = "blk.";
    if (name.substr(0, prefix.size()) != prefix) return std::nullopt;
    const std::string_view tail = name.substr(prefix.size());
    BlockTensor out;
    const auto [end, error] = std::from_chars(tail.data(), tail.data() + tail.size(), out.block);
    const std::size_t digits = static_cast<std::size_t>(end - tail.data());
    if (error != std::errc() || (digits > 1 && tail[0] == '0')) return std::nullopt;
    out.rest = tail.substr(digits);
    return out.rest.size() > 1 && out.rest[0] == '.' ? std::optional(out) : std::nullopt;
}

inline std::string block_name(std::uint64_t block, std::string_view rest) {
    return "blk." + std::to_string(block) + std::string(rest);
}

}  // namespace shoal::engine_worker
