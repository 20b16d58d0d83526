#include "net/listener.h"

#include <boost/asio/ip/v6_only.hpp>

#include "net/loop_impl.h"

namespace shoal::net {

using boost::asio::ip::tcp;
using boost::system::error_code;

namespace {

// After an accept that failed for want of descriptors or memory: trying at once would only burn the processor.
constexpr Duration accept_retry = 100ms;

Error cannot_listen(const Endpoint& at, const error_code& why) {
    const std::string where = "cannot listen on " + at.text() + ": ";
    if (why == boost::asio::error::address_in_use) {
        return fail(Errc::io, where + "port " + std::to_string(at.port) +
                                  " is in use; stop the other program or choose another port");
    }
    if (why == boost::asio::error::access_denied) {
        return fail(Errc::io, where + "not allowed; choose a port from 1024 up");
    }
    if (why.value() == EADDRNOTAVAIL) {
        return fail(Errc::io, where + "this machine has no address " + at.ip_text() + "; name one that it has");
    }
    return fail(Errc::io, where + why.message());
}

Result<tcp::acceptor> open_acceptor(boost::asio::io_context& io, const Endpoint& at) {
    const tcp::endpoint endpoint = to_asio(at);
    tcp::acceptor acceptor(io);
    error_code error;
    acceptor.open(endpoint.protocol(), error);
    if (error) return cannot_listen(at, error);
    // Only skips the wait after an earlier process; two live listeners on one port still clash.
    acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    // IPv4 callers of a dual socket would show up under two forms of one address.
    if (!error && !at.is_v4()) acceptor.set_option(boost::asio::ip::v6_only(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(tcp::acceptor::max_listen_connections, error);
    if (error) return cannot_listen(at, error);
    return acceptor;
}

}  // namespace

Result<std::shared_ptr<Listener>> Listener::open(Loop& loop, const Endpoint& at,
                                                 std::function<void(tcp::socket, const Endpoint&)> on_socket) {
    tcp::acceptor acceptor = TRY(open_acceptor(loop.impl().io, at));
    const auto listener = std::make_shared<Listener>(loop, std::move(acceptor), std::move(on_socket));
    listener->bound_ = from_asio(listener->acceptor_.local_endpoint());
    listener->accept_next();
    return listener;
}

void Listener::accept_next() {
    acceptor_.async_accept([self = shared_from_this()](const error_code& error, tcp::socket socket) {
        if (self->closed_) return;
        if (error) {
            self->retry_ = self->loop_.after(accept_retry, [weak = std::weak_ptr(self)] {
                if (const auto again = weak.lock(); again && !again->closed_) again->accept_next();
            });
            return;
        }
        error_code gone;
        const tcp::endpoint remote = socket.remote_endpoint(gone);
        if (!gone) self->on_socket_(std::move(socket), from_asio(remote));
        if (!self->closed_) self->accept_next();
    });
}

void Listener::close() {
    closed_ = true;
    retry_.cancel();
    error_code ignored;
    acceptor_.close(ignored);
}

}  // namespace shoal::net
