// Server-sent events as they come off a connection, by the grammar of the HTML standard (section 9.2.6): lines end in
// LF, CR or CRLF; a colon first makes a comment; `data` lines of one event are joined by LF; a blank line ends an
// event; an event without data is none; a byte order mark at the very start is skipped. `id` and `retry` are not kept.
//
// Bounded: one event may have limits::sse_event_bytes_max bytes of lines. Where the input is cut makes no difference.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"

namespace shoal::dialect {

struct SseEvent {
    std::string name;  // "message" unless an `event` line says otherwise
    Plaintext data;    // a reply passes through here
    friend bool operator==(const SseEvent&, const SseEvent&) = default;
};

class SseParser {
public:
    // The events that these bytes complete, in order. Errc::exhausted: an event is too long; the parser is then spent
    // and refuses everything. What is incomplete when the stream ends is no event.
    Result<std::vector<SseEvent>> feed(std::string_view bytes);

    // Bytes held back: always at most limits::sse_event_bytes_max.
    std::size_t held_bytes() const { return line_.size() + data_.size() + name_.size(); }

private:
    void end_line(std::vector<SseEvent>& out);
    void take_field(std::string_view field, std::string_view value);

    Plaintext line_;  // not yet ended
    Plaintext data_;
    std::string name_;
    bool has_data_ = false;
    bool after_cr_ = false;   // an LF now belongs to that CR
    bool first_line_ = true;  // only here a byte order mark is skipped
    bool spent_ = false;
};

}  // namespace shoal::dialect
