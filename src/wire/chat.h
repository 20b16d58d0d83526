// The body of a request (a ChatRequest) and the frames of a reply, as bytes. Format: protocol/chat.md.
#pragma once

#include <variant>

#include "base/chat.h"
#include "base/codec.h"
#include "base/limits.h"

namespace shoal::wire {

// Errc::invalid: a value outside the range that base/chat.h gives; the message names the field.
Status check_chat_request(const ChatRequest& request);
// Errc::exhausted: longer than chat_body_bytes_max.
Result<Bytes> encode_chat_request(const ChatRequest& request);
// Errc::malformed, Errc::invalid. Text must be UTF-8.
Result<ChatRequest> decode_chat_request(ByteView in);

// A reply is a byte string of frames: kind u8, length u16, body. Frames may be cut anywhere into REPLY records.
using ReplyFrame = std::variant<ChatDelta, ChatEnd, ChatFault>;
inline constexpr std::size_t reply_frame_bytes_max = 3 + 8192;
// Text longer than 8192 bytes must be split by the caller.
void append_reply_frame(Bytes& out, const ReplyFrame& frame);

// Takes bytes as they come and gives whole frames; holds at most one incomplete frame.
class ReplyFrames {
public:
    // Errc::malformed; the object is then spent. Frames come out in order through `sink`.
    Result<std::vector<ReplyFrame>> feed(ByteView bytes);
    // No frame is half received.
    bool at_boundary() const { return pending_.empty(); }

private:
    Bytes pending_;  // bounded: reply_frame_bytes_max
};

// Whether `text` is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF).
bool is_utf8(std::string_view text);
// How many bytes at the end of `text` begin a character that is not complete yet (0 to 3).
std::size_t utf8_incomplete_tail(std::string_view text);

}  // namespace shoal::wire
