// Where a TCP peer is: an address of 16 bytes and a port.
//
// IPv4 is kept as the mapped form ::ffff:a.b.c.d, as in descriptors, so that one type and one comparison serve both.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace shoal::net {

struct Endpoint {
    ByteArray<16> ip{};
    std::uint16_t port = 0;

    static Endpoint v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d, std::uint16_t port);
    // "192.0.2.7:8642" or "[2001:db8::7]:8642". Numeric only; names are resolve.h's. The port is 0 to 65535, in
    // decimal. Errc::malformed for anything else, with the text that was expected. A mapped IPv4 address in brackets is
    // the same endpoint as its dotted form.
    static Result<Endpoint> parse(std::string_view text);

    bool is_v4() const;
    // 127.0.0.0/8 or ::1.
    bool is_loopback() const;
    // 0.0.0.0 or ::
    bool is_any() const;
    Endpoint with_port(std::uint16_t other) const { return {ip, other}; }
    // parse(text()) is the same endpoint.
    std::string text() const;
    std::string ip_text() const;

    friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

}  // namespace shoal::net
