// What was computed of a prompt, on its way to another node that holds the same model. Format: protocol/prefix.md.
#pragma once

#include <variant>

#include "base/codec.h"
#include "base/ids.h"
#include "base/limits.h"

namespace shoal::wire {

// The first message of its channel.
struct PrefixFetch {
    ModelId model;
    ByteArray<32> chain{};  // of the first `tokens` of the prompt: base/chat.h, engine/prefixes.h
    std::uint32_t tokens = 0;
};
// Pieces will follow as soon as the engine gives them.
struct PrefixReading {};
struct PrefixBytes {
    Bytes bytes;  // 1 to prefix_piece_bytes
    bool last = false;
};
enum class PrefixRefusal : std::uint8_t {
    gone = 0,      // it is not held, or not any more
    busy = 1,      // as many are read as may be
    stranger = 2,  // the directory does not list who asks, or this node, for the model
};
inline constexpr std::uint8_t prefix_refusal_max = 2;
// The last message.
struct PrefixRefused {
    PrefixRefusal reason = PrefixRefusal::gone;
};
using PrefixMessage = std::variant<PrefixFetch, PrefixReading, PrefixBytes, PrefixRefused>;

// Ranges are the caller's (ASSERT).
Bytes encode_prefix_message(const PrefixMessage& message);
// Errc::malformed; Errc::invalid: a value out of range.
Result<PrefixMessage> decode_prefix_message(ByteView in);

}  // namespace shoal::wire
