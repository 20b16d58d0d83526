#include "net/http_connection.h"

#include <time.h>

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/status.hpp>

#include "net/loop_impl.h"

namespace shoal::net {

namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

std::string http_date() {
    const time_t now = time(nullptr);
    tm parts{};
    gmtime_r(&now, &parts);
    char out[40];
    return {out, strftime(out, sizeof out, "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return out;
}

// A line break in a value would begin a header, or an answer, of someone else's choice.
void put_header(std::string& out, std::string_view name, std::string_view value) {
    const auto put_clean = [&out](std::string_view text) {
        for (const char c : text) out.push_back(static_cast<unsigned char>(c) < ' ' ? ' ' : c);
    };
    put_clean(name);
    out.append(": ");
    put_clean(value);
    out.append("\r\n");
}

std::string chunk_size_line(std::size_t bytes) {
    char out[20];
    return {out, static_cast<std::size_t>(snprintf(out, sizeof out, "%zx\r\n", bytes))};
}

// An answer's life ends with its last reference; the connection may be long gone by then.
class Exchange final : public HttpExchange {
public:
    Exchange(std::weak_ptr<HttpConnection> connection, std::uint64_t turn)
        : connection_(std::move(connection)), turn_(turn) {}
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;
    ~Exchange() override {
        if (const auto at = connection_.lock()) at->forget(turn_);
    }
    void send(int status, HttpHeaders headers, std::string body) override {
        if (const auto at = connection_.lock()) at->send(turn_, status, headers, body);
    }
    void begin_stream(int status, HttpHeaders headers) override {
        if (const auto at = connection_.lock()) at->begin_stream(turn_, status, headers);
    }
    bool write(std::string_view chunk) override {
        const auto at = connection_.lock();
        return at && at->write(turn_, chunk);
    }
    void finish() override {
        if (const auto at = connection_.lock()) at->finish(turn_);
    }
    void on_disconnect(std::function<void()> fn) override {
        if (const auto at = connection_.lock()) at->on_disconnect(turn_, std::move(fn));
    }
    bool connected() const override {
        const auto at = connection_.lock();
        return at && at->answering(turn_);
    }

private:
    std::weak_ptr<HttpConnection> connection_;
    std::uint64_t turn_;
};

}  // namespace

HttpConnection::HttpConnection(Loop& loop, HttpConnectionHost& host, const HttpServerOptions& options,
                               tcp::socket socket, const Endpoint& remote)
    : loop_(loop), host_(&host), options_(options), socket_(std::move(socket)), remote_(remote) {}

void HttpConnection::turn_away(tcp::socket& socket, const HttpRefusal& refusal) {
    std::string answer = "HTTP/1.1 503 Service Unavailable\r\n";
    for (const auto& [name, value] : refusal.headers) put_header(answer, name, value);
    put_header(answer, "Content-Length", std::to_string(refusal.body.size()));
    put_header(answer, "Connection", "close");
    answer.append("\r\n").append(refusal.body);
    error_code error;
    socket.non_blocking(true, error);
    socket.write_some(boost::asio::buffer(answer), error);
}

void HttpConnection::start() {
    error_code ignored;
    socket_.non_blocking(true, ignored);
    socket_.set_option(tcp::no_delay(true), ignored);  // a token must not wait for the next one
    begin_request();
    wait_readable();
}

// ---- reading -----------------------------------------------------------------------------------------------------

void HttpConnection::wait_readable() {
    if (waits_readable_ || state_ == State::gone) return;
    waits_readable_ = true;
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& error) {
        self->waits_readable_ = false;
        if (self->state_ == State::gone) return;
        if (error) return self->lose();
        self->on_readable();
    });
}

void HttpConnection::on_readable() {
    std::array<char, 16 * 1024> buffer;
    error_code error;
    const std::size_t count = socket_.read_some(boost::asio::buffer(buffer), error);
    if (error == boost::asio::error::would_block) return wait_readable();
    if (error) return lose();
    if (state_ != State::draining) in_.append(buffer.data(), count);
    if (state_ == State::reading) parse();
    // A program that sends ahead without end waits; that it goes away is then seen when writing.
    if (state_ == State::reading || in_.size() < limits::http_pipeline_bytes_max) wait_readable();
}

void HttpConnection::begin_request() {
    state_ = State::reading;
    in_request_ = false;
    expectation_met_ = false;
    streaming_ = chunked_ = head_only_ = false;
    parser_.emplace();
    parser_->eager(true);
    parser_->header_limit(static_cast<std::uint32_t>(options_.header_bytes_max));
    parser_->body_limit(options_.body_bytes_max);
    set_deadline(options_.idle_timeout, &HttpConnection::on_slow_request);
}

void HttpConnection::parse() {
    if (state_ != State::reading || in_.empty()) return;
    if (!in_request_) {
        in_request_ = true;
        // Absolute: a byte now and then does not prolong it.
        set_deadline(options_.idle_timeout, &HttpConnection::on_slow_request);
    }
    while (!in_.empty() && !parser_->is_done()) {
        error_code error;
        const std::size_t used = parser_->put(boost::asio::buffer(in_), error);
        in_.erase(0, used);
        if (error && error != http::error::need_more) return on_parse_error(error);
        if (parser_->is_header_done() && !check_expectation()) return;
        if (error == http::error::need_more) break;
    }
    if (parser_->is_done()) return dispatch();
    // The parser bounds headers and body, not the line of a chunk's size, nor the trailer.
    if (in_.size() > options_.header_bytes_max) refuse(431, "the header of a chunk is too long");
}

void HttpConnection::on_parse_error(const error_code& error) {
    if (error == http::error::header_limit) return refuse(431, "the request's headers are too long");
    if (error == http::error::body_limit || error == http::error::buffer_overflow) {
        return refuse(413, "the request's body is longer than " + std::to_string(options_.body_bytes_max) + " bytes");
    }
    refuse(400, "this is no HTTP/1.1 request: " + error.message());
}

// Once a request, when its header is there. False: refused.
bool HttpConnection::check_expectation() {
    if (std::exchange(expectation_met_, true)) return true;
    const auto& message = parser_->get();
    version_1_0_ = message.version() < 11;
    const auto expect = message.find(http::field::expect);
    if (expect == message.end() || version_1_0_) return true;
    if (!boost::beast::iequals(expect->value(), "100-continue")) {
        refuse(417, "the only expectation that is known is 100-continue");
        return false;
    }
    if (!parser_->is_done()) put("HTTP/1.1 100 Continue\r\n\r\n");
    return true;
}

void HttpConnection::dispatch() {
    deadline_.cancel();
    auto message = parser_->release();
    HttpRequest request;
    request.method = std::string(message.method_string());
    request.target = std::string(message.target());
    for (const auto& field : message) {
        const auto name = field.name_string();
        const auto value = field.value();
        request.headers.emplace_back(lower({name.data(), name.size()}), std::string(value.data(), value.size()));
    }
    request.body = std::move(message.body());
    request.remote = remote_;
    keep_alive_ = message.keep_alive();
    head_only_ = request.method == "HEAD";
    state_ = State::answering;
    const auto self = shared_from_this();
    // held by whoever answers
    host_->on_request(std::move(request), std::make_shared<Exchange>(weak_from_this(), ++turn_));
}

void HttpConnection::on_slow_request() {
    if (in_request_) return refuse(408, "the request did not come in time");
    lose();
}

// An answer of our own to what never became a request; then the connection ends.
void HttpConnection::refuse(int status, std::string_view why) {
    keep_alive_ = false;
    head_only_ = false;
    in_.clear();
    put_refusal(status, why);
    end_answer();
}

void HttpConnection::put_refusal(int status, std::string_view why) {
    const HttpRefusal refusal = options_.refusal(status, why);
    put_head(status, refusal.headers, refusal.body.size(), false);
    if (!head_only_) put(refusal.body);
}

// ---- answering ---------------------------------------------------------------------------------------------------

bool HttpConnection::answering(std::uint64_t turn) const {
    return turn == turn_ && state_ == State::answering && !broken_;
}

void HttpConnection::put_head(int status, const HttpHeaders& headers, std::optional<std::size_t> body_bytes,
                              bool chunked) {
    std::string head = version_1_0_ ? "HTTP/1.0 " : "HTTP/1.1 ";
    const auto reason = http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
    head.append(std::to_string(status)).append(" ").append(reason.data(), reason.size()).append("\r\n");
    for (const auto& [name, value] : headers) {
        const std::string plain = lower(name);
        if (plain != "content-length" && plain != "transfer-encoding" && plain != "connection") {
            put_header(head, name, value);
        }
    }
    put_header(head, "Date", http_date());
    if (body_bytes && status != 204 && status != 304) put_header(head, "Content-Length", std::to_string(*body_bytes));
    if (chunked) put_header(head, "Transfer-Encoding", "chunked");
    if (!keep_alive_) put_header(head, "Connection", "close");
    if (keep_alive_ && version_1_0_) put_header(head, "Connection", "keep-alive");
    head.append("\r\n");
    put(head);
}

void HttpConnection::send(std::uint64_t turn, int status, const HttpHeaders& headers, std::string_view body) {
    if (!answering(turn) || streaming_) return;
    put_head(status, headers, body.size(), false);
    if (!head_only_ && status != 204 && status != 304) put(body);
    end_answer();
}

void HttpConnection::begin_stream(std::uint64_t turn, int status, const HttpHeaders& headers) {
    if (!answering(turn) || streaming_) return;
    streaming_ = true;
    chunked_ = !version_1_0_;
    if (!chunked_) keep_alive_ = false;
    put_head(status, headers, std::nullopt, chunked_);
    write_out();
}

bool HttpConnection::write(std::uint64_t turn, std::string_view chunk) {
    if (!answering(turn) || !streaming_) return false;
    // An empty chunk would be the end of the body.
    if (head_only_ || chunk.empty()) return true;
    if (out_.size() - out_head_ + chunk.size() > options_.stream_buffer_bytes_max) {
        lose_later();
        return false;
    }
    if (chunked_) put(chunk_size_line(chunk.size()));
    put(chunk);
    if (chunked_) put("\r\n");
    write_out();
    return !broken_;
}

void HttpConnection::finish(std::uint64_t turn) {
    if (!answering(turn) || !streaming_) return;
    if (chunked_ && !head_only_) put("0\r\n\r\n");
    end_answer();
}

void HttpConnection::on_disconnect(std::uint64_t turn, std::function<void()> fn) {
    if (turn != turn_ || state_ == State::reading || state_ == State::flushing) return;
    if (state_ == State::answering) {
        on_disconnect_ = std::move(fn);
    } else if (broken_) {
        loop_.post(std::move(fn));
    }
}

void HttpConnection::forget(std::uint64_t turn) {
    if (!answering(turn)) return;
    if (streaming_) return lose_later();  // an end would make a part look like the whole
    keep_alive_ = false;
    put_refusal(500, "the gateway dropped the request");
    end_answer();
}

void HttpConnection::end_answer() {
    on_disconnect_ = nullptr;
    state_ = State::flushing;
    set_deadline(options_.idle_timeout, &HttpConnection::lose);
    // The handler may still be on the stack: what follows comes from the loop.
    loop_.post([self = shared_from_this()] { self->write_out(); });
}

void HttpConnection::after_flush() {
    if (!keep_alive_) return drain();
    begin_request();
    parse();
    if (state_ == State::reading || in_.size() < limits::http_pipeline_bytes_max) wait_readable();
}

void HttpConnection::drain() {
    state_ = State::draining;
    in_.clear();
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    set_deadline(limits::link_close_timeout, &HttpConnection::vanish);
    wait_readable();
}

// ---- writing -----------------------------------------------------------------------------------------------------

void HttpConnection::put(std::string_view bytes) {
    out_.append(bytes);
    if (state_ == State::reading) write_out();
}

void HttpConnection::write_out() {
    if (waits_writable_ || state_ == State::gone || state_ == State::draining || broken_) return;
    while (out_head_ < out_.size()) {
        error_code error;
        out_head_ += socket_.write_some(boost::asio::buffer(out_.data() + out_head_, out_.size() - out_head_), error);
        if (error == boost::asio::error::would_block) return wait_writable();
        if (error) return lose_later();
    }
    out_.clear();
    out_head_ = 0;
    if (state_ == State::flushing) after_flush();
}

void HttpConnection::wait_writable() {
    waits_writable_ = true;
    // What was sent makes room at the front, so that the buffer is as long as what waits.
    out_.erase(0, out_head_);
    out_head_ = 0;
    if (state_ != State::reading) set_deadline(options_.idle_timeout, &HttpConnection::lose);
    socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const error_code& error) {
        self->waits_writable_ = false;
        if (self->state_ == State::gone) return;
        if (error) return self->lose();
        if (self->state_ != State::reading) self->deadline_.cancel();
        self->write_out();
    });
}

// ---- the end -----------------------------------------------------------------------------------------------------

void HttpConnection::set_deadline(Duration after, void (HttpConnection::*fn)()) {
    deadline_ = loop_.after(after, [weak = weak_from_this(), fn] {
        if (const auto self = weak.lock()) (self.get()->*fn)();
    });
}

// From inside a call of the handler's, which must not meet its own callback.
void HttpConnection::lose_later() {
    if (std::exchange(broken_, true)) return;
    loop_.post([self = shared_from_this()] { self->lose(); });
}

// The program is gone.
void HttpConnection::lose() {
    const auto self = shared_from_this();
    broken_ = true;
    const auto tell = std::exchange(on_disconnect_, nullptr);
    vanish();
    if (tell) tell();
}

void HttpConnection::vanish() {
    if (state_ == State::gone) return;
    HttpConnectionHost* host = host_;
    abandon();
    if (host != nullptr) host->on_gone(*this);
}

void HttpConnection::abandon() {
    state_ = State::gone;
    host_ = nullptr;
    on_disconnect_ = nullptr;
    deadline_.cancel();
    error_code ignored;
    socket_.close(ignored);
}

}  // namespace shoal::net
