// One connection of the gateway's server. For http_server.cc and http_connection.cc.
//
// States
//
//   reading ──▶ answering ──▶ flushing ──▶ reading     (kept alive)
//      │            │             └─────▶ draining ──▶ gone
//      └── refused ─┴──────────────────▶ draining      (what still comes is read and dropped, so that the last
//                                                       answer is not lost to a reset)
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

#include "net/http_server.h"
#include "net/loop.h"

namespace shoal::net {

class HttpConnection;

class HttpConnectionHost {
public:
    virtual ~HttpConnectionHost() = default;
    // The exchange is held by whoever answers; its end is the answer's.
    virtual void on_request(HttpRequest request, std::shared_ptr<HttpExchange> exchange) = 0;
    virtual void on_gone(HttpConnection& connection) = 0;
};

// Owned by the server, and held by the handlers that wait for its socket.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
public:
    using tcp = boost::asio::ip::tcp;

    HttpConnection(Loop& loop, HttpConnectionHost& host, const HttpServerOptions& options, tcp::socket socket,
                   const Endpoint& remote);
    // Before there is a connection object: 503, in one write or not at all.
    static void turn_away(tcp::socket& socket, const HttpRefusal& refusal);
    void start();
    // Cuts it without events; the host is not touched again.
    void abandon();

    // The exchange's calls. `turn` is the number of the request they belong to; those of an earlier one do nothing.
    void send(std::uint64_t turn, int status, const HttpHeaders& headers, std::string_view body);
    void begin_stream(std::uint64_t turn, int status, const HttpHeaders& headers);
    bool write(std::uint64_t turn, std::string_view chunk);
    void finish(std::uint64_t turn);
    void on_disconnect(std::uint64_t turn, std::function<void()> fn);
    bool answering(std::uint64_t turn) const;
    // The handler let go of it.
    void forget(std::uint64_t turn);

private:
    enum class State : std::uint8_t { reading, answering, flushing, draining, gone };
    using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

    void wait_readable();
    void on_readable();
    void begin_request();
    void parse();
    void on_parse_error(const boost::system::error_code& error);
    bool check_expectation();
    void dispatch();
    void refuse(int status, std::string_view why);
    void put_refusal(int status, std::string_view why);
    void put_head(int status, const HttpHeaders& headers, std::optional<std::size_t> body_bytes, bool chunked);
    void put(std::string_view bytes);
    void write_out();
    void wait_writable();
    void end_answer();
    void after_flush();
    void drain();
    void lose();
    void vanish();
    void set_deadline(Duration after, void (HttpConnection::*fn)());
    void on_slow_request();
    void lose_later();

    Loop& loop_;
    HttpConnectionHost* host_;
    HttpServerOptions options_;
    tcp::socket socket_;
    Endpoint remote_;
    std::string in_;
    std::string out_;
    std::size_t out_head_ = 0;
    std::optional<Parser> parser_;
    Timer deadline_;
    std::function<void()> on_disconnect_;
    std::uint64_t turn_ = 0;
    State state_ = State::reading;
    bool in_request_ = false;  // the first byte of a request has come
    bool expectation_met_ = false;
    bool waits_readable_ = false;
    bool waits_writable_ = false;
    bool broken_ = false;  // the socket failed; told at the next turn
    bool streaming_ = false;
    bool chunked_ = false;
    bool head_only_ = false;
    bool version_1_0_ = false;
    bool keep_alive_ = true;
};

}  // namespace shoal::net
