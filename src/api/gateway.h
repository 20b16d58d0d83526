// The OpenAI interface of a node, without its bytes: parsed requests in, asks of the network out, and their replies
// back.
//
//   POST /v1/chat/completions    GET /v1/models, /v1/models/{name}    GET /health, /ready
//
// Rules
//   1. Nothing is looked at before access.h has let the request in.
//   2. At most `asks_max` questions are under way; the next gets 429 with Retry-After at once and costs nothing.
//      Rationale: a queue here would only hide from the program that it must wait; asks have queues of their own.
//   3. A question ends exactly once: by its reply, by a fault, or because its program went away, which cancels it.
//   4. The body of a request is wiped before on_request() returns. Nothing of it or of a reply is kept or logged.
//
// Pure: time and randomness are arguments. One thread, the loop's. Answers are given inside the calls.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/access.h"
#include "api/chat_exchange.h"
#include "api/port.h"
#include "base/bounded.h"
#include "base/rng.h"
#include "dialect/openai.h"

namespace shoal::api {

class Gateway final : private ChatExchange::Owner {
public:
    // `options` passed check_options(). `network` and `rng` outlive the gateway.
    Gateway(Network& network, GatewayOptions options, Rng& rng);
    // Cancels what is under way.
    ~Gateway() override;
    Gateway(const Gateway&) = delete;
    Gateway& operator=(const Gateway&) = delete;

    // The id, when the answer is not complete yet: the caller gives it to on_disconnect() if the program goes away.
    std::optional<ExchangeId> on_request(Now now, HttpRequest request, std::unique_ptr<HttpResponder> responder);
    // The question is cancelled and the responder destroyed. An exchange that is complete is ignored.
    void on_disconnect(ExchangeId exchange);

    void on_tick(Now now);
    std::optional<Instant> next_deadline() const;

    struct Counts {
        std::size_t asks = 0;           // under way, at most asks_max
        std::size_t held_bytes = 0;     // of replies that are gathered
        std::uint64_t requests = 0;     // since the start
        std::uint64_t refused = 0;      // by access.h
        std::uint64_t turned_away = 0;  // by rule 2
        std::uint64_t abandoned = 0;    // by rule 3, the last case
    };
    Counts usage() const;
    // Asserts what must hold between calls.
    void check() const;

private:
    // What a route needs of one request. The responder is taken by the one that answers.
    struct Call {
        Now now;
        HttpRequest& request;
        std::string_view path;  // without the query
        std::string request_id;
        std::unique_ptr<HttpResponder> responder;
    };
    struct Entry {
        AskId ask;
        std::unique_ptr<ChatExchange> exchange;
    };

    void on_closed(ExchangeId exchange, bool abandoned) override;
    std::optional<ExchangeId> route(Call& call);
    std::optional<ExchangeId> chat(Call& call);
    std::optional<ExchangeId> start(Call& call, dialect::ParsedChat chat, const dialect::ModelCard& card);
    void models(Call& call);
    void model(Call& call, std::string_view name);
    void health(Call& call);
    void ready(Call& call);
    std::optional<dialect::ApiError> why_not_now() const;

    Network& network_;
    GatewayOptions options_;
    Rng& rng_;
    BoundedMap<ExchangeId, Entry> open_;
    // Closed from inside one of their own calls: destroyed at the next call of the gateway. At most asks_max.
    std::vector<std::unique_ptr<ChatExchange>> closed_;
    std::uint64_t last_exchange_ = 0;
    Counts counts_;
};

}  // namespace shoal::api
