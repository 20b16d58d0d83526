#include "dialect/sse.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "base/limits.h"

namespace shoal::dialect {
namespace {

std::vector<SseEvent> all(std::string_view text) {
    SseParser parser;
    auto events = parser.feed(text);
    EXPECT_TRUE(events);
    return events ? std::move(*events) : std::vector<SseEvent>();
}
SseEvent event(std::string data, std::string name = "message") {
    return {std::move(name), Plaintext(std::move(data))};
}
using Events = std::vector<SseEvent>;

TEST(Sse, ReadsEventsUnderEveryLineEnding) {
    const Events two = {event("a"), event("b")};
    EXPECT_EQ(all("data: a\n\ndata: b\n\n"), two);
    EXPECT_EQ(all("data: a\r\n\r\ndata: b\r\n\r\n"), two);
    EXPECT_EQ(all("data: a\r\rdata: b\r\r"), two);
}

TEST(Sse, JoinsDataLinesAndKeepsWhatIsInThem) {
    EXPECT_EQ(all("data: a\ndata:b\ndata:  c\n\n"), Events{event("a\nb\n c")});
    EXPECT_EQ(all("data\ndata: x: y\n\n"), Events{event("\nx: y")});
    EXPECT_EQ(all("data:\n\n"), Events{event("")});
}

TEST(Sse, SkipsCommentsUnknownFieldsAndEventsWithoutData) {
    EXPECT_EQ(all(": keep-alive\n\nid: 7\nretry: 1\nfoo: x\n\nevent: lost\n\ndata: a\n\n"), Events{event("a")});
}

TEST(Sse, NamesAnEventOnce) {
    EXPECT_EQ(all("event: error\ndata: a\n\ndata: b\n\n"), (Events{event("a", "error"), event("b")}));
}

TEST(Sse, SkipsAByteOrderMarkOnlyAtTheStart) {
    EXPECT_EQ(all("\xEF\xBB\xBF"
                  "data: a\n\n\xEF\xBB\xBF"
                  "data: b\n\n"),
              Events{event("a")});
}

TEST(Sse, GivesNothingForAnEventThatIsCutOff) {
    EXPECT_TRUE(all("data: a\n").empty());
}

TEST(Sse, RefusesAnEventThatNeverEnds) {
    for (const std::string& line : {std::string(1000, 'x'), "data: " + std::string(1000, 'x') + "\n",
                                    "event: " + std::string(1000, 'x') + "\ndata: y\n"}) {
        SseParser parser;
        bool refused = false;
        for (std::size_t sent = 0; sent <= 2 * limits::sse_event_bytes_max && !refused; sent += line.size()) {
            const auto events = parser.feed(line);
            refused = !events.has_value();
            if (refused) {
                EXPECT_EQ(events.error().code, Errc::exhausted);
            }
            ASSERT_LE(parser.held_bytes(), limits::sse_event_bytes_max);
        }
        EXPECT_EQ(refused, !line.starts_with("event")) << "a name is replaced by the next, so it never grows";
        if (refused) {
            EXPECT_FALSE(parser.feed("\n\ndata: later\n\n")) << "spent";
        }
    }
}

RC_GTEST_PROP(Sse, WhereTheInputIsCutMakesNoDifference, ()) {
    const auto piece =
        rc::gen::element<std::string>("data: a", "data", "event: e", ": c", "\n", "\r", "\r\n", "\n\n", "x", ":", " ");
    std::string text;
    for (const auto& part : *rc::gen::container<std::vector<std::string>>(piece)) text += part;
    const Events whole = all(text);
    SseParser parser;
    Events pieces;
    std::string_view rest = text;
    while (!rest.empty()) {
        const auto size = *rc::gen::inRange<std::size_t>(1, rest.size() + 1);
        auto events = parser.feed(rest.substr(0, size));
        RC_ASSERT(events.has_value());
        for (auto& one : *events) pieces.push_back(std::move(one));
        rest.remove_prefix(size);
    }
    RC_ASSERT(pieces == whole);
}

}  // namespace
}  // namespace shoal::dialect
