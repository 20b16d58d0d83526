// What the coordinator does with a hop of several ranks; all else of it is in pipeline_test.cc.
#include <gtest/gtest.h>

#include <map>

#include "base/test_rng.h"
#include "engine/fake_stage.h"
#include "pipeline/coordinator.h"
#include "pipeline/stage_host.h"

namespace shoal::pipeline {
namespace {

NodeId node(std::uint8_t number) {
    return NodeId(ByteArray<32>{number, 0x0D});
}

class CoordinatorGroupTest : public ::testing::Test {
protected:
    // Hop 1 is ranks 1, 2 and 3, hop 2 node 4; ranks 11 and 12 stand by for hop 1.
    CoordinatorGroupTest() {
        CoordinatorConfig config;
        config.self = node(200);
        config.model = ModelId(ByteArray<32>{7});
        config.width = 32;
        config.context = 64;
        config.sequences = 1;
        config.hops = {{node(1), {0, 4}, {node(1), node(2), node(3)}}, {node(4), {4, 8}}};
        config.standbys = {{node(11), {0, 4}, {node(11), node(12)}}};
        coordinator_ = std::make_unique<Coordinator>(now_, config, rng_);
        run();
    }
    // Every dialled node is reached at once.
    void run() {
        while (auto output = coordinator_->poll_channels()) {
            if (const auto* wanted = std::get_if<Connect>(&*output)) {
                const ChannelId channel(next_++);
                node_of_[channel] = wanted->node;
                coordinator_->on_connected(now_, wanted->token, channel);
            } else if (const auto* message = std::get_if<SendMessage>(&*output)) {
                if (const auto* open = std::get_if<wire::StageOpen>(&message->message)) {
                    control_[node_of_.at(message->channel)] = message->channel;
                    opens_[node_of_.at(message->channel)] = *open;
                }
            } else if (const auto* closed = std::get_if<CloseChannel>(&*output)) {
                closed_.push_back(node_of_.at(closed->channel));
            }
        }
        while (auto output = coordinator_->poll()) {
            if (const auto* replaced = std::get_if<Coordinator::Replaced>(&*output)) replaced_.push_back(*replaced);
            if (const auto* over = std::get_if<Coordinator::Over>(&*output)) over_ = *over;
        }
    }
    void says(std::uint8_t number, wire::StageMessage message) {
        coordinator_->on_message(now_, control_.at(node(number)), node(number), std::move(message));
        run();
    }
    void opened(std::initializer_list<std::uint8_t> numbers) {
        for (const std::uint8_t number : numbers) says(number, wire::StageOpened{});
    }

    Now now_{Instant(1h), {}};
    TestRng rng_{5};
    std::unique_ptr<Coordinator> coordinator_;
    std::uint64_t next_ = 1;
    std::map<ChannelId, NodeId> node_of_;
    std::map<NodeId, ChannelId> control_;
    std::map<NodeId, wire::StageOpen> opens_;
    std::vector<NodeId> closed_;
    std::vector<Coordinator::Replaced> replaced_;
    std::optional<Coordinator::Over> over_;
};

TEST_F(CoordinatorGroupTest, OpensEachRankItself) {
    ASSERT_EQ(opens_.size(), 6U);
    const std::vector<NodeId> ranks = {node(1), node(2), node(3)};
    for (std::uint8_t rank = 0; rank < 3; ++rank) {
        const wire::StageOpen& open = opens_.at(ranks[rank]);
        EXPECT_EQ(open.rank, rank);
        EXPECT_EQ(open.ranks, ranks);
        EXPECT_EQ(open.hop, 1);
        EXPECT_EQ(open.layers, (wire::LayerRange{0, 4}));
    }
    EXPECT_TRUE(opens_.at(node(4)).ranks.empty());
    EXPECT_EQ(opens_.at(node(12)).rank, 1);
}

TEST_F(CoordinatorGroupTest, AHopIsThereWhenAllItsRanksAre) {
    opened({4, 1, 3});
    EXPECT_FALSE(coordinator_->ready());
    opened({2});
    EXPECT_TRUE(coordinator_->ready());
}

TEST_F(CoordinatorGroupTest, ARankThatIsLostTakesItsHopWithIt) {
    opened({1, 2, 3, 4, 11, 12});
    says(3, wire::StageFault{wire::StageFaultCode::engine, "out of memory"});
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].to, node(11));
    EXPECT_EQ(replaced_[0].why, "rank 2 (" + node(3).hex() + "): out of memory");
    for (const NodeId& rank : {node(1), node(2), node(3)}) {
        EXPECT_NE(std::find(closed_.begin(), closed_.end(), rank), closed_.end());
    }
    coordinator_->on_closed(now_, control_.at(node(12)));
    run();
    ASSERT_TRUE(over_);
    EXPECT_EQ(over_->why, "rank 1 (" + node(12).hex() + "): the link to it was lost");
}

TEST_F(CoordinatorGroupTest, ARankSaysNothingThatIsRankZerosToSay) {
    opened({1, 2, 3, 4, 11, 12});
    says(2, wire::StageDone{1});
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_NE(replaced_[0].why.find("out of turn"), std::string::npos);
}

TEST_F(CoordinatorGroupTest, ARankThatIsOpenedTwiceIsLost) {
    opened({2, 2});
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_NE(replaced_[0].why.find("twice"), std::string::npos);
}

// A rank that does not come keeps the hop from coming.
TEST_F(CoordinatorGroupTest, ARankThatDoesNotLoadIsWaitedForAsLongAsAnyHop) {
    opened({1, 2, 4, 11, 12});
    now_.mono += limits::stage_open_timeout;
    coordinator_->on_tick(now_);
    run();
    ASSERT_EQ(replaced_.size(), 1U);
    EXPECT_EQ(replaced_[0].to, node(11));
    EXPECT_TRUE(coordinator_->ready());
}

// Rows go to rank 0; a host that computes another rank's part takes none from a hop.
TEST(StageHostOfARank, LetsNobodyJoinItAsAHop) {
    engine::FakeStageEngine engine;
    StageHostConfig config;
    config.allowed = [](const NodeId&) { return true; };
    for (std::uint8_t rank = 0; rank < 2; ++rank) {
        StageHost host(config, engine);
        wire::StageOpen open;
        open.session = wire::StageSessionId(ByteArray<16>{9});
        open.model = ModelId(ByteArray<32>{7});
        open.layers = {0, 4};
        open.width = 32;
        open.context = 64;
        open.sequences = 1;
        open.next = node(200);
        open.ranks = {node(1), node(2)};
        open.rank = rank;
        const Now now{Instant(1h), {}};
        host.on_message(now, ChannelId(1), node(200), open);
        engine.on_tick(now);
        host.on_engine(now);
        host.on_message(now, ChannelId(2), node(200), wire::StageJoin{open.session, 1});
        bool joined = false, closed = false;
        while (auto output = host.poll_channels()) {
            const auto* message = std::get_if<SendMessage>(&*output);
            joined = joined || (message != nullptr && std::holds_alternative<wire::StageJoined>(message->message));
            const auto* close = std::get_if<CloseChannel>(&*output);
            closed = closed || (close != nullptr && close->channel == ChannelId(2));
        }
        EXPECT_EQ(joined, rank == 0);
        EXPECT_EQ(closed, rank != 0);
    }
}

}  // namespace
}  // namespace shoal::pipeline
