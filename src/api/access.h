// Who may use the gateway at all. A gateway has no users: whoever reaches it spends its owner's credits and circuits,
// so what may reach it is narrow.
//
//   1. The connection comes from this machine (`loopback_only`).
//   2. The Host header names this machine: localhost, 127.x.x.x or [::1]; or a name of `hosts_allowed`; or, when the
//      gateway is open to others, any literal address. Exactly one such header.
//      Rationale: a web page may point a name of its own at 127.0.0.1 (DNS rebinding); its browser then sends that
//      name.
//   3. Every Origin header is this very server's: "http://" and the Host. No CORS header is ever sent.
//      Rationale: pages of other servers, also of other ports of this machine, neither write nor read here.
//   4. Sec-Fetch-Site, which browsers add also where they send no Origin (images, links), is "same-origin" or "none".
//   5. With an `api_key`: "Authorization: Bearer <key>", compared without telling by time how much of it was right.
//      /health and /ready need none.
// And, for requests with a body, check_content_type(): only application/json, which a page cannot send to a stranger
// without the preflight that rule 3 refuses.
//
// Pure; each rule has a test that fails without it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/port.h"
#include "base/limits.h"
#include "base/result.h"
#include "dialect/api_error.h"

namespace shoal::api {

struct GatewayOptions {
    bool loopback_only = true;
    std::vector<std::string> hosts_allowed;  // further names in Host, without a port
    std::string api_key;                     // empty: none is asked for
    std::size_t asks_max = limits::asks_max;
};

// Errc::invalid: open to other machines without a key; says what to set.
Status check_options(const GatewayOptions& options);

// Rules 1 to 4: 403 not_loopback, host_not_allowed, origin_not_allowed, cross_site.
std::optional<dialect::ApiError> check_source(const HttpRequest& request, const GatewayOptions& options);
// Rule 5: 401 invalid_api_key.
std::optional<dialect::ApiError> check_key(const HttpRequest& request, const GatewayOptions& options);
// 415 unsupported_media_type: anything but one "application/json" (parameters are let pass), or a Content-Encoding.
std::optional<dialect::ApiError> check_content_type(const HttpRequest& request);

}  // namespace shoal::api
