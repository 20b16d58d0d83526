#include "net/http_server.h"

#include <unordered_set>

#include "net/http_connection.h"
#include "net/listener.h"
#include "net/loop_impl.h"

namespace shoal::net {

using boost::asio::ip::tcp;

HttpRefusal plain_refusal(int status, std::string_view why) {
    HttpRefusal out{{{"Content-Type", "text/plain; charset=utf-8"}}, std::string(why) + "\n"};
    if (status == 503) out.headers.emplace_back("Retry-After", "1");
    return out;
}

const std::string* HttpRequest::header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
        if (key == name) return &value;
    }
    return nullptr;
}

struct HttpServer::Impl final : HttpConnectionHost {
    Impl(Loop& its_loop, HttpHandler& its_handler, const HttpServerOptions& its_options)
        : loop(its_loop), handler(its_handler), options(its_options) {}

    void on_request(HttpRequest request, std::shared_ptr<HttpExchange> exchange) override {
        handler.on_request(std::move(request), std::move(exchange));
    }
    void on_gone(HttpConnection& connection) override { connections.erase(connection.shared_from_this()); }

    void take_in(tcp::socket socket, const Endpoint& remote);
    void stop();

    Loop& loop;
    HttpHandler& handler;
    HttpServerOptions options;
    std::vector<std::shared_ptr<Listener>> listeners;  // owned here, and held by their waiting accepts
    std::unordered_set<std::shared_ptr<HttpConnection>> connections;
};

void HttpServer::Impl::take_in(tcp::socket socket, const Endpoint& remote) {
    if (connections.size() >= options.connections_max) {
        HttpConnection::turn_away(socket, options.refusal(503, "too many connections to the local gateway"));
        return;
    }
    const auto connection = std::make_shared<HttpConnection>(loop, *this, options, std::move(socket), remote);
    connections.insert(connection);
    connection->start();
}

void HttpServer::Impl::stop() {
    for (const auto& listener : listeners) listener->close();
    const auto last = std::move(connections);
    connections.clear();
    for (const auto& connection : last) connection->abandon();
}

HttpServer::HttpServer(Loop& loop, HttpHandler& handler, const HttpServerOptions& options)
    // owned here alone: a shared_ptr, since the header has no complete type to destroy
    : impl_(std::make_shared<Impl>(loop, handler, options)) {}

HttpServer::~HttpServer() {
    impl_->stop();
}

Result<Endpoint> HttpServer::listen(const Endpoint& at) {
    const auto take = [impl = impl_.get()](tcp::socket socket, const Endpoint& remote) {
        impl->take_in(std::move(socket), remote);
    };
    impl_->listeners.push_back(TRY(Listener::open(impl_->loop, at, take)));
    return impl_->listeners.back()->bound();
}

std::size_t HttpServer::connection_count() const {
    return impl_->connections.size();
}

}  // namespace shoal::net
