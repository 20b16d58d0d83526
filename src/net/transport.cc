#include "net/transport.h"

#include <unordered_map>
#include <unordered_set>

#include "net/connection.h"
#include "net/listener.h"
#include "net/loop_impl.h"

namespace shoal::net {

using boost::asio::ip::tcp;

// Owned by the transport, and held by its connections until they are gone.
struct Transport::Impl final : ConnectionHost, std::enable_shared_from_this<Transport::Impl> {
    Impl(Loop& its_loop, TransportEvents& its_events, const TransportOptions& its_options) : events(its_events) {
        loop = &its_loop;
        options = its_options;
    }

    void on_up(Connection& connection) override;
    void on_plain(Connection& connection, ByteView bytes) override;
    void on_writable(Connection& connection) override;
    void on_down(Connection& connection, const Error& why) override;
    void on_gone(Connection& connection) override;

    void take_in(tcp::socket socket, const Endpoint& remote, const LocalIdentity& identity);
    void refuse_dial(LinkId link, Error why);
    bool has_place() const;
    void mark(Connection& connection);
    void flush_marked();
    void stop();
    Connection* find(LinkId link) const;

    TransportEvents& events;
    std::uint64_t last_id = 0;
    std::size_t dialling = 0;   // dials without a handshake yet
    std::size_t accepting = 0;  // accepted connections that never came up, until they are gone
    std::vector<std::shared_ptr<Listener>> listeners;
    std::unordered_set<std::shared_ptr<Connection>> connections;  // all, those that wind down too
    std::unordered_map<LinkId, Connection*> links;                // dialled or announced, and not yet down
    std::vector<std::shared_ptr<Connection>> marked;              // with something to send at the end of this turn
};

// ---- from the connections ----------------------------------------------------------------------------------------

void Transport::Impl::on_up(Connection& connection) {
    if (!alive) return;
    if (connection.initiator()) {
        --dialling;
    } else {
        if (links.size() >= options.links_max) {
            connection.abandon();
            return on_gone(connection);
        }
        --accepting;
        links.emplace(connection.id(), &connection);
    }
    connection.holds_place = false;
    events.on_link_up(connection.id(), connection.peer(), connection.remote(), connection.initiator());
}

void Transport::Impl::on_plain(Connection& connection, ByteView bytes) {
    if (!alive) return;
    if (options.observer != nullptr) {
        options.observer->on_plaintext(connection.id(), connection.peer(), Direction::in, bytes);
    }
    events.on_link_bytes(connection.id(), bytes);
}

void Transport::Impl::on_writable(Connection& connection) {
    if (alive) events.on_link_writable(connection.id());
}

void Transport::Impl::on_down(Connection& connection, const Error& why) {
    if (connection.initiator() && connection.holds_place) {
        connection.holds_place = false;
        --dialling;
    }
    // An accepted connection that never came up has no entry, and nobody knows of it.
    if (links.erase(connection.id()) > 0 && alive) events.on_link_down(connection.id(), why);
}

void Transport::Impl::on_gone(Connection& connection) {
    if (connection.holds_place && !connection.initiator()) --accepting;
    connection.holds_place = false;
    connections.erase(connection.shared_from_this());
}

// ---- accepting ---------------------------------------------------------------------------------------------------

bool Transport::Impl::has_place() const {
    // The sum bounds those that wind down too, which a peer could otherwise pile up.
    return accepting < options.accepts_pending_max && links.size() < options.links_max &&
           connections.size() < options.links_max + options.accepts_pending_max + options.dials_max;
}

void Transport::Impl::take_in(tcp::socket socket, const Endpoint& remote, const LocalIdentity& identity) {
    if (!has_place()) return;  // the socket closes
    const auto connection = std::make_shared<Connection>(shared_from_this(), LinkId(++last_id), identity, std::nullopt);
    connection->holds_place = true;
    ++accepting;
    connections.insert(connection);
    connection->accept(std::move(socket), remote);
}

// ---- sending -----------------------------------------------------------------------------------------------------

Connection* Transport::Impl::find(LinkId link) const {
    const auto at = links.find(link);
    return at == links.end() ? nullptr : at->second;
}

void Transport::Impl::mark(Connection& connection) {
    if (connection.marked) return;
    connection.marked = true;
    if (marked.empty()) loop->post([self = shared_from_this()] { self->flush_marked(); });
    marked.push_back(connection.shared_from_this());
}

void Transport::Impl::flush_marked() {
    // What is marked from inside an event waits for the next turn.
    std::vector<std::shared_ptr<Connection>> now;
    now.swap(marked);
    for (const auto& connection : now) connection->marked = false;
    for (const auto& connection : now) connection->flush();
}

void Transport::Impl::refuse_dial(LinkId link, Error why) {
    loop->post([self = shared_from_this(), link, why = std::move(why)] {
        if (self->alive) self->events.on_link_down(link, why);
    });
}

void Transport::Impl::stop() {
    alive = false;
    for (const auto& listener : listeners) listener->close();
    listeners.clear();
    links.clear();
    marked.clear();
    // The set alone may keep them alive, and they keep this object alive: both end here.
    const auto last = std::move(connections);
    connections.clear();
    for (const auto& connection : last) connection->abandon();
}

// ---- the door ----------------------------------------------------------------------------------------------------

Transport::Transport(Loop& loop, TransportEvents& events, TransportOptions options)
    : impl_(std::make_shared<Impl>(loop, events, options)) {}

Transport::~Transport() {
    impl_->stop();
}

Result<Endpoint> Transport::listen(const Endpoint& at, const LocalIdentity& identity) {
    const auto take = [impl = impl_.get(), identity](tcp::socket socket, const Endpoint& remote) {
        impl->take_in(std::move(socket), remote, identity);
    };
    impl_->listeners.push_back(TRY(Listener::open(*impl_->loop, at, take)));
    return impl_->listeners.back()->bound();
}

LinkId Transport::next_id() {
    return LinkId(++impl_->last_id);
}

void Transport::dial(LinkId link, const Endpoint& to, const NodeId& expected, const LocalIdentity& identity) {
    ASSERT(link.value() != 0 && link.value() <= impl_->last_id && impl_->find(link) == nullptr);
    if (impl_->dialling >= impl_->options.dials_max) {
        return impl_->refuse_dial(link, fail(Errc::exhausted, "too many dials are under way; try again later"));
    }
    if (impl_->links.size() >= impl_->options.links_max) {
        return impl_->refuse_dial(link, fail(Errc::exhausted, "too many links are open; close one"));
    }
    const auto connection = std::make_shared<Connection>(impl_, link, identity, expected);
    connection->holds_place = true;
    ++impl_->dialling;
    impl_->connections.insert(connection);
    impl_->links.emplace(link, connection.get());
    connection->dial(to);
}

bool Transport::send(LinkId link, ByteView bytes) {
    Connection* connection = impl_->find(link);
    if (connection == nullptr || connection->state() != Connection::State::up) return false;
    const bool queued = connection->send(bytes);
    if (queued && impl_->options.observer != nullptr) {
        impl_->options.observer->on_plaintext(link, connection->peer(), Direction::out, bytes);
    }
    impl_->mark(*connection);
    return queued;
}

std::size_t Transport::unsent_bytes(LinkId link) const {
    const Connection* connection = impl_->find(link);
    return connection == nullptr ? 0 : connection->unsent_bytes();
}

void Transport::close(LinkId link) {
    Connection* connection = impl_->find(link);
    if (connection == nullptr) return;
    connection->close();
    impl_->mark(*connection);
}

std::optional<ByteArray<32>> Transport::channel_binding(LinkId link) const {
    const Connection* connection = impl_->find(link);
    return connection == nullptr ? std::nullopt : connection->channel_binding();
}

std::size_t Transport::link_count() const {
    return impl_->links.size();
}

}  // namespace shoal::net
