#include "pipeline/meter.h"

#include <gtest/gtest.h>

namespace shoal::pipeline {
namespace {

class MeterTest : public ::testing::Test {
protected:
    void pass(Duration time) { now_.mono += time; }
    void text(std::uint64_t job, std::uint32_t completion) {
        meter_.on_event(now_, engine::Text{JobId(job), Plaintext("x"), TokenCount(completion)});
    }
    void finish(std::uint64_t job, std::uint32_t completion) {
        meter_.on_event(now_,
                        engine::Finished{JobId(job), FinishReason::stop, {TokenCount(9), TokenCount(completion)}});
    }
    // One answer of so many tokens, each after `step`.
    void answer(std::uint64_t job, std::uint32_t tokens, Duration step) {
        text(job, 1);
        for (std::uint32_t i = 2; i <= tokens; ++i) {
            pass(step);
            text(job, i);
        }
        finish(job, tokens);
    }

    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    Meter meter_;
};

TEST_F(MeterTest, OneAnswerIsMeasuredFromItsFirstPiece) {
    answer(1, 65, 40ms);
    const auto measured = meter_.take();
    ASSERT_TRUE(measured);
    EXPECT_EQ(measured->tokens, 64U);
    EXPECT_NEAR(measured->tokens_per_second(), 25, 1e-6);
    EXPECT_NEAR(measured->answers, 1, 1e-6);
    EXPECT_EQ(measured->per_token(), 40ms);
}

TEST_F(MeterTest, IdleTimeDoesNotCount) {
    answer(1, 33, 40ms);
    pass(10min);
    answer(2, 33, 40ms);
    EXPECT_NEAR(meter_.take()->tokens_per_second(), 25, 1e-6);
}

TEST_F(MeterTest, AnswersAtOnceAddUp) {
    text(1, 1);
    text(2, 1);
    for (std::uint32_t i = 2; i <= 40; ++i) {
        pass(50ms);
        text(1, i);
        text(2, i);
    }
    const auto measured = meter_.take();
    ASSERT_TRUE(measured);
    EXPECT_NEAR(measured->tokens_per_second(), 40, 1e-6);
    EXPECT_NEAR(measured->answers, 2, 1e-6);
    EXPECT_EQ(measured->per_token(), 50ms);
}

TEST_F(MeterTest, TokensWithoutTextOfTheirOwnCount) {
    text(1, 1);
    pass(1s);
    text(1, 50);
    pass(1s);
    finish(1, 101);
    EXPECT_EQ(meter_.take()->tokens, 100U);
}

TEST_F(MeterTest, TheFirstFiguresComeEarlyAndLaterOnesAreOfAMinute) {
    answer(1, 64, 10ms);
    EXPECT_FALSE(meter_.take()) << "63 tokens";
    answer(2, 2, 10ms);
    EXPECT_TRUE(meter_.take());
    answer(3, 1000, 10ms);
    EXPECT_FALSE(meter_.take());
    answer(4, 5100, 10ms);
    EXPECT_TRUE(meter_.take());
}

TEST_F(MeterTest, WhatFailsOrGoesDownEndsWithoutTime) {
    text(1, 1);
    text(2, 1);
    meter_.on_event(now_, engine::Failed{JobId(1), AskFault::cancelled, "", {}});
    meter_.on_event(now_, engine::Down{"killed", false});
    pass(1h);
    answer(3, 65, 40ms);
    EXPECT_NEAR(meter_.take()->tokens_per_second(), 25, 1e-6);
}

TEST_F(MeterTest, CountsThatGoBackAreNone) {
    text(1, 100);
    pass(1s);
    text(1, 5);
    finish(1, 3);
    EXPECT_FALSE(meter_.take());
}

TEST_F(MeterTest, SaysBothInALine) {
    answer(1, 65, 40ms);
    const Prediction predicted{38ms, 1, 52.5, 2};
    EXPECT_EQ(text_of(*meter_.take(), predicted),
              "measured over 64 tokens: 25.00 tokens/s with 1.0 answers at once, 40.00 ms a token of each; predicted: "
              "52.50 tokens/s with 2, 38.00 ms a step of 1");
}

}  // namespace
}  // namespace shoal::pipeline
