#include "dialect/openai_client.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "dialect/openai_reply.h"

namespace shoal::dialect {
namespace {

const ReplyHead head{
    .id = "chatcmpl-1", .created = from_unix_seconds(1), .model = "m", .fingerprint = "f", .include_usage = true};

TEST(OpenAiClient, ReadsTheStreamThatTheServerWrites) {
    const std::string stream = sse_opening(head) + sse_delta(head, Plaintext("Hel")) + std::string(sse_keepalive) +
                               sse_delta(head, Plaintext("lo")) +
                               sse_closing(head, {.reason = FinishReason::length, .usage = {}}) +
                               sse_usage(head, {TokenCount(4), TokenCount(2)}) + std::string(sse_done);
    SseParser parser;
    const auto events = parser.feed(stream);
    ASSERT_TRUE(events);
    std::string text;
    std::optional<FinishReason> finish;
    std::optional<Usage> usage;
    bool done = false;
    for (const SseEvent& event : *events) {
        auto item = parse_stream_data(event.data.expose());
        ASSERT_TRUE(item) << item.error().message;
        if (std::holds_alternative<StreamDone>(*item)) {
            done = true;
            continue;
        }
        const auto& chunk = std::get<ChatChunk>(*item);
        text += chunk.text.expose();
        if (chunk.finish) finish = chunk.finish;
        if (chunk.usage) usage = chunk.usage;
    }
    EXPECT_EQ(text, "Hello");
    EXPECT_EQ(finish, FinishReason::length);
    EXPECT_EQ(usage, (Usage{TokenCount(4), TokenCount(2)}));
    EXPECT_TRUE(done);
}

TEST(OpenAiClient, ReadsTheCompletionThatTheServerWrites) {
    const ChatEnd end{FinishReason::stop, {TokenCount(4), TokenCount(2), TokenCount(3)}};
    auto reply = parse_completion(write_completion(head, Plaintext("Hello"), end));
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->text.expose(), "Hello");
    EXPECT_EQ(reply->finish, FinishReason::stop);
    EXPECT_EQ(reply->usage, end.usage);
}

TEST(OpenAiClient, ReadsTheErrorsThatTheServerWrites) {
    ApiError error = invalid_request("invalid_value", "seed", "too big");
    error.status = 422;
    EXPECT_EQ(parse_error_body(422, write_error(error)), error);
    const auto item = parse_stream_data(write_error(error));
    ASSERT_TRUE(item);
    EXPECT_EQ(std::get<ApiError>(*item).code, "invalid_value");
}

TEST(OpenAiClient, MakesAReasonOfAnyErrorBody) {
    EXPECT_EQ(parse_error_body(502, "<html>Bad\x1b[2J Gateway").message, "<html>Bad [2J Gateway");
    EXPECT_EQ(parse_error_body(502, "<html>").code, "http_502");
    EXPECT_EQ(parse_error_body(500, R"({"error":"plain"})").message, "plain");
    EXPECT_EQ(parse_error_body(500, R"({"error":{"message":7,"code":null}})").code, "http_500");
    EXPECT_FALSE(parse_error_body(500, "").message.empty());
    EXPECT_LE(parse_error_body(500, std::string(100'000, 'x')).message.size(), limits::error_text_bytes_max + 3);
}

TEST(OpenAiClient, RefusesChunksThatAreNone) {
    for (const char* data :
         {"", "[DONE", "{}", "[]", "null", R"({"choices":7})", R"({"choices":[7]})",
          R"({"choices":[{"delta":{"content":7}}]})", R"({"choices":[{"delta":{},"finish_reason":"tool_calls"}]})",
          R"({"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":0}})",
          R"({"choices":[],"usage":{"prompt_tokens":4294967296,"completion_tokens":0}})",
          R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":0,
              "prompt_tokens_details":{"cached_tokens":4}}})",
          R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":0,
              "prompt_tokens_details":{"cached_tokens":"1"}}})",
          R"({"choices":[],"usage":7})"}) {
        const auto item = parse_stream_data(data);
        ASSERT_FALSE(item) << data;
        EXPECT_EQ(item.error().code, Errc::malformed);
    }
}

TEST(OpenAiClient, SkipsFieldsThatItDoesNotKnow) {
    const auto item =
        parse_stream_data(R"({"x":1,"choices":[{"delta":{"role":"assistant","y":[]},"z":{}}],"usage":null})");
    ASSERT_TRUE(item);
    EXPECT_TRUE(std::get<ChatChunk>(*item).text.empty());
}

TEST(OpenAiClient, RefusesCompletionsThatAreNone) {
    for (const char* body : {"", "{}", R"({"choices":[]})", R"({"choices":[{"message":{"content":"x"}}]})",
                             R"({"choices":[{"message":{"content":[]},"finish_reason":"stop"}]})"}) {
        EXPECT_FALSE(parse_completion(body)) << body;
    }
}

TEST(OpenAiClient, ReadsModelNames) {
    const auto names = parse_model_names(write_models({{.name = "a", .id = {}}, {.name = "b", .id = {}}}));
    ASSERT_TRUE(names);
    EXPECT_EQ(*names, (std::vector<std::string>{"a", "b"}));
    for (const char* body : {"", "{}", R"({"data":[{}]})", R"({"data":[{"id":1}]})", R"({"data":{}})"}) {
        EXPECT_FALSE(parse_model_names(body)) << body;
    }
    std::string many = R"({"data":[{"id":"x"})";
    for (std::size_t i = 0; i < limits::models_listed_max; ++i) many += R"(,{"id":"x"})";
    EXPECT_FALSE(parse_model_names(many + "]}"));
}

}  // namespace
}  // namespace shoal::dialect
