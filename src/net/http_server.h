// HTTP/1.1 for the local gateway: parses requests, bounds everything, and tells when the program goes away.
//
// Rules
//   1. Requests of one connection are answered in order; the next one is read off only when the last is answered.
//      What a program sends ahead waits in at most limits::http_pipeline_bytes_max.
//   2. Header, body, connections and time are bounded (base/limits.h): 431, 413, 503 and 408, then the connection
//   closes.
//      What is not HTTP gets 400. Both a length and chunks (request smuggling) is 400.
//      Rationale: a program of the same machine may still be a hostile web page's.
//   3. The socket is read all the time, while a response streams too; its end, a half-closed one included, counts as
//      the program's going away, and on_disconnect runs. Rationale: it frees the decode slot of a question nobody waits
//      for.
//   4. A stream that its reader does not read is cut when limits::sse_buffer_bytes_max wait.
//
// Thread: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "net/endpoint.h"

namespace shoal::net {

class Loop;

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
    std::string method;   // as sent; upper case for every method that HTTP names
    std::string target;   // as sent: path and query
    HttpHeaders headers;  // names in lower case, in the order sent
    std::string body;
    Endpoint remote;
    // The first header of that (lower-case) name, or nullptr.
    const std::string* header(std::string_view name) const;
};

// One request's answer: exactly one of send() and begin_stream(), once; after begin_stream, write() until finish(). A
// last reference that is dropped without an answer gives 500, or cuts the stream. Calls after the program has gone
// away, or out of order, do nothing.
class HttpExchange {
public:
    virtual ~HttpExchange() = default;
    // Content-Length, Connection and Date are added; a HEAD gets the headers alone.
    virtual void send(int status, HttpHeaders headers, std::string body) = 0;
    // Chunked towards HTTP/1.1, ended by closing towards 1.0. Headers leave at once.
    virtual void begin_stream(int status, HttpHeaders headers) = 0;
    // Leaves at once. False: the program is gone, or does not read and the buffer is full; the connection is then cut.
    virtual bool write(std::string_view chunk) = 0;
    virtual void finish() = 0;
    // At most once, and only while the answer is not finished. At once (next turn) when the program has gone already.
    virtual void on_disconnect(std::function<void()> fn) = 0;
    virtual bool connected() const = 0;
};

class HttpHandler {
public:
    virtual ~HttpHandler() = default;
    virtual void on_request(HttpRequest request, std::shared_ptr<HttpExchange> exchange) = 0;
};

// An answer to what never became a request, or never got an answer of its handler's.
struct HttpRefusal {
    HttpHeaders headers;
    std::string body;
};
// One line of plain text; Retry-After with a 503.
HttpRefusal plain_refusal(int status, std::string_view why);

struct HttpServerOptions {
    std::size_t header_bytes_max = limits::http_header_bytes_max;
    std::size_t body_bytes_max = limits::http_body_bytes_max;
    std::size_t connections_max = limits::http_connections_max;
    std::size_t stream_buffer_bytes_max = limits::sse_buffer_bytes_max;
    // For a whole request once its first byte came, between requests, and for a reader that takes nothing.
    Duration idle_timeout = limits::http_idle_timeout;
    // What rule 2 and a dropped exchange answer: the programs behind it expect the form of their own interface.
    std::function<HttpRefusal(int status, std::string_view why)> refusal = plain_refusal;
};

class HttpServer {
public:
    // `loop` and `handler` outlive the server.
    HttpServer(Loop& loop, HttpHandler& handler, const HttpServerOptions& options = {});
    // Stops listening and cuts the connections, without events; exchanges that are still held go silent.
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    // Port 0 takes a free one; gives what was bound. Errc::io names the address, the reason and what to do.
    Result<Endpoint> listen(const Endpoint& at);
    std::size_t connection_count() const;

private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace shoal::net
