// Calls of the CLI to the local gateway, each waited for. Ctrl-C ends them.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "net/endpoint.h"

namespace shoal::app {

struct ApiAddress {
    net::Endpoint at;
    std::string key;  // bearer; empty: none
};

// Errc::invalid: no address:port, or the key file cannot be read.
Result<ApiAddress> api_address(const std::string& text, const std::string& key_file);

// The body of a GET. With `status`, any status gives its body; without, other than 200 is an error with the server's
// own message. Errc::unavailable: nobody listens there, and how to start one.
Result<std::string> api_get(const ApiAddress& api, const std::string& target, int* status = nullptr);

// POST /v1/chat/completions; the body of a 200 goes to `on_chunk` as it comes, until it says false. Other statuses are
// errors with the server's message.
Status api_stream(const ApiAddress& api, std::string body, const std::function<bool(std::string_view)>& on_chunk);

}  // namespace shoal::app
