#include "api/refusal.h"

#include "base/limits.h"
#include "dialect/api_error.h"

namespace shoal::api {
namespace {

const char* code_of(int status) {
    switch (status) {
        case 400: return "invalid_http";
        case 408: return "request_timeout";
        case 413: return "request_too_large";
        case 417: return "expectation_failed";
        case 431: return "headers_too_large";
        case 503: return "too_many_connections";
        default: return "internal_error";
    }
}

}  // namespace

Refusal refusal(int status, std::string_view why) {
    dialect::ApiError error = dialect::invalid_request(code_of(status), {}, std::string(why));
    error.status = status;
    if (status >= 500) error.type = "server_error";
    Refusal out{{{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}}, dialect::write_error(error)};
    if (status == 503) out.headers.emplace_back("Retry-After", std::to_string(limits::retry_after_busy.count()));
    return out;
}

}  // namespace shoal::api
