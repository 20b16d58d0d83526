#include "app/api_call.h"

#include <fmt/format.h>

#include <csignal>

#include "base/limits.h"
#include "dialect/openai_client.h"
#include "net/http_client.h"
#include "net/loop.h"
#include "store/files.h"

namespace shoal::app {
namespace {

struct Answer {
    int status = 0;
    std::string body;  // bounded: http_response_bytes_max
    std::optional<Error> error;
    bool done = false;
};

net::HttpClientRequest make_request(const ApiAddress& api, std::string method, std::string target) {
    net::HttpClientRequest out;
    out.to = api.at;
    out.method = std::move(method);
    out.target = std::move(target);
    if (!api.key.empty()) out.headers.emplace_back("Authorization", "Bearer " + api.key);
    return out;
}

// Runs one call to its end. `on_chunk` takes the body of a 200, if given; false ends the call.
Answer run_call(net::HttpClientRequest request, const std::function<bool(std::string_view)>& on_chunk) {
    net::Loop loop;
    Answer answer;
    const auto finish = [&] {
        answer.done = true;
        loop.stop();
    };
    loop.on_signals({SIGINT, SIGTERM}, [&](int) {
        answer.error = fail(Errc::cancelled, "interrupted");
        finish();
    });
    net::HttpClientEvents events;
    events.on_headers = [&](int status, const net::HttpHeaders&) { answer.status = status; };
    events.on_chunk = [&](std::string_view chunk) {
        if (answer.done) return;
        if (answer.status != 200 || !on_chunk) {
            answer.body.append(chunk);
        } else if (!on_chunk(chunk)) {
            finish();
        }
    };
    events.on_done = finish;
    events.on_error = [&](const Error& error) {
        answer.error = error;
        finish();
    };
    const net::HttpCall call(loop, std::move(request), std::move(events));
    loop.run();
    return answer;
}

Error explain(const ApiAddress& api, const Error& error) {
    if (error.code != Errc::unavailable) return error;
    return fail(Errc::unavailable, fmt::format("no node answers at {}: start one with 'shoal up', or name its address "
                                               "with --api",
                                               api.at.text()));
}

}  // namespace

Result<ApiAddress> api_address(const std::string& text, const std::string& key_file) {
    ApiAddress out;
    auto at = net::Endpoint::parse(text);
    if (!at) return fail(Errc::invalid, "--api: " + at.error().message);
    out.at = *at;
    if (!key_file.empty()) {
        const Bytes bytes = TRY(store::read_file(key_file, 4096));
        out.key = std::string(as_text(bytes)).substr(0, as_text(bytes).find_first_of("\r\n"));
    }
    return out;
}

Result<std::string> api_get(const ApiAddress& api, const std::string& target, int* status) {
    Answer answer = run_call(make_request(api, "GET", target), nullptr);
    if (answer.error) return explain(api, *answer.error);
    if (status != nullptr) {
        *status = answer.status;
        return std::move(answer.body);
    }
    if (answer.status != 200) {
        return fail(Errc::unavailable, dialect::parse_error_body(answer.status, answer.body).message);
    }
    return std::move(answer.body);
}

Status api_stream(const ApiAddress& api, std::string body, const std::function<bool(std::string_view)>& on_chunk) {
    net::HttpClientRequest request = make_request(api, "POST", "/v1/chat/completions");
    request.headers.emplace_back("Content-Type", "application/json");
    request.body = std::move(body);
    const Answer answer = run_call(std::move(request), on_chunk);
    if (answer.error) return explain(api, *answer.error);
    if (answer.status != 200) {
        return fail(Errc::unavailable, dialect::parse_error_body(answer.status, answer.body).message);
    }
    return ok();
}

}  // namespace shoal::app
