// A listening socket that hands over what it accepts. For the .cc files of this room.
#pragma once

#include <functional>
#include <memory>

#include "net/asio_endpoint.h"
#include "net/loop.h"

namespace shoal::net {

class Listener : public std::enable_shared_from_this<Listener> {
public:
    using tcp = boost::asio::ip::tcp;

    // Opens, binds and listens, and accepts from then on. `on_socket` gets a connected socket and whose it is. Errc::io
    // with one line that says what to do.
    static Result<std::shared_ptr<Listener>> open(Loop& loop, const Endpoint& at,
                                                  std::function<void(tcp::socket, const Endpoint&)> on_socket);
    Listener(Loop& loop, tcp::acceptor acceptor, std::function<void(tcp::socket, const Endpoint&)> on_socket)
        : loop_(loop), acceptor_(std::move(acceptor)), on_socket_(std::move(on_socket)) {}

    const Endpoint& bound() const { return bound_; }
    // Nothing is handed over afterwards. Its owner calls it; until then the loop keeps it alive.
    void close();

private:
    void accept_next();

    Loop& loop_;
    tcp::acceptor acceptor_;
    std::function<void(tcp::socket, const Endpoint&)> on_socket_;
    Endpoint bound_;
    Timer retry_;
    bool closed_ = false;
};

}  // namespace shoal::net
