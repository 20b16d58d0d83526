#include "client/circuits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "circuit/relay.h"
#include "crypto/x25519.h"
#include "directory/test_network.h"

namespace shoal::client {
namespace {

constexpr std::size_t relays_count = 16;
constexpr std::uint64_t client_end = 999;

// A client's circuits and sixteen real relays, joined by function calls.
class CircuitsTest : public ::testing::Test {
protected:
    explicit CircuitsTest() : net_({1}, relays_count) {
        wire::Snapshot snapshot = net_.snapshot();
        for (std::size_t i = 0; i < relays_count; ++i) {
            onion_.push_back(crypto::KeyPair::generate(rng_));
            snapshot.entries[i].descriptor.onion_key = onion_[i].public_key;
            relays_.push_back(std::make_unique<circuit::Relay>(
                circuit::RelayConfig{net_.nodes[i].node_id(), net_.genesis.network()}, rng_));
            relays_[i]->set_onion_keys(onion_[i], nullptr);
        }
        view_.emplace(*directory::View::verify(net_.genesis, net_.sign(snapshot, {0}), net_.now));
        config_.network = net_.genesis.network();
        config_.pacer = PacerMode::fast;
        circuits_.emplace(config_, rng_);
    }

    std::size_t index_of(const NodeId& node) const {
        for (std::size_t i = 0; i < relays_count; ++i) {
            if (net_.nodes[i].node_id() == node) return i;
        }
        return relays_count;
    }
    static LinkId link(std::size_t at, std::uint64_t to) { return LinkId(1000 * (at + 1) + to); }
    static LinkId link_to_guard(std::size_t guard) { return LinkId(100'000 + guard); }

    // Carries everything there is to carry.
    void run() {
        bool any = true;
        while (any) {
            any = false;
            while (auto output = circuits_->poll()) {
                any = true;
                if (const auto* wanted = std::get_if<Circuits::GuardWanted>(&*output)) {
                    const std::size_t guard = index_of(wanted->guard);
                    wanted_.push_back(guard);
                    if (deaf_) continue;
                    relays_[guard]->on_link_up(link(guard, client_end), false);
                    circuits_->on_guard_up(now_, wanted->guard, link_to_guard(guard));
                } else if (auto* send = std::get_if<Circuits::SendCell>(&*output)) {
                    const std::size_t guard = send->link.value() - 100'000;
                    if (send->cell.command == wire::CellCommand::create) ++creates_;
                    if (mute_ || creates_ > 1000) continue;  // a storm: the test will say so
                    if (refuse_builds_ && send->cell.command == wire::CellCommand::create) {
                        circuits_->on_cell(now_, send->link,
                                           wire::make_cell(wire::CellCommand::destroy, send->cell.id,
                                                           wire::encode(*refuse_builds_), rng_));
                    } else {
                        relays_[guard]->on_cell(now_, link(guard, client_end), send->cell);
                    }
                } else if (const auto* end = std::get_if<Circuits::StreamEnd>(&*output)) {
                    ends_.push_back(*end);
                }
            }
            for (std::size_t i = 0; i < relays_count; ++i) any = run_relay(i) || any;
        }
    }
    bool run_relay(std::size_t i) {
        bool any = false;
        while (auto output = relays_[i]->poll()) {
            any = true;
            if (const auto* cell = std::get_if<circuit::SendCell>(&*output)) {
                const std::uint64_t to = cell->link.value() % 1000;
                if (to == client_end) {
                    circuits_->on_cell(now_, link_to_guard(i), cell->cell);
                } else {
                    relays_[to]->on_cell(now_, link(to, i), cell->cell);
                }
            } else {
                const auto& want = std::get<circuit::WantLink>(*output);
                const std::size_t to = index_of(want.node);
                if (to == relays_count) {
                    relays_[i]->on_link_failed(now_, want.token, wire::DestroyReason::unreachable);
                    continue;
                }
                relays_[to]->on_link_up(link(to, i), false);
                relays_[i]->on_link_up(link(i, to), true);
                relays_[i]->on_link_ready(now_, want.token, link(i, to));
            }
        }
        return any;
    }
    void start() {
        circuits_->on_directory(now_, *view_);
        run();
    }
    // Lets time pass; gives how often the circuits wanted to be woken.
    std::size_t pass(Duration time) {
        const Instant end = now_.mono + time;
        std::size_t ticks = 0;
        while (circuits_->next_deadline() <= end && ticks < 100'000) {
            now_.mono = std::max(now_.mono, circuits_->next_deadline());
            circuits_->on_tick(now_);
            run();
            ++ticks;
        }
        now_.mono = end;
        return ticks;
    }

    directory::TestNetwork net_;
    crypto::SeededRng rng_{1};
    Now now_ = net_.now;
    std::vector<crypto::KeyPair> onion_;
    std::vector<std::unique_ptr<circuit::Relay>> relays_;
    std::optional<directory::View> view_;
    CircuitsConfig config_;
    std::optional<Circuits> circuits_;
    std::vector<std::size_t> wanted_;
    std::vector<Circuits::StreamEnd> ends_;
    std::optional<wire::DestroyReason> refuse_builds_;
    bool deaf_ = false;  // guards do not come up
    bool mute_ = false;  // relays do not answer
    std::size_t creates_ = 0;
};

const NodeId model_node(ByteArray<32>{9});

TEST_F(CircuitsTest, BuildsAheadEvenlyOverTwoGuards) {
    start();
    EXPECT_EQ(wanted_.size(), limits::guards);
    EXPECT_EQ(circuits_->ready(), limits::circuits_ready_target);
    EXPECT_EQ(circuits_->building(), 0U);
    const auto set = circuits_->take_set(now_, 4, model_node);
    ASSERT_TRUE(set);
    std::size_t side = 0;
    std::set<NodeId> others;
    for (const CircuitNumber number : *set) {
        side += circuits_->side_of(number);
        const circuit::Path& path = *circuits_->path(number);
        EXPECT_TRUE(others.insert(path.hops[1]).second && others.insert(path.hops[2]).second);
    }
    EXPECT_EQ(side, 2U);
    run();
    EXPECT_EQ(circuits_->ready(), limits::circuits_ready_target) << "what was taken is built again";
}

TEST_F(CircuitsTest, WhatIsReadyAlwaysHoldsADisjointSet) {
    start();
    for (int question = 0; question < 200; ++question) {
        const auto set = circuits_->take_set(now_, 4, model_node);
        ASSERT_TRUE(set) << "question " << question << " finds " << circuits_->ready() << " ready and no set";
        run();
        for (const CircuitNumber number : *set) circuits_->release(number);
        pass(1s);
    }
}

TEST_F(CircuitsTest, ALostCircuitOfAWaitingSetIsMendedDisjointly) {
    start();
    const std::optional<std::vector<CircuitNumber>> first = circuits_->take_set(now_, 4, model_node);
    ASSERT_TRUE(first);
    // What is left is one set; the guard's link takes half of it away, and the set is made whole again.
    circuits_->on_guard_failed(now_, net_.nodes[wanted_[0]].node_id());
    pass(1min);
    EXPECT_TRUE(circuits_->take_set(now_, 4, model_node));
}

TEST_F(CircuitsTest, NoCircuitOfASetRunsThroughTheNodeThatIsAsked) {
    std::size_t found = 0;
    for (const crypto::SigningKey& node : net_.nodes) {
        const NodeId asked = node.node_id();
        circuits_.emplace(config_, rng_);
        start();
        const auto set = circuits_->take_set(now_, 4, asked);
        if (!set) continue;  // it stands in the way of all of them: a guard does
        ++found;
        for (const CircuitNumber number : *set) {
            for (const NodeId& hop : circuits_->path(number)->hops) EXPECT_NE(hop, asked);
        }
    }
    EXPECT_GT(found, relays_count / 2);
}

TEST_F(CircuitsTest, ACircuitThatIsAddedStaysApartFromTheOthersOfItsQuestion) {
    for (int i = 0; i < 20; ++i) {
        circuits_.emplace(config_, rng_);
        start();
        const auto set = circuits_->take_set(now_, 4, model_node);
        ASSERT_TRUE(set);
        std::set<NodeId> used;
        for (const CircuitNumber number : *set) {
            const auto& hops = circuits_->path(number)->hops;
            used.insert(hops.begin() + 1, hops.end());
        }
        const auto added = circuits_->take_one(now_, *set, model_node, 0);
        if (!added) continue;
        const auto& hops = circuits_->path(*added)->hops;
        for (std::size_t hop = 1; hop < hops.size(); ++hop) EXPECT_FALSE(used.contains(hops[hop]));
    }
}

TEST_F(CircuitsTest, FewCircuitsAreBuiltAtOnce) {
    mute_ = true;
    start();
    circuits_->set_waiting(now_, 100);
    run();
    EXPECT_EQ(circuits_->building(), limits::circuits_building_max);
}

TEST_F(CircuitsTest, ACircuitServesOneQuestionAndIsDestroyed) {
    start();
    const auto set = circuits_->take_set(now_, 4, model_node);
    ASSERT_TRUE(set);
    for (const CircuitNumber number : *set) circuits_->release(number);
    pass(1s);
    for (const CircuitNumber number : *set) EXPECT_EQ(circuits_->path(number), nullptr);
    EXPECT_EQ(circuits_->ready(), limits::circuits_ready_target);
}

TEST_F(CircuitsTest, ACircuitTooOldButStillInUseDoesNotKeepTheTimerBusy) {
    start();
    const auto set = circuits_->take_set(now_, 4, model_node);
    ASSERT_TRUE(set);
    pass(limits::circuit_lifetime + 1min);
    EXPECT_NE(circuits_->path((*set)[0]), nullptr) << "its question still holds it";
    EXPECT_LT(pass(10min), 1000U);
    for (const CircuitNumber number : *set) circuits_->release(number);
    pass(1s);
    EXPECT_EQ(circuits_->path((*set)[0]), nullptr);
}

TEST_F(CircuitsTest, FailedBuildsComeFurtherAndFurtherApart) {
    refuse_builds_ = wire::DestroyReason::busy;
    start();
    EXPECT_LE(creates_, limits::build_failures_max + limits::circuits_ready_target);
    const std::size_t before = creates_;
    pass(2min);
    EXPECT_LE(creates_ - before, 12U);
    refuse_builds_.reset();
    pass(2 * limits::build_backoff_max);
    EXPECT_EQ(circuits_->ready(), limits::circuits_ready_target) << "it recovers";
}

TEST_F(CircuitsTest, FailuresOfOneBurstAreAnsweredByOneWait) {
    refuse_builds_ = wire::DestroyReason::busy;
    start();
    const std::size_t burst = creates_;
    ASSERT_GT(burst, limits::build_failures_max + 1) << "begun at once, all refused";
    pass(limits::build_backoff_min);
    EXPECT_GT(creates_, burst) << "each of them made the wait longer";
}

TEST_F(CircuitsTest, AHopThatCallsItsRefusalALostLinkIsCountedToo) {
    refuse_builds_ = wire::DestroyReason::link_lost;
    start();
    EXPECT_LE(creates_, limits::build_failures_max + limits::circuits_ready_target);
}

TEST_F(CircuitsTest, LosingTheGuardsLinkEndsItsStreamsAndIsNoFailedBuild) {
    start();
    const auto set = circuits_->take_set(now_, 4, model_node);
    ASSERT_TRUE(set);
    const wire::Connect connect{model_node, {wire::StreamProtocol::prompt, {}}};
    std::size_t through = 0;
    const NodeId guard = net_.nodes[wanted_[0]].node_id();
    for (const CircuitNumber number : *set) {
        ASSERT_TRUE(circuits_->open_stream(number, connect));
        through += circuits_->path(number)->hops[0] == guard ? 1 : 0;
    }
    circuits_->on_guard_failed(now_, guard);
    run();
    EXPECT_EQ(std::count_if(ends_.begin(), ends_.end(),
                            [](const auto& e) { return e.reason == wire::StreamEndReason::link_lost; }),
              static_cast<std::ptrdiff_t>(through));
    pass(1s);
    EXPECT_EQ(wanted_.size(), 3U) << "it is dialled again";
    EXPECT_EQ(circuits_->ready(), limits::circuits_ready_target);
}

TEST_F(CircuitsTest, ADeadGuardIsDialledAtIntervalsOnly) {
    deaf_ = true;
    start();
    while (!wanted_.empty() && wanted_.size() < 1000) {
        const std::size_t before = wanted_.size();
        for (const NodeId& guard : circuits_->guards()) circuits_->on_guard_failed(now_, guard);
        run();
        if (wanted_.size() == before) break;
    }
    EXPECT_EQ(wanted_.size(), limits::guards) << "not again before dial_backoff_min";
    EXPECT_LT(pass(1min), 1000U);
}

TEST_F(CircuitsTest, ALinkThatOnlyFetchedTheDirectoryIsNotInUse) {
    start();
    circuits_->on_guard_up(now_, net_.verifiers[0].node_id(), LinkId(7));
    EXPECT_FALSE(circuits_->uses_link(LinkId(7)));
    EXPECT_TRUE(circuits_->uses_link(link_to_guard(wanted_[0])));
}

TEST_F(CircuitsTest, AQuestionGetsItsSetAlsoWhereReadyCircuitsOverlap) {
    // Twelve relays: two guards, and four disjoint circuits need eight of the ten others.
    for (std::size_t i = 0; i < 4; ++i) config_.self.nodes.push_back(net_.nodes[i].node_id());
    circuits_.emplace(config_, rng_);
    start();
    for (int question = 0; question < 60; ++question) {
        const Instant begin = now_.mono;
        circuits_->set_waiting(now_, 1);
        auto set = circuits_->take_set(now_, 4, model_node);
        while (!set && now_.mono - begin < limits::circuits_wait) {
            run();
            pass(limits::build_backoff_min / 10);
            set = circuits_->take_set(now_, 4, model_node);
        }
        ASSERT_TRUE(set) << "question " << question << " waits among " << circuits_->ready() << " ready circuits";
        circuits_->set_waiting(now_, 0);
        for (const CircuitNumber number : *set) circuits_->release(number);
        run();
        pass(limits::build_backoff_min / 10);
    }
    EXPECT_LT(creates_, 1000U) << "no storm of builds";
}

TEST_F(CircuitsTest, CellsOfUnknownCircuitsAreIgnored) {
    start();
    circuits_->on_cell(now_, link_to_guard(wanted_[0]),
                       wire::make_cell(wire::CellCommand::created, 77, wire::encode(wire::DestroyReason::none), rng_));
    EXPECT_FALSE(circuits_->poll());
}

}  // namespace
}  // namespace shoal::client
