#include "net/http_client.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http/basic_parser.hpp>

#include "net/asio_endpoint.h"
#include "net/loop.h"
#include "net/loop_impl.h"

namespace shoal::net {

namespace http = boost::beast::http;
using boost::asio::ip::tcp;
using boost::system::error_code;

namespace {

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return out;
}

// Collects what one put() yields; handed on after it, since a callback may destroy the parser.
class ResponseParser final : public http::basic_parser<false> {
public:
    int status = 0;
    HttpHeaders headers;
    bool headers_done = false;
    std::string body;  // of this put()

private:
    using View = boost::beast::string_view;
    void on_request_impl(http::verb, View, View, int, error_code&) override {}
    void on_response_impl(int code, View, int, error_code&) override { status = code; }
    void on_field_impl(http::field, View name, View value, error_code&) override {
        headers.emplace_back(lower({name.data(), name.size()}), std::string(value.data(), value.size()));
    }
    void on_header_impl(error_code&) override { headers_done = true; }
    void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
    std::size_t on_body_impl(View part, error_code&) override { return keep(part); }
    void on_chunk_header_impl(std::uint64_t, View, error_code&) override {}
    std::size_t on_chunk_body_impl(std::uint64_t, View part, error_code&) override { return keep(part); }
    void on_finish_impl(error_code&) override {}

    std::size_t keep(View part) {
        body.append(part.data(), part.size());
        return part.size();
    }
};

std::string head_of(const HttpClientRequest& request) {
    std::string out = request.method + " " + request.target + " HTTP/1.1\r\n";
    bool has_host = false;
    for (const auto& [name, value] : request.headers) {
        has_host = has_host || lower(name) == "host";
        out.append(name).append(": ").append(value).append("\r\n");
    }
    if (!has_host) out += "Host: " + request.to.text() + "\r\n";
    const bool has_body = !request.body.empty() || request.method == "POST" || request.method == "PUT";
    if (has_body) out += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
    return out + "Connection: close\r\n\r\n";
}

bool has_line_break(const HttpClientRequest& request) {
    static constexpr std::string_view breaks("\r\n\0", 3);
    const auto broken = [](std::string_view text) { return text.find_first_of(breaks) != std::string_view::npos; };
    for (const auto& [name, value] : request.headers) {
        if (broken(name) || broken(value)) return true;
    }
    return broken(request.method) || broken(request.target) || request.target.find(' ') != std::string::npos;
}

}  // namespace

// Held by the handle and by every handler that still waits; the last of them ends it.
struct HttpCall::Impl : std::enable_shared_from_this<HttpCall::Impl> {
    Impl(Loop& its_loop, HttpClientRequest its_request, HttpClientEvents its_events)
        : loop(its_loop),
          request(std::move(its_request)),
          // A call of an event that destroys the handle still holds the events.
          events(std::make_shared<HttpClientEvents>(std::move(its_events))),
          socket(loop.impl().io) {}

    void start();
    void on_connected(const error_code& error);
    void make_parser();
    void write_out();
    void wait_readable();
    void on_readable();
    void parse();
    void on_end(const error_code& error);
    bool hand_over();
    void heard();
    void finish();
    void fail_with(const Error& error);
    void close();

    Loop& loop;
    HttpClientRequest request;
    std::shared_ptr<HttpClientEvents> events;  // held while one is called: the callback may destroy the call
    tcp::socket socket;
    std::unique_ptr<ResponseParser> parser;
    std::string out;
    std::size_t out_head = 0;
    std::string in;
    std::size_t received = 0;
    Timer silence;
    bool headers_given = false;
    bool over = false;
};

// ---- sending -----------------------------------------------------------------------------------------------------

void HttpCall::Impl::start() {
    if (has_line_break(request)) {
        const Error error = fail(Errc::invalid, "the request's method, target or headers hold a line break or a blank");
        return loop.post([self = shared_from_this(), error] { self->fail_with(error); });
    }
    out = head_of(request) + request.body;
    heard();
    socket.async_connect(to_asio(request.to), [self = shared_from_this()](const error_code& error) {
        if (!self->over) self->on_connected(error);
    });
}

void HttpCall::Impl::on_connected(const error_code& error) {
    if (error) {
        const std::string why =
            error == boost::asio::error::connection_refused ? "nobody listens there" : error.message();
        return fail_with(fail(Errc::unavailable, "cannot reach " + request.to.text() + ": " + why));
    }
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.set_option(tcp::no_delay(true), ignored);
    make_parser();
    heard();
    wait_readable();
    write_out();
}

void HttpCall::Impl::make_parser() {
    parser = std::make_unique<ResponseParser>();
    parser->eager(true);
    parser->header_limit(static_cast<std::uint32_t>(limits::http_header_bytes_max));
    parser->body_limit(request.response_bytes_max);
    parser->skip(request.method == "HEAD");
}

void HttpCall::Impl::write_out() {
    while (!over && out_head < out.size()) {
        error_code error;
        out_head += socket.write_some(boost::asio::buffer(out.data() + out_head, out.size() - out_head), error);
        if (error == boost::asio::error::would_block) {
            socket.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const error_code& failed) {
                if (!failed && !self->over) self->write_out();
            });
            return;
        }
        // A server that refuses early may close before the whole body was sent; its answer says why.
        if (error) return;
    }
}

// ---- receiving ---------------------------------------------------------------------------------------------------

void HttpCall::Impl::wait_readable() {
    socket.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& error) {
        if (self->over) return;
        if (error) return self->on_end(error);
        self->on_readable();
        if (!self->over) self->wait_readable();
    });
}

void HttpCall::Impl::on_readable() {
    std::array<char, 16 * 1024> buffer;
    error_code error;
    const std::size_t count = socket.read_some(boost::asio::buffer(buffer), error);
    if (error == boost::asio::error::would_block) return;
    if (error) return on_end(error);
    heard();
    received += count;
    // The parser bounds the body; this also bounds what is around it.
    if (received > request.response_bytes_max + 2 * limits::http_header_bytes_max + request.response_bytes_max / 2) {
        return fail_with(fail(Errc::exhausted, "the answer is too large"));
    }
    in.append(buffer.data(), count);
    parse();
}

void HttpCall::Impl::parse() {
    while (!over && !in.empty() && !parser->is_done()) {
        error_code error;
        const std::size_t used = parser->put(boost::asio::buffer(in), error);
        in.erase(0, used);
        const bool more = error == http::error::need_more;
        if (error == http::error::body_limit) return fail_with(fail(Errc::exhausted, "the answer is too large"));
        if (error && !more) return fail_with(fail(Errc::malformed, "the answer is no HTTP: " + error.message()));
        if (parser->is_done() && parser->status == 100) {
            make_parser();  // an interim answer; the real one follows
            continue;
        }
        if (!hand_over()) return;
        if (more) break;
    }
    if (!over && parser->is_done()) return finish();
    if (!over && in.size() > limits::http_header_bytes_max)
        fail_with(fail(Errc::malformed, "the answer's header is too long"));
}

// False: the call is over.
bool HttpCall::Impl::hand_over() {
    const auto held = events;
    if (parser->headers_done && !headers_given) {
        headers_given = true;
        if (held->on_headers) held->on_headers(parser->status, parser->headers);
    }
    if (over) return false;
    const std::string body = std::exchange(parser->body, {});
    if (!body.empty() && held->on_chunk) held->on_chunk(body);
    return !over;
}

void HttpCall::Impl::on_end(const error_code& error) {
    if (error == boost::asio::error::eof && headers_given) {
        // Without a length, the end of the connection is the end of the body.
        error_code incomplete;
        parser->put_eof(incomplete);
        if (!incomplete && parser->is_done()) return finish();
    }
    const std::string how = error == boost::asio::error::eof ? "the server hung up" : error.message();
    fail_with(fail(Errc::io, how + (headers_given ? " in the middle of the answer" : " before it answered")));
}

void HttpCall::Impl::heard() {
    if (request.silence_timeout == Duration::max()) return;
    silence = loop.after(request.silence_timeout, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (self) self->fail_with(fail(Errc::timeout, self->request.to.text() + " does not answer"));
    });
}

void HttpCall::Impl::finish() {
    const auto held = events;
    close();
    if (held->on_done) held->on_done();
}

void HttpCall::Impl::fail_with(const Error& error) {
    if (over) return;
    const auto held = events;
    close();
    if (held->on_error) held->on_error(error);
}

void HttpCall::Impl::close() {
    over = true;
    silence.cancel();
    error_code ignored;
    socket.close(ignored);
}

HttpCall::HttpCall(Loop& loop, HttpClientRequest request, HttpClientEvents events)
    : impl_(std::make_shared<Impl>(loop, std::move(request), std::move(events))) {
    impl_->start();
}

HttpCall::~HttpCall() {
    impl_->close();
    impl_->events = std::make_shared<HttpClientEvents>();
}

}  // namespace shoal::net
