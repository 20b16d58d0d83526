#include "dialect/sse.h"

#include <utility>

#include "base/limits.h"

namespace shoal::dialect {

Result<std::vector<SseEvent>> SseParser::feed(std::string_view bytes) {
    if (spent_) return fail(Errc::exhausted, "the event stream was given up");
    std::vector<SseEvent> out;
    while (!bytes.empty()) {
        if (std::exchange(after_cr_, false) && bytes.front() == '\n') {
            bytes.remove_prefix(1);
            continue;
        }
        const std::size_t end = bytes.find_first_of("\r\n");
        const std::string_view part = bytes.substr(0, end);
        if (held_bytes() + part.size() > limits::sse_event_bytes_max) {
            spent_ = true;
            line_.clear();
            data_.clear();
            return fail(Errc::exhausted, "an event of the stream is longer than " +
                                             std::to_string(limits::sse_event_bytes_max) + " bytes");
        }
        line_.append(part);
        if (end == std::string_view::npos) break;
        after_cr_ = bytes[end] == '\r';
        bytes.remove_prefix(end + 1);
        end_line(out);
    }
    return out;
}

void SseParser::end_line(std::vector<SseEvent>& out) {
    const Plaintext whole = std::exchange(line_, Plaintext());
    std::string_view line = whole.expose();
    if (std::exchange(first_line_, false) && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
    if (line.empty()) {
        if (has_data_) {
            out.push_back({name_.empty() ? std::string("message") : name_, std::exchange(data_, Plaintext())});
        }
        name_.clear();
        has_data_ = false;
        return;
    }
    const std::size_t colon = line.find(':');
    if (colon == 0) return;  // a comment
    std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    take_field(line.substr(0, colon), value);
}

void SseParser::take_field(std::string_view field, std::string_view value) {
    if (field == "data") {
        if (has_data_) data_.append("\n");
        data_.append(value);
        has_data_ = true;
    } else if (field == "event") {
        name_ = value;
    }
}

}  // namespace shoal::dialect
