#include "wire/chat.h"

#include <algorithm>

#include "wire/fields.h"

namespace shoal::wire {
namespace {

constexpr std::uint8_t seed_flag = 1;
constexpr std::uint8_t scope_flag = 2;
constexpr std::uint8_t source_flag = 4;
constexpr std::size_t chat_fixed_bytes = 1 + 8 + 6 * 4 + 4 + 1 + 2;

enum class FrameKind : std::uint8_t { text = 1, end = 2, fault = 3 };
constexpr std::size_t frame_header_bytes = reply_frame_header_bytes;
constexpr std::size_t end_frame_bytes = 1 + 4 + 4 + 4;
constexpr std::size_t kept_end_frame_bytes = end_frame_bytes + kept_prefix_bytes;
constexpr std::size_t source_bytes = NodeId::size + kept_prefix_bytes;

std::string numbered(const char* list, std::size_t index) {
    return std::string(list) + "[" + std::to_string(index) + "]";
}

// False for NaN too: both comparisons are then false.
Status check_range(const char* field, float value, float low, float high, const char* range) {
    if (value >= low && value <= high) return ok();
    return fail(Errc::invalid, std::string(field) + " must be " + range);
}

Status check_sampling(const Sampling& s) {
    TRY(check_range("temperature", s.temperature, 0.0F, 2.0F, "from 0 to 2"));
    TRY(check_range("top_p", s.top_p, 0.0F, 1.0F, "above 0 and at most 1"));
    if (s.top_p == 0.0F) return fail(Errc::invalid, "top_p must be above 0 and at most 1");
    if (s.top_k > limits::top_k_max) {
        return fail(Errc::invalid, "top_k must be at most " + std::to_string(limits::top_k_max));
    }
    TRY(check_range("min_p", s.min_p, 0.0F, 1.0F, "from 0 to 1"));
    TRY(check_range("presence_penalty", s.presence_penalty, -2.0F, 2.0F, "from -2 to 2"));
    return check_range("frequency_penalty", s.frequency_penalty, -2.0F, 2.0F, "from -2 to 2");
}

// U+0000 is refused because engines hand text on as C strings, which would end there.
Status check_text(const std::string& field, std::string_view text) {
    if (!is_utf8(text)) return fail(Errc::invalid, field + " must be valid UTF-8");
    if (text.find('\0') != std::string_view::npos) return fail(Errc::invalid, field + " must not contain U+0000");
    return ok();
}

std::size_t encoded_bytes(const ChatRequest& request) {
    std::size_t bytes =
        chat_fixed_bytes + (request.scope ? PrefixScope::size : 0) + (request.source ? source_bytes : 0);
    for (const auto& stop : request.stop) bytes += 2 + stop.size();
    for (const auto& message : request.messages) bytes += 1 + 4 + message.content.size();
    return bytes;
}

Result<Sampling> read_sampling(Reader& in, std::uint8_t flags) {
    Sampling s;
    const bool seeded = (flags & seed_flag) != 0;
    const std::uint64_t seed = in.u64();
    if (!seeded && seed != 0) return fail(Errc::malformed, "chat: a seed without its flag");
    if (seeded) s.seed = seed;
    s.temperature = in.f32();
    s.top_p = in.f32();
    s.min_p = in.f32();
    s.presence_penalty = in.f32();
    s.frequency_penalty = in.f32();
    s.top_k = in.u32();
    return s;
}

// ---- reply frames ------------------------------------------------------------------------------------------------

void put_frame(Bytes& out, FrameKind kind, ByteView body) {
    out.push_back(static_cast<std::uint8_t>(kind));
    std::uint8_t length[2];
    store_le<std::uint16_t>(length, static_cast<std::uint16_t>(body.size()));
    append(out, length);
    append(out, body);
}

// Judged as soon as the header is there, so that a hostile length never makes the buffer grow.
Status check_frame_header(std::uint8_t kind, std::size_t length) {
    switch (static_cast<FrameKind>(kind)) {
        case FrameKind::text:
            if (length >= 1 && length <= reply_frame_text_bytes_max) return ok();
            break;
        case FrameKind::end:
            if (length == end_frame_bytes || length == kept_end_frame_bytes) return ok();
            break;
        case FrameKind::fault:
            if (length >= 1 && length <= 1 + fault_text_bytes_max) return ok();
            break;
        default: return fail(Errc::malformed, "reply: unknown frame");
    }
    return fail(Errc::malformed, "reply: a frame of a length that its kind does not have");
}

Result<ReplyFrame> parse_frame(std::uint8_t kind, ByteView body) {
    Reader in(body);
    switch (static_cast<FrameKind>(kind)) {
        case FrameKind::text:
            if (!is_utf8(as_text(body))) return fail(Errc::malformed, "reply: text that is not UTF-8");
            return ReplyFrame(ChatDelta{Plaintext(std::string(as_text(body)))});
        case FrameKind::end: {
            ChatEnd end;
            end.reason = TRY(read_enum<FinishReason>(in, static_cast<std::uint8_t>(FinishReason::length), "reply end"));
            end.usage.prompt = TokenCount(in.u32());
            end.usage.completion = TokenCount(in.u32());
            end.usage.reused = TokenCount(in.u32());
            if (in.remaining() > 0) end.kept = TRY(read_kept_prefix(in));
            TRY(in.finish("reply end"));
            if (end.kept && !kept_prefix_fault(*end.kept).empty()) {
                return fail(Errc::malformed, "reply end: " + std::string(kept_prefix_fault(*end.kept)));
            }
            if (end.usage.reused > end.usage.prompt) {
                return fail(Errc::malformed, "reply end: more tokens reused than the prompt has");
            }
            return ReplyFrame(end);
        }
        case FrameKind::fault: break;
    }
    ChatFault fault;
    fault.fault = TRY(read_enum<AskFault>(in, ask_fault_max, "reply fault"));
    fault.message = std::string(as_text(in.rest()));
    if (!is_plain_text(fault.message)) return fail(Errc::malformed, "reply fault: text that is not plain UTF-8");
    return ReplyFrame(std::move(fault));
}

Status check_source(const ChatRequest& request) {
    if (!request.source) return ok();
    if (!request.scope) return fail(Errc::invalid, "source must come with a scope");
    if (request.source->node.is_zero()) return fail(Errc::invalid, "source must name a node");
    const std::string_view fault = kept_prefix_fault(request.source->kept);
    return fault.empty() ? ok() : fail(Errc::invalid, "source says " + std::string(fault));
}

}  // namespace

void put_kept_prefix(Writer& out, const KeptPrefix& kept) {
    out.u32(kept.tokens);
    out.u64(kept.bytes);
    out.bytes(kept.digest);
}

Result<KeptPrefix> read_kept_prefix(Reader& in) {
    KeptPrefix kept;
    kept.tokens = in.u32();
    kept.bytes = in.u64();
    kept.digest = in.array<32>();
    TRY(in.check("kept prefix"));
    return kept;
}

std::string_view kept_prefix_fault(const KeptPrefix& kept) {
    if (kept.tokens == 0 || kept.tokens > limits::context_tokens_max) return "a number of kept tokens out of range";
    const bool fits = kept.bytes > 0 && kept.bytes <= limits::prefix_snapshot_bytes_max;
    return fits ? std::string_view() : "a size of what is kept out of range";
}

Status check_chat_request(const ChatRequest& request) {
    if (request.messages.empty() || request.messages.size() > limits::chat_messages_max) {
        return fail(Errc::invalid, "messages must be 1 to " + std::to_string(limits::chat_messages_max));
    }
    for (std::size_t i = 0; i < request.messages.size(); ++i) {
        if (request.messages[i].role > Role::tool) {
            return fail(Errc::invalid, numbered("messages", i) + ".role is not known");
        }
        TRY(check_text(numbered("messages", i) + ".content", request.messages[i].content.expose()));
    }
    if (request.scope && request.scope->is_zero()) return fail(Errc::invalid, "scope must not be zero");
    TRY(check_source(request));
    TRY(check_sampling(request.sampling));
    if (request.completion_tokens_max > limits::context_tokens_max) {
        return fail(Errc::invalid, "max_tokens must be at most " + std::to_string(limits::context_tokens_max));
    }
    if (request.stop.size() > limits::stop_strings_max) {
        return fail(Errc::invalid, "stop must have at most " + std::to_string(limits::stop_strings_max) + " strings");
    }
    for (std::size_t i = 0; i < request.stop.size(); ++i) {
        const std::string& stop = request.stop[i];
        if (stop.empty() || stop.size() > limits::stop_string_bytes_max) {
            return fail(Errc::invalid, numbered("stop", i) + " must be 1 to " +
                                           std::to_string(limits::stop_string_bytes_max) + " bytes");
        }
        TRY(check_text(numbered("stop", i), stop));
    }
    return ok();
}

Result<Bytes> encode_chat_request(const ChatRequest& request) {
    TRY(check_chat_request(request));
    const std::size_t bytes = encoded_bytes(request);
    if (bytes > limits::chat_body_bytes_max) {
        return fail(Errc::exhausted, "messages are too long: " + std::to_string(bytes) + " bytes, at most " +
                                         std::to_string(limits::chat_body_bytes_max) + " can be carried");
    }
    Writer out(bytes);  // exact, so that no half-grown copy of the prompt stays behind in freed memory
    const Sampling& s = request.sampling;
    out.u8(static_cast<std::uint8_t>((s.seed ? seed_flag : 0) | (request.scope ? scope_flag : 0) |
                                     (request.source ? source_flag : 0)));
    out.u64(s.seed.value_or(0));
    for (float value : {s.temperature, s.top_p, s.min_p, s.presence_penalty, s.frequency_penalty}) out.f32(value);
    out.u32(s.top_k);
    out.u32(request.completion_tokens_max);
    out.u8(static_cast<std::uint8_t>(request.stop.size()));
    for (const auto& stop : request.stop) out.text_u16(stop);
    out.u16(static_cast<std::uint16_t>(request.messages.size()));
    for (const auto& message : request.messages) {
        out.u8(static_cast<std::uint8_t>(message.role));
        out.text_u32(message.content.expose());
    }
    if (request.scope) out.bytes(request.scope->view());
    if (request.source) {
        out.bytes(request.source->node.view());
        put_kept_prefix(out, request.source->kept);
    }
    ASSERT(out.size() == bytes);
    return out.take();
}

const char* role_name(Role role) {
    switch (role) {
        case Role::system: return "system";
        case Role::user: return "user";
        case Role::assistant: return "assistant";
        case Role::tool: return "tool";
    }
    return "user";
}

Result<ChatRequest> decode_chat_request(ByteView in) {
    if (in.size() > limits::chat_body_bytes_max) return fail(Errc::malformed, "chat: longer than a body may be");
    Reader reader(in);
    ChatRequest request;
    const std::uint8_t flags = reader.u8();
    if ((flags & ~(seed_flag | scope_flag | source_flag)) != 0)
        return fail(Errc::malformed, "chat: a reserved flag is set");
    request.sampling = TRY(read_sampling(reader, flags));
    request.completion_tokens_max = reader.u32();
    const std::size_t stops = reader.u8();
    // Both loops end at the first short read, so they cost what has arrived and not what is announced.
    for (std::size_t i = 0; i < stops && !reader.failed(); ++i) {
        request.stop.push_back(reader.text_u16(limits::stop_string_bytes_max));
    }
    const std::size_t messages = reader.u16();
    for (std::size_t i = 0; i < messages && !reader.failed(); ++i) {
        ChatMessage message;
        message.role = TRY(read_enum<Role>(reader, static_cast<std::uint8_t>(Role::tool), "chat role"));
        message.content = Plaintext(reader.text_u32(limits::chat_body_bytes_max));
        request.messages.push_back(std::move(message));
    }
    if ((flags & scope_flag) != 0) request.scope = PrefixScope(reader.array<PrefixScope::size>());
    if ((flags & source_flag) != 0) {
        const NodeId node(reader.array<NodeId::size>());
        request.source = PrefixSource{node, TRY(read_kept_prefix(reader))};
    }
    TRY(reader.finish("chat"));
    TRY(check_chat_request(request));
    return request;
}

void append_reply_frame(Bytes& out, const ReplyFrame& frame) {
    if (const auto* delta = std::get_if<ChatDelta>(&frame)) {
        ASSERT(delta->text.size() <= reply_frame_text_bytes_max);
        if (!delta->text.empty()) put_frame(out, FrameKind::text, as_bytes(delta->text.expose()));
    } else if (const auto* end = std::get_if<ChatEnd>(&frame)) {
        Writer body(kept_end_frame_bytes);
        body.u8(static_cast<std::uint8_t>(end->reason));
        body.u32(end->usage.prompt.value());
        body.u32(end->usage.completion.value());
        body.u32(end->usage.reused.value());
        if (end->kept) {
            ASSERT(kept_prefix_fault(*end->kept).empty());
            put_kept_prefix(body, *end->kept);
        }
        put_frame(out, FrameKind::end, body.view());
    } else {
        const auto& fault = std::get<ChatFault>(frame);
        Bytes body = {static_cast<std::uint8_t>(fault.fault)};
        append(body, as_bytes(plain_text(fault.message, fault_text_bytes_max)));
        put_frame(out, FrameKind::fault, body);
    }
}

Result<std::vector<ReplyFrame>> ReplyFrames::feed(ByteView bytes) {
    std::vector<ReplyFrame> frames;
    while (!bytes.empty()) {
        if (ended_) return fail(Errc::malformed, "reply: bytes after its end");
        const std::size_t have = pending_.size();
        std::size_t want = frame_header_bytes;
        if (have >= frame_header_bytes) {
            want += load_le<std::uint16_t>(as_bytes(pending_.expose()).data() + 1);
        }
        const ByteView taken = bytes.first(std::min(bytes.size(), want - have));
        pending_.append(as_text(taken));
        bytes = bytes.subspan(taken.size());
        if (pending_.size() < want) break;
        const ByteView frame = as_bytes(pending_.expose());
        if (want == frame_header_bytes) {
            TRY(check_frame_header(frame[0], load_le<std::uint16_t>(frame.data() + 1)));
            continue;  // no kind has an empty body, so the frame is not whole yet
        }
        frames.push_back(TRY(parse_frame(frame[0], frame.subspan(frame_header_bytes))));
        ended_ = !std::holds_alternative<ChatDelta>(frames.back());
        pending_.clear();
    }
    return frames;
}

}  // namespace shoal::wire
