// What a whole model computed of a prompt, filled into the stages of a lead.
#include <gtest/gtest.h>

#include "backend/test_carrier.h"
#include "backend/test_prefixes.h"

namespace shoal::backend {
namespace {

const NodeId somebody(ByteArray<32>{9});

// What a whole model has of the first turn, and what it says in the second: made once.
struct Whole {
    PrefixSource source;
    ByteArray<32> chain{};
    Bytes snapshot;
    std::string expected;
};

class LeadPrefixTest : public WithEngine {
protected:
    static void TearDownTestSuite() { made.reset(); }
    void SetUp() override {
        WithEngine::SetUp();
        if (IsSkipped()) return;
        if (!made) make();
        ASSERT_FALSE(HasFatalFailure());
        source = made->source;
        expected = made->expected;
    }
    void make() {
        PrefixRig whole(small_engine(fixture("slow"), command)), fresh(small_engine(fixture("slow"), command));
        const std::optional<Finished> first = whole.ask(1, first_turn());
        ASSERT_TRUE(first && first->kept);
        Whole out;
        out.source = {somebody, *first->kept};
        fresh.start(1, second_turn(), out.source);
        ASSERT_TRUE(fresh.until([&] { return !fresh.wanted.empty() || fresh.ended(1); }));
        ASSERT_EQ(fresh.wanted.size(), 1U) << "this machine reads too quickly for the test's prompt";
        out.chain = fresh.wanted[0].chain;
        out.snapshot = whole.read(1, out.chain, out.source.kept.tokens);
        ASSERT_EQ(out.snapshot.size(), out.source.kept.bytes);
        fresh.door().give_up(fresh.loop.now(), JobId(1));
        ASSERT_TRUE(fresh.until([&] { return fresh.ended(1); }));
        out.expected = fresh.text_of(1);
        made = std::make_unique<Whole>(std::move(out));
    }
    void start(std::uint16_t steps, std::optional<wire::LayerRange> middle = std::nullopt,
               Duration silence_max = limits::engine_silence_max) {
        WorkerOptions options = Rig::with_silence(small_engine(fixture("slow"), command), silence_max);
        options.lead = WorkerOptions::Lead{wire::ActivationType::f32, steps, middle};
        lead = std::make_unique<PrefixRig>(options);
        ASSERT_TRUE(lead->until_ready());
        carrier = std::make_unique<Carrier>(*lead, fixture("slow"), command);
        const wire::LayerRange elsewhere = middle.value_or(wire::LayerRange{0, 8});
        const auto cut = static_cast<std::uint16_t>((elsewhere.first + elsewhere.end) / 2);
        ASSERT_TRUE(carrier->open_session(elsewhere.first, cut, elsewhere.end)) << carrier->failure;
    }
    // The snapshot that the lead asks for; empty: it asks for none.
    Bytes wanted(std::uint64_t job) {
        lead->start(job, second_turn(), source);
        EXPECT_TRUE(lead->until([&] { return !lead->wanted.empty() || lead->ended(job); }));
        if (lead->wanted.empty()) return {};
        EXPECT_EQ(lead->wanted.back().chain, made->chain);
        return made->snapshot;
    }
    // A part of what the job waits for is on its way to the stages.
    void until_filling(std::uint64_t job) {
        const Bytes snapshot = wanted(job);
        ASSERT_EQ(snapshot.size(), source.kept.bytes);
        lead->give(job, snapshot);
        ASSERT_TRUE(lead->until([&] { return carrier->fills > 0; }));
    }
    const Finished* until_finished(std::uint64_t job) {
        EXPECT_TRUE(lead->until([&] { return lead->ended(job) || !carrier->failure.empty(); })) << carrier->failure;
        return lead->of<Finished>(job);
    }

    static inline std::unique_ptr<Whole> made;
    std::unique_ptr<PrefixRig> lead;
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
    until_filling(1);
    ASSERT_FALSE(HasFatalFailure());
    lead->engine->cancel(lead->loop.now(), JobId(1));
    ASSERT_TRUE(lead->until([&] { return lead->ended(1); }));
    lead->start(2, second_turn(), std::nullopt);
    const Finished* finished = until_finished(2);
    ASSERT_NE(finished, nullptr);
    EXPECT_EQ(lead->text_of(2), expected);
}

TEST_F(LeadPrefixTest, AJobWhoseStagesKeepSomethingElseMeanwhileReadsItsPrompt) {
    start(1);
    ASSERT_FALSE(HasFatalFailure());
    until_filling(1);
    ASSERT_FALSE(HasFatalFailure());
    lead->engine->holds(lead->loop.now(), std::nullopt);
    const Finished* finished = until_finished(1);
    ASSERT_NE(finished, nullptr);
    EXPECT_EQ(finished->usage.reused.value(), 0U);
    EXPECT_EQ(lead->text_of(1), expected);
    EXPECT_TRUE(lead->all<engine::Down>().empty());
}

TEST_F(LeadPrefixTest, AJobWhoseStagesAreLostWhileItIsFilledInEnds) {
    start(1);
    ASSERT_FALSE(HasFatalFailure());
    until_filling(1);
    ASSERT_FALSE(HasFatalFailure());
    carrier->close_session();
    lead->engine->broken(lead->loop.now(), "hop 2 was lost", engine::BrokenFor::now);
    ASSERT_TRUE(lead->until([&] { return lead->ended(1); }));
    ASSERT_TRUE(carrier->open_session(0, 4, 8)) << carrier->failure;
    lead->start(2, second_turn(), std::nullopt);
    ASSERT_NE(until_finished(2), nullptr);
    EXPECT_EQ(lead->text_of(2), expected);
}

TEST_F(LeadPrefixTest, ALeadWhoseJobWaitsIsNotTakenForOneThatHangs) {
    constexpr Duration silence_max = std::chrono::seconds(2);
    start(2, std::nullopt, silence_max);
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_FALSE(wanted(1).empty());
    bool passed = false;
    const net::Timer wait = lead->loop.at(lead->loop.now().mono + 3 * silence_max, [&passed] { passed = true; });
    ASSERT_TRUE(lead->until([&] { return passed; }));
    EXPECT_TRUE(lead->all<engine::Down>().empty());
    lead->door().give_up(lead->loop.now(), JobId(1));
    ASSERT_NE(until_finished(1), nullptr);
    EXPECT_EQ(lead->text_of(1), expected);
}

// The layers of its own hold what the stages do not, and nobody fills them in.
TEST_F(LeadPrefixTest, ALeadWithLayersOfItsOwnAsksForNothing) {
    start(2, wire::LayerRange{2, 6});
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_TRUE(wanted(1).empty());
    const Finished* finished = until_finished(1);
    ASSERT_NE(finished, nullptr);
    EXPECT_FALSE(finished->kept) << "a part of the layers is no snapshot";
    EXPECT_EQ(lead->text_of(1), expected);
}

// The same snapshot as a whole model's, so that either may take it.
TEST_F(LeadPrefixTest, WhatStagesComputedAWholeModelGoesOnWith) {
    for (const std::uint16_t steps : {std::uint16_t{1}, std::uint16_t{4}}) {
        carrier.reset();
        start(steps);
        ASSERT_FALSE(HasFatalFailure());
        const std::optional<Finished> first = lead->ask(1, first_turn());
        ASSERT_TRUE(first && first->kept);
        EXPECT_EQ(first->kept->tokens, source.kept.tokens);
        EXPECT_EQ(first->kept->bytes, source.kept.bytes);
        PrefixRig other(small_engine(fixture("slow"), command));
        other.start(1, second_turn(), PrefixSource{somebody, *first->kept});
        ASSERT_TRUE(other.until([&] { return !other.wanted.empty() || other.ended(1); }));
        ASSERT_EQ(other.wanted.size(), 1U);
        const Bytes snapshot = lead->read(1, other.wanted[0].chain, first->kept->tokens);
        ASSERT_EQ(snapshot.size(), first->kept->bytes);
        EXPECT_GT(carrier->reads, 16U);
        other.give(1, snapshot);
        ASSERT_TRUE(other.until([&] { return other.ended(1); }));
        EXPECT_TRUE(other.refused.empty());
        ASSERT_NE(other.of<Finished>(1), nullptr);
        EXPECT_EQ(other.of<Finished>(1)->usage.reused.value(), first->kept->tokens);
        EXPECT_EQ(other.text_of(1), expected);
        EXPECT_LE(carrier->most_out, steps);
        EXPECT_TRUE(lead->read(2, ByteArray<32>{1}, first->kept->tokens).empty()) << "a name that nobody said";
    }
}

TEST_F(LeadPrefixTest, WhatGoesToAnotherJobIsGoneForWhoReads) {
    start(1);
    ASSERT_FALSE(HasFatalFailure());
    const std::optional<Finished> first = lead->ask(1, first_turn());
    ASSERT_TRUE(first && first->kept);
    lead->pieces.clear();
    lead->door().open(lead->loop.now(), PrefixReadId(1), made->chain, first->kept->tokens);
    lead->drain();
    ASSERT_TRUE(lead->until([&] { return !lead->pieces.empty(); }));
    lead->start(2, second_turn(), std::nullopt);  // takes the sequence
    ASSERT_NE(until_finished(2), nullptr);
    for (std::size_t had = 0; lead->gone == 0 && had < lead->pieces.size();) {
        had = lead->pieces.size();
        lead->door().more(lead->loop.now(), PrefixReadId(1));
        lead->drain();
        ASSERT_TRUE(lead->until([&] { return lead->gone > 0 || lead->pieces.size() > had; }));
    }
    EXPECT_EQ(lead->gone, 1U);
    EXPECT_EQ(lead->text_of(2), expected);
}

TEST_F(LeadPrefixTest, WhoReadsIsToldWhenTheStagesAreLost) {
    start(1);
    ASSERT_FALSE(HasFatalFailure());
    const std::optional<Finished> first = lead->ask(1, first_turn());
    ASSERT_TRUE(first && first->kept);
    lead->door().open(lead->loop.now(), PrefixReadId(7), made->chain, first->kept->tokens);
    lead->drain();
    ASSERT_TRUE(lead->until([&] { return !lead->pieces.empty(); }));
    carrier->close_session();
    lead->engine->broken(lead->loop.now(), "hop 2 was lost", engine::BrokenFor::now);
    lead->door().more(lead->loop.now(), PrefixReadId(7));
    lead->drain();
    for (std::size_t had = 0; lead->gone == 0 && had < lead->pieces.size();) {
        had = lead->pieces.size();
        lead->door().more(lead->loop.now(), PrefixReadId(7));
        lead->drain();
        ASSERT_TRUE(lead->until([&] { return lead->gone > 0 || lead->pieces.size() > had; }));
    }
    EXPECT_EQ(lead->gone, 1U);
}

}  // namespace
}  // namespace shoal::backend
