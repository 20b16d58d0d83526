// Any bytes as an event stream: whole, and cut at places that the first byte chooses, must give the same events.
#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "base/limits.h"
#include "dialect/sse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::dialect;
    if (size == 0) return 0;
    const std::size_t step = 1 + data[0] % 16;
    std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);

    SseParser whole;
    const auto expected = whole.feed(rest);
    SseParser pieces;
    std::vector<SseEvent> seen;
    bool good = true;
    while (!rest.empty() && good) {
        auto events = pieces.feed(rest.substr(0, step));
        good = events.has_value();
        if (good) {
            for (auto& event : *events) seen.push_back(std::move(event));
        }
        ASSERT(pieces.held_bytes() <= shoal::limits::sse_event_bytes_max);
        rest.remove_prefix(std::min(step, rest.size()));
    }
    ASSERT(good == expected.has_value());
    if (good) ASSERT(seen == *expected);
    return 0;
}
