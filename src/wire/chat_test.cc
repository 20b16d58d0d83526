#include "wire/chat.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>

#include "base/test_rng.h"
#include "wire/vectors_test.h"

namespace shoal::wire {
namespace {

Json kept_json(const KeptPrefix& m) {
    return {{"tokens", m.tokens}, {"bytes", m.bytes}, {"digest", to_hex(m.digest)}};
}
KeptPrefix kept_from(const Json& f) {
    return {f["tokens"], f["bytes"], unhex_array<32>(f["digest"])};
}
Json source_json(const PrefixSource& m) {
    Json out = kept_json(m.kept);
    out["node"] = m.node.hex();
    return out;
}

Json chat_json(const ChatRequest& m) {
    Json messages = Json::array();
    for (const auto& one : m.messages) {
        messages.push_back({{"role", number(one.role)}, {"content", one.content.expose()}});
    }
    return {{"messages", messages},
            {"stop", m.stop},
            {"seed", m.sampling.seed ? Json(*m.sampling.seed) : Json()},
            {"temperature", m.sampling.temperature},
            {"top_p", m.sampling.top_p},
            {"min_p", m.sampling.min_p},
            {"presence_penalty", m.sampling.presence_penalty},
            {"frequency_penalty", m.sampling.frequency_penalty},
            {"top_k", m.sampling.top_k},
            {"completion_tokens_max", m.completion_tokens_max},
            {"scope", m.scope ? Json(m.scope->hex()) : Json()},
            {"source", m.source ? source_json(*m.source) : Json()}};
}

ChatRequest chat_from(const Json& f) {
    ChatRequest m;
    for (const Json& one : f["messages"]) {
        m.messages.push_back({unnumber<Role>(one["role"]), Plaintext(one["content"].get<std::string>())});
    }
    m.stop = f["stop"].get<std::vector<std::string>>();
    if (!f["seed"].is_null()) m.sampling.seed = f["seed"].get<std::uint64_t>();
    m.sampling.temperature = f["temperature"];
    m.sampling.top_p = f["top_p"];
    m.sampling.min_p = f["min_p"];
    m.sampling.presence_penalty = f["presence_penalty"];
    m.sampling.frequency_penalty = f["frequency_penalty"];
    m.sampling.top_k = f["top_k"];
    m.completion_tokens_max = f["completion_tokens_max"];
    if (!f["scope"].is_null()) m.scope = unhex_id<PrefixScope>(f["scope"]);
    if (!f["source"].is_null()) m.source = {unhex_id<NodeId>(f["source"]["node"]), kept_from(f["source"])};
    return m;
}

Json frame_json(const ReplyFrame& frame) {
    if (const auto* delta = std::get_if<ChatDelta>(&frame)) return {{"text", delta->text.expose()}};
    if (const auto* end = std::get_if<ChatEnd>(&frame)) {
        Json out = {{"reason", number(end->reason)},
                    {"prompt", end->usage.prompt.value()},
                    {"completion", end->usage.completion.value()},
                    {"reused", end->usage.reused.value()}};
        if (end->kept) out["kept"] = kept_json(*end->kept);
        return out;
    }
    const auto& fault = std::get<ChatFault>(frame);
    return {{"fault", number(fault.fault)}, {"message", fault.message}};
}

ReplyFrame frame_from(const Json& f) {
    if (f.contains("text")) return ChatDelta{Plaintext(f["text"].get<std::string>())};
    if (f.contains("fault")) return ChatFault{unnumber<AskFault>(f["fault"]), f["message"]};
    ChatEnd end{unnumber<FinishReason>(f["reason"]),
                {TokenCount(f["prompt"].get<std::uint32_t>()), TokenCount(f["completion"].get<std::uint32_t>()),
                 TokenCount(f["reused"].get<std::uint32_t>())}};
    if (f.contains("kept")) end.kept = kept_from(f["kept"]);
    return end;
}

// All frames of a whole reply; what ends inside a frame is refused here, though a stream may go on.
Result<Json> decode_reply(ByteView in) {
    ReplyFrames frames;
    Json list = Json::array();
    for (const auto& frame : TRY(frames.feed(in))) list.push_back(frame_json(frame));
    if (!frames.at_boundary()) return fail(Errc::malformed, "half a frame");
    return Json{{"frames", list}};
}
Bytes encode_reply(const Json& f) {
    Bytes out;
    for (const Json& frame : f["frames"]) append_reply_frame(out, frame_from(frame));
    return out;
}

TEST(Chat, TheVectorsHoldBothWays) {
    const VectorCodec request = {
        [](ByteView in) -> Result<Json> { return chat_json(TRY(decode_chat_request(in))); },
        [](const Json& f) { return encode_chat_request(chat_from(f)).value(); },
    };
    check_vectors("chat", {{"chat_request", request}, {"reply", {decode_reply, encode_reply, false}}});
}

// ---- requests ----------------------------------------------------------------------------------------------------

std::string arbitrary_text(TestRng& rng, std::size_t characters_max) {
    static const char* const characters[] = {"a", "\n", "é", "Ω", "日", "\uFFFD", "🐟", "\U0010FFFF", "\x01", "\x7f"};
    std::string out;
    for (std::size_t i = rng.below(characters_max + 1); i > 0; --i) out += characters[rng.below(std::size(characters))];
    return out;
}

float arbitrary_float(TestRng& rng, float low, float high) {
    return low + (high - low) * static_cast<float>(rng.below(1025)) / 1024.0F;
}

ChatRequest arbitrary_request(TestRng& rng) {
    ChatRequest m;
    for (std::size_t i = 1 + rng.below(8); i > 0; --i) {
        m.messages.push_back({static_cast<Role>(rng.below(4)), Plaintext(arbitrary_text(rng, 200))});
    }
    for (std::size_t i = rng.below(limits::stop_strings_max + 1); i > 0; --i) {
        m.stop.push_back("s" + arbitrary_text(rng, 50));
    }
    if (rng.below(2) == 0) m.sampling.seed = rng.u64();
    if (rng.below(2) == 0) m.scope = rng.id<PrefixScope>();
    if (m.scope && rng.below(2) == 0) {
        m.source = {rng.id<NodeId>(),
                    {1 + static_cast<std::uint32_t>(rng.below(limits::context_tokens_max)),
                     1 + rng.below(limits::prefix_snapshot_bytes_max), rng.array<32>()}};
    }
    m.sampling.temperature = arbitrary_float(rng, 0.0F, 2.0F);
    m.sampling.top_p = arbitrary_float(rng, 0.0009765625F, 1.0F);
    m.sampling.min_p = arbitrary_float(rng, 0.0F, 1.0F);
    m.sampling.presence_penalty = arbitrary_float(rng, -2.0F, 2.0F);
    m.sampling.frequency_penalty = arbitrary_float(rng, -2.0F, 2.0F);
    m.sampling.top_k = static_cast<std::uint32_t>(rng.below(limits::top_k_max + 1));
    m.completion_tokens_max = static_cast<std::uint32_t>(rng.below(limits::context_tokens_max + 1));
    return m;
}

RC_GTEST_PROP(Chat, EveryRequestComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    const ChatRequest request = arbitrary_request(rng);
    const auto bytes = encode_chat_request(request);
    RC_ASSERT(bytes.has_value());
    const auto back = decode_chat_request(*bytes);
    RC_ASSERT(back.has_value());
    RC_ASSERT(*back == request);
}

TEST(Chat, ARefusalBeginsWithTheFieldThatItIsAbout) {
    const auto message = [](auto change) {
        ChatRequest m;
        m.messages = {{Role::user, Plaintext("x")}};
        change(m);
        const auto status = check_chat_request(m);
        EXPECT_FALSE(status);
        EXPECT_EQ(status.error().code, Errc::invalid);
        return status.error().message.substr(0, status.error().message.find(' '));
    };
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(message([](ChatRequest& m) { m.messages.clear(); }), "messages");
    EXPECT_EQ(message([](ChatRequest& m) { m.messages[0].content = Plaintext("\xff"); }), "messages[0].content");
    EXPECT_EQ(message([](ChatRequest& m) { m.messages[0].role = static_cast<Role>(4); }), "messages[0].role");
    EXPECT_EQ(message([&](ChatRequest& m) { m.sampling.temperature = nan; }), "temperature");
    EXPECT_EQ(message([&](ChatRequest& m) { m.sampling.top_p = nan; }), "top_p");
    EXPECT_EQ(message([](ChatRequest& m) { m.sampling.top_k = 100'001; }), "top_k");
    EXPECT_EQ(message([&](ChatRequest& m) { m.sampling.min_p = nan; }), "min_p");
    EXPECT_EQ(message([&](ChatRequest& m) { m.sampling.presence_penalty = nan; }), "presence_penalty");
    EXPECT_EQ(message([&](ChatRequest& m) { m.sampling.frequency_penalty = nan; }), "frequency_penalty");
    EXPECT_EQ(message([](ChatRequest& m) { m.completion_tokens_max = 1'048'577; }), "max_tokens");
    EXPECT_EQ(message([](ChatRequest& m) { m.stop = {17, "s"}; }), "stop");
    EXPECT_EQ(message([](ChatRequest& m) { m.stop = {"ok", ""}; }), "stop[1]");
    EXPECT_EQ(message([](ChatRequest& m) { m.stop = {std::string(257, 's')}; }), "stop[0]");
}

TEST(Chat, TheLimitsThemselvesAreAllowed) {
    ChatRequest m;
    for (std::size_t i = 0; i < limits::chat_messages_max; ++i) m.messages.push_back({Role::user, Plaintext("x")});
    m.stop.assign(limits::stop_strings_max, std::string(limits::stop_string_bytes_max, 's'));
    m.sampling.top_k = limits::top_k_max;
    m.completion_tokens_max = limits::context_tokens_max;
    EXPECT_TRUE(encode_chat_request(m));
}

TEST(Chat, ABodyIsAtMostWhatARequestCarries) {
    const auto with = [](std::size_t content) {
        ChatRequest m;
        m.messages = {{Role::user, Plaintext(std::string(content, 'x'))}};
        return encode_chat_request(m);
    };
    const std::size_t overhead = with(0)->size();
    const auto longest = with(limits::chat_body_bytes_max - overhead);
    ASSERT_TRUE(longest);
    EXPECT_EQ(longest->size(), limits::chat_body_bytes_max);
    EXPECT_TRUE(decode_chat_request(*longest));
    const auto over = with(limits::chat_body_bytes_max - overhead + 1);
    ASSERT_FALSE(over);
    EXPECT_EQ(over.error().code, Errc::exhausted);
    // Nor is one read that another's encoder let through.
    Bytes grown = *longest;
    grown.push_back('x');
    store_le<std::uint32_t>(grown.data() + overhead - 4,
                            static_cast<std::uint32_t>(limits::chat_body_bytes_max - overhead + 1));
    EXPECT_FALSE(decode_chat_request(grown));
}

// ---- replies -----------------------------------------------------------------------------------------------------

RC_GTEST_PROP(ReplyFrames, GiveTheSameFramesHoweverTheBytesAreCut, (std::uint64_t seed)) {
    TestRng rng(seed);
    Json sent = Json::array();
    Bytes bytes;
    for (std::size_t i = rng.below(6); i > 0; --i) {
        ChatDelta delta{Plaintext("t" + arbitrary_text(rng, rng.below(8) == 0 ? 2000 : 20))};
        sent.push_back(frame_json(delta));
        append_reply_frame(bytes, delta);
    }
    const ChatEnd end{FinishReason::length, {TokenCount(3), TokenCount(static_cast<std::uint32_t>(rng.u64()))}};
    sent.push_back(frame_json(end));
    append_reply_frame(bytes, end);

    ReplyFrames frames;
    Json got = Json::array();
    ByteView rest = bytes;
    while (!rest.empty()) {
        RC_ASSERT(!frames.ended());
        const std::size_t count = std::min<std::size_t>(rest.size(), 1 + rng.below(rng.below(2) == 0 ? 5 : 1330));
        const auto more = frames.feed(rest.first(count));
        RC_ASSERT(more.has_value());
        for (const auto& frame : *more) got.push_back(frame_json(frame));
        rest = rest.subspan(count);
    }
    RC_ASSERT(got == sent);
    RC_ASSERT(frames.at_boundary());
    RC_ASSERT(frames.ended());
}

TEST(ReplyFrames, ABadHeaderIsRefusedBeforeItsBodyIsBuffered) {
    ReplyFrames frames;
    const Bytes header = {1, 0x01, 0x20};  // text of 8193 bytes
    EXPECT_FALSE(frames.feed(header));
}

TEST(ReplyFrames, TheLongestTextIsAllowed) {
    Bytes bytes;
    append_reply_frame(bytes, ChatDelta{Plaintext(std::string(reply_frame_text_bytes_max, 'x'))});
    EXPECT_EQ(bytes.size(), reply_frame_bytes_max);
    ReplyFrames frames;
    EXPECT_EQ(frames.feed(bytes)->size(), 1U);
    EXPECT_DEATH(append_reply_frame(bytes, ChatDelta{Plaintext(std::string(reply_frame_text_bytes_max + 1, 'x'))}),
                 "internal error");
}

TEST(ReplyFrames, HalfAFrameIsNoBoundary) {
    ReplyFrames frames;
    const Bytes half = {1, 2, 0, 'x'};
    EXPECT_TRUE(frames.feed(half)->empty());
    EXPECT_FALSE(frames.at_boundary());
}

TEST(ReplyFrames, NoTextIsNoFrameAndAFaultIsMadePlain) {
    Bytes bytes;
    append_reply_frame(bytes, ChatDelta{});
    EXPECT_TRUE(bytes.empty());
    append_reply_frame(bytes, ChatFault{AskFault::engine_failed, "\x1b" + std::string(600, 'm')});
    ReplyFrames frames;
    const auto got = frames.feed(bytes);
    ASSERT_TRUE(got);
    EXPECT_EQ(std::get<ChatFault>(got->at(0)).message, "?" + std::string(511, 'm'));
}

}  // namespace
}  // namespace shoal::wire
