#include "dialect/openai.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>

#include "base/limits.h"
#include "dialect/openai_client.h"

namespace shoal::dialect {
namespace {

constexpr std::string_view hello = R"("model":"m","messages":[{"role":"user","content":"hi"}])";

std::string with(std::string_view more) {
    return "{" + std::string(hello) + "," + std::string(more) + "}";
}
std::string with_message(std::string_view message) {
    return R"({"model":"m","messages":[)" + std::string(message) + "]}";
}

ParsedChat accepted(const std::string& body) {
    auto result = parse_chat_request(body);
    if (!result) {
        ADD_FAILURE() << body << ": " << result.error().message;
        return {};
    }
    return std::move(*result);
}

struct Refusal {
    std::string body;
    const char* code;
    std::optional<std::string> param;
};

void expect_refused(const std::vector<Refusal>& table) {
    for (const Refusal& row : table) {
        auto result = parse_chat_request(row.body);
        const std::string shown = row.body.substr(0, 200);
        ASSERT_FALSE(result) << shown;
        EXPECT_EQ(result.error().code, row.code) << shown;
        EXPECT_EQ(result.error().param, row.param) << shown;
        EXPECT_EQ(result.error().status, 400) << shown;
        EXPECT_EQ(result.error().type, "invalid_request_error") << shown;
        if (row.param) {
            EXPECT_NE(result.error().message.find(*row.param), std::string::npos) << result.error().message;
        }
    }
}

TEST(OpenAiRequest, ReadsEveryParameterThatIsPromised) {
    const ParsedChat chat = accepted(R"({
        "model": "mini", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role":"system","content":"be brief"}, {"role":"developer","content":"be kind"},
                     {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
                     {"role":"assistant","content":"c"}, {"role":"user","content":""}],
        "max_tokens": 7, "max_completion_tokens": 7, "stop": ["x", "yz"], "seed": -1, "temperature": 0.5, "top_p": 0.25,
        "top_k": 40, "min_p": 0.125, "presence_penalty": -2, "frequency_penalty": 2, "n": 1, "user": "alice"})");
    EXPECT_EQ(chat.model, "mini");
    EXPECT_TRUE(chat.stream);
    EXPECT_TRUE(chat.include_usage);
    const ChatRequest expected{
        .messages = {{Role::system, Plaintext("be brief")},
                     {Role::system, Plaintext("be kind")},
                     {Role::user, Plaintext("a\nb")},
                     {Role::assistant, Plaintext("c")},
                     {Role::user, Plaintext("")}},
        .sampling = {.temperature = 0.5F,
                     .top_p = 0.25F,
                     .top_k = 40,
                     .min_p = 0.125F,
                     .presence_penalty = -2,
                     .frequency_penalty = 2,
                     .seed = UINT64_MAX},
        .completion_tokens_max = 7,
        .stop = {"x", "yz"},
    };
    EXPECT_EQ(chat.request, expected);
}

TEST(OpenAiRequest, TakesDefaultsWhereNothingIsSaid) {
    const ParsedChat chat = accepted("{" + std::string(hello) + "}");
    EXPECT_FALSE(chat.stream);
    EXPECT_FALSE(chat.include_usage);
    EXPECT_EQ(chat.request.sampling, Sampling{});
    EXPECT_EQ(chat.request.completion_tokens_max, 0U);
    EXPECT_TRUE(chat.request.stop.empty());
}

TEST(OpenAiRequest, TakesNullAsAbsent) {
    for (const char* name :
         {"stream", "stream_options", "max_tokens", "max_completion_tokens", "stop", "seed", "temperature", "top_p",
          "top_k", "min_p", "presence_penalty", "frequency_penalty", "n", "user", "compare"}) {
        const ParsedChat chat = accepted(with("\"" + std::string(name) + "\":null"));
        EXPECT_EQ(chat.request.sampling, Sampling{}) << name;
    }
}

TEST(OpenAiRequest, TakesTheEdgesOfEachRange) {
    for (const char* more :
         {R"("temperature":0)", R"("temperature":2.0)", R"("top_p":1)", R"("top_p":1e-9)", R"("top_k":0)",
          R"("top_k":100000)", R"("min_p":0)", R"("min_p":1)", R"("presence_penalty":2)", R"("frequency_penalty":-2)",
          R"("max_tokens":1)", R"("max_tokens":1048576)", R"("seed":9223372036854775807)",
          R"("seed":-9223372036854775808)", R"("stop":[])", R"("stop":"end")", R"("user":"")"}) {
        accepted(with(more));
    }
}

TEST(OpenAiRequest, MapsSeedsByTwosComplement) {
    EXPECT_EQ(accepted(with(R"("seed":0)")).request.sampling.seed, 0U);
    EXPECT_EQ(accepted(with(R"("seed":-9223372036854775808)")).request.sampling.seed, std::uint64_t{1} << 63U);
}

TEST(OpenAiRequest, TakesOpenAisOwnReplyBackAsHistory) {
    const ParsedChat chat = accepted(with_message(
        R"({"role":"assistant","content":"x","refusal":null,"tool_calls":null,"function_call":null,"audio":null,)"
        R"("annotations":null,"name":null})"));
    EXPECT_EQ(chat.request.messages.at(0).content.expose(), "x");
}

TEST(OpenAiRequest, RefusesUnknownParametersByName) {
    std::vector<Refusal> table;
    for (const char* name :
         {"tools",       "tool_choice",         "functions", "logprobs", "top_logprobs", "logit_bias",
          "modalities",  "response_format",     "store",     "metadata", "service_tier", "reasoning_effort",
          "prediction",  "parallel_tool_calls", "audio",     "best_of",  "suffix",       "echo",
          "Temperature", "temperatur"}) {
        table.push_back({with("\"" + std::string(name) + "\":1"), "unsupported_parameter", name});
        table.push_back({with("\"" + std::string(name) + "\":null"), "unsupported_parameter", name});
    }
    table.push_back({with(R"("n":2)"), "unsupported_parameter", "n"});
    for (const char* wrong : {R"("")", R"("1/2")", R"("2/9")", R"("2/3 ")"}) {
        table.push_back({with("\"compare\":" + std::string(wrong)), "invalid_value", "compare"});
    }
    table.push_back({with(R"("compare":3)"), "invalid_type", "compare"});
    table.push_back({with(R"("stream":true,"stream_options":{"include_obfuscation":false})"), "unsupported_parameter",
                     "stream_options.include_obfuscation"});
    for (const char* field : {"name", "tool_calls", "refusal", "weight"}) {
        table.push_back({with_message(R"({"role":"user","content":"x",")" + std::string(field) + R"(":"v"})"),
                         "unsupported_parameter", "messages[0]." + std::string(field)});
    }
    table.push_back({with_message(R"({"role":"user","content":"x","weight":null})"), "unsupported_parameter",
                     "messages[0].weight"});
    table.push_back({with_message(R"({"role":"tool","content":"x"})"), "unsupported_parameter", "messages[0].role"});
    table.push_back({with_message(R"({"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]})"),
                     "unsupported_parameter", "messages[0].content[0].type"});
    table.push_back({with_message(R"({"role":"user","content":[{"type":"text","text":"x","cache":1}]})"),
                     "unsupported_parameter", "messages[0].content[0].cache"});
    expect_refused(table);
}

TEST(OpenAiRequest, RefusesWrongTypesWithTheirPath) {
    std::vector<Refusal> table;
    for (const char* name : {"stream", "stream_options", "max_tokens", "max_completion_tokens", "seed", "temperature",
                             "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "n"}) {
        table.push_back({with("\"" + std::string(name) + "\":\"1\""), "invalid_type", name});
        table.push_back({with("\"" + std::string(name) + "\":[]"), "invalid_type", name});
    }
    for (const char* name : {"max_tokens", "max_completion_tokens", "seed", "top_k", "n"}) {
        table.push_back({with("\"" + std::string(name) + "\":1.5"), "invalid_type", name});
        table.push_back({with("\"" + std::string(name) + "\":true"), "invalid_type", name});
    }
    table.push_back({with(R"("user":7)"), "invalid_type", "user"});
    table.push_back({with(R"("stop":7)"), "invalid_type", "stop"});
    table.push_back({with(R"("stop":["a",7])"), "invalid_type", "stop[1]"});
    table.push_back({with(R"("stop":[null])"), "invalid_type", "stop[0]"});
    table.push_back({with(R"("stream":true,"stream_options":{"include_usage":1})"), "invalid_type",
                     "stream_options.include_usage"});
    table.push_back({R"({"model":7,"messages":[]})", "invalid_type", "model"});
    table.push_back({R"({"model":"m","messages":"hi"})", "invalid_type", "messages"});
    table.push_back({with_message(R"("hi")"), "invalid_type", "messages[0]"});
    table.push_back({with_message(R"({"role":1,"content":"x"})"), "invalid_type", "messages[0].role"});
    table.push_back({with_message(R"({"role":"user","content":null})"), "invalid_type", "messages[0].content"});
    table.push_back({with_message(R"({"role":"user","content":["x"]})"), "invalid_type", "messages[0].content[0]"});
    table.push_back(
        {with_message(R"({"role":"user","content":"x"},{"role":"user","content":[{"type":"text","text":3}]})"),
         "invalid_type", "messages[1].content[0].text"});
    table.push_back({with_message(R"({"role":"user","content":[{"type":3,"text":"x"}]})"), "invalid_type",
                     "messages[0].content[0].type"});
    for (const char* body : {"[]", "7", "null", "\"x\"", "true"}) table.push_back({body, "invalid_type", std::nullopt});
    expect_refused(table);
}

TEST(OpenAiRequest, RefusesWhatIsMissing) {
    expect_refused({
        {"{}", "missing_parameter", "model"},
        {R"({"model":"m"})", "missing_parameter", "messages"},
        {R"({"model":null,"messages":[]})", "missing_parameter", "model"},
        {R"({"model":"m","messages":null})", "missing_parameter", "messages"},
        {with_message(R"({"content":"x"})"), "missing_parameter", "messages[0].role"},
        {with_message(R"({"role":"user"})"), "missing_parameter", "messages[0].content"},
        {with_message(R"({"role":"user","content":[{"text":"x"}]})"), "missing_parameter",
         "messages[0].content[0].type"},
        {with_message(R"({"role":"user","content":[{"type":"text"}]})"), "missing_parameter",
         "messages[0].content[0].text"},
    });
}

TEST(OpenAiRequest, RefusesValuesOutOfRange) {
    std::vector<Refusal> table;
    const auto add = [&table](std::string_view name, std::initializer_list<const char*> values) {
        for (const char* value : values) {
            table.push_back({with("\"" + std::string(name) + "\":" + value), "invalid_value", std::string(name)});
        }
    };
    add("temperature", {"-0.001", "2.001", "1e308", "-1e308", "99999999999999999999"});
    add("top_p", {"0", "-1", "1.0001", "1e-60"});
    add("top_k", {"-1", "100001", "18446744073709551615", "99999999999999999999999"});
    add("min_p", {"-0.1", "1.1"});
    add("presence_penalty", {"-2.1", "2.1"});
    add("frequency_penalty", {"-2.1", "2.1"});
    add("max_tokens", {"0", "-1", "1048577", "9223372036854775808"});
    add("max_completion_tokens", {"0", "4294967296"});
    add("seed", {"9223372036854775808", "-9223372036854775809", "1e30"});
    add("n", {"0", "-1"});
    add("stop", {"\"\""});
    table.push_back({with(R"("stop":["a",""])"), "invalid_value", "stop[1]"});
    table.push_back(
        {with("\"stop\":\"" + std::string(limits::stop_string_bytes_max + 1, 's') + "\""), "invalid_value", "stop"});
    std::string many = R"("stop":["0")";
    for (std::size_t i = 0; i < limits::stop_strings_max; ++i) many += ",\"s\"";
    table.push_back({with(many + "]"), "invalid_value", "stop"});
    table.push_back({with(R"("max_tokens":5,"max_completion_tokens":6)"), "invalid_value", "max_tokens"});
    table.push_back({with(R"("stream_options":{"include_usage":true})"), "invalid_value", "stream_options"});
    table.push_back({with(R"("stream":false,"stream_options":{})"), "invalid_value", "stream_options"});
    table.push_back({R"({"model":"","messages":[]})", "invalid_value", "model"});
    table.push_back({R"({"model":"m","messages":[]})", "invalid_value", "messages"});
    table.push_back({with_message(R"({"role":"wizard","content":"x"})"), "invalid_value", "messages[0].role"});
    table.push_back({with_message(R"({"role":"user","content":[]})"), "invalid_value", "messages[0].content"});
    std::string crowd = R"({"role":"user","content":"x"})";
    for (std::size_t i = 0; i < limits::chat_messages_max; ++i) crowd += R"(,{"role":"user","content":"x"})";
    table.push_back({with_message(crowd), "invalid_value", "messages"});
    expect_refused(table);
}

TEST(OpenAiRequest, RefusesMoreTextThanTheNetworkCarries) {
    const std::string half(limits::chat_body_bytes_max / 2, 'x');
    const std::string message = R"({"role":"user","content":")" + half + "\"}";
    accepted(with_message(message + "," + message));
    expect_refused({{with_message(message + "," + message + R"(,{"role":"user","content":"y"})"),
                     "context_length_exceeded", "messages"}});
}

TEST(OpenAiRequest, RefusesWhatIsNotJson) {
    std::vector<Refusal> table;
    for (const char* text : {"",
                             " ",
                             "{",
                             "{\"model\":",
                             "{'a':1}",
                             "{\"a\":1,}",
                             "nope",
                             "{} {}",
                             "{\"a\":01}",
                             "{\"a\":NaN}",
                             "{\"a\":Infinity}",
                             "{\"a\":-Infinity}",
                             "{\"a\":1e999}",
                             "{\"a\":\"\\ud800\"}",
                             "{\"a\":\"\\x41\"}",
                             "{\"a\":\"\x01\"}",
                             "{\"a\":\"\xff\"}",
                             "{\"a\":\"\xc0\x80\"}",
                             "{\"a\":\"\xed\xa0\x80\"}",
                             "{\"a\":\"\xf4\x90\x80\x80\"}",
                             "\xff\xfe{\0}",
                             "// c\n{}"}) {
        table.push_back({text, "invalid_json", std::nullopt});
    }
    table.push_back({"\xEF\xBB\xBF{" + std::string(hello) + "}", "invalid_json", std::nullopt});
    table.push_back({std::string("{}\0", 3), "invalid_json", std::nullopt});
    table.push_back({"{" + std::string(hello) + "}" + std::string(1, '\0') + "more", "invalid_json", std::nullopt});
    expect_refused(table);
    EXPECT_NE(parse_chat_request("\xEF\xBB\xBF{}").error().message.find("byte order mark"), std::string::npos);
}

TEST(OpenAiRequest, RefusesAKeyThatOccursTwice) {
    expect_refused({
        {with(R"("model":"other")"), "invalid_json", "model"},
        {with_message(R"({"role":"user","role":"system","content":"x"})"), "invalid_json", "role"},
        {with(R"("n":1,"\u006e":1)"), "invalid_json", "n"},  // the same key, spelt otherwise
    });
}

TEST(OpenAiRequest, RefusesDepthWithoutUsingTheStack) {
    const auto nested = [](std::size_t levels) {
        return with("\"stop\":" + std::string(levels, '[') + std::string(levels, ']'));
    };
    // The object around is a level too.
    EXPECT_EQ(parse_chat_request(nested(limits::json_depth_max - 1)).error().code, "invalid_type");
    expect_refused({{nested(limits::json_depth_max), "invalid_json", std::nullopt},
                    {std::string(900'000, '['), "invalid_json", std::nullopt},
                    {std::string(900'000, '{'), "invalid_json", std::nullopt}});
}

TEST(OpenAiRequest, RefusesMoreValuesThanAChatCanHave) {
    std::string many = "\"stop\":[0";
    for (std::size_t i = 0; i < limits::json_values_max; ++i) many += ",0";
    expect_refused({{with(many + "]"), "invalid_json", std::nullopt}});
}

TEST(OpenAiRequest, RefusesABodyThatIsTooLong) {
    const auto result = parse_chat_request(std::string(limits::http_body_bytes_max + 1, ' '));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, 413);
    EXPECT_EQ(result.error().code, "request_too_large");
}

TEST(OpenAiRequest, NeverQuotesTheTextOfAMessageOrALongName) {
    const std::string secret = "the-secret-question";
    for (const std::string& body : {with_message(R"({"role":"user","content":")" + secret + "\x01\"}"),
                                    with_message(R"({"role":"user","content":[")" + secret + "\"]}"),
                                    with(R"("stop":[")" + secret + R"(",7])")}) {
        const auto result = parse_chat_request(body);
        ASSERT_FALSE(result);
        EXPECT_EQ(write_error(result.error()).find(secret), std::string::npos);
    }
    const auto result = parse_chat_request(with("\"" + std::string(100'000, 'k') + "\":1"));
    ASSERT_FALSE(result);
    EXPECT_LT(write_error(result.error()).size(), 512U);
}

// ---- what the client writes, the server reads --------------------------------------------------------------------

rc::Gen<std::string> gen_text() {
    const auto character = rc::gen::oneOf(
        rc::gen::map(rc::gen::inRange(0, 128), [](int c) { return std::string(1, static_cast<char>(c)); }),
        rc::gen::element<std::string>("é", "€", "𝄞", "\"", "\\", "\n", "\u2028", "\uFEFF"));
    return rc::gen::map(rc::gen::container<std::vector<std::string>>(character),
                        [](const std::vector<std::string>& parts) {
                            std::string out;
                            for (const auto& part : parts) out += part;
                            return out;
                        });
}

rc::Gen<float> gen_float(float low, float high) {
    return rc::gen::map(rc::gen::inRange<std::int64_t>(0, 1'000'001), [low, high](std::int64_t step) {
        return std::clamp(low + (high - low) * (static_cast<float>(step) / 1'000'000.0F), low, high);
    });
}

ChatRequest arbitrary_request() {
    ChatRequest request;
    const auto count = *rc::gen::inRange<std::size_t>(1, 6);
    for (std::size_t i = 0; i < count; ++i) {
        request.messages.push_back(
            {*rc::gen::element(Role::system, Role::user, Role::assistant), Plaintext(*gen_text())});
    }
    request.sampling.temperature = *gen_float(0, 2);
    request.sampling.top_p = *gen_float(1e-6F, 1);
    request.sampling.top_k = *rc::gen::inRange<std::uint32_t>(0, limits::top_k_max + 1);
    request.sampling.min_p = *gen_float(0, 1);
    request.sampling.presence_penalty = *gen_float(-2, 2);
    request.sampling.frequency_penalty = *gen_float(-2, 2);
    if (*rc::gen::arbitrary<bool>()) request.sampling.seed = *rc::gen::arbitrary<std::uint64_t>();
    request.completion_tokens_max = *rc::gen::inRange<std::uint32_t>(0, limits::context_tokens_max + 1);
    const auto stops = *rc::gen::inRange<std::size_t>(0, limits::stop_strings_max + 1);
    for (std::size_t i = 0; i < stops; ++i) {
        request.stop.push_back(*gen_text() + "!");
    }
    return request;
}

RC_GTEST_PROP(OpenAiRoundTrip, WhatTheClientWritesTheServerReadsBack, ()) {
    const ChatRequest request = arbitrary_request();
    AskOptions options{.stream = *rc::gen::arbitrary<bool>(), .include_usage = *rc::gen::arbitrary<bool>()};
    const char* compare = *rc::gen::element("", "1/1", "2/3", "5/5");
    if (*compare != '\0') options.compare = *Comparison::parse(compare);
    auto parsed = parse_chat_request(write_chat_request("a model \"x\"", request, options));
    if (!parsed) RC_FAIL(parsed.error().message);
    RC_ASSERT(parsed->model == "a model \"x\"");
    RC_ASSERT(parsed->request == request);
    RC_ASSERT(parsed->stream == options.stream);
    RC_ASSERT(parsed->include_usage == (options.stream && options.include_usage));
    RC_ASSERT(parsed->compare == options.compare);
}

RC_GTEST_PROP(OpenAiRequest, AnyBytesAreReadOrRefused, (const std::string& noise)) {
    const auto at = *rc::gen::inRange<std::size_t>(0, noise.size() + 1);
    (void)parse_chat_request(noise);
    auto mixed = with("\"stop\":\"x\"").insert(at % 60, noise);
    auto result = parse_chat_request(mixed);
    if (!result) RC_ASSERT(result.error().status == 400);
}

}  // namespace
}  // namespace shoal::dialect
