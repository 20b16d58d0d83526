// Text on the wire: well-formed UTF-8, and the plainer kind that is shown to people.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace shoal::wire {

// Whether `text` is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF).
bool is_utf8(std::string_view text);
// How many bytes at the end of `text` begin a character that is not complete yet (0 to 3).
std::size_t utf8_incomplete_tail(std::string_view text);

// Well-formed and without control characters (C0, DEL, C1). Rationale: what another node writes for people ends up on
// a terminal, and an escape sequence there could rewrite what was said before it.
bool is_plain_text(std::string_view text);
// `text` made plain: each byte that is no part of a character, and each control, becomes '?'; cut before `bytes_max` at
// a character's boundary. So a message that an engine or a library wrote can always be sent.
std::string plain_text(std::string_view text, std::size_t bytes_max);

}  // namespace shoal::wire
