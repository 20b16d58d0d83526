#include "circuit/path.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <set>

#include "crypto/rng.h"

namespace shoal::circuit {
namespace {

constexpr int draws = 100'000;
constexpr UnixTime start{1'800'000'000s};

Now at(Duration t) {
    return {Instant(1000s + t), start + std::chrono::duration_cast<std::chrono::seconds>(t)};
}

RelayInfo relay(std::uint16_t number, std::uint8_t family = 0, std::uint64_t subnet = 0, std::uint32_t weight = 1) {
    RelayInfo out;
    ByteArray<32> id{};
    id[0] = static_cast<std::uint8_t>(number >> 8);
    id[1] = static_cast<std::uint8_t>(number);
    id[2] = 1;
    out.id = NodeId(id);
    if (family != 0) out.family = FamilyId(ByteArray<32>{family});
    out.subnets = {subnet != 0 ? subnet : 1'000'000 + number};
    out.weight = weight;
    out.guard = true;
    return out;
}

std::vector<RelayInfo> relays(std::uint16_t count) {
    std::vector<RelayInfo> out;
    for (std::uint16_t i = 0; i < count; ++i) out.push_back(relay(i));
    return out;
}

// Families of up to three, subnets shared by some, weights from 0 to 9: a network as it is.
std::vector<RelayInfo> mixed(Rng& rng, std::uint16_t count) {
    std::vector<RelayInfo> out;
    for (std::uint16_t i = 0; i < count; ++i) {
        out.push_back(relay(i, static_cast<std::uint8_t>(rng.below(count / 2)), 1 + rng.below(count),
                            static_cast<std::uint32_t>(rng.below(10))));
        if (rng.below(5) == 0) out.back().subnets.push_back(1 + rng.below(count));
        out.back().guard = rng.below(3) != 0;
    }
    return out;
}

// ---- paths -------------------------------------------------------------------------------------------------------

TEST(PathSelector, KeepsEveryRuleOverManyDraws) {
    crypto::SeededRng rng(1);
    std::vector<RelayInfo> all;
    Exclusions self;
    Exclusions avoid;
    std::vector<NodeId> guards;
    int found = 0;
    for (int i = 0; i < draws; ++i) {
        if (i % 1000 == 0) {  // another network
            all = mixed(rng, 60);
            self = {};
            self.add(all[rng.below(all.size())]);
            Guards choice(rng);
            choice.update(at(0s), all, self);
            guards = choice.in_use();
            avoid = choice.exclusions();
            for (const NodeId& node : self.nodes) avoid.nodes.push_back(node);
            for (const FamilyId& family : self.families) avoid.families.push_back(family);
            ASSERT_EQ(guards.size(), 2U);
        }
        const RelayIndex index(all);
        const NodeId guard = guards[static_cast<std::size_t>(i) % 2];
        const auto path = PathSelector::select(index, guard, avoid, SuccessRecord(), rng);
        if (!path) continue;
        ++found;
        ASSERT_EQ(path->hops[0], guard);
        for (std::size_t a = 0; a < 3; ++a) {
            const RelayInfo& hop = *index.find(path->hops[a]);
            ASSERT_GT(hop.weight, 0U);
            ASSERT_FALSE(self.families.size() > 0 && hop.family == self.families[0]);
            ASSERT_NE(hop.id, self.nodes[0]);
            for (std::size_t b = 0; b < a; ++b) ASSERT_FALSE(related(hop, *index.find(path->hops[b])));
            for (const NodeId& g : guards) ASSERT_TRUE(a == 0 || !related(hop, *index.find(g)));
        }
    }
    EXPECT_GT(found, draws * 9 / 10);
}

// Pearson's statistic against the weights; 99.9 % quantiles are written beside.
TEST(PathSelector, DrawsTheProxyByWeight) {
    crypto::SeededRng rng(2);
    std::vector<RelayInfo> all = relays(9);
    double total = 0;
    for (std::uint32_t i = 1; i < 9; ++i) total += all[i].weight = 1 + i * i;
    Exclusions avoid;
    avoid.add(all[0]);
    std::map<NodeId, int> proxies;
    for (int i = 0; i < draws; ++i) ++proxies[PathSelector::select(all, all[0].id, avoid, {}, rng)->hops[2]];
    double chi2 = 0;
    for (std::size_t i = 1; i < 9; ++i) {
        const double expected = draws * all[i].weight / total;
        chi2 += (proxies[all[i].id] - expected) * (proxies[all[i].id] - expected) / expected;
    }
    EXPECT_LT(chi2, 24.32);  // 7 degrees of freedom
}

TEST(PathSelector, DrawsEvenlyAlsoWhenMostMayNotBeUsed) {
    crypto::SeededRng rng(3);
    std::vector<RelayInfo> all = relays(25);
    Exclusions avoid;
    for (std::size_t i = 0; i < 20; ++i) {
        all[i].weight = 4'000'000'000;  // what may be used is one part in 10^10: rejection alone would not find it
        avoid.nodes.push_back(all[i].id);
    }
    std::map<NodeId, int> seen;
    for (int i = 0; i < 5000; ++i) {
        const auto path = PathSelector::select(all, all[0].id, avoid, {}, rng);
        ASSERT_TRUE(path);
        ++seen[path->hops[1]];
        ++seen[path->hops[2]];
    }
    ASSERT_EQ(seen.size(), 5U);
    double chi2 = 0;
    for (const auto& [id, count] : seen) chi2 += (count - 2000.0) * (count - 2000.0) / 2000.0;
    EXPECT_LT(chi2, 18.47);  // 4 degrees of freedom
}

TEST(PathSelector, FindsNoPathWhereThereIsNone) {
    crypto::SeededRng rng(4);
    const std::vector<RelayInfo> two = relays(2);
    EXPECT_FALSE(PathSelector::select(two, two[0].id, {}, {}, rng));
    const std::vector<RelayInfo> family = {relay(0), relay(1, 5), relay(2, 5)};
    EXPECT_FALSE(PathSelector::select(family, family[0].id, {}, {}, rng));
    const std::vector<RelayInfo> subnet = {relay(0), relay(1, 0, 7), relay(2, 0, 7)};
    EXPECT_FALSE(PathSelector::select(subnet, subnet[0].id, {}, {}, rng));
    EXPECT_FALSE(PathSelector::select(relays(5), relay(77).id, {}, {}, rng));  // the guard is not listed
    EXPECT_FALSE(PathSelector::select(std::vector<RelayInfo>{}, relay(0).id, {}, {}, rng));
}

TEST(PathSelector, LeavesOutRelaysThatBreakCircuitsUnlessNothingElseIsLeft) {
    crypto::SeededRng rng(5);
    const std::vector<RelayInfo> all = relays(5);
    SuccessRecord record;
    for (int i = 0; i < 20; ++i) record.on_build(all[1].id, i < 13);  // 65 %
    for (int i = 0; i < 500; ++i) {
        const auto path = PathSelector::select(all, all[0].id, {}, record, rng);
        ASSERT_TRUE(path);
        ASSERT_NE(path->hops[1], all[1].id);
        ASSERT_NE(path->hops[2], all[1].id);
    }
    const std::vector<RelayInfo> three(all.begin(), all.begin() + 3);
    EXPECT_TRUE(PathSelector::select(three, all[0].id, {}, record, rng));
}

TEST(SuccessRecord, JudgesBySeventyPercentOfTwentyAndForgets) {
    SuccessRecord record;
    const NodeId id = relay(1).id;
    for (int i = 0; i < 19; ++i) record.on_build(id, false);
    EXPECT_FALSE(record.dropped(id));
    record.on_build(id, false);
    EXPECT_TRUE(record.dropped(id));
    const NodeId good = relay(2).id;
    for (int i = 0; i < 20; ++i) record.on_build(good, i < 14);
    EXPECT_FALSE(record.dropped(good));
    record.on_tick(at(0s));
    record.on_tick(at(SuccessRecord::half_life));
    EXPECT_FALSE(record.dropped(id));  // ten builds are left: it gets another chance
    for (int i = 2; i < 8; ++i) record.on_tick(at(i * SuccessRecord::half_life));
    EXPECT_EQ(record.size(), 0U);
}

// ---- sets --------------------------------------------------------------------------------------------------------

TEST(PathSelector, ChoosesSetsThatShareNothingButGuardsAndSplitThemEvenly) {
    crypto::SeededRng rng(6);
    int found = 0;
    for (int round = 0; round < 2000; ++round) {
        const std::vector<RelayInfo> all = mixed(rng, 60);
        Guards choice(rng);
        choice.update(at(0s), all, {});
        const auto guards = choice.in_use();
        const RelayIndex index(all);
        std::vector<Path> ready;
        for (std::size_t i = 0; i < 12; ++i) {
            const auto path = PathSelector::select(index, guards[i % guards.size()], choice.exclusions(), {}, rng);
            if (path) ready.push_back(*path);
        }
        const auto set = PathSelector::choose_set(ready, 4, index, rng);
        if (!set) continue;
        ++found;
        ASSERT_EQ(set->size(), 4U);
        std::map<NodeId, int> per_guard;
        for (std::size_t a = 0; a < 4; ++a) {
            ++per_guard[ready[(*set)[a]].hops[0]];
            for (std::size_t b = 0; b < a; ++b) {
                ASSERT_TRUE(PathSelector::disjoint(ready[(*set)[a]], ready[(*set)[b]], index));
                for (std::size_t i = 1; i < 3; ++i) {
                    for (std::size_t j = 1; j < 3; ++j) {
                        ASSERT_FALSE(
                            related(*index.find(ready[(*set)[a]].hops[i]), *index.find(ready[(*set)[b]].hops[j])));
                    }
                }
            }
        }
        for (const auto& [guard, count] : per_guard) ASSERT_EQ(count, 2);
    }
    EXPECT_GT(found, 1000);
}

TEST(PathSelector, ComparesEveryHopOfTwoPaths) {
    std::vector<RelayInfo> all = relays(6);
    const Path a{{all[0].id, all[1].id, all[2].id}};
    const Path b{{all[0].id, all[3].id, all[4].id}};
    EXPECT_TRUE(PathSelector::disjoint(a, b, all));
    EXPECT_FALSE(PathSelector::disjoint(a, Path{{all[0].id, all[2].id, all[4].id}}, all));  // relay, crosswise
    all[4].family = all[1].family = FamilyId(ByteArray<32>{1});
    EXPECT_FALSE(PathSelector::disjoint(a, b, all));
    all[4].family = FamilyId();
    all[3].subnets = all[2].subnets;
    EXPECT_FALSE(PathSelector::disjoint(a, b, all));
    all.erase(all.begin() + 3);  // no longer listed
    EXPECT_FALSE(PathSelector::disjoint(a, b, all));
}

TEST(PathSelector, AnUnevenSetNeedsTheCallersWord) {
    crypto::SeededRng rng(7);
    const std::vector<RelayInfo> all = relays(20);
    std::vector<Path> ready;  // one guard only
    for (std::size_t i = 0; i < 4; ++i) ready.push_back({{all[0].id, all[1 + 2 * i].id, all[2 + 2 * i].id}});
    EXPECT_FALSE(PathSelector::choose_set(ready, 4, all, rng));
    EXPECT_TRUE(PathSelector::choose_set(ready, 4, all, rng, 4));
    EXPECT_FALSE(PathSelector::choose_set(ready, 5, all, rng, 5));
    EXPECT_TRUE(PathSelector::choose_set(ready, 0, all, rng)->empty());
}

TEST(PathSelector, FindsTheOneSetThereIs) {
    crypto::SeededRng rng(8);
    const std::vector<RelayInfo> all = relays(20);
    // Pairs that conflict, so that greed alone would fail in most orders.
    const std::vector<Path> ready = {{{all[0].id, all[2].id, all[3].id}}, {{all[0].id, all[3].id, all[4].id}},
                                     {{all[0].id, all[4].id, all[5].id}}, {{all[1].id, all[6].id, all[7].id}},
                                     {{all[1].id, all[7].id, all[8].id}}, {{all[1].id, all[8].id, all[9].id}}};
    for (int i = 0; i < 200; ++i) {
        auto set = PathSelector::choose_set(ready, 4, all, rng);
        ASSERT_TRUE(set);
        std::ranges::sort(*set);
        EXPECT_EQ(*set, (std::vector<std::size_t>{0, 2, 3, 5}));
    }
}

// ---- guards ------------------------------------------------------------------------------------------------------

struct GuardsTest : testing::Test {
    crypto::SeededRng rng{9};
    std::vector<RelayInfo> all = relays(40);
    Guards guards{rng};
    void SetUp() override { guards.update(at(0s), all, {}); }
    void kill(const NodeId& guard, Now now) {
        for (std::uint32_t i = 0; i < limits::guard_failures_max; ++i) guards.on_failed(now, guard);
    }
};

TEST_F(GuardsTest, AreTwoAndUnrelated) {
    for (int i = 0; i < 500; ++i) {
        const auto network = mixed(rng, 40);
        Guards fresh(rng);
        fresh.update(at(0s), network, {});
        const auto two = fresh.in_use();
        ASSERT_EQ(two.size(), 2U);
        const RelayIndex index(network);
        ASSERT_FALSE(related(*index.find(two[0]), *index.find(two[1])));
        for (const NodeId& id : two) ASSERT_TRUE(index.find(id)->guard && index.find(id)->weight > 0);
    }
}

TEST_F(GuardsTest, AreDrawnUnrelatedWhenNearlyAllAreOneFamily) {
    std::vector<RelayInfo> network = relays(30);
    for (std::size_t i = 1; i < network.size(); ++i) network[i].family = FamilyId(ByteArray<32>{1});
    for (int i = 0; i < 50; ++i) {
        Guards fresh(rng);
        fresh.update(at(0s), network, {});
        ASSERT_EQ(fresh.in_use().size(), 2U) << "all that a client may ever draw went to one family";
    }
}

TEST_F(GuardsTest, AreNotUsedTogetherOnceTheDirectorySaysThatTheyAreRelated) {
    const auto before = guards.in_use();
    for (RelayInfo& info : all) {
        if (info.id == before[0] || info.id == before[1]) info.family = FamilyId(ByteArray<32>{1});
    }
    guards.update(at(1h), all, {});
    const auto now = guards.in_use();
    ASSERT_EQ(now.size(), 2U);
    EXPECT_EQ(now[0], before[0]);
    EXPECT_NE(now[1], before[1]);
}

TEST_F(GuardsTest, AreDrawnByWeight) {
    std::vector<RelayInfo> network = relays(5);
    network[0].weight = 6;  // of 10
    int first = 0;
    for (int i = 0; i < 20'000; ++i) {
        Guards fresh(rng);
        fresh.update(at(0s), network, {});
        first += fresh.in_use()[0] == network[0].id ? 1 : 0;
    }
    EXPECT_NEAR(first / 20'000.0, 0.6, 0.015);
}

TEST_F(GuardsTest, AreNeverTheClientItselfNorItsFamily) {
    std::vector<RelayInfo> network = relays(6);
    for (std::size_t i = 0; i < 3; ++i) network[i].family = FamilyId(ByteArray<32>{1});
    Exclusions self;
    self.add(network[0]);
    for (int i = 0; i < 300; ++i) {
        Guards fresh(rng);
        fresh.update(at(0s), network, self);
        for (const NodeId& id : fresh.in_use()) ASSERT_GE(id, network[3].id);
    }
}

TEST_F(GuardsTest, StayOverRestartsAndOtherDirectories) {
    const auto before = guards.in_use();
    ASSERT_TRUE(guards.take_changed());
    EXPECT_FALSE(guards.take_changed());
    Guards again(rng);
    ASSERT_TRUE(again.restore(guards.state()));
    EXPECT_TRUE(again.in_use().empty());  // not before a directory has listed them
    std::vector<RelayInfo> more = relays(400);
    for (int day = 1; day < 30; ++day) {
        again.update(at(day * 24h), more, {});
        ASSERT_EQ(again.in_use(), before);
    }
    EXPECT_FALSE(again.take_changed());
}

TEST_F(GuardsTest, EndBetweenThirtyAndSixtyDays) {
    int same = 0;
    for (int i = 0; i < 200; ++i) {
        Guards fresh(rng);
        fresh.update(at(0s), all, {});
        const auto before = fresh.in_use();
        fresh.update(at(30 * 24h - 1s), all, {});
        ASSERT_EQ(fresh.in_use(), before);
        fresh.on_tick(at(90 * 24h));  // a wrong clock alone ends nothing
        ASSERT_EQ(fresh.in_use(), before);
        fresh.update(at(60 * 24h), all, {});
        ASSERT_EQ(fresh.in_use().size(), 2U);
        same += fresh.in_use() == before ? 1 : 0;
    }
    EXPECT_LE(same, 2);  // by chance, one in 40 * 39
}

TEST_F(GuardsTest, AreKeptForAWeekWhileNotListed) {
    const auto before = guards.in_use();
    std::vector<RelayInfo> without;
    std::ranges::copy_if(all, std::back_inserter(without), [&](const RelayInfo& r) { return r.id != before[0]; });
    guards.update(at(1h), without, {});
    const auto meanwhile = guards.in_use();
    ASSERT_EQ(meanwhile.size(), 2U);
    EXPECT_EQ(meanwhile[0], before[1]);
    guards.update(at(6 * 24h), all, {});
    EXPECT_EQ(guards.in_use(), before);
    guards.update(at(7 * 24h), without, {});
    guards.update(at(14 * 24h), without, {});
    guards.update(at(15 * 24h), all, {});
    EXPECT_EQ(guards.in_use(), meanwhile);
}

TEST_F(GuardsTest, AStandInServesUntilThePrimaryIsBack) {
    const auto before = guards.in_use();
    guards.on_failed(at(0s), before[0]);
    guards.on_failed(at(0s), before[0]);
    EXPECT_EQ(guards.in_use(), before);  // twice is not enough
    guards.on_failed(at(0s), before[0]);
    const auto meanwhile = guards.in_use();
    ASSERT_EQ(meanwhile.size(), 2U);
    EXPECT_EQ(meanwhile[0], before[1]);
    EXPECT_EQ(guards.sampled(), 3U);

    ASSERT_EQ(guards.next_deadline(), at(limits::guard_retry_min).mono);
    guards.on_tick(at(limits::guard_retry_min));
    EXPECT_EQ(guards.in_use(), before);    // tried again,
    guards.on_failed(at(30s), before[0]);  // one failure sends it back, for longer,
    EXPECT_EQ(guards.in_use(), meanwhile);
    EXPECT_EQ(guards.next_deadline(), at(30s + 2 * limits::guard_retry_min).mono);
    guards.on_tick(at(90s));
    guards.on_reached(before[0]);  // success brings it back for good.
    EXPECT_EQ(guards.in_use(), before);
    EXPECT_EQ(guards.next_deadline(), std::nullopt);
    EXPECT_EQ(guards.sampled(), 3U);
}

// Who can block every guard of a client moves it to two more and no further, however long he goes on.
TEST_F(GuardsTest, BlockingDoesNotMakeAClientDrawWithoutEnd) {
    std::set<NodeId> used;
    for (int minute = 0; minute < 24 * 60; ++minute) {
        const Now now = at(minute * 1min);
        guards.on_tick(now);
        for (const NodeId& id : guards.in_use()) {
            used.insert(id);
            kill(id, now);
        }
        guards.update(now, all, {});
        ASSERT_FALSE(guards.in_use().empty());
    }
    EXPECT_EQ(used.size(), limits::guards_sampled_max);
    EXPECT_EQ(guards.sampled(), limits::guards_sampled_max);
}

TEST_F(GuardsTest, AllSampledGuardsAreKeptOutOfPaths) {
    kill(guards.in_use()[0], at(0s));
    const Exclusions out = guards.exclusions();
    EXPECT_EQ(std::set<NodeId>(out.nodes.begin(), out.nodes.end()).size(), 3U);
    Guards restored(rng);
    ASSERT_TRUE(restored.restore(guards.state()));
    EXPECT_GE(restored.exclusions().nodes.size(), 3U);
}

TEST_F(GuardsTest, RefuseADamagedState) {
    const Bytes state = guards.state();
    const auto in_use = guards.in_use();
    EXPECT_FALSE(guards.restore({}));
    EXPECT_FALSE(guards.restore(ByteView(state).first(state.size() - 1)));
    Bytes twice = state;
    std::copy_n(twice.begin() + 6, 56, twice.begin() + 62);
    EXPECT_FALSE(guards.restore(twice));
    Bytes many = state;
    many[5] = 200;
    EXPECT_FALSE(guards.restore(many));
    EXPECT_EQ(guards.in_use(), in_use);
}

// ---- profiles ----------------------------------------------------------------------------------------------------

// Delivery of (n, k) over two guards when each relay fails with f: by the selector's own paths and sets.
double delivered(Profile profile, double f, Rng& rng) {
    const std::vector<RelayInfo> all = relays(60);
    const RelayIndex index(all);
    Guards guards(rng);
    guards.update(at(0s), all, {});
    const auto two = guards.in_use();
    const Exclusions avoid = guards.exclusions();
    int ok = 0;
    constexpr int messages = 20'000;
    std::vector<Path> set;
    for (int i = 0; i < messages; ++i) {
        if (i % 100 == 0) {
            std::vector<Path> ready;
            for (std::size_t c = 0; c < 24; ++c)
                ready.push_back(*PathSelector::select(index, two[c % 2], avoid, {}, rng));
            const auto chosen = PathSelector::choose_set(ready, profile.n, index, rng);
            if (!chosen) {
                --i;
                continue;
            }
            set.clear();
            for (const std::size_t c : *chosen) set.push_back(ready[c]);
        }
        std::map<NodeId, bool> dead;
        int arrived = 0;
        for (const Path& path : set) {
            bool alive = true;
            for (const NodeId& hop : path.hops) {
                if (!dead.contains(hop)) dead[hop] = rng.uniform() < f;
                alive = alive && !dead[hop];
            }
            arrived += alive ? 1 : 0;
        }
        ok += arrived >= profile.k ? 1 : 0;
    }
    return static_cast<double>(ok) / messages;
}

TEST(Profile, DeliversWhatTheHeaderSays) {
    crypto::SeededRng rng(10);
    EXPECT_NEAR(delivered(profile_default, 0.01, rng), 0.9991, 0.0015);
    EXPECT_NEAR(delivered(profile_default, 0.05, rng), 0.9768, 0.004);
    EXPECT_NEAR(delivered(profile_default, 0.10, rng), 0.909, 0.008);
    EXPECT_NEAR(delivered(profile_default, 0.20, rng), 0.684, 0.013);
    EXPECT_NEAR(delivered(profile_planetserve, 0.01, rng), 0.978, 0.004);
    EXPECT_NEAR(delivered(profile_lossy, 0.20, rng), 0.849, 0.01);
}

TEST(Profile, FollowsMeasuredSurvival) {
    EXPECT_EQ(choose_profile(1.0), profile_default);
    EXPECT_EQ(choose_profile(0.73), profile_default);
    EXPECT_EQ(choose_profile(0.5), profile_lossy);
}

}  // namespace
}  // namespace shoal::circuit
