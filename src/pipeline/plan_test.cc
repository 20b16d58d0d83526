#include "pipeline/plan.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "pipeline/test_request.h"

namespace shoal::pipeline {
namespace {

constexpr std::uint64_t mib = 1 << 20;

NodeSpeed node(std::uint64_t memory_mib, double gb_per_second) {
    const std::uint64_t ps = ps_per_mib(gb_per_second * 1e9);
    return *NodeSpeed::make({memory_mib * mib, 100'000, 512, {{15, ps, ps / 5, ps / 10, 0}}}, 15);
}

// Ten layers of 100 MiB without KV; nodes around a coordinator of their own, all at one distance.
struct Group {
    PlanRequest request;
    Group(std::initializer_list<NodeSpeed> nodes, Duration rtt = 20ms)
        : request{.model = *ModelShape::make({.layers = {10, LayerShape{100 * mib, 100 * mib, 0}},
                                              .embedding_bytes = 10 * mib,
                                              .head_bytes = 10 * mib,
                                              .hidden_size = 1024,
                                              .quantisation = 15,
                                              .cuts = cuts_every(1, 10)}),
                  .nodes = {std::nullopt},
                  .links = LinkTable(nodes.size() + 1)} {
        request.nodes.insert(request.nodes.end(), nodes.begin(), nodes.end());
        for (NodeIndex a = 0; a <= nodes.size(); ++a) {
            for (NodeIndex b = 0; b <= nodes.size(); ++b) join(a, b, rtt);
        }
    }
    void join(NodeIndex a, NodeIndex b, Duration rtt) {
        if (a == b) return;
        request.links.set(a, b, *LinkSpeed::make(rtt, 100'000'000));
        request.links.set(b, a, *LinkSpeed::make(rtt, 100'000'000));
    }
    Outcome outcome() const { return *make_plan(request); }
    Plan plan() const { return std::get<Plan>(outcome()); }
    Shortfall shortfall() const { return std::get<Shortfall>(outcome()); }
};

std::set<NodeIndex> used(const Plan& plan) {
    std::set<NodeIndex> out;
    for (const Stage& s : plan.stages) out.insert(s.node);
    return out;
}

TEST(Plan, AModelThatFitsIsNotSplit) {
    // The two fast ones together would be faster than the slow one that holds everything.
    Group g({node(1020, 2), node(600, 100), node(600, 100)});
    const Plan solo = g.plan();
    EXPECT_TRUE(solo.solo);
    ASSERT_EQ(solo.stages.size(), 1U);
    EXPECT_EQ(solo.stages[0].node, 1U);
    EXPECT_EQ(solo.step, solo.stages[0].step) << "no hop: text travels, not activations";
    EXPECT_EQ(solo.stages[0].weight_bytes, 1020 * mib);

    g.request.goal = Goal::latency;
    const Plan split = g.plan();
    EXPECT_FALSE(split.solo);
    EXPECT_EQ(used(split), (std::set<NodeIndex>{2, 3}));
    EXPECT_LT(split.step, solo.step);
}

TEST(Plan, OfSeveralThatHoldItAllTheFastestServesAndTheOthersStandBy) {
    Group g({node(1020, 2), node(2000, 9), node(1020, 5), node(1019, 100)});
    g.request.standbys = 3;
    const Plan plan = g.plan();
    EXPECT_EQ(plan.stages[0].node, 2U);
    EXPECT_EQ(plan.stages[0].standbys, (std::vector<NodeIndex>{3, 1})) << "the last is one MiB too small";
    EXPECT_EQ(plan.standbys_missing, 1U);
}

TEST(Plan, ThroughputSplitsWhatLatencyWouldNot) {
    Group g({node(1100, 10), node(1100, 10)});
    g.request.workload.sequences = 8;
    g.request.goal = Goal::latency;
    EXPECT_TRUE(g.plan().solo);
    g.request.goal = Goal::throughput;
    const Plan plan = g.plan();
    ASSERT_EQ(plan.stages.size(), 2U);
    EXPECT_EQ(plan.stages[0].layers.end, 5) << "equal nodes share equally";
    EXPECT_GT(plan.tokens_per_second, 1.9 / to_seconds(2 * plan.stages[0].step));
}

TEST(Plan, AStepIsTheSumOfStagesAndHops) {
    Group g({node(500, 10), node(500, 10), node(20, 10)});
    const Plan plan = g.plan();
    ASSERT_EQ(plan.stages.size(), 2U);
    // A hop: half the round trip and 2048 bytes at 100 MB/s.
    const Duration hop = 10ms + 20'480ns;
    EXPECT_EQ(plan.stages[0].hop, hop);
    EXPECT_EQ(plan.hop_back, hop);
    const Duration stage = 100us + 5 * (*g.request.nodes[1]).decode(100 * mib, 0, 1);
    EXPECT_EQ(plan.stages[0].step, stage);
    EXPECT_EQ(plan.step, 2 * stage + 3 * hop);
    EXPECT_DOUBLE_EQ(plan.tokens_per_second, 1 / to_seconds(plan.step));
    EXPECT_DOUBLE_EQ(plan.prefill_tokens_per_second, 512 / to_seconds(plan.stages[0].prefill));
}

TEST(Plan, AWeakNodeIsLeftOut) {
    const Plan plan = Group({node(500, 10), node(500, 0.2), node(500, 10)}).plan();
    EXPECT_EQ(used(plan), (std::set<NodeIndex>{1, 3}));
}

TEST(Plan, AFarNodeIsLeftOutAboveTheCapEvenIfItIsFast) {
    Group g({node(500, 10), node(500, 10), node(1000, 1000)});
    EXPECT_TRUE(used(g.plan()).contains(3));
    for (NodeIndex other = 0; other < 3; ++other) g.join(other, 3, 80ms);
    EXPECT_TRUE(used(g.plan()).contains(3)) << "the cap itself is near enough";
    for (NodeIndex other = 0; other < 3; ++other) g.join(other, 3, 81ms);
    EXPECT_EQ(used(g.plan()), (std::set<NodeIndex>{1, 2}));
    g.request.rtt_cap = 81ms;
    EXPECT_TRUE(used(g.plan()).contains(3));
}

TEST(Plan, OnlyPermittedCutsAreMade) {
    Group g({node(500, 10), node(700, 10)});
    ModelDescription d{
        .layers = {10, LayerShape{100 * mib, 100 * mib, 0}}, .hidden_size = 1024, .quantisation = 15, .cuts = {}};
    d.cuts = cuts_every(4, 10);
    g.request.model = *ModelShape::make(d);
    const Plan plan = g.plan();
    ASSERT_EQ(plan.stages.size(), 2U);
    EXPECT_EQ(plan.stages[0].layers.end, 4);
    d.cuts = {5};
    g.request.model = *ModelShape::make(d);
    EXPECT_EQ(g.plan().stages[0].layers.end, 5);
    d.cuts = {8};
    g.request.model = *ModelShape::make(d);
    EXPECT_EQ(g.shortfall().lack, Lack::memory);
}

TEST(Plan, TheHeadIsCountedWhereItIs) {
    Group g({node(500, 10), node(500, 10)});
    g.request.head = HeadPlace::last_stage;
    EXPECT_EQ(g.shortfall().missing.back().bytes, 110 * mib) << "five layers and a head do not fit in 500 MiB";
    g.request.nodes[2] = node(510, 10);
    const Plan plan = g.plan();
    EXPECT_EQ(plan.stages.back().node, 2U);
    EXPECT_TRUE(plan.stages.back().head);
    EXPECT_FALSE(plan.stages.front().head);
    EXPECT_EQ(plan.coordinator_bytes, 10 * mib);
    g.request.head = HeadPlace::coordinator;
    EXPECT_EQ(g.plan().coordinator_bytes, 20 * mib);
}

TEST(Plan, ACoordinatorThatServesKeepsRoomForTheEnds) {
    Group g({node(500, 10), node(500, 10)});
    g.request.nodes[0] = node(119, 1000);
    EXPECT_EQ(used(g.plan()).size(), 2U);
    EXPECT_FALSE(used(g.plan()).contains(0));
    g.request.nodes[0] = node(120, 1000);
    EXPECT_TRUE(used(g.plan()).contains(0));
    EXPECT_GT(g.plan().coordinator_step, Duration{});
    g.request.nodes[0] = node(19, 1000);
    EXPECT_EQ(g.shortfall().lack, Lack::coordinator);
}

TEST(Plan, ACoordinatorThatDoesNotServeHoldsNoLayers) {
    Group g({node(600, 10), node(600, 10)});
    g.request.nodes[0] = node(2000, 100);
    EXPECT_TRUE(g.plan().solo);
    g.request.coordinator_serves = false;
    const Plan plan = g.plan();
    EXPECT_FALSE(plan.solo);
    EXPECT_EQ(used(plan), (std::set<NodeIndex>{1, 2}));
    EXPECT_GT(plan.coordinator_step, 0ns) << "it still computes the head";
    EXPECT_EQ(plan.coordinator_bytes, 20 * mib);
}

// The far node has the least time a layer, since it holds so many; but another has to be visited as well.
TEST(Plan, AGreedyPlannerGoesToAFarNodeForItsSize) {
    Group g({node(910, 50), node(510, 50), node(510, 50)});
    for (const NodeIndex other : {NodeIndex{0}, NodeIndex{2}, NodeIndex{3}}) g.join(1, other, 36ms);
    const Plan best = g.plan();
    EXPECT_EQ(used(best), (std::set<NodeIndex>{2, 3}));
    const Plan greedy = std::get<Plan>(*make_plan(g.request, Method::greedy));
    EXPECT_EQ(greedy.stages.front().node, 1U);
    EXPECT_EQ(greedy.stages.front().layers, (wire::LayerRange{0, 9}));
    EXPECT_GT(greedy.step, best.step);
    EXPECT_LT(greedy.tokens_per_second, best.tokens_per_second);
    // What is not split by one is not split by the other.
    g.request.nodes[2] = node(2000, 1);
    EXPECT_TRUE(std::get<Plan>(*make_plan(g.request, Method::greedy)).solo);
}

TEST(Plan, KvCacheAndDepthCount) {
    Group g({node(500, 10), node(500, 10)});
    ModelDescription d{.layers = {10, LayerShape{50 * mib, 50 * mib, 12'800}}, .hidden_size = 1024, .cuts = {5}};
    g.request.model = *ModelShape::make(d);
    g.request.workload.context = 4096;  // 50 MiB a layer and sequence
    const Plan plan = g.plan();
    EXPECT_EQ(plan.stages[0].kv_bytes, 250 * mib);
    g.request.workload.depth = 4096;
    EXPECT_GT(g.plan().step, plan.step);
    g.request.workload.sequences = 2;
    EXPECT_EQ(g.shortfall().missing.front().bytes, 150 * mib);
}

TEST(Plan, StandbysAreOneForEachStageBeforeTwoForAny) {
    Group g({node(500, 10), node(500, 10), node(500, 1), node(600, 2), node(100, 50)});
    g.request.standbys = 1;
    const Plan plan = g.plan();
    ASSERT_EQ(plan.stages.size(), 2U);
    EXPECT_EQ(used(plan), (std::set<NodeIndex>{1, 2}));
    std::multiset<NodeIndex> standing_by;
    for (const Stage& s : plan.stages) standing_by.insert(s.standbys.begin(), s.standbys.end());
    EXPECT_EQ(standing_by, (std::multiset<NodeIndex>{3, 4}));
    EXPECT_EQ(plan.standbys_missing, 0U);
    g.request.standbys = 2;
    EXPECT_EQ(g.plan().standbys_missing, 2U) << "the small one holds no stage";
}

TEST(Plan, AStandbyMustBeNearToTheNeighbours) {
    Group g({node(500, 10), node(500, 10), node(500, 1)});
    g.request.standbys = 1;
    EXPECT_EQ(g.plan().standbys_missing, 1U);
    g.join(0, 3, 90ms);  // it can be neither first nor last now
    EXPECT_EQ(g.plan().standbys_missing, 2U);
}

TEST(Plan, WhatIsMissingIsNamedLayerByLayer) {
    const Shortfall none = Group({node(300, 10), node(420, 10)}).shortfall();
    EXPECT_EQ(none.lack, Lack::memory);
    ASSERT_EQ(none.missing.size(), 3U);
    for (std::uint16_t i = 0; i < 3; ++i) {
        EXPECT_EQ(none.missing[i].layer, 7 + i);
        EXPECT_EQ(none.missing[i].bytes, 100 * mib);
    }
    EXPECT_EQ(none.missing_bytes(), 300 * mib);
    EXPECT_EQ(none.covered.size(), 2U);
    EXPECT_EQ(none.covered.back().layers.end, 7);
}

TEST(Plan, NearerNodesAreAskedForWhenMemoryIsThere) {
    Group g({node(500, 10), node(500, 10)});
    g.join(1, 2, 200ms);
    const Shortfall far = g.shortfall();
    EXPECT_EQ(far.lack, Lack::links);
    EXPECT_EQ(far.missing.size(), 5U);
    EXPECT_EQ(far.covered.size(), 1U);
}

TEST(Plan, AGroupWithoutAnybodyWhoServesMissesEverything) {
    const Shortfall all = Group({}).shortfall();
    EXPECT_EQ(all.missing.size(), 10U);
    EXPECT_TRUE(all.covered.empty());
}

TEST(Plan, RequestsOutOfBoundsAreRefused) {
    const auto refused = [](auto change) {
        Group g({node(500, 10), node(600, 10)});
        change(g.request);
        const auto out = make_plan(g.request);
        return !out && out.error().code == Errc::invalid;
    };
    EXPECT_FALSE(refused([](PlanRequest&) {}));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.coordinator = 3; }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.links = LinkTable(2); }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.nodes.clear(), r.links = LinkTable(0); }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.nodes.resize(65), r.links = LinkTable(65); }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.rtt_cap = -1ms; }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.standbys = 5; }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.workload.context = 0; }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.workload.depth = 4097; }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.workload.sequences = 65; }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.workload.batch = 2; }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.workload.chunk_tokens = 513; }));
    EXPECT_TRUE(refused([](PlanRequest& r) { r.workload.reply_bytes = UINT32_MAX; }));
}

// Whatever the request: memory is never exceeded, hops exist and are short, ranges join, nobody serves twice.
RC_GTEST_PROP(Plan, KeepsItsPromises, (std::uint64_t seed)) {
    TestRng rng(seed);
    PlanRequest r = random_request(rng, {.nodes = 1 + rng.below(14),
                                         .layers = 1 + rng.below(20),
                                         .share = 0.05 + rng.uniform(),
                                         .cut_step = rng.below(3),
                                         .coordinator_serves = rng.below(2) == 0});
    r.goal = static_cast<Goal>(rng.below(3));
    r.standbys = rng.below(limits::plan_standbys_max + 1);
    r.workload.sequences = 1 + static_cast<std::uint32_t>(rng.below(8));
    const auto outcome = make_plan(r);
    RC_ASSERT(outcome.has_value());
    const Plan* plan = std::get_if<Plan>(&*outcome);
    if (plan == nullptr) {
        const auto& lack = std::get<Shortfall>(*outcome);
        RC_ASSERT(lack.lack != Lack::memory || !lack.missing.empty());
        return;
    }
    std::set<NodeIndex> held;
    std::uint16_t at = 0;
    NodeIndex before = r.coordinator;
    for (const Stage& s : plan->stages) {
        RC_ASSERT(s.layers.first == at && s.layers.end > at);
        at = s.layers.end;
        RC_ASSERT(held.insert(s.node).second);
        const std::uint64_t ends = !plan->solo && s.node == r.coordinator ? plan->coordinator_bytes : 0;
        RC_ASSERT(s.weight_bytes + s.kv_bytes + ends <= r.nodes[s.node]->memory_bytes());
        if (!plan->solo && s.node != before) RC_ASSERT(r.links.at(before, s.node)->round_trip() <= r.rtt_cap);
        before = s.node;
        RC_ASSERT(s.standbys.size() <= r.standbys);
    }
    RC_ASSERT(at == r.model.layers().size());
    for (const Stage& s : plan->stages) {
        for (const NodeIndex standby : s.standbys) {
            RC_ASSERT(held.insert(standby).second);
            RC_ASSERT(s.weight_bytes + s.kv_bytes <= r.nodes[standby]->memory_bytes());
        }
    }
    RC_ASSERT(plan->step > Duration{} && plan->tokens_per_second > 0 && plan->prefill_tokens_per_second > 0);
}

}  // namespace
}  // namespace shoal::pipeline
