#include "client/suspects.h"

#include <gtest/gtest.h>

namespace shoal::client {
namespace {

NodeId node(std::uint32_t number) {
    ByteArray<32> raw{};
    store_le<std::uint32_t>(raw.data(), number);
    return NodeId(raw);
}

class SuspectsTest : public ::testing::Test {
protected:
    void pass(Duration time) { now_.mono += time; }
    bool suspected(std::uint32_t number = 1) { return suspects_.suspected(now_, node(number)); }

    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    Suspects suspects_;
};

TEST_F(SuspectsTest, SuspicionEnds) {
    EXPECT_FALSE(suspected());
    EXPECT_EQ(suspects_.contradicted(now_, node(1)), limits::suspicion_min);
    EXPECT_TRUE(suspected());
    EXPECT_FALSE(suspected(2));
    pass(limits::suspicion_min - 1ms);
    EXPECT_TRUE(suspected());
    pass(1ms);
    EXPECT_FALSE(suspected());
}

TEST_F(SuspectsTest, WhoDoesItAgainIsSuspectedLongerUpToALimit) {
    Duration last{};
    for (int i = 0; i < 20; ++i) {
        const Duration span = suspects_.contradicted(now_, node(1));
        EXPECT_GE(span, last);
        EXPECT_LE(span, limits::suspicion_max);
        last = span;
    }
    EXPECT_EQ(last, limits::suspicion_max);
    pass(limits::suspicion_max);
    EXPECT_FALSE(suspected()) << "nobody is banned for ever";
}

TEST_F(SuspectsTest, AgreeingMakesTheNextTimeShorterAndEndsNone) {
    suspects_.contradicted(now_, node(1));
    EXPECT_EQ(suspects_.contradicted(now_, node(1)), 2 * limits::suspicion_min);
    suspects_.agreed(node(1));
    suspects_.agreed(node(1));
    suspects_.agreed(node(1));
    EXPECT_TRUE(suspected());
    EXPECT_EQ(suspects_.contradicted(now_, node(1)), limits::suspicion_min);
    suspects_.agreed(node(2));
    EXPECT_EQ(suspects_.size(), 1U);
}

TEST_F(SuspectsTest, WhatIsLongOverIsForgotten) {
    suspects_.contradicted(now_, node(1));
    pass(limits::suspicion_min);
    suspects_.on_tick(now_);
    EXPECT_EQ(suspects_.size(), 1U) << "the next time is longer yet";
    pass(limits::suspicion_max);
    suspects_.on_tick(now_);
    EXPECT_EQ(suspects_.size(), 0U);
}

TEST_F(SuspectsTest, TheTableIsBounded) {
    for (std::uint32_t i = 0; i < limits::suspects_max + 10; ++i) {
        suspects_.contradicted(now_, node(i));
        pass(1ms);
    }
    EXPECT_EQ(suspects_.size(), limits::suspects_max);
    EXPECT_FALSE(suspected(0)) << "the one whose suspicion ends first";
    EXPECT_TRUE(suspected(limits::suspects_max + 9));
}

}  // namespace
}  // namespace shoal::client
