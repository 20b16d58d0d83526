// Coordinator and hosts together, over channels with a delay, against one machine that holds all layers.
#include "pipeline/outlet.h"
#include "pipeline/test_pipeline.h"

namespace shoal::pipeline {
namespace {

TEST_F(PipelineTest, GivesWhatOneMachineGives) {
    for (const std::size_t hops : {1U, 2U, 3U, 4U, 12U}) {
        forget();
        start(hops);
        ASSERT_TRUE(coordinator_->ready()) << hops;
        ASSERT_TRUE(step({{0, 0, 100}, {2, 0, 7}}));
        for (int i = 0; i < 20; ++i) ASSERT_TRUE(step({{0, lengths_[0], 1}, {2, lengths_[2], 1}}));
        ASSERT_TRUE(truncate(0, 50));
        ASSERT_TRUE(grow(0, 3));
        pass(2s);
        EXPECT_TRUE(expected_.empty()) << hops << " hops";
        EXPECT_TRUE(replaced_.empty());
        EXPECT_FALSE(over_);
    }
}

TEST_F(PipelineTest, AStandbyMakesUpForAHopThatIsNotThereAtTheStart) {
    absent_.insert(node(2));
    start(3);
    ASSERT_TRUE(coordinator_->ready());
    ASSERT_EQ(replaced_.size(), 1U);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    EXPECT_TRUE(expected_.empty());
}

TEST_F(PipelineTest, AStandbyThatHasLoadedIsTakenBeforeOneThatHasNot) {
    more_standbys_ = true;  // machines 51 to 50+n stand by as well, and are asked first
    start(3);
    kill(node(52));
    pass(1s);
    ASSERT_EQ(lost_standbys_, 1U);
    kill(node(2));
    pass(1s);
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].to, node(102));
}

// The rows of a long history go to a standby no faster than it computes them.
TEST_F(PipelineTest, ASlowHopHoldsBackTheOneBefore) {
    window_ = 4;
    start(3);
    for (int i = 0; i < 7; ++i) {
        ASSERT_TRUE(grow(0, 500));
        pass(300ms);
    }
    most_under_way_ = 0;
    kill(node(2));
    ASSERT_TRUE(grow(0, 1));
    pass(5s);
    EXPECT_TRUE(expected_.empty());
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_LE(most_under_way_, window_ + 2) << "the window, and what is said at once";
}

TEST_F(PipelineTest, StepsOverlapOnTheHops) {
    start(4);
    const Instant begin = now_.mono;
    for (std::uint16_t i = 0; i < 4; ++i) ASSERT_TRUE(step({{i, 0, 100}}));
    pass(5s);
    ASSERT_EQ(arrived_.size(), 4U);
    // A step takes 100 rows x 3 layers x 20 us = 6 ms on each hop: one after the other that would be 4 x (24 + 25) ms.
    EXPECT_LT(arrived_.back() - begin, 4 * 6ms + 3 * 6ms + 5 * delay + 5ms);
}

TEST_F(PipelineTest, AnyHopMayDieAndTheResultsAreTheSame) {
    for (std::uint8_t dead = 1; dead <= 3; ++dead) {
        forget();
        start(3);
        ASSERT_TRUE(step({{0, 0, 300}, {1, 0, 200}}));
        ASSERT_TRUE(grow(0, 400));  // more than one REPLAY
        pass(1s);
        for (int i = 0; i < 10; ++i) ASSERT_TRUE(step({{0, lengths_[0], 1}, {1, lengths_[1], 1}}));
        pass(12ms);  // some are on their way
        kill(node(dead));
        for (int i = 0; i < 10; ++i) ASSERT_TRUE(step({{0, lengths_[0], 1}, {1, lengths_[1], 1}}));
        pass(3s);
        EXPECT_TRUE(expected_.empty()) << "hop " << int{dead} << " died";
        ASSERT_EQ(replaced_.size(), 1U);
        EXPECT_EQ(replaced_[0].from, node(dead));
        EXPECT_FALSE(over_);
    }
}

TEST_F(PipelineTest, AllHopsMayDieAtOnce) {
    start(3);
    ASSERT_TRUE(step({{0, 0, 300}, {3, 0, 20}}));
    pass(1s);
    ASSERT_TRUE(truncate(0, 250));
    for (int i = 0; i < 6; ++i) ASSERT_TRUE(grow(0, 1));
    pass(7ms);
    for (std::uint8_t i = 1; i <= 3; ++i) kill(node(i));
    for (int i = 0; i < 6; ++i) ASSERT_TRUE(grow(0, 1));
    pass(3s);
    EXPECT_TRUE(expected_.empty());
    EXPECT_EQ(replaced_.size(), 3U);
}

TEST_F(PipelineTest, AHopThatStandsStillIsReplaced) {
    start(3);
    ASSERT_TRUE(grow(0, 30));
    pass(1s);
    machines_.at(node(2))->stopped = true;
    const Instant begin = now_.mono;
    ASSERT_TRUE(grow(0, 1));
    pass(3s);
    EXPECT_TRUE(expected_.empty());
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].from, node(2));
    EXPECT_LT(arrived_.back() - begin, 3s);
}

TEST_F(PipelineTest, ASlowHopSaysThatItLivesAndIsKept) {
    row_time_ = 2ms;
    start(2);
    ASSERT_TRUE(grow(0, 500));  // six seconds on each hop
    pass(20s);
    EXPECT_TRUE(expected_.empty());
    EXPECT_TRUE(replaced_.empty());
}

TEST_F(PipelineTest, WhatAResultSaysNoHopSaysOnceMore) {
    std::size_t said = 0;
    spoil = [&](const NodeId&, const NodeId&, wire::StageMessage& message) {
        said += std::holds_alternative<wire::StageDone>(message) ? 1 : 0;
    };
    start(3);
    for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE(grow(0, 1));
        pass(60ms);
        ASSERT_TRUE(expected_.empty());
    }
    EXPECT_EQ(said, 0U);
    pass(1s);
    EXPECT_EQ(said, 3U) << "of the last one each hop";
}

TEST_F(PipelineTest, HopsThatAlwaysOweSomethingAreHeardOfAndKept) {
    start(3);
    for (std::uint16_t i = 0; i < 4; ++i) ASSERT_TRUE(grow(i, 1));
    for (int i = 0; i < 300; ++i) {  // the next one is sent when the oldest is there: three are under way all the time
        const std::size_t before = expected_.size();
        while (expected_.size() == before) pass(1ms);
        ASSERT_TRUE(grow(static_cast<std::uint16_t>(i % 4), 1));
    }
    EXPECT_GT(now_.mono - Instant{}, 2 * limits::stage_silence_max);
    EXPECT_TRUE(replaced_.empty());
}

TEST_F(PipelineTest, AReplayThatIsBrokenOffBeginsAnew) {
    byte_time_ = 1us;
    start(3);
    for (int i = 0; i < 7; ++i) {
        ASSERT_TRUE(grow(0, 500));
        pass(1s);
    }
    kill(node(2));
    pass(120ms);  // its standby has some of the 3,500 rows
    const auto computed = machines_.at(node(102))->engine.rows_computed();
    ASSERT_GT(computed, 0U);
    ASSERT_LT(computed, 3500U);
    kill(node(1));
    ASSERT_TRUE(grow(0, 1));
    pass(5s);
    EXPECT_TRUE(expected_.empty());
    EXPECT_EQ(replaced_.size(), 2U);
    EXPECT_FALSE(over_);
}

// While a standby is replayed to nothing is settled, and what was under way behind it still comes back and lets more
// out.
TEST_F(PipelineTest, ResultsDuringALongReplayLetMoreOut) {
    byte_time_ = 1us;
    start(4);
    for (int i = 0; i < 7; ++i) {
        ASSERT_TRUE(grow(0, 500));
        pass(1s);
    }
    while (grow(0, 1)) {
    }
    pass(20ms);  // past hop 1
    kill(node(1));
    for (int i = 0; i < 100 && lengths_[0] < context - 64; ++i) {
        pass(2ms);
        while (lengths_[0] < context && grow(0, 1)) {
        }
    }
    pass(5s);
    EXPECT_TRUE(expected_.empty());
    EXPECT_EQ(replaced_.size(), 1U);
    EXPECT_FALSE(over_);
}

// The line brings the rows more slowly than they are computed, so the standby has nothing to do most of the time.
TEST_F(PipelineTest, AStandbyThatIsReplayedToSlowlyIsHeardOf) {
    byte_time_ = 10us;
    start(3);
    for (int i = 0; i < 7; ++i) {
        ASSERT_TRUE(grow(0, 500));
        pass(2s);
    }
    kill(node(2));
    ASSERT_TRUE(grow(0, 1));
    pass(10s);
    EXPECT_TRUE(expected_.empty());
    EXPECT_EQ(replaced_.size(), 1U);
    EXPECT_FALSE(over_);
}

// But when nothing comes to it any more it says nothing either: somebody stands still.
TEST_F(PipelineTest, WhoIsNotReplayedToAnyMoreIsFound) {
    byte_time_ = 10us;
    window_ = 2;
    start(3);
    for (int i = 0; i < 7; ++i) {
        ASSERT_TRUE(grow(0, 500));
        pass(2s);
    }
    kill(node(2));
    ASSERT_TRUE(grow(0, 1));
    pass(500ms);
    machines_.at(node(1))->stopped = true;
    pass(10s);
    EXPECT_TRUE(over_);
}

TEST_F(PipelineTest, AStandbyThatIsStillLoadingTakesThePlaceWhenItHas) {
    start(3);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    kill(node(102));
    pass(100ms);
    revive(node(102));
    machines_.at(node(102))->engine.load_takes(10s);
    pass(2s);  // it is asked again, and loads
    kill(node(2));
    ASSERT_TRUE(grow(0, 1));
    pass(15s);
    EXPECT_TRUE(expected_.empty());
    EXPECT_EQ(replaced_.size(), 1U);
    EXPECT_FALSE(over_);
}

TEST_F(PipelineTest, AHopThatIsBackInItsOwnPlaceIsSentToAgain) {
    start(3);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    kill(node(102));
    pass(100ms);
    revive(node(102));
    machines_.at(node(102))->engine.load_takes(1h);
    pass(2s);
    kill(node(2));  // its place goes to one that loads
    pass(100ms);
    revive(node(2));  // and is a standby again
    ASSERT_TRUE(grow(0, 1));
    pass(5s);
    kill(node(102));
    pass(5s);
    EXPECT_TRUE(expected_.empty());
    ASSERT_EQ(replaced_.size(), 2U);
    EXPECT_EQ(replaced_[1].to, node(2));
    EXPECT_FALSE(over_);
}

// Each would let another operation out, and nobody takes them.
TEST_F(PipelineTest, ResultsOfWhatNoHopWasGivenAreRefused) {
    start(1, false);
    ASSERT_TRUE(grow(0, 1));
    pass(1s);
    window_ = 0;  // from now on the hop takes nothing
    ASSERT_TRUE(grow(0, 1));
    pass(100ms);
    ASSERT_TRUE(gave_);
    send(*gave_, wire::StageStep{2, 1, {{{0, 1, 1}}, Bytes(row_bytes)}});
    pass(100ms);
    ASSERT_TRUE(over_);
    EXPECT_NE(over_->why.find("was not asked"), std::string::npos) << over_->why;
}

TEST_F(PipelineTest, AMendedNodeStandsByAgain) {
    start(3);
    ASSERT_TRUE(grow(0, 300));
    pass(1s);
    NodeId here = node(2), other = node(102);
    for (std::size_t round = 1; round <= 4; ++round) {
        kill(here);
        for (int i = 0; i < 5; ++i) ASSERT_TRUE(grow(0, 1));
        pass(500ms);
        ASSERT_EQ(replaced_.size(), round);
        EXPECT_EQ(replaced_.back().to, other);
        EXPECT_TRUE(expected_.empty());
        revive(here);
        pass(limits::stage_return_max);
        ASSERT_EQ(back_.size(), round);
        EXPECT_EQ(back_.back(), here);
        std::swap(here, other);
    }
    EXPECT_FALSE(over_);
    EXPECT_EQ(lost_standbys_, 0U);
}

TEST_F(PipelineTest, AMendedNodeIsBackSoonAndLaterWhereItKeepsDying) {
    start(2);
    Duration expected = limits::stage_return_min;
    for (int round = 0; round < 4; ++round) {
        const std::size_t before = back_.size();
        kill(node(101));
        revive(node(101));
        pass(expected - 100ms);
        EXPECT_EQ(back_.size(), before) << round;
        pass(1s);
        EXPECT_EQ(back_.size(), before + 1) << round;
        expected *= 2;
    }
    EXPECT_EQ(lost_standbys_, 4U);
    pass(limits::stage_return_max);
    kill(node(101));
    revive(node(101));
    pass(limits::stage_return_min + 1s);
    EXPECT_EQ(back_.size(), 5U) << "it had been there for long";
}

TEST_F(PipelineTest, WhoStaysAwayIsAskedLessAndLessOften) {
    start(2);
    kill(node(1));
    pass(1h);
    const std::size_t most = 9 + 12;  // 1 s doubled up to 300 s, and from then on each 300 s
    EXPECT_GT(dials_[node(1)], most / 2);
    EXPECT_LE(dials_[node(1)], most + 2);
    EXPECT_EQ(lost_standbys_, 0U) << "said once, as the loss of the hop";
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    EXPECT_TRUE(expected_.empty());
}

TEST_F(PipelineTest, WhoBreaksTheProtocolIsNotTakenBack) {
    start(3);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    spoil = [](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        auto* step = std::get_if<wire::StageStep>(&message);
        if (from == node(3) && to == leader && step != nullptr) step->rows.tensor.resize(row_bytes * 2);
    };
    ASSERT_TRUE(grow(0, 1));
    pass(1s);
    ASSERT_EQ(replaced_.size(), 1U);
    const std::size_t dialled = dials_[node(3)];
    pass(1h);
    EXPECT_EQ(dials_[node(3)], dialled);
    EXPECT_TRUE(back_.empty());
}

TEST_F(PipelineTest, WithoutAStandbyItIsOverAndNamesTheHop) {
    start(3, false);
    ASSERT_TRUE(grow(0, 10));
    kill(node(2));
    pass(1s);
    ASSERT_TRUE(over_);
    EXPECT_EQ(over_->hop, 2);
    EXPECT_EQ(over_->node, node(2));
    EXPECT_FALSE(coordinator_->step(now_, {}));
    EXPECT_EQ(machines_.at(node(1))->host->sessions(), 0U) << "the others are let go";
    EXPECT_EQ(machines_.at(node(3))->host->sessions(), 0U);
}

TEST_F(PipelineTest, WhatANodeDoesWrongIsCountedAgainstIt) {
    start(3);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    // Hop 3 sends rows of another shape.
    spoil = [](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        auto* step = std::get_if<wire::StageStep>(&message);
        if (from == node(3) && to == leader && step != nullptr) step->rows.tensor.resize(row_bytes * 2);
    };
    ASSERT_TRUE(grow(0, 1));
    pass(1s);
    EXPECT_TRUE(expected_.empty());
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].from, node(3));
}

// Else they would end the engine of the lead, and with it every answer.
TEST_F(PipelineTest, ResultsThatAreNoNumbersAreCountedAgainstTheLastHop) {
    start(3);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    spoil = [](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        auto* step = std::get_if<wire::StageStep>(&message);
        if (from == node(3) && to == leader && step != nullptr) step->rows.tensor.back() = 0x7f;
    };
    ASSERT_TRUE(grow(0, 1));
    pass(1s);
    EXPECT_TRUE(expected_.empty());
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].from, node(3));
    EXPECT_EQ(replaced_[0].why, "its results are numbers that are none");
}

TEST_F(PipelineTest, AnEngineThatFailsEndsItsSessionOnly) {
    start(3);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    machines_.at(node(2))->engine.fail_next(wire::StageFaultCode::not_finite);
    ASSERT_TRUE(grow(0, 1));
    pass(1s);
    EXPECT_TRUE(expected_.empty());
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].from, node(2));
    EXPECT_EQ(replaced_[0].why, "told to fail");
}

TEST_F(PipelineTest, StrangersLeadNothingAndJoinNothing) {
    add(node(1));
    StageHost& host = *machines_.at(node(1))->host;
    const wire::StageOpen open{.session = wire::StageSessionId(ByteArray<16>{1}),
                               .model = ModelId(ByteArray<32>{7}),
                               .layers = {0, 4},
                               .hop = 1,
                               .type = wire::ActivationType::f16,
                               .width = width,
                               .context = context,
                               .sequences = 1,
                               .next = leader};
    const auto answer = [&]() -> std::optional<wire::StageFaultCode> {
        while (auto output = host.poll_channels()) {
            const auto* send_ = std::get_if<SendMessage>(&*output);
            const auto* fault = send_ != nullptr ? std::get_if<wire::StageFault>(&send_->message) : nullptr;
            if (fault != nullptr) return fault->code;
        }
        return std::nullopt;
    };
    host.on_message(now_, ChannelId(1), node(66), open);
    EXPECT_EQ(answer(), wire::StageFaultCode::refused);
    EXPECT_EQ(host.sessions(), 0U);
    host.on_message(now_, ChannelId(2), leader, open);
    EXPECT_EQ(host.sessions(), 1U);
    EXPECT_EQ(answer(), std::nullopt);
    host.on_message(now_, ChannelId(3), node(66), wire::StageJoin{wire::StageSessionId(ByteArray<16>{2}), 1});
    bool closed = false;
    while (auto output = host.poll_channels()) closed = closed || std::holds_alternative<CloseChannel>(*output);
    EXPECT_TRUE(closed) << "who does not know the session's name";
}

// The last hop joins the lead under the same session's name: where the lead is a hop too, both are there to be asked.
TEST_F(PipelineTest, AHopLeavesToTheLeadWhatIsTheLeads) {
    add(node(1));
    StageHost& host = *machines_.at(node(1))->host;
    const wire::StageSessionId session(ByteArray<16>{1});
    const wire::StageOpen open{.session = session,
                               .model = ModelId(ByteArray<32>{7}),
                               .layers = {0, 4},
                               .hop = 1,
                               .type = wire::ActivationType::f16,
                               .width = width,
                               .context = context,
                               .sequences = 1,
                               .next = leader};
    EXPECT_TRUE(host.takes(leader, open));
    EXPECT_FALSE(host.takes(leader, wire::StageJoin{session, 1})) << "before it is open";
    host.on_message(now_, ChannelId(1), leader, open);
    EXPECT_TRUE(host.takes(leader, wire::StageJoin{session, 1}));
    EXPECT_FALSE(host.takes(leader, wire::StageJoin{session, 2}));
    EXPECT_FALSE(host.takes(leader, wire::StageJoin{wire::StageSessionId(ByteArray<16>{2}), 1}));
}

// Nothing is settled while a replay is on its way: who never takes it must not make the hop before grow.
TEST(Outlet, WhatWaitsForAResultIsBounded) {
    Outlet outlet(row_bytes, std::size_t{1} << 20, true);
    ASSERT_TRUE(outlet.attach({true, 0}));
    for (std::uint64_t number = 1; number <= limits::stage_open_max; ++number) {
        ASSERT_TRUE(outlet.add(wire::StageTruncate{number, number - 1, 0, 0}));
    }
    const Status more = outlet.add(wire::StageTruncate{limits::stage_open_max + 1, limits::stage_open_max, 0, 0});
    ASSERT_FALSE(more);
    EXPECT_EQ(more.error().code, Errc::exhausted);
}

TEST_F(PipelineTest, MoreThanMayBeKeptIsSaidWhenItIsNeeded) {
    history_max_ = 50 * row_bytes;
    start(3);
    ASSERT_TRUE(grow(0, 100));
    pass(1s);
    ASSERT_TRUE(grow(0, 1));
    pass(1s);
    EXPECT_TRUE(expected_.empty()) << "without a loss nothing is missed";
    kill(node(2));
    ASSERT_TRUE(grow(0, 1));
    pass(3s);
    EXPECT_TRUE(over_);
}

// Random operations, and losses at random moments: whatever happens, each result is the one of a single machine.
TEST_F(PipelineTest, RandomLossesChangeNoResult) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        TestRng rng{seed};
        forget();
        const std::size_t hops = 1 + rng.below(4);
        start(hops);
        std::set<std::uint8_t> dead;
        for (int turn = 0; turn < 60; ++turn) {
            const auto sequence = static_cast<std::uint16_t>(rng.below(sequences));
            const std::uint64_t what = rng.below(12);
            if (what < 7) {
                (void)grow(sequence, static_cast<std::uint16_t>(1 + rng.below(what == 0 ? 120 : 2)));
            } else if (what < 9) {
                (void)truncate(sequence, static_cast<std::uint32_t>(rng.below(lengths_[sequence] + 1)));
            } else if (what == 9 && rng.below(3) == 0) {
                const auto victim = static_cast<std::uint8_t>(1 + rng.below(hops));
                if (dead.insert(victim).second) kill(node(victim));
            } else {
                pass(std::chrono::milliseconds(rng.below(40)));
            }
        }
        pass(10s);
        ASSERT_TRUE(expected_.empty()) << "seed " << seed;
        ASSERT_FALSE(over_) << "seed " << seed << ": " << over_->why;
        ASSERT_EQ(replaced_.size(), dead.size());
    }
}

// One of each pair, hop and standby, is there at any time; the other comes and goes.
TEST_F(PipelineTest, RandomLossesAndReturnsChangeNoResult) {
    std::size_t returns = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        TestRng rng{seed};
        forget();
        const std::size_t hops = 1 + rng.below(4);
        start(hops);
        std::set<NodeId> away;
        for (int turn = 0; turn < 80; ++turn) {
            const auto sequence = static_cast<std::uint16_t>(rng.below(sequences));
            const std::uint64_t what = rng.below(12);
            const auto hop = static_cast<std::uint8_t>(1 + rng.below(hops));
            const bool first = rng.below(2) == 0;
            const NodeId victim = node(first ? hop : static_cast<std::uint8_t>(100 + hop));
            const NodeId other = node(first ? static_cast<std::uint8_t>(100 + hop) : hop);
            for (const NodeId& id : std::exchange(back_, {})) returns += away.erase(id);
            if (what < 6) {
                (void)grow(sequence, static_cast<std::uint16_t>(1 + rng.below(what == 0 ? 120 : 2)));
            } else if (what < 8) {
                (void)truncate(sequence, static_cast<std::uint32_t>(rng.below(lengths_[sequence] + 1)));
            } else if (what == 8 && !away.contains(victim) && !away.contains(other)) {
                kill(victim);
                revive(victim);
                away.insert(victim);
            } else {
                pass(std::chrono::milliseconds(rng.below(what == 11 ? 4000 : 40)));
            }
        }
        pass(10s);
        ASSERT_TRUE(expected_.empty()) << "seed " << seed;
        ASSERT_FALSE(over_) << "seed " << seed << ": " << over_->why;
    }
    EXPECT_GT(returns, 30U);
}

}  // namespace
}  // namespace shoal::pipeline
