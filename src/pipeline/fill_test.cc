// Keys and values in place of computing: the same results as of a machine that was given them, whatever is lost.
#include "pipeline/outlet.h"
#include "pipeline/test_pipeline.h"

namespace shoal::pipeline {
namespace {

class FillTest : public PipelineTest {
protected:
    void fill_in_pieces(std::uint16_t sequence, std::uint16_t tokens, std::uint16_t piece) {
        const Bytes kept = kept_elsewhere(tokens);
        for (std::size_t at = 0; at < kept.size(); at += piece * kv_bytes) {
            const std::size_t size = std::min(piece * kv_bytes, kept.size() - at);
            ASSERT_TRUE(fill(sequence, to_bytes(ByteView(kept).subspan(at, size))));
        }
    }
};

TEST_F(FillTest, IsGoneOnWithAsIfItHadBeenComputed) {
    for (const std::size_t hops : {1U, 2U, 3U, 4U, 12U}) {
        forget();
        start(hops);
        ASSERT_TRUE(grow(2, 7));
        fill_in_pieces(0, 100, 30);
        ASSERT_TRUE(step({{0, lengths_[0], 5}, {2, lengths_[2], 1}}));
        ASSERT_TRUE(truncate(0, 50));  // in the middle of what it was filled with
        ASSERT_TRUE(grow(0, 3));
        ASSERT_TRUE(truncate(0, 0));
        fill_in_pieces(0, 10, 10);
        ASSERT_TRUE(grow(0, 3));
        pass(2s);
        EXPECT_TRUE(expected_.empty()) << hops << " hops";
        EXPECT_TRUE(replaced_.empty());
        EXPECT_FALSE(over_);
    }
}

TEST_F(FillTest, AStandbyIsFilledToo) {
    for (std::uint8_t dead = 1; dead <= 3; ++dead) {
        forget();
        start(3);
        fill_in_pieces(0, 700, 100);  // more than one REFILL
        ASSERT_TRUE(step({{0, lengths_[0], 20}, {1, 0, 200}}));
        pass(1s);
        fill_in_pieces(2, 60, 20);
        pass(12ms);  // some are on their way
        kill(node(dead));
        for (int i = 0; i < 10; ++i) ASSERT_TRUE(step({{0, lengths_[0], 1}, {1, lengths_[1], 1}, {2, lengths_[2], 1}}));
        pass(3s);
        EXPECT_TRUE(expected_.empty()) << "hop " << int{dead} << " died";
        EXPECT_EQ(replaced_.size(), 1U);
        EXPECT_FALSE(over_);
    }
}

TEST_F(FillTest, RandomLossesChangeNoResult) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        TestRng rng{seed};
        forget();
        const std::size_t hops = 1 + rng.below(4);
        start(hops);
        std::set<std::uint8_t> dead;
        std::set<std::uint16_t> filling;
        for (int turn = 0; turn < 80; ++turn) {
            const auto sequence = static_cast<std::uint16_t>(rng.below(sequences));
            const std::uint64_t what = rng.below(14);
            if (what < 5) {
                if (grow(sequence, static_cast<std::uint16_t>(1 + rng.below(what == 0 ? 120 : 2)))) {
                    filling.erase(sequence);
                }
            } else if (what < 7) {
                const std::size_t length = rng.below(2) == 0 ? 0 : rng.below(lengths_[sequence] + 1);
                if (truncate(sequence, static_cast<std::uint32_t>(length))) filling.erase(sequence);
            } else if (what < 10 && (lengths_[sequence] == 0 || filling.contains(sequence))) {
                if (fill(sequence, kept_elsewhere(static_cast<std::uint16_t>(1 + rng.below(40))))) {
                    filling.insert(sequence);
                }
            } else if (what == 11 && lengths_[sequence] > 0) {
                const auto tokens = static_cast<std::uint32_t>(1 + rng.below(lengths_[sequence]));
                wire::StageReadOf of{sequence, tokens, static_cast<wire::StageReadWhat>(rng.below(3))};
                if (of.what != wire::StageReadWhat::hashes) {
                    of.layer = static_cast<std::uint16_t>(rng.below(layers));
                    of.position = static_cast<std::uint32_t>(rng.below(tokens));
                    of.rows = static_cast<std::uint16_t>(1 + rng.below(std::min(tokens - of.position, 50U)));
                }
                if (read(of)) filling.erase(sequence);
            } else if (what == 10 && rng.below(3) == 0) {
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

TEST_F(FillTest, WhatHopsHoldIsReadAsItIs) {
    for (const std::size_t hops : {1U, 3U, 12U}) {
        forget();
        start(hops);
        ASSERT_TRUE(grow(1, 40));
        fill_in_pieces(0, 20, 20);
        ASSERT_TRUE(grow(0, 5));
        for (const std::uint16_t sequence : {std::uint16_t{0}, std::uint16_t{1}}) {
            ASSERT_TRUE(read({sequence, 25}));
            for (std::uint16_t layer = 0; layer < layers; ++layer) {
                ASSERT_TRUE(read({sequence, 25, wire::StageReadWhat::keys, layer, 0, 25}));
                ASSERT_TRUE(read({sequence, 25, wire::StageReadWhat::values, layer, 10, 3}));
                pass(100ms);
            }
        }
        // What is asked before a sequence is set back is what it held.
        ASSERT_TRUE(read({1, 40, wire::StageReadWhat::keys, 3, 39, 1}));
        ASSERT_TRUE(truncate(1, 10));
        ASSERT_TRUE(grow(1, 2));
        pass(2s);
        EXPECT_TRUE(expected_.empty()) << hops << " hops";
        EXPECT_TRUE(replaced_.empty());
    }
}

TEST_F(FillTest, WhoGivesOtherBytesThanWereReadIsLost) {
    start(3);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    spoil = [](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        auto* asked = std::get_if<wire::StageRead>(&message);
        if (asked != nullptr && from == node(3) && to == leader) asked->bytes.resize(asked->bytes.size() - 32);
    };
    ASSERT_TRUE(read({0, 10}));
    pass(1s);
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].hop, 3);
    EXPECT_TRUE(expected_.empty()) << "the standby gives it";
}

// A result is of what was sent, whatever it says of itself.
TEST_F(FillTest, WhoAnswersSomethingElseThanWasAskedIsLost) {
    const std::vector<std::function<void(wire::StageMessage&)>> lies = {
        [](wire::StageMessage& m) {
            const auto& step = std::get<wire::StageStep>(m);
            m = wire::StageRead{step.number, step.settled, {0, 1, wire::StageReadWhat::keys, 511, 0, 1}, {}};
        },
        [](wire::StageMessage& m) {
            const auto& step = std::get<wire::StageStep>(m);
            m = wire::StageFill{step.number, step.settled, {0, step.rows.parts[0].position, 1, {}}};
        },
        [](wire::StageMessage& m) {
            const auto& step = std::get<wire::StageStep>(m);
            m = wire::StageTruncate{step.number, step.settled, 0, 0};
        },
        [](wire::StageMessage& m) {
            auto& step = std::get<wire::StageStep>(m);
            step.rows.parts[0].rows = 1;
            step.rows.tensor.resize(row_bytes);
        }};
    for (const auto& lie : lies) {
        forget();
        spoil = nullptr;
        start(3);
        ASSERT_TRUE(grow(0, 10));
        pass(1s);
        spoil = [&lie](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
            if (from == node(3) && to == leader && std::holds_alternative<wire::StageStep>(message)) lie(message);
        };
        ASSERT_TRUE(grow(0, 2));
        pass(2s);
        ASSERT_EQ(replaced_.size(), 1U);
        EXPECT_EQ(replaced_[0].hop, 3);
        EXPECT_NE(replaced_[0].why.find("do not fit"), std::string::npos) << replaced_[0].why;
        EXPECT_TRUE(expected_.empty());
        EXPECT_FALSE(over_);
    }
}

TEST_F(FillTest, WhoGivesOtherRowsThanWereReadIsLost) {
    start(3);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    spoil = [](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        auto* asked = std::get_if<wire::StageRead>(&message);
        if (asked == nullptr || from != node(3) || to != leader) return;
        asked->of.rows = 9;
        asked->bytes.resize(9 * 4);
    };
    ASSERT_TRUE(read({0, 10, wire::StageReadWhat::keys, 2, 0, 10}));
    pass(1s);
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].hop, 3);
}

TEST_F(FillTest, HashesOfTooManyLayersAreRefused) {
    start(3);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    spoil = [](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        auto* asked = std::get_if<wire::StageRead>(&message);
        if (asked != nullptr && from == node(1) && to == node(2)) asked->bytes.resize(32 * limits::model_layers_max);
    };
    ASSERT_TRUE(read({0, 10}));
    pass(1s);
    ASSERT_FALSE(replaced_.empty());
    EXPECT_NE(replaced_[0].why.find("too many layers"), std::string::npos) << replaced_[0].why;
}

// The rows are of one form from then on: a standby that keeps another one would go on with something else.
TEST_F(FillTest, WhoKeepsAnotherFormTakesNoPlaceOnceSomethingWasFilledIn) {
    for (const bool filled : {false, true}) {
        forget();
        spoil = [](const NodeId& from, const NodeId&, wire::StageMessage& message) {
            auto* opened = std::get_if<wire::StageOpened>(&message);
            if (opened != nullptr && from == node(102)) opened->kv->turned_keys = 64;
        };
        start(3);
        ASSERT_TRUE(coordinator_->kv());
        if (filled) fill_in_pieces(0, 10, 10);
        ASSERT_TRUE(grow(1, 1));
        pass(1s);
        kill(node(2));
        ASSERT_TRUE(grow(1, 1));
        pass(3s);
        EXPECT_EQ(over_.has_value(), filled);
        EXPECT_EQ(others_, filled ? 0U : 1U) << "the owner is told";
        if (!filled) {
            EXPECT_FALSE(coordinator_->kv());
        }
    }
}

// The last hop keeps nothing of a fill for anybody, and must know all the same that it has begun.
TEST_F(FillTest, ARefillThatIsBrokenOffBeginsAnew) {
    start(2);
    fill_in_pieces(0, 1200, 100);
    pass(1s);
    ASSERT_TRUE(grow(0, 3));  // says that the fills are settled
    pass(1s);
    int refills = 0;
    spoil = [&](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        if (from != node(1) || to != node(102) || !std::holds_alternative<wire::StageRefill>(message)) return;
        if (++refills == 2) break_off(from, to);
    };
    kill(node(2));
    pass(2s);
    ASSERT_TRUE(grow(0, 1));
    pass(3s);
    EXPECT_GT(refills, 2);
    EXPECT_TRUE(expected_.empty());
    EXPECT_EQ(replaced_.size(), 1U) << replaced_.back().why;
    EXPECT_FALSE(over_);
}

TEST_F(FillTest, AReplayOfMoreThanIsKeptEndsTheSession) {
    history_max_ = 40 * kv_bytes;
    start(3);
    spoil = [](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        auto* refill = std::get_if<wire::StageRefill>(&message);
        if (refill != nullptr && from == node(1) && to == node(102))
            refill->rows.tensor.resize(refill->rows.rows * 4096);
    };
    fill_in_pieces(0, 30, 10);
    ASSERT_TRUE(grow(0, 1));
    pass(1s);
    kill(node(2));
    ASSERT_TRUE(grow(0, 1));
    pass(1s);
    ASSERT_TRUE(over_ || replaced_.size() > 1);
    const std::string why = over_ ? over_->why : replaced_[1].why;
    EXPECT_NE(why.find("longer than what is kept"), std::string::npos) << why;
}

TEST_F(FillTest, WhatTwoHopsWouldGiveIsRefused) {
    start(3);
    ASSERT_TRUE(grow(0, 10));
    pass(1s);
    spoil = [](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        auto* asked = std::get_if<wire::StageRead>(&message);
        if (asked != nullptr && from == node(1) && to == node(2)) asked->bytes = Bytes(4 * asked->of.rows);
    };
    ASSERT_TRUE(read({0, 10, wire::StageReadWhat::keys, 5, 0, 10}));
    pass(1s);
    ASSERT_FALSE(replaced_.empty());
    EXPECT_NE(replaced_[0].why.find("another hop has given it"), std::string::npos) << replaced_[0].why;
}

TEST_F(FillTest, MoreThanMayBeKeptIsSaidWhenItIsNeeded) {
    history_max_ = 50 * kv_bytes;
    start(3);
    fill_in_pieces(0, 100, 25);
    ASSERT_TRUE(grow(0, 1));
    pass(1s);
    ASSERT_TRUE(grow(0, 1));
    pass(1s);
    EXPECT_TRUE(expected_.empty()) << "without a loss nothing is missed";
    kill(node(1));  // whose own part is a third
    ASSERT_TRUE(grow(0, 1));
    pass(3s);
    EXPECT_TRUE(over_);
}

// Whoever hands on less than the next hop keeps is a liar; that hop says so, and is suspected itself.
TEST_F(FillTest, LessThanTheLayersKeepIsRefused) {
    start(3);
    spoil = [](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        auto* with = std::get_if<wire::StageFill>(&message);
        if (with != nullptr && from == node(1) && to == node(2)) with->rows.tensor.resize(with->rows.rows * 8);
    };
    ASSERT_TRUE(fill(0, kept_elsewhere(10)));
    pass(1s);
    ASSERT_FALSE(replaced_.empty());
    EXPECT_EQ(replaced_[0].hop, 2);
    EXPECT_NE(replaced_[0].why.find("not what these layers keep"), std::string::npos) << replaced_[0].why;
}

TEST_F(FillTest, MoreThanAllLayersKeepIsTheLastHopsFault) {
    start(3);
    spoil = [](const NodeId& from, const NodeId& to, wire::StageMessage& message) {
        auto* with = std::get_if<wire::StageFill>(&message);
        if (with != nullptr && from == node(3) && to == leader) with->rows.tensor.resize(with->rows.rows);
    };
    ASSERT_TRUE(fill(0, kept_elsewhere(10)));
    pass(1s);
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].hop, 3);
    EXPECT_NE(replaced_[0].why.find("do not fit"), std::string::npos);
    EXPECT_TRUE(expected_.empty());
}

TEST_F(FillTest, WhatTheHopsKeepIsWhatTheirLayersKeepInOrder) {
    start(4);
    const auto kv = coordinator_->kv();
    ASSERT_TRUE(kv);
    EXPECT_EQ(kv->layers.size(), layers);
    EXPECT_EQ(kv->token_bytes(), kv_bytes);
}

TEST_F(FillTest, NothingIsFilledInWhereOneHopCannotBe) {
    spoil = [](const NodeId& from, const NodeId&, wire::StageMessage& message) {
        auto* opened = std::get_if<wire::StageOpened>(&message);
        if (opened != nullptr && from == node(2)) opened->kv.reset();
    };
    start(3);
    EXPECT_TRUE(coordinator_->ready());
    EXPECT_FALSE(coordinator_->kv());
}

TEST_F(FillTest, HopsThatTurnTheirRowsDifferentlyAreNotFilled) {
    spoil = [](const NodeId& from, const NodeId&, wire::StageMessage& message) {
        auto* opened = std::get_if<wire::StageOpened>(&message);
        if (opened != nullptr && from == node(2)) opened->kv->turned_keys = 64;
    };
    start(3);
    EXPECT_TRUE(coordinator_->ready());
    EXPECT_FALSE(coordinator_->kv());
}

TEST_F(FillTest, AHopThatSpeaksOfOtherLayersIsLost) {
    spoil = [](const NodeId& from, const NodeId&, wire::StageMessage& message) {
        auto* opened = std::get_if<wire::StageOpened>(&message);
        if (opened != nullptr && from == node(2)) opened->kv->layers.pop_back();
    };
    start(3);
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].hop, 2);
    EXPECT_NE(replaced_[0].why.find("not of its layers"), std::string::npos);
}

TEST(Intake, ASequenceIsFilledFromItsBeginningAndAtOneGo) {
    Intake intake(row_bytes, 100, 2, true);
    std::uint64_t number = 0;
    const auto fill = [&](std::uint16_t sequence, std::uint32_t position, std::uint16_t rows) {
        const Status taken =
            intake.take(Operation(wire::StageFill{number + 1, number, {sequence, position, rows, {}}}));
        number += taken.has_value();
        return taken.has_value();
    };
    const auto step = [&](std::uint32_t position) {
        const Status taken =
            intake.take(Operation(wire::StageStep{number + 1, number, {{{0, position, 1}}, Bytes(row_bytes)}}));
        number += taken.has_value();
        return taken.has_value();
    };
    const auto truncate = [&](std::uint32_t length) {
        const Status taken = intake.take(Operation(wire::StageTruncate{number + 1, number, 0, length}));
        number += taken.has_value();
        return taken.has_value();
    };
    EXPECT_FALSE(fill(2, 0, 1)) << "no such sequence";
    EXPECT_FALSE(fill(0, 1, 1)) << "not from the beginning";
    EXPECT_FALSE(fill(0, 0, 101)) << "beyond the context";
    EXPECT_TRUE(fill(0, 0, 10));
    EXPECT_FALSE(fill(0, 9, 1)) << "it holds that";
    EXPECT_TRUE(fill(0, 10, 10));
    EXPECT_TRUE(step(20));
    EXPECT_FALSE(fill(0, 21, 1)) << "behind rows";
    EXPECT_TRUE(truncate(20));
    EXPECT_FALSE(fill(0, 20, 1)) << "behind what was truncated";
    EXPECT_TRUE(step(20));
    EXPECT_TRUE(truncate(0));
    EXPECT_TRUE(fill(0, 0, 100));
    EXPECT_FALSE(fill(0, 100, 1));
    EXPECT_FALSE(intake.take(wire::StageRefill{{0, 0, 1, {}}})) << "it is not fresh";
    EXPECT_FALSE(intake.take(Operation(wire::StageRead{number + 1, number, {0, 101}, {}}))) << "more than it holds";
    EXPECT_FALSE(intake.take(Operation(wire::StageRead{number + 1, number, {1, 1}, {}})));
    EXPECT_TRUE(truncate(0));
    EXPECT_TRUE(fill(0, 0, 50));
    EXPECT_TRUE(intake.take(Operation(wire::StageRead{number + 1, number, {0, 50}, {}})));
    ++number;
    EXPECT_FALSE(fill(0, 50, 1)) << "behind what was read";
}

}  // namespace
}  // namespace shoal::pipeline
