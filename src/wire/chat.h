// The body of a request (a ChatRequest) and the frames of a reply, as bytes. Format: protocol/chat.md.
#pragma once

#include <variant>
#include <vector>

#include "base/chat.h"
#include "base/codec.h"
#include "base/limits.h"
#include "wire/text.h"

namespace shoal::wire {

// Errc::invalid: a value outside the range that base/chat.h gives; the message begins with the field, in the words of
// the OpenAI interface. NaN is outside every range. Text must be UTF-8 without U+0000, since engines hand it on as C
// strings; a stop string has 1 to stop_string_bytes_max bytes; completion_tokens_max is at most context_tokens_max.
Status check_chat_request(const ChatRequest& request);
// Errc::invalid as check_chat_request; Errc::exhausted: longer than chat_body_bytes_max.
Result<Bytes> encode_chat_request(const ChatRequest& request);
// Errc::malformed: does not parse. Errc::invalid as check_chat_request: what decodes can be given to an engine.
Result<ChatRequest> decode_chat_request(ByteView in);

// What is kept of a conversation, as requests, replies and the worker's pipe carry it. Errc::malformed: cut short.
inline constexpr std::size_t kept_prefix_bytes = 4 + 8 + 32;
void put_kept_prefix(Writer& out, const KeptPrefix& kept);
Result<KeptPrefix> read_kept_prefix(Reader& in);
// Empty: it may be so. What is outside the ranges of protocol/chat.md has a reason.
std::string_view kept_prefix_fault(const KeptPrefix& kept);

// As the OpenAI interface and the chat templates of models write it.
const char* role_name(Role role);

// A reply is a byte string of frames: kind u8, length u16, body. Frames may be cut anywhere into REPLY records.
// Any number of text frames, then exactly one end or fault.
using ReplyFrame = std::variant<ChatDelta, ChatEnd, ChatFault>;
inline constexpr std::size_t reply_frame_text_bytes_max = 8192;
inline constexpr std::size_t reply_frame_header_bytes = 3;
inline constexpr std::size_t reply_frame_bytes_max = reply_frame_header_bytes + reply_frame_text_bytes_max;
inline constexpr std::size_t fault_text_bytes_max = 512;
inline constexpr std::uint8_t ask_fault_max = static_cast<std::uint8_t>(AskFault::timeout);

// Text must be whole UTF-8 characters (utf8_incomplete_tail) and at most reply_frame_text_bytes_max: the caller splits.
// Empty text writes nothing. A fault's message goes out as plain_text. What an end says of what is kept is in range
// (ASSERT).
void append_reply_frame(Bytes& out, const ReplyFrame& frame);

// Takes bytes as they come and gives whole frames; holds at most one incomplete frame, which is wiped when done with.
// One thread; O(bytes).
class ReplyFrames {
public:
    // The frames that these bytes complete, in order. Errc::malformed: unknown kind, a length that the kind does not
    // have (told from the header, before the body is buffered), text that is not UTF-8, bytes after the end. The object
    // is then spent.
    Result<std::vector<ReplyFrame>> feed(ByteView bytes);
    // No frame is half received.
    bool at_boundary() const { return pending_.empty(); }
    // An end or a fault has come; nothing may follow.
    bool ended() const { return ended_; }

private:
    Plaintext pending_;  // bounded: reply_frame_bytes_max
    bool ended_ = false;
};

}  // namespace shoal::wire
