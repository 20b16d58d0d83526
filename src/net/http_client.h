// One plain HTTP/1.1 request to a known endpoint, with the answer handed over as it comes. For the CLI against the
// local gateway, for upstream servers on the same machine, and for tests. A connection a request; no redirects, no TLS.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "base/result.h"
#include "net/endpoint.h"
#include "net/http_server.h"

namespace shoal::net {

// Called from the loop: on_headers once, on_chunk any number of times, then on_done or on_error, once and last. Before
// on_headers only on_error can come. Empty functions are skipped. Each may destroy the call.
struct HttpClientEvents {
    std::function<void(int status, const HttpHeaders& headers)> on_headers = {};  // names in lower case
    std::function<void(std::string_view chunk)> on_chunk = {};                    // body bytes, chunking removed
    std::function<void()> on_done = {};
    // unavailable: nobody listens there. timeout. malformed: no HTTP. io: cut before the end. exhausted: too large.
    std::function<void(const Error& error)> on_error = {};
};

struct HttpClientRequest {
    Endpoint to = {};
    std::string method = "GET";
    std::string target = "/";
    HttpHeaders headers = {};  // Host, Content-Length and Connection are added where missing
    std::string body = {};
    // Without a byte from the other side. A stream that goes on is not cut.
    Duration silence_timeout = limits::http_client_silence_timeout;
    std::size_t response_bytes_max = limits::http_response_bytes_max;
};

// Destroying it cancels: no event comes afterwards and the connection is closed.
class HttpCall {
public:
    HttpCall(Loop& loop, HttpClientRequest request, HttpClientEvents events);
    ~HttpCall();
    HttpCall(const HttpCall&) = delete;
    HttpCall& operator=(const HttpCall&) = delete;

private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace shoal::net
