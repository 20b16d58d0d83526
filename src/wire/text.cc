#include "wire/text.h"

#include <algorithm>
#include <cstdint>

namespace shoal::wire {
namespace {

std::uint8_t byte_at(std::string_view text, std::size_t at) {
    return static_cast<std::uint8_t>(text[at]);
}
bool is_continuation(std::uint8_t byte) {
    return (byte & 0xC0) == 0x80;
}

// Length of the sequence that `lead` begins, 0 if it begins none (RFC 3629, section 4).
std::size_t sequence_bytes(std::uint8_t lead) {
    if (lead < 0x80) return 1;
    if (lead >= 0xC2 && lead <= 0xDF) return 2;
    if (lead >= 0xE0 && lead <= 0xEF) return 3;
    if (lead >= 0xF0 && lead <= 0xF4) return 4;
    return 0;
}

// The second byte is where overlong forms, surrogates and what is above U+10FFFF show.
bool second_fits(std::uint8_t lead, std::uint8_t second) {
    switch (lead) {
        case 0xE0: return second >= 0xA0 && second <= 0xBF;
        case 0xED: return second >= 0x80 && second <= 0x9F;
        case 0xF0: return second >= 0x90 && second <= 0xBF;
        case 0xF4: return second >= 0x80 && second <= 0x8F;
        default: return is_continuation(second);
    }
}

// Length of the well-formed sequence at the front of `text`, which is not empty; 0 if there is none.
std::size_t front_sequence(std::string_view text) {
    const std::uint8_t lead = byte_at(text, 0);
    const std::size_t bytes = sequence_bytes(lead);
    if (bytes <= 1) return bytes;
    if (bytes > text.size() || !second_fits(lead, byte_at(text, 1))) return 0;
    for (std::size_t i = 2; i < bytes; ++i) {
        if (!is_continuation(byte_at(text, i))) return 0;
    }
    return bytes;
}

// C0 and C1 controls and DEL: what could move a terminal's cursor. `sequence` is one well-formed character.
bool is_control(std::string_view sequence) {
    const std::uint8_t lead = byte_at(sequence, 0);
    if (lead < 0x20 || lead == 0x7F) return true;
    return lead == 0xC2 && byte_at(sequence, 1) < 0xA0;
}

}  // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t bytes = front_sequence(text);
        if (bytes == 0) return false;
        text.remove_prefix(bytes);
    }
    return true;
}

std::size_t utf8_incomplete_tail(std::string_view text) {
    for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
        const std::string_view tail = text.substr(text.size() - back);
        const std::uint8_t lead = byte_at(tail, 0);
        if (is_continuation(lead)) continue;
        if (sequence_bytes(lead) <= back) return 0;  // complete, or begins nothing
        return back == 1 || second_fits(lead, byte_at(tail, 1)) ? back : 0;
    }
    return 0;
}

bool is_plain_text(std::string_view text) {
    while (!text.empty()) {
        const std::size_t bytes = front_sequence(text);
        if (bytes == 0 || is_control(text.substr(0, bytes))) return false;
        text.remove_prefix(bytes);
    }
    return true;
}

std::string plain_text(std::string_view text, std::size_t bytes_max) {
    std::string out;
    while (!text.empty()) {
        const std::size_t bytes = std::max<std::size_t>(front_sequence(text), 1);
        const bool good = front_sequence(text) != 0 && !is_control(text.substr(0, bytes));
        const std::string_view piece = good ? text.substr(0, bytes) : std::string_view("?");
        if (out.size() + piece.size() > bytes_max) break;
        out += piece;
        text.remove_prefix(bytes);
    }
    return out;
}

}  // namespace shoal::wire
