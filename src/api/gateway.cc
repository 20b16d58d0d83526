#include "api/gateway.h"

#include <algorithm>
#include <utility>

#include "api/model_names.h"
#include "base/limits.h"

namespace shoal::api {
namespace {

using dialect::ApiError;
using dialect::ModelCard;

constexpr std::size_t quoted_bytes_max = 128;

std::string quoted(std::string_view text) {
    return "`" + dialect::printable(text, quoted_bytes_max) + "`";
}

void send_json(HttpResponder& responder, int status, const std::string& request_id, std::string body) {
    responder.send(status, answer_headers("application/json", request_id), std::move(body));
}

ApiError unknown_model(std::string_view name, int status) {
    ApiError error = dialect::invalid_request(
        "model_not_found", "model",
        "the model " + quoted(name) + " is not served in this network: GET /v1/models lists those that are");
    error.status = status;
    return error;
}

// %41 to A. A name that is not well escaped is taken as it stands, and then not found.
std::string unescape(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = text[i] == '%' && i + 2 < text.size() ? from_hex(text.substr(i + 1, 2)) : std::nullopt;
        out += byte ? static_cast<char>(byte->front()) : text[i];
        if (byte) i += 2;
    }
    return out;
}

// Overwrites the body, which may have a prompt, however its request is answered.
class BodyWiper {
public:
    explicit BodyWiper(std::string& body) : body_(body) {}
    ~BodyWiper() { wipe(body_.data(), body_.size()); }
    BodyWiper(const BodyWiper&) = delete;
    BodyWiper& operator=(const BodyWiper&) = delete;

private:
    std::string& body_;
};

bool needs_no_key(std::string_view path) {
    return path == "/health" || path == "/ready";
}

}  // namespace

Gateway::Gateway(Network& network, GatewayOptions options, Rng& rng)
    : network_(network), options_(std::move(options)), rng_(rng), open_(options_.asks_max) {
    ASSERT(check_options(options_));
}

Gateway::~Gateway() {
    for (auto& [id, entry] : open_) network_.cancel(entry.ask);
}

std::optional<ExchangeId> Gateway::on_request(Now now, HttpRequest request, std::unique_ptr<HttpResponder> responder) {
    const BodyWiper wiper(request.body);
    closed_.clear();
    ++counts_.requests;
    Call call{.now = now,
              .request = request,
              .path = std::string_view(request.target).substr(0, request.target.find('?')),
              .request_id = "req_" + to_hex(rng_.array<12>()),
              .responder = std::move(responder)};
    auto error = check_source(request, options_);
    if (!error && !needs_no_key(call.path)) error = check_key(request, options_);
    if (error) {
        ++counts_.refused;
        HttpResponder::Headers more;
        if (error->status == 401) more.emplace_back("WWW-Authenticate", "Bearer");
        send_error(*call.responder, *error, call.request_id, std::move(more));
        return std::nullopt;
    }
    return route(call);
}

std::optional<ExchangeId> Gateway::route(Call& call) {
    constexpr std::string_view one_model = "/v1/models/";
    const bool post = call.path == "/v1/chat/completions";
    const bool get = call.path == "/v1/models" || call.path == "/health" || call.path == "/ready" ||
                     (call.path.starts_with(one_model) && call.path.size() > one_model.size());
    if (!post && !get) {
        ApiError error = dialect::invalid_request("unknown_url", {}, "there is nothing at " + quoted(call.path));
        error.status = 404;
        send_error(*call.responder, error, call.request_id);
        return std::nullopt;
    }
    // HEAD is GET whose body net leaves out.
    const std::string& method = call.request.method;
    if (post ? method != "POST" : method != "GET" && method != "HEAD") {
        ApiError error = dialect::invalid_request(
            "method_not_allowed", {}, quoted(call.path) + " is asked with " + (post ? "POST" : "GET") + " only");
        error.status = 405;
        send_error(*call.responder, error, call.request_id, {{"Allow", post ? "POST" : "GET, HEAD"}});
        return std::nullopt;
    }
    if (post) return chat(call);
    if (call.path == "/health") {
        health(call);
    } else if (call.path == "/ready") {
        ready(call);
    } else if (call.path == "/v1/models") {
        models(call);
    } else {
        model(call, call.path.substr(one_model.size()));
    }
    return std::nullopt;
}

std::optional<ExchangeId> Gateway::chat(Call& call) {
    const auto refuse = [&call](const ApiError& error) {
        send_error(*call.responder, error, call.request_id);
        return std::nullopt;
    };
    if (const auto error = check_content_type(call.request)) return refuse(*error);
    if (open_.full()) {
        ++counts_.turned_away;
        return refuse({.status = 429,
                       .type = "rate_limit_error",
                       .code = "too_many_requests",
                       .param = {},
                       .message = "this gateway has " + std::to_string(options_.asks_max) +
                                  " questions under way, which is its limit: try again when one has ended",
                       .retry_after = limits::retry_after_busy});
    }
    auto parsed = dialect::parse_chat_request(call.request.body);
    if (!parsed) return refuse(parsed.error());

    const auto cards = model_cards(network_.models());
    const auto card = find_model(cards, parsed->model);
    // Without any model the directory is not here or empty: the name may well be right.
    if (!card) {
        const auto reason = cards.empty() ? why_not_now() : std::nullopt;
        return refuse(reason.value_or(unknown_model(parsed->model, 400)));
    }
    return start(call, std::move(*parsed), *card);
}

std::optional<ExchangeId> Gateway::start(Call& call, dialect::ParsedChat chat, const ModelCard& card) {
    const ExchangeId id(++last_exchange_);
    ChatExchange::Setup setup{.id = id,
                              .head = {.id = dialect::completion_id(rng_),
                                       .created = call.now.wall,
                                       .model = std::move(chat.model),
                                       .fingerprint = card.id.brief(),
                                       .include_usage = chat.include_usage},
                              .stream = chat.stream,
                              .request_id = call.request_id,
                              .now = call.now.mono};
    ChatExchange::Owner& self = *this;
    auto exchange = std::make_unique<ChatExchange>(std::move(setup), std::move(call.responder), self);
    auto started = network_.ask(card.id, std::move(chat.request), chat.compare, *exchange);
    if (const auto* fault = std::get_if<ChatFault>(&started)) {
        exchange->on_fault(*fault);
        return std::nullopt;
    }
    const Entry* kept = open_.insert(id, {std::get<AskId>(started), std::move(exchange)});
    ASSERT(kept != nullptr);  // chat() asked whether there is room
    return id;
}

std::optional<ApiError> Gateway::why_not_now() const {
    const Readiness state = network_.readiness();
    ApiError error = dialect::from_fault({AskFault::no_model_node, state.reason});
    if (state.reason.empty()) error.message = "no node of this network serves a model now";
    return error;
}

void Gateway::models(Call& call) {
    auto cards = model_cards(network_.models());
    if (cards.size() > limits::models_listed_max) {
        std::stable_sort(cards.begin(), cards.end(),
                         [](const ModelCard& a, const ModelCard& b) { return a.nodes > b.nodes; });
        cards.resize(limits::models_listed_max);
    }
    send_json(*call.responder, 200, call.request_id, dialect::write_models(cards));
}

void Gateway::model(Call& call, std::string_view name) {
    // Some clients escape the slash of "owner/name", some do not.
    const std::string wanted = unescape(name);
    const auto card = find_model(model_cards(network_.models()), wanted);
    if (!card) return send_error(*call.responder, unknown_model(wanted, 404), call.request_id);
    send_json(*call.responder, 200, call.request_id, dialect::write_model(*card));
}

void Gateway::health(Call& call) {
    const Readiness state = network_.readiness();
    const std::string reason = state.alive ? "" : dialect::printable(state.reason, limits::error_text_bytes_max);
    send_json(*call.responder, state.alive ? 200 : 503, call.request_id,
              dialect::write_health(state.alive ? "ok" : "engine_dead", reason));
}

void Gateway::ready(Call& call) {
    const Readiness state = network_.readiness();
    auto headers = answer_headers("application/json", call.request_id);
    if (!state.ready()) headers.emplace_back("Retry-After", std::to_string(limits::retry_after_busy.count()));
    call.responder->send(
        state.ready() ? 200 : 503, std::move(headers),
        dialect::write_ready({.ready = state.ready(),
                              .directory = state.directory,
                              .circuits = state.circuits,
                              .circuits_needed = state.circuits_needed,
                              .model_nodes = state.model_nodes,
                              .reason = dialect::printable(state.reason, limits::error_text_bytes_max)}));
}

void Gateway::on_disconnect(ExchangeId exchange) {
    closed_.clear();
    const Entry* entry = open_.find(exchange);
    if (entry == nullptr) return;
    ++counts_.abandoned;
    network_.cancel(entry->ask);
    open_.erase(exchange);
}

void Gateway::on_closed(ExchangeId exchange, bool abandoned) {
    Entry* entry = open_.find(exchange);
    if (entry == nullptr) return;  // refused by ask() itself: start() still holds it
    if (abandoned) {
        ++counts_.abandoned;
        network_.cancel(entry->ask);
    }
    closed_.push_back(std::move(entry->exchange));
    open_.erase(exchange);
}

void Gateway::on_tick(Now now) {
    closed_.clear();
    // A tick may close an exchange and so change open_; the object itself stays until the next call.
    std::vector<ChatExchange*> all;
    for (auto& [id, entry] : open_) all.push_back(entry.exchange.get());
    for (ChatExchange* exchange : all) exchange->on_tick(now.mono);
}

std::optional<Instant> Gateway::next_deadline() const {
    std::optional<Instant> first;
    for (const auto& [id, entry] : open_) {
        const auto at = entry.exchange->next_deadline();
        if (at && (!first || *at < *first)) first = at;
    }
    return first;
}

Gateway::Counts Gateway::usage() const {
    Counts counts = counts_;
    counts.asks = open_.size();
    for (const auto& [id, entry] : open_) counts.held_bytes += entry.exchange->held_bytes();
    return counts;
}

void Gateway::check() const {
    ASSERT(open_.size() <= options_.asks_max);
    ASSERT(closed_.size() <= options_.asks_max);
    for (const auto& [id, entry] : open_) {
        ASSERT(entry.exchange && !entry.exchange->closed());
        ASSERT(entry.exchange->held_bytes() <= limits::reply_bytes_max);
    }
    for (const auto& exchange : closed_) ASSERT(exchange->closed());
}

}  // namespace shoal::api
