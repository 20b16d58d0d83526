#include "net/endpoint.h"

#include <arpa/inet.h>

#include <charconv>

namespace shoal::net {

namespace {

constexpr ByteArray<12> mapped_prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

Error not_an_endpoint(std::string_view text) {
    constexpr std::size_t shown_max = 80;
    return fail(Errc::malformed, "'" + std::string(text.substr(0, shown_max)) +
                                     "' is no address: expected 192.0.2.7:8642 or [2001:db8::7]:8642");
}

bool parse_port(std::string_view text, std::uint16_t& port) {
    // from_chars takes a minus sign for signed types only, and no blanks or plus: what is left are digits.
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    return !text.empty() && text.size() <= 5 && error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

Endpoint Endpoint::v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d, std::uint16_t port) {
    Endpoint out;
    std::memcpy(out.ip.data(), mapped_prefix.data(), mapped_prefix.size());
    const ByteArray<4> quad = {a, b, c, d};
    std::memcpy(out.ip.data() + mapped_prefix.size(), quad.data(), quad.size());
    out.port = port;
    return out;
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return not_an_endpoint(text);
    std::string_view host = text.substr(0, colon);
    Endpoint out;
    if (!parse_port(text.substr(colon + 1), out.port)) return not_an_endpoint(text);

    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    // A zero byte would end the text early for inet_pton and hide what follows it.
    if (host.size() >= INET6_ADDRSTRLEN || host.find('\0') != std::string_view::npos) return not_an_endpoint(text);
    const std::string ended(host);
    if (bracketed) {
        if (inet_pton(AF_INET6, ended.c_str(), out.ip.data()) != 1) return not_an_endpoint(text);
        return out;
    }
    ByteArray<4> quad;
    if (inet_pton(AF_INET, ended.c_str(), quad.data()) != 1) return not_an_endpoint(text);
    return v4(quad[0], quad[1], quad[2], quad[3], out.port);
}

bool Endpoint::is_v4() const {
    return std::memcmp(ip.data(), mapped_prefix.data(), mapped_prefix.size()) == 0;
}

bool Endpoint::is_loopback() const {
    if (is_v4()) return ip[12] == 127;
    ByteArray<16> one{};
    one[15] = 1;
    return ip == one;
}

bool Endpoint::is_any() const {
    return ip == ByteArray<16>{} || (is_v4() && ip[12] == 0 && ip[13] == 0 && ip[14] == 0 && ip[15] == 0);
}

std::string Endpoint::ip_text() const {
    char out[INET6_ADDRSTRLEN] = {};
    if (is_v4()) {
        inet_ntop(AF_INET, ip.data() + mapped_prefix.size(), out, sizeof out);
    } else {
        inet_ntop(AF_INET6, ip.data(), out, sizeof out);
    }
    return out;
}

std::string Endpoint::text() const {
    const std::string host = ip_text();
    return (is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port);
}

}  // namespace shoal::net
