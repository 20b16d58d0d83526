#include "net/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "net/loop_impl.h"

namespace shoal::net {

using boost::system::error_code;
namespace asio_error = boost::asio::error;

namespace {

bool would_block(const error_code& error) {
    return error == asio_error::would_block || error == asio_error::try_again || error == asio_error::interrupted;
}

Error cannot_reach(const Endpoint& to, const error_code& why) {
    const std::string reason = why == asio_error::connection_refused ? "nobody listens there" : why.message();
    return fail(Errc::unavailable, "cannot reach " + to.text() + ": " + reason);
}

template <typename T>
bool set_option(int fd, int level, int name, T value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

}  // namespace

Connection::Connection(std::shared_ptr<ConnectionHost> host, LinkId id, const LocalIdentity& identity,
                       std::optional<NodeId> expected)
    : host_(std::move(host)),
      socket_(host_->loop->impl().io),
      // Twice what send() lets in: handshake, record headers and answers to the peer's key updates come on top.
      tls_(identity.share(), expected.has_value(), expected, 2 * limits::link_in_flight_bytes_max),
      id_(id),
      initiator_(expected.has_value()) {}

// ---- the start ---------------------------------------------------------------------------------------------------

void Connection::dial(const Endpoint& to) {
    remote_ = to;
    set_deadline(host_->options.handshake_timeout, &Connection::on_handshake_timeout);
    const Status started = connect_to(to);
    if (started) return;
    host_->loop->post([self = shared_from_this(), why = started.error()] { self->cut(why); });
}

Status Connection::connect_to(const Endpoint& to) {
    const tcp::endpoint remote = to_asio(to);
    error_code error;
    socket_.open(remote.protocol(), error);
    if (error) return cannot_reach(to, error);
    set_socket_options();
    if (host_->options.dial_from) {
        const Endpoint from = host_->options.dial_from->with_port(0);
        if (from.is_v4() != to.is_v4()) {
            return fail(Errc::invalid,
                        "cannot dial " + to.text() + " from " + from.ip_text() + ": one is IPv4 and the other IPv6");
        }
        // The port is chosen at connect, so that one address can have as many links as there are pairs of ports.
        set_option(socket_.native_handle(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        socket_.bind(to_asio(from), error);
        if (error) {
            return fail(Errc::invalid, "cannot dial from " + from.ip_text() + ": " + error.message() +
                                           "; name an address that this machine has");
        }
    }
    socket_.async_connect(remote, [self = shared_from_this()](const error_code& failed) {
        if (self->state_ != State::connecting) return;
        if (failed) return self->cut(cannot_reach(self->remote_, failed));
        self->begin_handshake();
        self->tls_.start();
        self->write_out();
    });
    return ok();
}

void Connection::accept(tcp::socket socket, const Endpoint& from) {
    socket_ = std::move(socket);
    remote_ = from;
    set_socket_options();
    set_deadline(host_->options.handshake_timeout, &Connection::on_handshake_timeout);
    begin_handshake();
}

void Connection::set_socket_options() {
    error_code ignored;  // each only makes it faster
    socket_.non_blocking(true, ignored);
    socket_.set_option(tcp::no_delay(true), ignored);
    // What the kernel holds unsent is beyond the reach of our priorities: as little as keeps the line busy.
    set_option(socket_.native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT,
               static_cast<unsigned>(limits::link_in_flight_bytes_max));
}

void Connection::set_deadline(Duration after, void (Connection::*fn)()) {
    deadline_ = host_->loop->after(after, [weak = weak_from_this(), fn] {
        if (const auto self = weak.lock()) (self.get()->*fn)();
    });
}

void Connection::begin_handshake() {
    state_ = State::handshaking;
    wait_readable();
}

void Connection::on_handshake_timeout() {
    cut(fail(Errc::timeout, remote_.text() + (state_ == State::connecting ? " does not answer"
                                                                          : " does not finish the TLS handshake")));
}

void Connection::come_up() {
    deadline_.cancel();
    state_ = State::up;
    host_->on_up(*this);
}

// ---- reading -----------------------------------------------------------------------------------------------------

void Connection::wait_readable() {
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& error) {
        if (self->state_ == State::gone) return;
        if (error) return self->cut(fail(Errc::io, "the socket failed: " + error.message()));
        self->on_readable();
    });
}

void Connection::on_readable() {
    // A few full buffers, then the others have their turn.
    constexpr int rounds_max = 4;
    for (int round = 0; round < rounds_max; ++round) {
        if (!read_once()) break;
    }
    if (state_ != State::gone && !seen_end_) wait_readable();
}

// True when there may be more at once.
bool Connection::read_once() {
    error_code error;
    const std::size_t count = socket_.read_some(boost::asio::buffer(host_->buffers.sealed), error);
    if (would_block(error)) return false;
    const bool winding_down = state_ == State::closing || state_ == State::lingering;
    if (error == asio_error::eof) seen_end_ = true;
    if (error && winding_down) {
        seen_end_ = true;
        finish_if_sent();
        return false;
    }
    if (error) {
        const std::string how = error == asio_error::eof ? "the peer hung up without a goodbye" : error.message();
        cut(fail(Errc::io, how));
        return false;
    }
    // Once it was closed here, what still comes is only drained, so that the kernel does not answer it with a reset.
    if (!winding_down) take(ByteView(host_->buffers.sealed).first(count));
    return state_ != State::gone && count == host_->buffers.sealed.size();
}

void Connection::take(ByteView sealed) {
    const ByteView plain = ByteView(host_->buffers.plain).first(tls_.receive(sealed, host_->buffers.plain));
    write_out();
    if (state_ == State::handshaking) {
        if (tls_.state() == TlsSession::State::handshaking) return;
        if (tls_.state() == TlsSession::State::failed) return end(tls_.error());
        come_up();
    }
    if (state_ == State::up && !plain.empty()) host_->on_plain(*this, plain);
    if (state_ != State::up) return;
    if (tls_.state() == TlsSession::State::failed) return end(tls_.error());
    if (tls_.state() == TlsSession::State::closed) {
        tls_.say_goodbye();
        end(fail(Errc::unavailable, "the peer closed the link"));
    }
}

// ---- writing -----------------------------------------------------------------------------------------------------

bool Connection::send(ByteView bytes) {
    ASSERT(state_ == State::up);
    const std::size_t after = unsent_bytes() + bytes.size();
    if (after >= limits::link_in_flight_bytes_max / 2) wants_writable_ = true;
    if (after > limits::link_in_flight_bytes_max) return false;
    append(plain_, bytes);
    const std::size_t whole = plain_.size() - plain_.size() % tls_record_bytes;
    if (whole == 0) return true;
    // Full records now, the rest with what comes until the end of this turn.
    const bool sealed = tls_.seal(ByteView(plain_).first(whole));
    plain_.erase(plain_.begin(), plain_.begin() + static_cast<std::ptrdiff_t>(whole));
    return sealed;
}

void Connection::flush() {
    if (state_ == State::up && tls_.state() == TlsSession::State::up) {
        tls_.seal(plain_);
        plain_.clear();
    }
    if (state_ == State::up && tls_.state() == TlsSession::State::failed) return end(tls_.error());
    write_out();
}

void Connection::write_out() {
    if (waits_writable_ || state_ == State::connecting || state_ == State::gone) return;
    OutBuffer& out = tls_.output();
    while (!out.empty()) {
        error_code error;
        const ByteView view = out.view();
        const std::size_t count = socket_.write_some(boost::asio::buffer(view.data(), view.size()), error);
        if (would_block(error)) {
            wait_writable();
            break;
        }
        if (error) return cut(fail(Errc::io, "sending failed: " + error.message()));
        out.consume(count);
    }
    if (state_ == State::up && wants_writable_ && unsent_bytes() < limits::link_in_flight_bytes_max / 2) {
        wants_writable_ = false;
        host_->on_writable(*this);
    }
    finish_if_sent();
}

void Connection::wait_writable() {
    waits_writable_ = true;
    socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const error_code& error) {
        self->waits_writable_ = false;
        if (self->state_ == State::gone) return;
        if (error) return self->cut(fail(Errc::io, "the socket failed: " + error.message()));
        self->write_out();
    });
}

// ---- the end -----------------------------------------------------------------------------------------------------

void Connection::close() {
    if (state_ == State::connecting || state_ == State::handshaking) {
        host_->loop->post([self = shared_from_this()] { self->cut(fail(Errc::cancelled, "closed here")); });
    }
    if (state_ != State::up) return;
    tls_.seal(plain_);
    plain_.clear();
    tls_.say_goodbye();
    state_ = State::closing;
    set_deadline(host_->options.close_timeout, &Connection::on_close_timeout);
}

void Connection::on_close_timeout() {
    if (state_ == State::closing) return cut(fail(Errc::cancelled, "closed here"));
    vanish();
}

void Connection::finish_if_sent() {
    if ((state_ != State::closing && state_ != State::lingering) || !tls_.output().empty()) return;
    if (!sent_end_) {
        error_code ignored;
        socket_.shutdown(tcp::socket::shutdown_send, ignored);
        sent_end_ = true;
    }
    if (seen_end_) on_close_timeout();
}

void Connection::end(const Error& why) {
    state_ = State::lingering;
    const auto self = shared_from_this();
    set_deadline(host_->options.close_timeout, &Connection::on_close_timeout);
    host_->on_down(*this, why);
    write_out();
}

void Connection::cut(const Error& why) {
    const auto self = shared_from_this();
    const bool told = state_ == State::lingering || state_ == State::gone;
    if (state_ == State::closing) {
        state_ = State::lingering;
        host_->on_down(*this, fail(Errc::cancelled, "closed here"));
    } else if (!told) {
        state_ = State::lingering;
        host_->on_down(*this, why);
    }
    vanish();
}

void Connection::vanish() {
    if (state_ == State::gone) return;
    const auto self = shared_from_this();
    abandon();
    host_->on_gone(*this);
}

void Connection::abandon() {
    state_ = State::gone;
    deadline_.cancel();
    error_code ignored;
    socket_.close(ignored);
}

}  // namespace shoal::net
