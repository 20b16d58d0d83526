// What a whole model computed of a prompt, filled into the stages of a lead.
#include <gtest/gtest.h>

#include "backend/test_carrier.h"
#include "backend/test_prefixes.h"

namespace shoal::backend {
namespace {

const NodeId somebody(ByteArray<32>{9});

class LeadPrefixTest : public WithEngine {
protected:
    void SetUp() override {
        WithEngine::SetUp();
        if (IsSkipped()) return;
        whole = std::make_unique<PrefixRig>(small_engine(fixture("slow"), command));
        const std::optional<Finished> first = whole->ask(1, first_turn());
        ASSERT_TRUE(first && first->kept);
        source = {somebody, *first->kept};
        PrefixRig fresh(small_engine(fixture("slow"), command));
        ASSERT_TRUE(fresh.ask(1, second_turn()));
        expected = fresh.text_of(1);
    }
    void start(std::uint16_t steps, std::optional<wire::LayerRange> middle = std::nullopt) {
        WorkerOptions options = small_engine(fixture("slow"), command);
        options.lead = WorkerOptions::Lead{wire::ActivationType::f32, steps, middle};
        lead = std::make_unique<PrefixRig>(options);
        ASSERT_TRUE(lead->until_ready());
        carrier = std::make_unique<Carrier>(*lead, fixture("slow"), command);
        const wire::LayerRange elsewhere = middle.value_or(wire::LayerRange{0, 8});
        const auto cut = static_cast<std::uint16_t>((elsewhere.first + elsewhere.end) / 2);
        ASSERT_TRUE(carrier->open_session(elsewhere.first, cut, elsewhere.end)) << carrier->failure;
    }
    // The snapshot that the lead asks for.
    Bytes wanted(std::uint64_t job) {
        lead->start(job, second_turn(), source);
        EXPECT_TRUE(lead->until([&] { return !lead->wanted.empty() || lead->ended(job); }));
        if (lead->wanted.empty()) return {};
        return whole->read(job, lead->wanted.back().chain, source.kept.tokens);
    }
    const Finished* until_finished(std::uint64_t job) {
        EXPECT_TRUE(lead->until([&] { return lead->ended(job) || !carrier->failure.empty(); })) << carrier->failure;
        return lead->of<Finished>(job);
    }

    std::unique_ptr<PrefixRig> whole, lead;
    std::unique_ptr<Carrier> carrier;
    PrefixSource source;
    std::string expected;
};

TEST_F(LeadPrefixTest, WhatAWholeModelComputedStagesGoOnWith) {
    for (const std::uint16_t steps : {std::uint16_t{1}, std::uint16_t{4}}) {
        carrier.reset();
        start(steps);
        ASSERT_FALSE(HasFatalFailure());
        const Bytes snapshot = wanted(1);
        ASSERT_EQ(snapshot.size(), source.kept.bytes) << "nothing was asked for";
        lead->give(1, snapshot);
        const Finished* finished = until_finished(1);
        ASSERT_NE(finished, nullptr);
        EXPECT_TRUE(lead->refused.empty());
        EXPECT_EQ(finished->usage.reused.value(), source.kept.tokens);
        EXPECT_EQ(lead->text_of(1), expected);
        EXPECT_GT(carrier->fills, 2U) << "in pieces";
        EXPECT_LE(carrier->most_out, steps);
        EXPECT_EQ(carrier->out, 0U);
        // It is kept as what was computed here.
        lead->start(2, second_turn(), std::nullopt);
        const Finished* again = until_finished(2);
        ASSERT_NE(again, nullptr);
        EXPECT_GE(again->usage.reused.value(), source.kept.tokens);
        EXPECT_EQ(lead->text_of(2), expected);
    }
}

TEST_F(LeadPrefixTest, OtherAnswersGoOnWhileItComes) {
    start(2);
    ASSERT_FALSE(HasFatalFailure());
    engine::Job other = job_of(9, "tell me something else", 200);
    lead->submit(std::move(other));
    ASSERT_TRUE(lead->until([&] { return !lead->text_of(9).empty(); }));
    const Bytes snapshot = wanted(1);
    ASSERT_EQ(snapshot.size(), source.kept.bytes);
    const std::string before = lead->text_of(9);
    lead->give(1, snapshot);
    ASSERT_NE(until_finished(1), nullptr);
    EXPECT_EQ(lead->text_of(1), expected);
    EXPECT_GT(lead->text_of(9).size(), before.size());
}

TEST_F(LeadPrefixTest, WhatWasAlteredReachesNoStage) {
    start(2);
    ASSERT_FALSE(HasFatalFailure());
    Bytes snapshot = wanted(1);
    ASSERT_EQ(snapshot.size(), source.kept.bytes);
    snapshot.back() ^= 1;
    lead->give(1, snapshot);
    const Finished* finished = until_finished(1);
    ASSERT_NE(finished, nullptr);
    EXPECT_EQ(lead->refused.size(), 1U);
    EXPECT_EQ(carrier->fills, 0U);
    EXPECT_EQ(finished->usage.reused.value(), 0U);
    EXPECT_EQ(lead->text_of(1), expected);
}

TEST_F(LeadPrefixTest, AJobThatIsCancelledWhileItIsFilledInLeavesNothingBehind) {
    start(1);
    ASSERT_FALSE(HasFatalFailure());
    const Bytes snapshot = wanted(1);
    ASSERT_EQ(snapshot.size(), source.kept.bytes);
    lead->give(1, snapshot);
    ASSERT_TRUE(lead->until([&] { return carrier->fills > 0; }));
    lead->engine->cancel(lead->loop.now(), JobId(1));
    ASSERT_TRUE(lead->until([&] { return lead->ended(1); }));
    lead->start(2, second_turn(), std::nullopt);
    const Finished* finished = until_finished(2);
    ASSERT_NE(finished, nullptr);
    EXPECT_EQ(lead->text_of(2), expected);
}

TEST_F(LeadPrefixTest, AJobWhoseStagesAreLostWhileItIsFilledInEnds) {
    start(1);
    ASSERT_FALSE(HasFatalFailure());
    const Bytes snapshot = wanted(1);
    ASSERT_EQ(snapshot.size(), source.kept.bytes);
    lead->give(1, snapshot);
    ASSERT_TRUE(lead->until([&] { return carrier->fills > 0; }));
    carrier->close_session();
    lead->engine->broken(lead->loop.now(), "hop 2 was lost", engine::BrokenFor::now);
    ASSERT_TRUE(lead->until([&] { return lead->ended(1); }));
    ASSERT_TRUE(carrier->open_session(0, 4, 8)) << carrier->failure;
    lead->start(2, second_turn(), std::nullopt);
    ASSERT_NE(until_finished(2), nullptr);
    EXPECT_EQ(lead->text_of(2), expected);
}

// The layers of its own hold what the stages do not, and nobody fills them in.
TEST_F(LeadPrefixTest, ALeadWithLayersOfItsOwnAsksForNothing) {
    start(2, wire::LayerRange{2, 6});
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_TRUE(wanted(1).empty());
    ASSERT_NE(until_finished(1), nullptr);
    EXPECT_EQ(lead->text_of(1), expected);
}

TEST_F(LeadPrefixTest, WhatStagesHoldIsNotRead) {
    start(2);
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_TRUE(lead->read(1, ByteArray<32>{1}, source.kept.tokens).empty());
}

}  // namespace
}  // namespace shoal::backend
