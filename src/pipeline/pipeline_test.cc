// Coordinator and hosts together, over channels with a delay, against one machine that holds all layers.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>

#include "base/test_rng.h"
#include "engine/fake_stage.h"
#include "pipeline/coordinator.h"
#include "pipeline/outlet.h"
#include "pipeline/stage_host.h"

namespace shoal::pipeline {
namespace {

constexpr std::uint32_t width = 32;
constexpr std::size_t row_bytes = 64;  // f16
constexpr std::uint16_t layers = 12;
constexpr std::uint32_t context = 4096;
constexpr std::uint16_t sequences = 4;
constexpr Duration delay = 5ms;

NodeId node(std::uint8_t number) {
    return NodeId(ByteArray<32>{number, 0x0D});
}
const NodeId leader = node(200);

class PipelineTest : public ::testing::Test {
protected:
    struct Machine {
        engine::FakeStageEngine engine;
        std::unique_ptr<StageHost> host;
        bool alive = true;
        bool stopped = false;
        explicit Machine(Duration row_time) : engine(row_time) {}
    };
    struct End {
        NodeId node;
        ChannelId channel;
        auto operator<=>(const End&) const = default;
    };

    PipelineTest() {
        reference_.open(now_, whole_, {ModelId(), {0, layers}, wire::ActivationType::f16, width, context, sequences});
    }

    // Hops of equal size over machines 1 to n; machines 101 to 100+n are their standbys.
    void start(std::size_t hops, bool standbys = true) {
        CoordinatorConfig config;
        config.self = leader;
        config.model = ModelId(ByteArray<32>{7});
        config.width = width;
        config.context = context;
        config.sequences = sequences;
        config.history_bytes_max = history_max_;
        const auto each = static_cast<std::uint16_t>(layers / hops);
        for (std::size_t i = 0; i < hops; ++i) {
            const auto first = static_cast<std::uint16_t>(i * each);
            const wire::LayerRange range{first, static_cast<std::uint16_t>(i + 1 == hops ? layers : first + each)};
            const auto number = static_cast<std::uint8_t>(i + 1);
            config.hops.push_back({node(number), range});
            if (!absent_.contains(node(number))) add(node(number));
            if (!standbys) continue;
            if (more_standbys_) {
                config.standbys.push_back({node(static_cast<std::uint8_t>(50 + number)), range});
                add(node(static_cast<std::uint8_t>(50 + number)));
            }
            config.standbys.push_back({node(static_cast<std::uint8_t>(100 + number)), range});
            add(node(static_cast<std::uint8_t>(100 + number)));
        }
        coordinator_ = std::make_unique<Coordinator>(now_, config, rng_);
        pass(1s);
    }
    void add(const NodeId& id) {
        auto machine = std::make_unique<Machine>(row_time_);
        StageHostConfig config;
        config.allowed = [](const NodeId& from) { return from == leader; };
        config.history_bytes_max = history_max_;
        machine->host = std::make_unique<StageHost>(config, machine->engine);
        machines_.emplace(id, std::move(machine));
    }

    // ---- the net
    void later(const NodeId& at, std::function<void()> what, Duration more = Duration::zero()) {
        queue_.emplace(now_.mono + delay + more, Delivery{at, std::move(what)});
    }
    void connect(const NodeId& from, std::uint64_t token, const NodeId& to) {
        const auto machine = machines_.find(to);
        if (from == leader) ++dials_[to];
        if (to != leader && (machine == machines_.end() || !machine->second->alive)) {
            return later(from, [=, this] { connect_failed(from, token); });
        }
        const End ours{from, ChannelId(next_channel_++)};
        const End theirs{to, ChannelId(next_channel_++)};
        peers_[ours] = theirs;
        peers_[theirs] = ours;
        later(from, [=, this] {
            if (!peers_.contains(ours)) return connect_failed(from, token);
            if (from == leader) {
                coordinator_->on_connected(now_, token, ours.channel);
            } else {
                machines_.at(from)->host->on_connected(now_, token, ours.channel);
            }
        });
    }
    void connect_failed(const NodeId& from, std::uint64_t token) {
        if (from == leader) return coordinator_->on_connect_failed(now_, token);
        machines_.at(from)->host->on_connect_failed(now_, token);
    }
    void send(const End& from, wire::StageMessage message) {
        const auto peer = peers_.find(from);
        if (peer == peers_.end()) return;
        const End to = peer->second;
        // Over the codec, as it would travel.
        const Bytes bytes = wire::encode_stage_message(message);
        most_under_way_ = std::max(most_under_way_, ++under_way_[from]);
        Instant& free = free_[from];
        free = std::max(free, now_.mono) + byte_time_ * static_cast<std::int64_t>(bytes.size());
        const Duration busy = free - now_.mono;
        later(
            to.node,
            [=, this] {
                if (!peers_.contains(to)) return;
                auto decoded = wire::decode_stage_message(bytes);
                ASSERT_TRUE(decoded) << decoded.error().message;
                if (spoil) spoil(from.node, to.node, *decoded);
                if (to.node == leader)
                    return coordinator_->on_message(now_, to.channel, from.node, std::move(*decoded));
                machines_.at(to.node)->host->on_message(now_, to.channel, from.node, std::move(*decoded));
            },
            busy);
    }
    void close(const End& from) {
        const auto peer = peers_.find(from);
        if (peer == peers_.end()) return;
        const End to = peer->second;
        peers_.erase(from);
        later(to.node, [=, this] {
            if (peers_.erase(to) == 0) return;
            if (to.node == leader) return coordinator_->on_closed(now_, to.channel);
            machines_.at(to.node)->host->on_closed(now_, to.channel);
        });
    }
    void kill(const NodeId& id) {
        machines_.at(id)->alive = false;
        std::vector<End> ends;
        for (const auto& [end, peer] : peers_) {
            if (end.node == id) ends.push_back(end);
        }
        for (const End& end : ends) close(end);
    }

    // Started anew, and empty.
    void revive(const NodeId& id) {
        machines_.erase(id);
        add(id);
    }

    // ---- time
    void settle() {
        for (bool more = true; more;) {
            more = false;
            while (auto output = coordinator_->poll()) {
                more = true;
                handle(std::move(*output));
            }
            while (auto output = coordinator_->poll_channels()) {
                more = true;
                handle(leader, *coordinator_, std::move(*output));
            }
            for (auto& [id, machine] : machines_) {
                if (!machine->alive) continue;
                while (auto output = machine->host->poll_channels()) {
                    more = true;
                    handle(id, *machine->host, std::move(*output));
                }
            }
        }
    }
    void handle(Coordinator::Output output) {
        if (auto* result = std::get_if<Coordinator::Result>(&output)) {
            ASSERT_TRUE(expected_.contains(result->number));
            EXPECT_EQ(result->rows.tensor, expected_.at(result->number)) << "operation " << result->number;
            expected_.erase(result->number);
            arrived_.push_back(now_.mono);
        } else if (const auto* replaced = std::get_if<Coordinator::Replaced>(&output)) {
            replaced_.push_back(*replaced);
        } else if (std::holds_alternative<Coordinator::StandbyLost>(output)) {
            ++lost_standbys_;
        } else if (const auto* back = std::get_if<Coordinator::StandbyBack>(&output)) {
            back_.push_back(back->node);
        } else if (const auto* over = std::get_if<Coordinator::Over>(&output)) {
            over_ = *over;
        }
    }
    void handle(const NodeId& id, ChannelUser& user, ChannelOutput output) {
        if (auto* send_ = std::get_if<SendMessage>(&output)) {
            send({id, send_->channel}, std::move(send_->message));
        } else if (const auto* data = std::get_if<HasData>(&output)) {
            pump(id, user, data->channel);
        } else if (const auto* took = std::get_if<Took>(&output)) {
            take({id, took->channel});
        } else if (const auto* connect_ = std::get_if<Connect>(&output)) {
            connect(id, connect_->token, connect_->node);
        } else {
            close({id, std::get<CloseChannel>(output).channel});
        }
    }
    // Rows go out while fewer than `window_` of them are not taken; messages that are sent at once count as well.
    void pump(const NodeId& id, ChannelUser& user, ChannelId channel) {
        const End from{id, channel};
        while (under_way_[from] < window_) {
            auto message = user.next_data(channel);
            if (!message) {
                waiting_.erase(from);
                return;
            }
            send(from, std::move(*message));
        }
        waiting_.insert(from);
    }
    void take(const End& at) {
        const auto peer = peers_.find(at);
        if (peer == peers_.end()) return;
        const End from = peer->second;
        later(from.node, [=, this] {
            --under_way_[from];
            if (!waiting_.contains(from)) return;
            if (from.node == leader) return pump(leader, *coordinator_, from.channel);
            pump(from.node, *machines_.at(from.node)->host, from.channel);
        });
    }
    void pass(Duration time) {
        const Instant end = now_.mono + time;
        settle();
        for (;;) {
            Instant next = std::min(end, coordinator_->next_deadline());
            if (!queue_.empty()) next = std::min(next, queue_.begin()->first);
            for (auto& [id, machine] : machines_) {
                if (!machine->alive || machine->stopped) continue;
                next = std::min(next, machine->host->next_deadline());
                if (const auto due = machine->engine.next_deadline()) next = std::min(next, *due);
            }
            now_.mono = std::max(now_.mono, next);
            if (now_.mono >= end && (queue_.empty() || queue_.begin()->first > end)) break;
            while (!queue_.empty() && queue_.begin()->first <= now_.mono) {
                Delivery delivery = std::move(queue_.begin()->second);
                queue_.erase(queue_.begin());
                const auto machine = machines_.find(delivery.to);
                if (machine != machines_.end() && !machine->second->alive) continue;
                if (machine != machines_.end() && machine->second->stopped) continue;
                delivery.what();
                settle();
            }
            coordinator_->on_tick(now_);
            for (auto& [id, machine] : machines_) {
                if (!machine->alive || machine->stopped) continue;
                machine->engine.on_tick(now_);
                machine->host->on_tick(now_);
            }
            settle();
        }
    }

    // ---- operations, and what one machine makes of them
    bool step(std::vector<wire::StagePart> parts) {
        wire::StageRows rows;
        rows.parts = std::move(parts);
        for (const wire::StagePart& part : rows.parts) {
            for (std::size_t i = 0; i < part.rows; ++i) {
                Bytes row(row_bytes);
                store_le<std::uint64_t>(row.data(), rng_.u64());
                append(rows.tensor, row);
            }
        }
        const auto number = coordinator_->step(now_, rows);
        if (!number) return false;
        reference_.compute(now_, whole_, rows);
        reference_.on_tick({Instant::max(), now_.wall});
        while (auto event = reference_.poll()) {
            if (auto* computed = std::get_if<engine::StageComputed>(&*event)) {
                expected_.emplace(*number, std::move(computed->tensor));
            }
        }
        for (const wire::StagePart& part : rows.parts) lengths_[part.sequence] += part.rows;
        settle();
        return true;
    }
    bool truncate(std::uint16_t sequence, std::uint32_t length) {
        if (!coordinator_->truncate(now_, sequence, length)) return false;
        reference_.truncate(now_, whole_, sequence, length);
        lengths_[sequence] = length;
        settle();
        return true;
    }
    bool grow(std::uint16_t sequence, std::uint16_t rows) { return step({{sequence, lengths_[sequence], rows}}); }

    struct Delivery {
        NodeId to;
        std::function<void()> what;
    };
    Now now_{Instant(1h), UnixTime(std::chrono::seconds(1'800'000'000))};
    TestRng rng_{3};
    Duration row_time_ = 20us;  // of one layer
    Duration byte_time_{};      // on a channel
    std::map<End, Instant> free_;
    std::size_t history_max_ = std::size_t{1} << 20;
    std::map<NodeId, std::unique_ptr<Machine>> machines_;
    std::unique_ptr<Coordinator> coordinator_;
    std::multimap<Instant, Delivery> queue_;
    std::map<End, End> peers_;
    std::uint64_t next_channel_ = 1;
    engine::FakeStageEngine reference_;
    const engine::StageHandle whole_{1};
    std::map<std::uint64_t, Bytes> expected_;
    std::map<std::uint16_t, std::uint32_t> lengths_;
    std::vector<Instant> arrived_;
    std::vector<Coordinator::Replaced> replaced_;
    std::optional<Coordinator::Over> over_;
    std::set<NodeId> absent_;
    bool more_standbys_ = false;
    std::size_t lost_standbys_ = 0;
    std::vector<NodeId> back_;
    std::map<NodeId, std::size_t> dials_;  // of the coordinator
    std::size_t window_ = 32;
    std::map<End, std::size_t> under_way_;
    std::set<End> waiting_;  // for the window
    std::size_t most_under_way_ = 0;
    std::function<void(const NodeId& from, const NodeId& to, wire::StageMessage&)> spoil;
};

TEST_F(PipelineTest, GivesWhatOneMachineGives) {
    for (const std::size_t hops : {1U, 2U, 3U, 4U, 12U}) {
        machines_.clear();
        peers_.clear();
        queue_.clear();
        lengths_.clear();
        for (std::uint16_t i = 0; i < sequences; ++i) reference_.truncate(now_, whole_, i, 0);
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
        machines_.clear();
        peers_.clear();
        queue_.clear();
        lengths_.clear();
        replaced_.clear();
        for (std::uint16_t i = 0; i < sequences; ++i) reference_.truncate(now_, whole_, i, 0);
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
    for (std::uint64_t number = 1; number <= limits::stage_unsettled_max; ++number) {
        ASSERT_TRUE(outlet.add(wire::StageTruncate{number, number - 1, 0, 0}));
    }
    const Status more =
        outlet.add(wire::StageTruncate{limits::stage_unsettled_max + 1, limits::stage_unsettled_max, 0, 0});
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
        machines_.clear();
        peers_.clear();
        queue_.clear();
        lengths_.clear();
        replaced_.clear();
        for (std::uint16_t i = 0; i < sequences; ++i) reference_.truncate(now_, whole_, i, 0);
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
        machines_.clear();
        peers_.clear();
        queue_.clear();
        lengths_.clear();
        back_.clear();
        for (std::uint16_t i = 0; i < sequences; ++i) reference_.truncate(now_, whole_, i, 0);
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
