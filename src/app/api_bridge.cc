#include "app/api_bridge.h"

#include "api/refusal.h"

namespace shoal::app {
namespace {

// The gateway's end of one HTTP exchange. Holds the exchange, so it answers as long as the connection lives.
class Responder final : public api::HttpResponder {
public:
    // The exchange is co-owned by net's connection, which lets go when the program is gone.
    explicit Responder(std::shared_ptr<net::HttpExchange> exchange) : exchange_(std::move(exchange)) {}
    void send(int status, Headers headers, std::string body) override {
        exchange_->send(status, std::move(headers), std::move(body));
    }
    void begin_stream(int status, Headers headers) override { exchange_->begin_stream(status, std::move(headers)); }
    bool write(std::string_view chunk) override { return exchange_->write(chunk); }
    void finish() override { exchange_->finish(); }

private:
    std::shared_ptr<net::HttpExchange> exchange_;  // co-owner: net's connection
};

net::HttpServerOptions http_options() {
    net::HttpServerOptions out;
    out.refusal = [](int status, std::string_view why) {
        api::Refusal refusal = api::refusal(status, why);
        return net::HttpRefusal{std::move(refusal.headers), std::move(refusal.body)};
    };
    return out;
}

}  // namespace

ApiBridge::ApiBridge(net::Loop& loop, NodeDriver& driver, api::GatewayOptions options, Rng& rng)
    : loop_(loop),
      driver_(driver),
      gateway_(static_cast<api::Network&>(*this), std::move(options), rng),
      server_(loop, static_cast<net::HttpHandler&>(*this), http_options()) {}

ApiBridge::~ApiBridge() = default;

std::vector<api::ModelSummary> ApiBridge::models() const {
    std::vector<api::ModelSummary> out;
    if (const model::OwnModel* own = driver_.node().own(); own != nullptr) {
        if (own->info() != nullptr) out.push_back({own->info()->id, own->name(), own->info()->context_tokens, 1});
        return out;
    }
    const client::Client* client = driver_.node().client();
    if (client == nullptr || client->view() == nullptr) return out;
    for (const directory::ModelSummary& model : client->view()->models()) {
        const std::size_t nodes = client->nodes_for(model);
        if (nodes > 0) out.push_back({model.id, model.name, model.context_tokens, static_cast<std::uint32_t>(nodes)});
    }
    return out;
}

// It needs no circuits, and the directory only to find its hops: when the layers are together it is ready.
api::Readiness ApiBridge::readiness_of(const model::OwnModel& own, api::Readiness out) const {
    out.directory = own.ready() || driver_.node().book().current(driver_.now()) != nullptr;
    out.model_nodes = own.ready() ? 1 : 0;
    if (!out.reason.empty()) return out;
    out.alive = !own.failed();
    out.reason = out.directory ? own.why_not() : "no directory of the network yet";
    return out;
}

api::Readiness ApiBridge::readiness() const {
    api::Readiness out;
    const node::Node& node = driver_.node();
    if (node.model() != nullptr) {
        if (const auto failed = node.model()->failed_engine()) {
            out.alive = false;
            out.reason = "the engine died: " + *failed;
        }
    }
    if (const model::OwnModel* own = node.own(); own != nullptr) return readiness_of(*own, std::move(out));
    const client::Client* client = node.client();
    if (client == nullptr) return out;
    const auto view = node.book().current(driver_.now());
    out.directory = view != nullptr;
    out.circuits = client->circuits().ready();
    out.circuits_needed = client->profile().n;
    out.model_nodes = client->model_nodes();
    if (!out.reason.empty()) return out;
    if (!out.directory) {
        out.reason = "no directory of the network yet";
    } else if (out.model_nodes == 0) {
        out.reason = "no model node in the directory";
    } else if (client->circuits().guards().empty()) {
        out.reason = "no guard in the directory";
    } else if (out.circuits < out.circuits_needed) {
        out.reason = "circuits are being built";
    }
    return out;
}

std::variant<api::AskId, ChatFault> ApiBridge::ask(ModelId model, ChatRequest request,
                                                   std::optional<Comparison> compare, api::AskSink& sink) {
    return driver_.ask(model, request, compare, sink);
}

void ApiBridge::cancel(api::AskId ask) {
    driver_.cancel(ask);
}

void ApiBridge::on_request(net::HttpRequest request, std::shared_ptr<net::HttpExchange> exchange) {
    api::HttpRequest in;
    in.method = std::move(request.method);
    in.target = std::move(request.target);
    in.headers = std::move(request.headers);
    in.body = std::move(request.body);
    in.loopback = request.remote.is_loopback();
    const auto id = gateway_.on_request(loop_.now(), std::move(in), std::make_unique<Responder>(exchange));
    if (id) {
        exchange->on_disconnect([this, open = *id] {
            gateway_.on_disconnect(open);
            arm();
        });
    }
    arm();
}

void ApiBridge::arm() {
    const auto next = gateway_.next_deadline();
    if (!next) return timer_.cancel();
    timer_ = loop_.at(*next, [this] {
        gateway_.on_tick(loop_.now());
        arm();
    });
}

}  // namespace shoal::app
