// A prefix that moves between two real workers, through the doors that a node uses.
#include <gtest/gtest.h>
#include <signal.h>

#include "backend/test_prefixes.h"

namespace shoal::backend {
namespace {

using engine::Finished;

const NodeId somebody(ByteArray<32>{9});

class PrefixEngines : public WithEngine {
protected:
    WorkerOptions options() const { return small_engine(fixture("slow"), command); }
};

TEST_F(PrefixEngines, WhatOneEngineComputedAnotherGoesOnWith) {
    PrefixRig one(options()), two(options()), fresh(options());
    const std::optional<Finished> first = one.ask(1, first_turn());
    ASSERT_TRUE(first && first->kept);
    const PrefixSource source{somebody, *first->kept};
    ASSERT_TRUE(fresh.ask(1, second_turn()));

    two.start(1, second_turn(), source);
    ASSERT_TRUE(two.until([&] { return !two.wanted.empty() || two.ended(1); }));
    ASSERT_EQ(two.wanted.size(), 1U) << "this machine reads too quickly for the test's prompt";
    EXPECT_EQ(two.wanted[0].source, source);
    EXPECT_GE(two.wanted[0].recompute, limits::prefix_recompute_min);
    RecordProperty("recompute_ms", static_cast<int>(two.wanted[0].recompute / 1ms));
    RecordProperty("tokens", static_cast<int>(source.kept.tokens));
    const Bytes snapshot = one.read(1, two.wanted[0].chain, source.kept.tokens);
    ASSERT_EQ(snapshot.size(), source.kept.bytes);
    EXPECT_GT(one.pieces.size(), 2U);
    two.give(1, snapshot);
    ASSERT_TRUE(two.until([&] { return two.ended(1); }));
    ASSERT_NE(two.of<Finished>(1), nullptr);
    EXPECT_TRUE(two.refused.empty());
    EXPECT_EQ(two.of<Finished>(1)->usage.reused.value(), source.kept.tokens);
    EXPECT_EQ(two.of<Finished>(1)->usage.prompt, fresh.of<Finished>(1)->usage.prompt);
    EXPECT_EQ(two.text_of(1), fresh.text_of(1));
    // The reader may ask again, and for nothing else.
    EXPECT_EQ(one.read(2, two.wanted[0].chain, source.kept.tokens), snapshot);
    EXPECT_TRUE(one.read(3, ByteArray<32>{}, source.kept.tokens).empty());
}

TEST_F(PrefixEngines, WhatWasAlteredIsRefusedAndTheAnswerIsRight) {
    PrefixRig one(options()), two(options()), fresh(options());
    const std::optional<Finished> first = one.ask(1, first_turn());
    ASSERT_TRUE(first && first->kept);
    const PrefixSource source{somebody, *first->kept};
    ASSERT_TRUE(fresh.ask(1, second_turn()));
    two.start(1, second_turn(), source);
    ASSERT_TRUE(two.until([&] { return !two.wanted.empty() || two.ended(1); }));
    ASSERT_EQ(two.wanted.size(), 1U);
    Bytes snapshot = one.read(1, two.wanted[0].chain, source.kept.tokens);
    snapshot[snapshot.size() / 2] ^= 1;
    two.give(1, snapshot);
    ASSERT_TRUE(two.until([&] { return two.ended(1); }));
    ASSERT_EQ(two.refused.size(), 1U);
    EXPECT_EQ(two.refused[0].job, JobId(1));
    EXPECT_NE(two.refused[0].reason.find("altered"), std::string::npos) << two.refused[0].reason;
    ASSERT_NE(two.of<Finished>(1), nullptr);
    EXPECT_EQ(two.of<Finished>(1)->usage.reused.value(), 0U);
    EXPECT_EQ(two.text_of(1), fresh.text_of(1));
    EXPECT_TRUE(two.all<engine::Down>().empty());
}

// A job that waits is open, and the node watches for silence meanwhile.
TEST_F(PrefixEngines, AWorkerWhoseJobWaitsIsNotTakenForOneThatHangs) {
    WorkerOptions watched = options();
    watched.silence_max = 2500ms;
    PrefixRig one(options()), two(watched);
    const std::optional<Finished> first = one.ask(1, first_turn());
    ASSERT_TRUE(first && first->kept);
    two.start(1, second_turn(), PrefixSource{somebody, *first->kept});
    ASSERT_TRUE(two.until([&] { return !two.wanted.empty() || two.ended(1); }));
    ASSERT_EQ(two.wanted.size(), 1U);
    bool passed = false;
    const net::Timer wait = two.loop.at(two.loop.now().mono + 3 * watched.silence_max, [&passed] { passed = true; });
    ASSERT_TRUE(two.until([&] { return passed; }));
    EXPECT_TRUE(two.all<engine::Down>().empty());
    two.door().give_up(two.loop.now(), JobId(1));
    ASSERT_TRUE(two.until([&] { return two.ended(1); }));
    EXPECT_NE(two.of<Finished>(1), nullptr);
}

TEST_F(PrefixEngines, AWorkerThatDiesTakesItsReadsAndWaitsWithIt) {
    PrefixRig one(options());
    const std::optional<Finished> first = one.ask(1, first_turn());
    ASSERT_TRUE(first && first->kept);
    ASSERT_EQ(::kill(one.engine->pid(), SIGKILL), 0);
    one.door().open(one.loop.now(), PrefixReadId(1), {}, 64);
    ASSERT_TRUE(one.until([&] { return one.gone > 0; }));
    ASSERT_TRUE(one.until([&] { return one.all<engine::Ready>().size() == 2; }));
    one.start(2, second_turn(), PrefixSource{somebody, *first->kept});
    ASSERT_TRUE(one.until([&] { return !one.wanted.empty() || one.ended(2); }));
    ASSERT_EQ(one.wanted.size(), 1U) << "the new worker holds nothing";
    ASSERT_EQ(::kill(one.engine->pid(), SIGKILL), 0);
    ASSERT_TRUE(one.until([&] { return one.ended(2); }));
    EXPECT_NE(one.of<engine::Failed>(2), nullptr);
    EXPECT_FALSE(one.door().takes(JobId(2)));
}

}  // namespace
}  // namespace shoal::backend
