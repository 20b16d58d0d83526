// The gateway's two neighbours, joined: the node behind it and the HTTP server in front of it.
//
// Thread: the loop's.
#pragma once

#include <map>
#include <memory>

#include "api/gateway.h"
#include "app/node_driver.h"
#include "net/http_server.h"

namespace shoal::app {

class ApiBridge final : private api::Network, private net::HttpHandler {
public:
    // All outlive the bridge.
    ApiBridge(net::Loop& loop, NodeDriver& driver, api::GatewayOptions options, Rng& rng);
    ~ApiBridge() override;

    // Errc::io: the port is in use or may not be bound; says what to do.
    Result<net::Endpoint> listen(const net::Endpoint& at) { return server_.listen(at); }

private:
    std::vector<api::ModelSummary> models() const override;
    api::Readiness readiness() const override;
    api::Readiness readiness_of(const model::OwnModel& own, api::Readiness out) const;
    std::variant<api::AskId, ChatFault> ask(ModelId model, ChatRequest request, std::optional<Comparison> compare,
                                            api::AskSink& sink) override;
    void cancel(api::AskId ask) override;
    void on_request(net::HttpRequest request, std::shared_ptr<net::HttpExchange> exchange) override;
    void arm();

    net::Loop& loop_;
    NodeDriver& driver_;
    api::Gateway gateway_;
    net::HttpServer server_;
    net::Timer timer_;
};

}  // namespace shoal::app
