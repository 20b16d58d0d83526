#include "api/gateway.h"

#include <gtest/gtest.h>

#include "api/stand_in_test.h"
#include "base/limits.h"
#include "dialect/openai_client.h"

namespace shoal::api {
namespace {

using dialect::ApiError;

constexpr const char* chat_path = "/v1/chat/completions";

ModelId id_of(std::uint8_t first) {
    ByteArray<32> bytes{};
    bytes[0] = first;
    return ModelId(bytes);
}

class GatewayTest : public testing::Test {
protected:
    GatewayTest() {
        network_.served = {{id_of(0xAB), "mini", 2048, 2}, {id_of(0xCD), "owner/large", 8192, 1}};
        network_.state = {
            .alive = true, .directory = true, .circuits = 8, .circuits_needed = 4, .model_nodes = 2, .reason = ""};
    }
    ~GatewayTest() override { gateway_.check(); }

    std::shared_ptr<Answer> send(HttpRequest request) { return send(gateway_, std::move(request)); }
    std::shared_ptr<Answer> send(Gateway& gateway, HttpRequest request) {
        auto answer = std::make_shared<Answer>();
        exchange_ = gateway.on_request(now_, std::move(request), std::make_unique<StandInResponder>(answer));
        gateway.check();
        return answer;
    }
    std::shared_ptr<Answer> get(const std::string& target) { return send(request_of("GET", target)); }
    std::shared_ptr<Answer> ask(bool stream, const std::string& more = "") {
        return send(request_of("POST", chat_path,
                               R"({"model":"mini","messages":[{"role":"user","content":"hello"}],"stream":)" +
                                   std::string(stream ? "true" : "false") + more + "}"));
    }
    void wait(Duration time) {
        now_.mono += time;
        gateway_.on_tick(now_);
    }
    static std::string error_code(const Answer& answer) {
        return dialect::parse_error_body(answer.status, answer.body).code;
    }
    // What a client makes of a stream; the error, if there was one.
    struct Heard {
        std::string text;
        std::optional<FinishReason> finish;
        std::optional<Usage> usage;
        std::optional<ApiError> error;
        bool done = false;
    };
    static Heard listen(const Answer& answer) {
        Heard heard;
        dialect::SseParser parser;
        auto events = parser.feed(answer.body);
        EXPECT_TRUE(events);
        for (const auto& event : *events) {
            auto item = dialect::parse_stream_data(event.data.expose());
            if (!item) {
                ADD_FAILURE() << item.error().message;
            } else if (const auto* chunk = std::get_if<dialect::ChatChunk>(&*item)) {
                heard.text += chunk->text.expose();
                if (chunk->finish) heard.finish = chunk->finish;
                if (chunk->usage) heard.usage = chunk->usage;
            } else if (const auto* error = std::get_if<ApiError>(&*item)) {
                heard.error = *error;
            } else {
                heard.done = true;
            }
        }
        return heard;
    }

    StandInNetwork network_;
    CountingRng rng_;
    Gateway gateway_{network_, {}, rng_};
    Now now_{Instant(1h), from_unix_seconds(1'700'000'000)};
    std::optional<ExchangeId> exchange_;
};

// ---- answers -----------------------------------------------------------------------------------------------------

TEST_F(GatewayTest, AnswersAQuestionInOneBody) {
    const auto answer = ask(false, R"(,"seed":5,"max_tokens":9,"compare":"2/3")");
    ASSERT_TRUE(exchange_);
    EXPECT_EQ(network_.the_ask().compare, *Comparison::parse("2/3"));
    EXPECT_EQ(network_.the_ask().model, id_of(0xAB));
    EXPECT_EQ(network_.the_ask().request.sampling.seed, 5U);
    EXPECT_EQ(network_.the_ask().request.completion_tokens_max, 9U);
    EXPECT_EQ(network_.the_ask().request.messages.at(0).content.expose(), "hello");
    network_.delta("Hel");
    network_.delta("lo");
    EXPECT_EQ(answer->status, 0);
    network_.end(FinishReason::length);
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(answer->header("Content-Type"), "application/json");
    EXPECT_TRUE(answer->header("X-Request-Id").starts_with("req_"));
    auto reply = dialect::parse_completion(answer->body);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->text.expose(), "Hello");
    EXPECT_EQ(reply->finish, FinishReason::length);
    EXPECT_EQ(reply->usage, (Usage{TokenCount(3), TokenCount(2)}));
    EXPECT_NE(answer->body.find("\"created\":1700000000"), std::string::npos);
    EXPECT_NE(answer->body.find("\"system_fingerprint\":\"ab000000\""), std::string::npos);
    EXPECT_TRUE(answer->destroyed);
    EXPECT_EQ(gateway_.usage().asks, 0U);
    EXPECT_TRUE(network_.cancelled.empty());
}

TEST_F(GatewayTest, StreamsEachDeltaAsItComes) {
    const auto answer = ask(true, R"(,"stream_options":{"include_usage":true})");
    EXPECT_EQ(answer->status, 0) << "headers wait for the first token";
    network_.delta("Hel");
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(answer->header("Content-Type"), "text/event-stream");
    EXPECT_EQ(answer->header("Cache-Control"), "no-cache, no-store");
    EXPECT_EQ(answer->header("X-Accel-Buffering"), "no");
    EXPECT_EQ(listen(*answer).text, "Hel");
    EXPECT_NE(answer->body.find("\"role\":\"assistant\""), std::string::npos);
    EXPECT_EQ(answer->writes, 1U);
    network_.delta("lo");
    EXPECT_EQ(listen(*answer).text, "Hello");
    network_.delta("");
    EXPECT_EQ(answer->writes, 2U) << "nothing to say";
    network_.end();
    const Heard heard = listen(*answer);
    EXPECT_EQ(heard.finish, FinishReason::stop);
    EXPECT_EQ(heard.usage, (Usage{TokenCount(3), TokenCount(2)}));
    EXPECT_TRUE(heard.done);
    EXPECT_TRUE(answer->finished);
    EXPECT_TRUE(answer->destroyed);
}

TEST_F(GatewayTest, LeavesUsageOutWhereItWasNotAskedFor) {
    const auto answer = ask(true);
    network_.delta("x");
    network_.end();
    EXPECT_FALSE(listen(*answer).usage);
    EXPECT_EQ(answer->body.find("usage"), std::string::npos);
}

TEST_F(GatewayTest, StreamsAnEmptyReply) {
    const auto answer = ask(true);
    network_.end();
    EXPECT_EQ(answer->status, 200);
    EXPECT_NE(answer->body.find("\"role\":\"assistant\""), std::string::npos);
    EXPECT_TRUE(listen(*answer).done);
}

TEST_F(GatewayTest, GivesEachReplyAnIdOfItsOwn) {
    const auto one = ask(false);
    network_.end();
    const auto two = ask(false);
    network_.end();
    EXPECT_NE(one->body, two->body);
    EXPECT_NE(one->header("X-Request-Id"), two->header("X-Request-Id"));
}

// ---- faults ------------------------------------------------------------------------------------------------------

TEST_F(GatewayTest, TurnsAFaultBeforeTheFirstTokenIntoAStatus) {
    for (const bool stream : {false, true}) {
        const auto answer = ask(stream);
        network_.fail(AskFault::no_circuit, "2 of 4 circuits are ready");
        EXPECT_EQ(answer->status, 503);
        EXPECT_EQ(answer->header("Retry-After"), "2");
        EXPECT_EQ(answer->header("Content-Type"), "application/json");
        EXPECT_EQ(error_code(*answer), "no_circuit");
        EXPECT_NE(answer->body.find("2 of 4 circuits are ready"), std::string::npos);
        EXPECT_TRUE(answer->destroyed);
    }
    EXPECT_EQ(gateway_.usage().asks, 0U);
}

TEST_F(GatewayTest, TurnsAFaultThatIsKnownAtOnceIntoAStatus) {
    network_.fault = ChatFault{AskFault::overloaded, ""};
    const auto answer = ask(true);
    EXPECT_EQ(answer->status, 503);
    EXPECT_EQ(error_code(*answer), "overloaded");
    EXPECT_FALSE(exchange_);
    EXPECT_TRUE(answer->destroyed);
    EXPECT_TRUE(network_.cancelled.empty());
}

TEST_F(GatewayTest, EndsAStreamThatFailsWithAnErrorEvent) {
    const auto answer = ask(true);
    network_.delta("Hel");
    network_.fail(AskFault::node_lost);
    const Heard heard = listen(*answer);
    EXPECT_EQ(heard.text, "Hel");
    ASSERT_TRUE(heard.error);
    EXPECT_EQ(heard.error->code, "node_lost");
    EXPECT_FALSE(heard.done) << "[DONE] would say that the reply is whole";
    EXPECT_TRUE(answer->finished);
}

TEST_F(GatewayTest, GivesUpAReplyThatIsTooLongToGather) {
    const auto answer = ask(false);
    const std::string piece(limits::reply_bytes_max / 4, 'x');
    for (int i = 0; i < 4; ++i) network_.delta(piece);
    EXPECT_EQ(gateway_.usage().held_bytes, limits::reply_bytes_max);
    network_.delta("x");
    EXPECT_EQ(answer->status, 502);
    EXPECT_EQ(network_.cancelled.size(), 1U);
    EXPECT_EQ(gateway_.usage().held_bytes, 0U);
}

TEST_F(GatewayTest, RefusesAModelThatNobodyServes) {
    const auto answer =
        send(request_of("POST", chat_path, R"({"model":"gpt-9","messages":[{"role":"user","content":"x"}]})"));
    EXPECT_EQ(answer->status, 400);
    const ApiError error = dialect::parse_error_body(400, answer->body);
    EXPECT_EQ(error.code, "model_not_found");
    EXPECT_EQ(error.param, "model");
    EXPECT_NE(error.message.find("gpt-9"), std::string::npos);
    EXPECT_EQ(network_.last, 0U);
}

TEST_F(GatewayTest, SaysWhatIsMissingWhenThereIsNoModelAtAll) {
    network_.served.clear();
    network_.state = {.alive = true, .reason = "no signed directory yet"};
    const auto answer = ask(false);
    EXPECT_EQ(answer->status, 503);
    EXPECT_EQ(error_code(*answer), "no_model_node");
    EXPECT_EQ(answer->header("Retry-After"), "5");
    EXPECT_NE(answer->body.find("no signed directory yet"), std::string::npos);
}

TEST_F(GatewayTest, NamesTheParameterThatItRefuses) {
    const auto answer = ask(false, R"(,"tools":[])");
    EXPECT_EQ(answer->status, 400);
    EXPECT_EQ(dialect::parse_error_body(400, answer->body).param, "tools");
    EXPECT_EQ(network_.last, 0U);
    const auto malformed = send(request_of("POST", chat_path, "{\"model\":"));
    EXPECT_EQ(malformed->status, 400);
    EXPECT_EQ(error_code(*malformed), "invalid_json");
}

// ---- the program goes away ---------------------------------------------------------------------------------------

TEST_F(GatewayTest, CancelsTheAskWhenTheProgramGoesAway) {
    for (const bool stream : {false, true}) {
        const auto answer = ask(stream);
        network_.delta("x");
        const auto asked = network_.last;
        gateway_.on_disconnect(*exchange_);
        EXPECT_EQ(network_.cancelled.back(), asked);
        EXPECT_TRUE(answer->destroyed);
        EXPECT_FALSE(answer->finished);
        EXPECT_EQ(gateway_.usage().asks, 0U);
        gateway_.on_disconnect(*exchange_);  // again: nothing
    }
    EXPECT_EQ(network_.cancelled.size(), 2U);
    EXPECT_EQ(gateway_.usage().abandoned, 2U);
}

TEST_F(GatewayTest, IgnoresADisconnectAfterTheAnswer) {
    ask(false);
    network_.end();
    gateway_.on_disconnect(*exchange_);
    EXPECT_TRUE(network_.cancelled.empty());
}

TEST_F(GatewayTest, CancelsTheAskOfAProgramThatDoesNotRead) {
    const auto answer = ask(true);
    network_.delta("x");
    answer->reads = false;
    AskSink* sink = network_.the_ask().sink;
    network_.delta("y");
    EXPECT_EQ(network_.cancelled.size(), 1U);
    EXPECT_TRUE(answer->destroyed);
    EXPECT_FALSE(answer->finished);
    EXPECT_EQ(gateway_.usage().asks, 0U);
    // A network that had more in hand may still call within the same turn.
    sink->on_delta({Plaintext("z")});
    sink->on_end({});
    sink->on_fault({});
    EXPECT_EQ(network_.cancelled.size(), 1U);
}

TEST_F(GatewayTest, CancelsTheAskWhoseErrorOrKeepAliveIsNotRead) {
    const auto first = ask(true);
    network_.delta("x");
    first->reads = false;
    wait(limits::sse_keepalive);
    wait(limits::sse_keepalive);
    EXPECT_EQ(network_.cancelled.size(), 1U);
    const auto second = ask(true);
    network_.delta("x");
    second->reads = false;
    network_.fail(AskFault::node_lost);
    EXPECT_TRUE(second->destroyed);
    EXPECT_FALSE(second->finished);
    EXPECT_EQ(gateway_.usage().asks, 0U);
}

TEST_F(GatewayTest, CancelsEverythingWhenItEnds) {
    auto answer = std::make_shared<Answer>();
    {
        Gateway brief(network_, {}, rng_);
        answer = send(brief,
                      request_of("POST", chat_path, R"({"model":"mini","messages":[{"role":"user","content":"x"}]})"));
    }
    EXPECT_EQ(network_.cancelled.size(), 1U);
    EXPECT_TRUE(answer->destroyed);
}

// ---- keep-alive --------------------------------------------------------------------------------------------------

TEST_F(GatewayTest, KeepsASilentStreamAlive) {
    const auto answer = ask(true);
    EXPECT_EQ(gateway_.next_deadline(), now_.mono + limits::sse_keepalive);
    wait(limits::sse_keepalive - 1ns);
    EXPECT_EQ(answer->status, 0);
    wait(1ns);
    EXPECT_EQ(answer->status, 200) << "a long prefill must not look like a dead server";
    EXPECT_EQ(answer->body, ": keep-alive\n\n");
    network_.delta("x");
    EXPECT_EQ(listen(*answer).text, "x");
    EXPECT_NE(answer->body.find("\"role\":\"assistant\""), std::string::npos);
    const auto writes = answer->writes;
    wait(limits::sse_keepalive);
    EXPECT_EQ(answer->writes, writes) << "something flowed";
    wait(limits::sse_keepalive);
    EXPECT_EQ(answer->writes, writes + 1);
    wait(limits::sse_keepalive);
    EXPECT_EQ(answer->writes, writes + 2) << "comments are not flow";
    network_.fail(AskFault::engine_failed);
    EXPECT_EQ(listen(*answer).error->code, "engine_failed");
    EXPECT_EQ(gateway_.next_deadline(), std::nullopt);
}

TEST_F(GatewayTest, HasNoDeadlineForAnswersInOneBody) {
    const auto answer = ask(false);
    EXPECT_EQ(gateway_.next_deadline(), std::nullopt);
    wait(1h);
    EXPECT_EQ(answer->status, 0);
    network_.end();
}

// ---- bounds ------------------------------------------------------------------------------------------------------

TEST_F(GatewayTest, AnswersTenTimesTooManyQuestionsWithoutGrowing) {
    std::vector<std::shared_ptr<Answer>> answers;
    std::vector<ExchangeId> open;
    for (std::size_t i = 0; i < 10 * limits::asks_max; ++i) {
        answers.push_back(ask(i % 2 == 0));
        if (exchange_) open.push_back(*exchange_);
    }
    EXPECT_EQ(open.size(), limits::asks_max);
    EXPECT_EQ(network_.peak, limits::asks_max);
    EXPECT_EQ(gateway_.usage().asks, limits::asks_max);
    EXPECT_EQ(gateway_.usage().turned_away, 9 * limits::asks_max);
    for (std::size_t i = limits::asks_max; i < answers.size(); ++i) {
        ASSERT_EQ(answers[i]->status, 429);
        ASSERT_EQ(answers[i]->header("Retry-After"), "2");
        ASSERT_EQ(error_code(*answers[i]), "too_many_requests");
        ASSERT_TRUE(answers[i]->destroyed);
    }
    EXPECT_EQ(get("/v1/models")->status, 200) << "what costs nothing still works";
    for (const ExchangeId exchange : open) gateway_.on_disconnect(exchange);
    EXPECT_EQ(gateway_.usage().asks, 0U);
    EXPECT_EQ(ask(false)->status, 0) << "room again";
}

// ---- routes ------------------------------------------------------------------------------------------------------

TEST_F(GatewayTest, ListsModels) {
    const auto answer = get("/v1/models?limit=3");
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(*dialect::parse_model_names(answer->body), (std::vector<std::string>{"mini", "owner/large"}));
    EXPECT_TRUE(answer->destroyed);
    EXPECT_EQ(get("/v1/models/mini")->status, 200);
    EXPECT_EQ(get("/v1/models/owner/large")->status, 200);
    EXPECT_EQ(get("/v1/models/owner%2Flarge")->status, 200);
    EXPECT_EQ(get("/v1/models/" + id_of(0xAB).hex())->status, 200);
    for (const char* name : {"none", "mini%", "mini%2", "%zz", "mini%00"}) {
        const auto missing = get("/v1/models/" + std::string(name));
        EXPECT_EQ(missing->status, 404) << name;
        EXPECT_EQ(error_code(*missing), "model_not_found");
    }
}

TEST_F(GatewayTest, ListsTheModelsThatMostNodesServeWhenThereAreTooMany) {
    for (std::size_t i = 0; i < 2 * limits::models_listed_max; ++i) {
        network_.served.push_back({id_of(1), "a" + std::to_string(i), 1, 0});
    }
    const auto names = dialect::parse_model_names(get("/v1/models")->body);
    ASSERT_TRUE(names);
    EXPECT_EQ(names->size(), limits::models_listed_max);
    EXPECT_EQ(names->at(0), "mini");
}

TEST_F(GatewayTest, TellsHealthAndReadiness) {
    EXPECT_EQ(get("/health")->status, 200);
    EXPECT_EQ(get("/ready")->status, 200);
    network_.state.circuits = 1;
    network_.state.reason = "1 of 4 circuits";
    EXPECT_EQ(get("/health")->status, 200) << "alive, though not ready";
    const auto unready = get("/ready");
    EXPECT_EQ(unready->status, 503);
    EXPECT_EQ(unready->header("Retry-After"), "2");
    EXPECT_NE(unready->body.find("1 of 4 circuits"), std::string::npos);
    network_.state.alive = false;
    EXPECT_EQ(get("/health")->status, 503);
    EXPECT_EQ(send(request_of("HEAD", "/health"))->status, 503);
}

TEST_F(GatewayTest, RefusesUnknownPathsAndMethods) {
    for (const char* path : {"/", "", "/v1/completions", "/v1/chat/completions/", "/v1/models/", "/V1/models",
                             "//health", "http://127.0.0.1:8642/health", "/health/", "*"}) {
        const auto answer = get(path);
        EXPECT_EQ(answer->status, 404) << path;
        EXPECT_EQ(error_code(*answer), "unknown_url") << path;
    }
    for (const char* method : {"GET", "PUT", "DELETE", "OPTIONS", "HEAD", "post", ""}) {
        const auto answer = send(request_of(method, chat_path));
        EXPECT_EQ(answer->status, 405) << method;
        EXPECT_EQ(answer->header("Allow"), "POST") << method;
    }
    const auto answer = send(request_of("POST", "/v1/models", "{}"));
    EXPECT_EQ(answer->status, 405);
    EXPECT_EQ(answer->header("Allow"), "GET, HEAD");
}

// ---- access, on the live path (the rules themselves: access_test.cc) ---------------------------------------------

TEST_F(GatewayTest, AsksAccessBeforeAnythingElse) {
    const auto refused = [this](const std::function<void(HttpRequest&)>& spoil) {
        HttpRequest request =
            request_of("POST", chat_path, R"({"model":"mini","messages":[{"role":"user","content":"x"}]})");
        spoil(request);
        const auto answer = send(std::move(request));
        EXPECT_EQ(network_.last, 0U);
        EXPECT_FALSE(exchange_);
        EXPECT_TRUE(answer->header("Access-Control-Allow-Origin").empty());
        return error_code(*answer);
    };
    EXPECT_EQ(refused([](HttpRequest& r) { r.loopback = false; }), "not_loopback");
    EXPECT_EQ(refused([](HttpRequest& r) { r.headers[0].second = "evil.example"; }), "host_not_allowed");
    EXPECT_EQ(refused([](HttpRequest& r) { r.headers.emplace_back("origin", "http://evil.example"); }),
              "origin_not_allowed");
    EXPECT_EQ(refused([](HttpRequest& r) { r.headers.emplace_back("sec-fetch-site", "cross-site"); }), "cross_site");
    EXPECT_EQ(refused([](HttpRequest& r) { r.headers[1].second = "text/plain"; }), "unsupported_media_type");
    EXPECT_EQ(gateway_.usage().refused, 4U);
}

TEST_F(GatewayTest, AsksForTheKeyEverywhereButForHealth) {
    Gateway keyed(network_, {.hosts_allowed = {}, .api_key = "secret"}, rng_);
    const auto without = send(keyed, request_of("GET", "/v1/models"));
    EXPECT_EQ(without->status, 401);
    EXPECT_EQ(without->header("WWW-Authenticate"), "Bearer");
    EXPECT_EQ(send(keyed, request_of("GET", "/nowhere"))->status, 401);
    EXPECT_EQ(send(keyed, request_of("GET", "/health"))->status, 200);
    EXPECT_EQ(send(keyed, request_of("GET", "/ready"))->status, 200);
    HttpRequest request = request_of("GET", "/v1/models");
    request.headers.emplace_back("authorization", "Bearer secret");
    EXPECT_EQ(send(keyed, std::move(request))->status, 200);
}

}  // namespace
}  // namespace shoal::api
