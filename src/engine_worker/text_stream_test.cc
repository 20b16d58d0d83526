#include "engine_worker/text_stream.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <optional>

#include "wire/text.h"

namespace shoal::engine_worker {
namespace {

struct Outcome {
    std::string text;
    bool stopped = false;
};
Outcome run(const std::vector<std::string>& pieces, std::vector<std::string> stops) {
    TextStream stream(std::move(stops));
    Outcome out;
    for (const std::string& piece : pieces) {
        const std::string part = stream.feed(piece);
        EXPECT_TRUE(wire::is_utf8(part));
        out.text += part;
    }
    out.text += stream.finish(false);
    out.stopped = stream.stopped();
    return out;
}

TEST(TextStream, PassesPlainTextAtOnce) {
    TextStream stream({});
    EXPECT_EQ(stream.feed("hello"), "hello");
    EXPECT_EQ(stream.finish(false), "");
}

TEST(TextStream, HoldsACharacterUntilItIsWhole) {
    TextStream stream({});
    EXPECT_EQ(stream.feed("a\xe2"), "a");
    EXPECT_EQ(stream.feed("\x82"), "");
    EXPECT_EQ(stream.feed("\xac!"), "\xe2\x82\xac!");
}

TEST(TextStream, ReplacesWhatIsNoCharacter) {
    EXPECT_EQ(run({"\xff", "a", "\xc3"}, {}).text,
              "\xef\xbf\xbd"
              "a"
              "\xef\xbf\xbd");
}

TEST(TextStream, StopsAcrossTokens) {
    const Outcome out = run({"one E", "N", "D two"}, {"END"});
    EXPECT_EQ(out.text, "one ");
    EXPECT_TRUE(out.stopped);
}

TEST(TextStream, GivesBackWhatOnlyLookedLikeAStop) {
    EXPECT_EQ(run({"one EN", "E"}, {"END"}).text, "one ENE");
}

TEST(TextStream, FindsAStopThatBeginsInsideAFailedOne) {
    const Outcome out = run({"aa", "b"}, {"ab"});
    EXPECT_EQ(out.text, "a");
    EXPECT_TRUE(out.stopped);
}

TEST(TextStream, TheEarliestStopCounts) {
    EXPECT_EQ(run({"x.y;z"}, {";", "."}).text, "x");
}

TEST(TextStream, SaysNothingAfterAStop) {
    TextStream stream({"."});
    EXPECT_EQ(stream.feed("a."), "a");
    EXPECT_EQ(stream.feed("b"), "");
    EXPECT_EQ(stream.finish(false), "");
}

TEST(TextStream, WhatIsCutInACharacterEndsBeforeIt) {
    for (const bool cut : {false, true}) {
        TextStream stream({});
        EXPECT_EQ(stream.feed("a\xE2\x82"), "a");
        EXPECT_EQ(stream.finish(cut), cut ? "" : "\xEF\xBF\xBD\xEF\xBF\xBD");
    }
}

// The naive twin: the first end of a text that is a stop string, the longest of them.
std::optional<std::size_t> cut_at(const std::string& text, const std::vector<std::string>& stops) {
    for (std::size_t end = 0; end <= text.size(); ++end) {
        std::optional<std::size_t> begin;
        for (const std::string& stop : stops) {
            if (text.substr(0, end).ends_with(stop)) begin = std::min(begin.value_or(end), end - stop.size());
        }
        if (begin) return begin;
    }
    return std::nullopt;
}

RC_GTEST_PROP(TextStream, EqualsCuttingTheWholeText, ()) {
    const auto letters = rc::gen::elementOf(std::string("ab.\xe2\x82\xac\xff"));
    const auto pieces = *rc::gen::container<std::vector<std::string>>(rc::gen::container<std::string>(letters));
    const auto stops = *rc::gen::container<std::vector<std::string>>(
        rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab.")))));
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    TextStream whole({});
    std::string want = whole.feed(all);
    want += whole.finish(false);
    const auto end = cut_at(want, stops);
    const Outcome got = run(pieces, stops);
    RC_ASSERT(got.text == want.substr(0, end.value_or(want.size())));
    RC_ASSERT(got.stopped == end.has_value());
}

}  // namespace
}  // namespace shoal::engine_worker
