#include "dialect/openai_reply.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cctype>

#include "base/limits.h"
#include "dialect/json.h"
#include "dialect/openai_client.h"

namespace shoal::dialect {
namespace {

class CountingRng final : public Rng {
public:
    void fill(ByteSpan out) override {
        for (auto& byte : out) byte = next_++;
    }

private:
    std::uint8_t next_ = 0;
};

const ReplyHead head{
    .id = "chatcmpl-1", .created = from_unix_seconds(1'700'000'000), .model = "mini", .fingerprint = "0a0b0c0d"};

Json body_of(const std::string& event) {
    EXPECT_TRUE(event.starts_with("data: "));
    EXPECT_TRUE(event.ends_with("\n\n"));
    EXPECT_EQ(event.find('\n'), event.size() - 2) << "one line an event";
    return Json::parse(event.substr(6));
}

TEST(OpenAiReply, WritesACompletionWithEveryFieldThatClientsRead) {
    const ChatEnd end{FinishReason::length, {TokenCount(3), TokenCount(UINT32_MAX), TokenCount(2)}};
    EXPECT_EQ(Json::parse(write_completion(head, Plaintext("hi \"you\"\n"), end)), Json::parse(R"({
        "id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"mini",
        "system_fingerprint":"0a0b0c0d",
        "choices":[{"index":0,"message":{"role":"assistant","content":"hi \"you\"\n","refusal":null},"logprobs":null,
                    "finish_reason":"length"}],
        "usage":{"prompt_tokens":3,"completion_tokens":4294967295,"total_tokens":4294967298,
                 "prompt_tokens_details":{"cached_tokens":2}}})"));
}

TEST(OpenAiReply, WritesChunksFromRoleToFinishReason) {
    const auto chunk = [](const char* delta, const char* finish) {
        return Json::parse(std::string(R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,
            "model":"mini","system_fingerprint":"0a0b0c0d","choices":[{"index":0,"delta":)") +
                           delta + R"(,"logprobs":null,"finish_reason":)" + finish + "}]}");
    };
    EXPECT_EQ(body_of(sse_opening(head)), chunk(R"({"role":"assistant","content":""})", "null"));
    EXPECT_EQ(body_of(sse_delta(head, Plaintext("a\r\nb"))), chunk(R"({"content":"a\r\nb"})", "null"));
    EXPECT_EQ(body_of(sse_closing(head, {})), chunk("{}", "\"stop\""));
}

TEST(OpenAiReply, SaysHowManyAgreedWhereRepliesWereCompared) {
    const ChatEnd end{.reason = FinishReason::stop, .usage = {}, .agreement = Agreement{2, 3}};
    const Json wanted = Json::parse(R"({"agreed":2,"asked":3})");
    EXPECT_EQ(body_of(sse_closing(head, end)).at("shoal"), wanted);
    EXPECT_EQ(Json::parse(write_completion(head, Plaintext("hi"), end)).at("shoal"), wanted);
    EXPECT_FALSE(Json::parse(write_completion(head, Plaintext("hi"), {})).contains("shoal"));
}

TEST(OpenAiReply, AnnouncesUsageWithNullUntilItComes) {
    ReplyHead counted = head;
    counted.include_usage = true;
    EXPECT_TRUE(body_of(sse_opening(counted)).at("usage").is_null());
    EXPECT_FALSE(body_of(sse_opening(head)).contains("usage"));
    const Json last = body_of(sse_usage(counted, {TokenCount(2), TokenCount(5)}));
    EXPECT_EQ(last.at("choices"), Json::array());
    EXPECT_EQ(last.at("usage").at("total_tokens"), 7);
}

TEST(OpenAiReply, DrawsIdsOfLettersAndDigits) {
    CountingRng rng;
    const std::string one = completion_id(rng);
    const std::string two = completion_id(rng);
    EXPECT_EQ(one.size(), 9U + 24U);
    EXPECT_TRUE(one.starts_with("chatcmpl-"));
    EXPECT_NE(one, two);
    EXPECT_TRUE(std::all_of(one.begin() + 9, one.end(), [](unsigned char c) { return std::isalnum(c) != 0; }));
}

TEST(OpenAiReply, ListsModels) {
    const ModelCard card{.name = "mini", .id = ModelId(), .context_tokens = 2048, .nodes = 2};
    const Json list = Json::parse(write_models({card}));
    EXPECT_EQ(list.at("object"), "list");
    EXPECT_EQ(list.at("data").size(), 1U);
    EXPECT_EQ(list.at("data")[0], Json::parse(write_model(card)));
    EXPECT_EQ(list.at("data")[0].at("id"), "mini");
    EXPECT_EQ(list.at("data")[0].at("object"), "model");
    EXPECT_EQ(list.at("data")[0].at("created"), 0);
    EXPECT_EQ(list.at("data")[0].at("shoal").at("context_tokens"), 2048);
    EXPECT_EQ(Json::parse(write_models({})).at("data"), Json::array());
}

TEST(OpenAiReply, WritesErrorsInOpenAisForm) {
    const ApiError error = invalid_request("invalid_value", "seed", "a \"quoted\" line\nand \xff");
    EXPECT_EQ(Json::parse(write_error(error)),
              Json::parse(R"({"error":{"message":"a \"quoted\" line\nand \ufffd","type":"invalid_request_error",
                              "param":"seed","code":"invalid_value"}})"));
    EXPECT_TRUE(Json::parse(write_error(invalid_request("x", {}, ""))).at("error").at("param").is_null());
    EXPECT_EQ(body_of(sse_error(error)), Json::parse(write_error(error)));
}

TEST(OpenAiReply, GivesEachFaultItsStatus) {
    const auto expect = [](AskFault fault, int status, const char* code, bool retry) {
        const ApiError error = from_fault({fault, ""});
        EXPECT_EQ(error.status, status) << code;
        EXPECT_EQ(error.code, code);
        EXPECT_EQ(error.retry_after.has_value(), retry) << code;
        EXPECT_FALSE(error.message.empty()) << code;
        EXPECT_EQ(from_fault({fault, "why"}).message, "why");
    };
    expect(AskFault::bad_request, 400, "bad_request", false);
    expect(AskFault::context_exceeded, 400, "context_length_exceeded", false);
    expect(AskFault::model_unknown, 400, "model_not_found", false);
    expect(AskFault::overloaded, 503, "overloaded", true);
    expect(AskFault::no_circuit, 503, "no_circuit", true);
    expect(AskFault::no_model_node, 503, "no_model_node", true);
    expect(AskFault::engine_failed, 503, "engine_failed", true);
    expect(AskFault::node_lost, 502, "node_lost", false);
    expect(AskFault::refused, 403, "refused_by_node", false);
    expect(AskFault::cancelled, 503, "cancelled", false);
    expect(AskFault::timeout, 504, "timeout", false);
    expect(static_cast<AskFault>(200), 502, "failed", false);
}

TEST(OpenAiReply, CutsAndCleansWhatAStrangersNodeSays) {
    const ApiError error = from_fault({AskFault::refused, "no\r\nSet-Cookie: x\x1b[31m" + std::string(9999, 'x')});
    EXPECT_LE(error.message.size(), limits::error_text_bytes_max + 3);
    EXPECT_TRUE(std::none_of(error.message.begin(), error.message.end(), [](unsigned char c) { return c < 0x20; }));
    EXPECT_EQ(printable("a€", 3), "a...");  // never inside a character
    EXPECT_EQ(printable("a€", 4), "a€");
    EXPECT_EQ(printable("\x80\x80\x80", 2), "...");
}

TEST(OpenAiReply, SaysWhatIsMissingUntilReady) {
    EXPECT_EQ(Json::parse(write_health("ok", "")), Json::parse(R"({"status":"ok"})"));
    EXPECT_EQ(Json::parse(write_health("dead", "why")).at("reason"), "why");
    const Json unready = Json::parse(write_ready({.circuits = 1, .circuits_needed = 4, .reason = "building"}));
    EXPECT_EQ(unready.at("ready"), false);
    EXPECT_EQ(unready.at("reason"), "building");
    EXPECT_FALSE(Json::parse(write_ready({.ready = true, .reason = {}})).contains("reason"));
}

RC_GTEST_PROP(OpenAiReply, AnyBytesBecomeValidJsonOnOneLine, (const std::string& noise)) {
    const std::string event = sse_delta(head, Plaintext(noise));
    RC_ASSERT(event.find('\n') == event.size() - 2);
    auto item = parse_stream_data(std::string_view(event).substr(6, event.size() - 8));
    RC_ASSERT(item.has_value());
    RC_ASSERT(std::holds_alternative<ChatChunk>(*item));
}

}  // namespace
}  // namespace shoal::dialect
