#include "engine_worker/text_stream.h"

#include <algorithm>

#include "wire/text.h"

namespace shoal::engine_worker {
namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd";  // U+FFFD

// How much of the end of `text` is the beginning of `stop`, whole matches aside.
std::size_t overlap(std::string_view text, std::string_view stop) {
    for (std::size_t bytes = std::min(text.size(), stop.size() - 1); bytes > 0; --bytes) {
        if (text.substr(text.size() - bytes) == stop.substr(0, bytes)) return bytes;
    }
    return 0;
}

}  // namespace

TextStream::TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {
    std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string TextStream::feed(std::string_view piece) {
    if (stopped_) return {};
    raw_ += piece;
    decode(false);
    return release(false);
}

std::string TextStream::finish(bool cut) {
    if (stopped_) return {};
    decode(!cut);
    return release(true);
}

// Moves what is decided from raw_ to waiting_.
void TextStream::decode(bool last) {
    std::string_view rest = raw_;
    const std::size_t kept = last ? 0 : wire::utf8_incomplete_tail(rest);
    const std::string_view tail = rest.substr(rest.size() - kept);
    rest.remove_suffix(kept);
    while (!rest.empty()) {
        std::size_t bytes = 1;
        while (bytes <= 4 && bytes <= rest.size() && !wire::is_utf8(rest.substr(0, bytes))) ++bytes;
        const bool good = bytes <= 4 && bytes <= rest.size();
        waiting_ += good ? rest.substr(0, bytes) : replacement;
        rest.remove_prefix(good ? bytes : 1);
    }
    raw_ = std::string(tail);
}

std::string TextStream::release(bool last) {
    std::size_t end = std::string::npos, begin = 0;
    for (const std::string& stop : stops_) {
        const std::size_t at = waiting_.find(stop);
        if (at == std::string::npos) continue;
        if (at + stop.size() > end || (at + stop.size() == end && at > begin)) continue;
        begin = at;
        end = at + stop.size();
    }
    if (end != std::string::npos) {
        stopped_ = true;
        waiting_.resize(begin);
        last = true;
    }
    std::size_t kept = 0;
    if (!last) {
        for (const std::string& stop : stops_) kept = std::max(kept, overlap(waiting_, stop));
    }
    std::string out = waiting_.substr(0, waiting_.size() - kept);
    waiting_.erase(0, out.size());
    given_bytes_ += out.size();
    return out;
}

}  // namespace shoal::engine_worker
