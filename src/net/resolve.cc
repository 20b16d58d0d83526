#include "net/resolve.h"

#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "base/limits.h"
#include "net/loop.h"

namespace shoal::net {

namespace {

constexpr std::size_t host_bytes_max = 253;  // of a name in the DNS

bool is_host_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
}

Error not_host_port(std::string_view text) {
    constexpr std::size_t shown_max = 80;
    return fail(Errc::malformed, "'" + std::string(text.substr(0, shown_max)) +
                                     "' is no address: expected name:port, 192.0.2.7:8642 or [2001:db8::7]:8642");
}

Endpoint from_sockaddr(const addrinfo& found, std::uint16_t port) {
    Endpoint out;
    if (found.ai_family == AF_INET) {
        sockaddr_in in{};
        std::memcpy(&in, found.ai_addr, sizeof in);
        ByteArray<4> quad;
        std::memcpy(quad.data(), &in.sin_addr, quad.size());
        return Endpoint::v4(quad[0], quad[1], quad[2], quad[3], port);
    }
    sockaddr_in6 in6{};
    std::memcpy(&in6, found.ai_addr, sizeof in6);
    std::memcpy(out.ip.data(), &in6.sin6_addr, out.ip.size());
    out.port = port;
    return out;
}

// Blocks; on a worker thread.
Result<std::vector<Endpoint>> look_up(const std::string& host, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* found = nullptr;
    const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
    if (error == EAI_NONAME || error == EAI_NODATA) {
        return fail(Errc::not_found, "there is no machine named '" + host + "'; check the name");
    }
    if (error != 0) {
        return fail(Errc::unavailable,
                    "cannot look up '" + host + "': " + gai_strerror(error) + "; is the network up?");
    }
    std::vector<Endpoint> out;
    for (const addrinfo* at = found; at != nullptr && out.size() < limits::resolved_endpoints_max; at = at->ai_next) {
        if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
        const Endpoint endpoint = from_sockaddr(*at, port);
        if (std::find(out.begin(), out.end(), endpoint) == out.end()) out.push_back(endpoint);
    }
    freeaddrinfo(found);
    if (out.empty()) return fail(Errc::not_found, "'" + host + "' has no address");
    return out;
}

}  // namespace

Result<std::pair<std::string, std::uint16_t>> split_host_port(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return not_host_port(text);
    const std::string_view host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc{} || end != digits.data() + digits.size() || digits.size() > 5 || port == 0) {
        return not_host_port(text);
    }
    if (Endpoint::parse(text)) return std::pair(std::string(host), port);
    if (host.empty() || host.size() > host_bytes_max || !std::all_of(host.begin(), host.end(), is_host_character)) {
        return not_host_port(text);
    }
    return std::pair(std::string(host), port);
}

void resolve(Loop& loop, std::string_view host_port, std::function<void(Result<std::vector<Endpoint>>)> done) {
    using Answer = Result<std::vector<Endpoint>>;
    const auto split = split_host_port(host_port);
    if (!split) return loop.post([done = std::move(done), error = split.error()] { done(error); });
    if (const auto numeric = Endpoint::parse(host_port)) {
        return loop.post([done = std::move(done), endpoint = *numeric] { done(std::vector{endpoint}); });
    }
    // shared by the worker that fills it and the callback that reads it afterwards
    const auto answer = std::make_shared<Answer>(fail(Errc::internal, "not looked up"));
    const Status queued =
        loop.run_blocking([answer, host = split->first, port = split->second] { *answer = look_up(host, port); },
                          [answer, done] { done(std::move(*answer)); });
    if (!queued) loop.post([done, error = queued.error()] { done(error); });
}

}  // namespace shoal::net
