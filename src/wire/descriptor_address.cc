// Addresses as text, and what can be said of them.
#include "wire/descriptor.h"

#include <algorithm>
#include <charconv>

namespace shoal::wire {
namespace {

constexpr ByteArray<12> v4_prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
constexpr std::size_t groups = 8;

// A whole number and nothing else; no sign, no leading zero but "0" itself in base 10.
std::optional<unsigned> number(std::string_view text, int base, std::size_t digits_max, unsigned max) {
    if (text.empty() || text.size() > digits_max) return std::nullopt;
    if (base == 10 && text.size() > 1 && text.front() == '0') return std::nullopt;
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
    return value;
}

std::optional<ByteArray<16>> parse_v4(std::string_view text) {
    ByteArray<16> ip{};
    std::copy(v4_prefix.begin(), v4_prefix.end(), ip.begin());
    for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t dot = i < 3 ? text.find('.') : text.size();
        if (dot == std::string_view::npos) return std::nullopt;
        const auto part = number(text.substr(0, dot), 10, 3, 255);
        if (!part) return std::nullopt;
        ip[12 + i] = static_cast<std::uint8_t>(*part);
        text.remove_prefix(i < 3 ? dot + 1 : dot);
    }
    return ip;
}

// Groups of hexadecimal digits between colons. "" has none.
std::optional<std::vector<std::uint16_t>> parse_groups(std::string_view text) {
    std::vector<std::uint16_t> out;
    if (text.empty()) return out;
    for (;;) {
        const std::size_t colon = text.find(':');
        const auto group = number(text.substr(0, colon), 16, 4, 0xFFFF);
        if (!group || out.size() == groups) return std::nullopt;
        out.push_back(static_cast<std::uint16_t>(*group));
        if (colon == std::string_view::npos) return out;
        text.remove_prefix(colon + 1);
    }
}

std::optional<ByteArray<16>> parse_v6(std::string_view text) {
    const std::size_t gap = text.find("::");
    const auto front = parse_groups(text.substr(0, gap));
    const auto back = parse_groups(gap == std::string_view::npos ? std::string_view() : text.substr(gap + 2));
    if (!front || !back) return std::nullopt;
    const std::size_t given = front->size() + back->size();
    // "::" stands for one group of zeros at least.
    if (gap == std::string_view::npos ? given != groups : given >= groups) return std::nullopt;
    ByteArray<16> ip{};
    const auto put = [&](std::size_t group, std::uint16_t value) {
        ip[2 * group] = static_cast<std::uint8_t>(value >> 8);
        ip[2 * group + 1] = static_cast<std::uint8_t>(value);
    };
    for (std::size_t i = 0; i < front->size(); ++i) put(i, (*front)[i]);
    for (std::size_t i = 0; i < back->size(); ++i) put(groups - back->size() + i, (*back)[i]);
    return ip;
}

std::uint16_t group_of(const ByteArray<16>& ip, std::size_t i) {
    return static_cast<std::uint16_t>(ip[2 * i] << 8 | ip[2 * i + 1]);
}

// RFC 5952: lower case, no leading zeros, the first longest run of at least two zero groups as "::".
std::string v6_text(const ByteArray<16>& ip) {
    std::size_t gap = groups;
    std::size_t gap_length = 1;
    for (std::size_t i = 0; i < groups; ++i) {
        std::size_t run = 0;
        while (i + run < groups && group_of(ip, i + run) == 0) ++run;
        if (run > gap_length) {
            gap = i;
            gap_length = run;
        }
    }
    std::string out;
    for (std::size_t i = 0; i < groups; ++i) {
        if (i == gap) {
            out += "::";
            i += gap_length - 1;
            continue;
        }
        if (!out.empty() && out.back() != ':') out += ':';
        char digits[4];
        const auto [end, error] = std::to_chars(digits, digits + sizeof digits, group_of(ip, i), 16);
        ASSERT(error == std::errc{});
        out.append(digits, end);
    }
    return out;
}

}  // namespace

bool Address::is_v4() const {
    return std::equal(v4_prefix.begin(), v4_prefix.end(), ip.begin());
}

std::uint64_t Address::subnet() const {
    const std::size_t first = is_v4() ? 12 : 0;
    const std::size_t count = is_v4() ? 2 : 4;
    std::uint64_t out = is_v4() ? 4 : 6;
    out <<= 32;
    std::uint64_t prefix = 0;
    for (std::size_t i = 0; i < count; ++i) prefix = prefix << 8 | ip[first + i];
    return out | prefix;
}

std::string Address::text() const {
    std::string out;
    if (is_v4()) {
        for (std::size_t i = 12; i < 16; ++i) out += (i > 12 ? "." : "") + std::to_string(ip[i]);
    } else {
        out = "[" + v6_text(ip) + "]";
    }
    return out + ":" + std::to_string(port);
}

bool is_dialable(const Address& address) {
    if (address.port == 0) return false;
    const auto& ip = address.ip;
    if (!address.is_v4()) return ip != ByteArray<16>{} && ip[0] != 0xFF;
    // 0.0.0.0/8 is "this host"; 224.0.0.0/4 multicast; 240.0.0.0/4 reserved, broadcast included.
    return ip[12] != 0 && ip[12] < 224;
}

Result<Address> parse_address(std::string_view text) {
    const auto no = [&] {
        return fail(Errc::malformed, "'" + std::string(text.substr(0, 64)) +
                                         "' is no address; write 127.0.0.1:9000 or [2001:db8::1]:9000");
    };
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return no();
    const std::string_view host = text.substr(0, colon);
    const auto port = number(text.substr(colon + 1), 10, 5, 0xFFFF);
    if (!port) return no();
    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    const auto ip = bracketed ? parse_v6(host.substr(1, host.size() - 2)) : parse_v4(host);
    if (!ip) return no();
    return Address{.ip = *ip, .port = static_cast<std::uint16_t>(*port)};
}

}  // namespace shoal::wire
