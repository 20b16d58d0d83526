#include "api/access.h"

#include <algorithm>

namespace shoal::api {
namespace {

using dialect::ApiError;

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_letters(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

// All values of a header (names come in lower case).
std::vector<std::string_view> values_of(const HttpRequest& request, std::string_view name) {
    std::vector<std::string_view> out;
    for (const auto& [key, value] : request.headers) {
        if (key == name) out.push_back(value);
    }
    return out;
}

ApiError forbidden(std::string code, std::string message) {
    return {.status = 403,
            .type = "permission_error",
            .code = std::move(code),
            .param = {},
            .message = std::move(message),
            .retry_after = {}};
}

struct HostName {
    std::string_view name;
    bool bracketed = false;  // [IPv6]
};

bool all_digits(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// "name", "name:port", "[v6]", "[v6]:port".
std::optional<HostName> parse_host(std::string_view host) {
    HostName out;
    std::string_view rest;
    if (host.starts_with('[')) {
        const std::size_t end = host.find(']');
        if (end == std::string_view::npos) return std::nullopt;
        out = {host.substr(1, end - 1), true};
        rest = host.substr(end + 1);
    } else {
        const std::size_t colon = host.find(':');
        out = {host.substr(0, colon), false};
        rest = colon == std::string_view::npos ? std::string_view() : host.substr(colon);
    }
    if (out.name.empty()) return std::nullopt;
    if (!rest.empty() && (rest[0] != ':' || !all_digits(rest.substr(1)))) return std::nullopt;
    return out;
}

// Four decimal numbers up to 255; none of the other spellings that some resolvers take.
bool is_ipv4(std::string_view text) {
    for (int part = 0; part < 4; ++part) {
        const std::size_t dot = text.find('.');
        const std::string_view digits = text.substr(0, dot);
        if (digits.empty() || digits.size() > 3 || !all_digits(digits)) return false;
        int value = 0;
        for (const char c : digits) value = 10 * value + (c - '0');
        if (value > 255 || (dot == std::string_view::npos) != (part == 3)) return false;
        if (part < 3) text.remove_prefix(dot + 1);
    }
    return true;
}

bool is_ipv6_form(std::string_view text) {
    return text.find(':') != std::string_view::npos && std::all_of(text.begin(), text.end(), [](char c) {
               return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f') || c == ':' || c == '.';
           });
}

bool is_loopback(const HostName& host) {
    if (host.bracketed) return host.name == "::1";
    return same_letters(host.name, "localhost") || (host.name.starts_with("127.") && is_ipv4(host.name));
}

bool host_allowed(std::string_view header, const GatewayOptions& options) {
    const auto host = parse_host(header);
    if (!host) return false;
    if (is_loopback(*host)) return true;
    // An address is not a name: no resolver stands behind it, so no page can have pointed it here.
    const bool address = host->bracketed ? is_ipv6_form(host->name) : is_ipv4(host->name);
    if (!options.loopback_only && address) return true;
    return std::any_of(options.hosts_allowed.begin(), options.hosts_allowed.end(),
                       [&](const std::string& name) { return same_letters(name, host->name); });
}

// Takes the same time wherever the two differ; only the length of `given` shows.
bool same_secret(std::string_view given, std::string_view wanted) {
    std::size_t difference = given.size() ^ wanted.size();
    for (std::size_t i = 0; i < given.size(); ++i) {
        const char other = wanted.empty() ? '\0' : wanted[i % wanted.size()];
        difference |= static_cast<unsigned char>(given[i] ^ other);
        __asm__ __volatile__("" : "+r"(difference));  // the compiler must not leave the loop early
    }
    return difference == 0;
}

}  // namespace

Status check_options(const GatewayOptions& options) {
    if (!options.loopback_only && options.api_key.empty()) {
        return fail(Errc::invalid,
                    "the API would be open to other machines without a key: set an API key, or listen on a loopback "
                    "address");
    }
    return ok();
}

std::optional<ApiError> check_source(const HttpRequest& request, const GatewayOptions& options) {
    if (options.loopback_only && !request.loopback) {
        return forbidden("not_loopback", "this gateway answers programs on its own machine only");
    }
    const auto hosts = values_of(request, "host");
    if (hosts.size() != 1 || !host_allowed(hosts[0], options)) {
        return forbidden("host_not_allowed",
                         "the Host header must name this machine: use http://127.0.0.1 or http://localhost");
    }
    const std::string own_origin = "http://" + std::string(hosts[0]);
    for (const std::string_view origin : values_of(request, "origin")) {
        if (!same_letters(origin, own_origin)) {
            return forbidden("origin_not_allowed", "pages of other origins may not use this gateway");
        }
    }
    for (const std::string_view site : values_of(request, "sec-fetch-site")) {
        if (site != "same-origin" && site != "none") {
            return forbidden("cross_site", "pages of other sites may not use this gateway");
        }
    }
    return std::nullopt;
}

std::optional<ApiError> check_key(const HttpRequest& request, const GatewayOptions& options) {
    if (options.api_key.empty()) return std::nullopt;
    const auto given = values_of(request, "authorization");
    constexpr std::string_view scheme = "bearer ";
    const bool bearer = given.size() == 1 && same_letters(given[0].substr(0, scheme.size()), scheme);
    if (bearer && same_secret(given[0].substr(scheme.size()), options.api_key)) return std::nullopt;
    return ApiError{.status = 401,
                    .type = "authentication_error",
                    .code = "invalid_api_key",
                    .param = {},
                    .message = "this gateway asks for its API key: send \"Authorization: Bearer <key>\"",
                    .retry_after = {}};
}

std::optional<ApiError> check_content_type(const HttpRequest& request) {
    const auto types = values_of(request, "content-type");
    bool good = types.size() == 1;
    if (good) {
        std::string_view type = types[0].substr(0, types[0].find(';'));
        while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
        good = same_letters(type, "application/json");
    }
    for (const std::string_view coding : values_of(request, "content-encoding")) {
        if (!same_letters(coding, "identity")) good = false;
    }
    if (good) return std::nullopt;
    ApiError error = dialect::invalid_request("unsupported_media_type", {},
                                              "the body must be plain JSON: send \"Content-Type: application/json\" "
                                              "and no Content-Encoding");
    error.status = 415;
    return error;
}

}  // namespace shoal::api
