// "host:port" to endpoints. Numeric addresses at once; names by the system's resolver, on a worker thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/endpoint.h"

namespace shoal::net {

class Loop;

// Splits and checks, without looking anything up: a host of letters, digits, dots, hyphens and underscores of at most
// 253 characters, or a numeric address, and a port from 1 to 65535. Errc::malformed says what was expected.
Result<std::pair<std::string, std::uint16_t>> split_host_port(std::string_view text);

// Always from the loop, never from inside this call, once. At most limits::resolved_endpoints_max, IPv4 and IPv6, in
// the system's order of preference. Errors: malformed; not_found for an unknown name; unavailable when the resolver
// fails; exhausted when too many look-ups wait.
void resolve(Loop& loop, std::string_view host_port, std::function<void(Result<std::vector<Endpoint>>)> done);

}  // namespace shoal::net
