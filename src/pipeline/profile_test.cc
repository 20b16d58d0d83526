#include "pipeline/profile.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "base/test_rng.h"
#include "pipeline/model_shape.h"

namespace shoal::pipeline {
namespace {

constexpr std::uint64_t mib = 1 << 20;

wire::Measurements measured() {
    return {.memory_bytes = 8ULL << 30,
            .stage_overhead_ns = 190'000,
            .chunk_tokens = 512,
            .rates = {{7, 100'000'000, 10'000'000, 9'000'000, 5'000}, {15, 90'000'000, 12'000'000, 8'000'000, 7'000}}};
}

struct Signed {
    TestRng rng{1};
    crypto::SigningKey key = crypto::SigningKey::generate(rng);
    NetworkId network = rng.id<NetworkId>();
    wire::Profile profile{key.node_id(), from_unix_seconds(1000), from_unix_seconds(2000), measured(), {}};
    wire::SignedProfile page = sign_profile(key, network, profile);
    static Now at(std::uint64_t seconds) { return {Instant{}, from_unix_seconds(seconds)}; }
    Errc refusal(const NetworkId& where, std::uint64_t when) const {
        const auto out = verify_profile(page, where, at(when));
        return out ? Errc::internal : out.error().code;
    }
};

TEST(ProfileSignature, ItsNodesProfileIsTakenWhileItLasts) {
    const Signed s;
    for (const std::uint64_t when : {910U, 1000U, 1999U}) {
        const auto taken = verify_profile(s.page, s.network, Signed::at(when));
        ASSERT_TRUE(taken) << taken.error().message;
        EXPECT_EQ(*taken, s.profile);
    }
    EXPECT_EQ(s.refusal(s.network, 2000), Errc::expired);
    EXPECT_EQ(s.refusal(s.network, 909), Errc::expired);
}

TEST(ProfileSignature, NobodyElsesIsTaken) {
    Signed s;
    EXPECT_EQ(s.refusal(s.rng.id<NetworkId>(), 1500), Errc::unauthenticated);
    s.page.profile.measured.memory_bytes += 1;
    EXPECT_EQ(s.refusal(s.network, 1500), Errc::unauthenticated);
    s.page.profile.measured.memory_bytes -= 1;
    s.page.profile.node = crypto::SigningKey::generate(s.rng).node_id();
    EXPECT_EQ(s.refusal(s.network, 1500), Errc::unauthenticated);
}

TEST(ProfileSignature, NumbersOutOfBoundsAreNotBelievedThoughSigned) {
    Signed s;
    s.page.profile.measured.rates[0].decode_ps_per_mib = 0;
    EXPECT_EQ(s.refusal(s.network, 1500), Errc::invalid);
}

TEST(NodeSpeed, TimesAreLinearInBytesAndSequences) {
    const NodeSpeed speed = *NodeSpeed::make(measured(), 15);
    EXPECT_EQ(speed.memory_bytes(), 8ULL << 30);
    EXPECT_EQ(speed.stage_overhead(), 190us);
    EXPECT_EQ(speed.decode(100 * mib, 0, 1), 7us + 9ms);
    EXPECT_EQ(speed.decode(100 * mib, 10 * mib, 1), 7us + 9ms + 900us);
    EXPECT_EQ(speed.decode(100 * mib, 10 * mib, 4), 7us + 9ms + 900us + 3 * 1200us);
    EXPECT_EQ(speed.prefill(100 * mib, 512), 7us + 512 * 800us);
    EXPECT_GT(speed.decode(1, 0, 1), 7us);  // nothing is for nothing
}

TEST(NodeSpeed, AnUnmeasuredQuantisationIsAsSlowAsTheSlowestOfEach) {
    const NodeSpeed speed = *NodeSpeed::make(measured(), 18);
    EXPECT_EQ(speed.decode(mib, 0, 2), 7us + 100us + 12us);
    EXPECT_EQ(speed.prefill(mib, 1), 7us + 9us);
}

TEST(NodeSpeed, HostileNumbersAreRefused) {
    const auto refused = [](auto change) {
        wire::Measurements m = measured();
        change(m);
        const auto out = NodeSpeed::make(m, 15);
        return !out && out.error().code == Errc::invalid;
    };
    EXPECT_FALSE(refused([](wire::Measurements&) {}));
    EXPECT_TRUE(refused([](wire::Measurements& m) { m.memory_bytes = 0; }));
    EXPECT_TRUE(refused([](wire::Measurements& m) { m.memory_bytes = UINT64_MAX; }));
    EXPECT_TRUE(refused([](wire::Measurements& m) { m.rates.clear(); }));
    EXPECT_TRUE(refused([](wire::Measurements& m) { m.rates[1].decode_ps_per_mib = 0; }));
    EXPECT_TRUE(refused([](wire::Measurements& m) { m.rates[1].prefill_ps_per_mib = UINT64_MAX; }));
    EXPECT_TRUE(refused([](wire::Measurements& m) { m.rates[1].batch_ps_per_mib = 99; }));
    EXPECT_TRUE(refused([](wire::Measurements& m) { m.rates[0].layer_overhead_ns = UINT32_MAX; }));
    EXPECT_TRUE(refused([](wire::Measurements& m) { m.stage_overhead_ns = UINT32_MAX; }));
}

TEST(NodeSpeed, TheLargestNumbersOfAllAddUpWithoutOverflow) {
    using namespace limits;
    const wire::Measurements slowest{node_memory_bytes_max,
                                     1'000'000'000,
                                     512,
                                     {{0, rate_ps_per_mib_max, rate_ps_per_mib_max, rate_ps_per_mib_max, 100'000'000}}};
    const NodeSpeed speed = *NodeSpeed::make(slowest, 0);
    const std::uint64_t kv = engine_sequences_max * std::uint64_t{context_tokens_max} * layer_kv_bytes_per_token_max;
    Duration sum{};
    for (std::size_t i = 0; i < model_layers_max; ++i) {
        const Duration layer = speed.decode(layer_bytes_max, kv, engine_sequences_max) +
                               speed.prefill(layer_bytes_max, prefill_chunk_tokens);
        ASSERT_GT(layer, Duration{});
        ASSERT_LT(layer, Duration::max() / 4 - sum);
        sum += layer;
    }
}

TEST(LinkSpeed, DelayAndTransfer) {
    const LinkSpeed link = *LinkSpeed::make(30ms, 1'250'000);
    EXPECT_EQ(link.delay(), 15ms);
    EXPECT_EQ(link.transfer(12'500), 10ms);
    EXPECT_FALSE(LinkSpeed::make(0ms, 1'000'000));
    EXPECT_FALSE(LinkSpeed::make(-1ms, 1'000'000));
    EXPECT_FALSE(LinkSpeed::make(11s, 1'000'000));
    EXPECT_FALSE(LinkSpeed::make(1ms, 0));
    EXPECT_FALSE(LinkSpeed::make(1ms, UINT64_MAX));
}

TEST(LinkSpeed, TheLongerRoundTripAndTheSendersBandwidthCount) {
    TestRng rng(1);
    wire::Profile a{rng.id<NodeId>(), {}, {}, measured(), {}};
    wire::Profile b{rng.id<NodeId>(), {}, {}, measured(), {}};
    EXPECT_FALSE(link_between(a, b));
    a.links = {{b.node, 20'000, 1'000'000}};
    EXPECT_EQ(link_between(a, b)->round_trip(), 20ms);
    EXPECT_FALSE(link_between(b, a)) << "b never measured what it can send";
    b.links = {{a.node, 50'000, 9'000'000}};
    EXPECT_EQ(link_between(a, b)->round_trip(), 50ms);
    EXPECT_EQ(link_between(a, b)->transfer(1'000'000), 1s);
    EXPECT_EQ(link_between(b, a)->transfer(9'000'000), 1s);
}

TEST(ModelShape, OnlyWhatIsWithinBoundsIsOne) {
    const auto refused = [](auto change) {
        ModelDescription d{.layers = {4, LayerShape{mib, mib, 4096}}, .hidden_size = 1024, .cuts = {1, 2, 3}};
        change(d);
        const auto out = ModelShape::make(d);
        return !out && out.error().code == Errc::invalid;
    };
    EXPECT_FALSE(refused([](ModelDescription&) {}));
    EXPECT_FALSE(refused([](ModelDescription& d) { d.cuts.clear(); }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.layers.clear(); }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.layers.resize(513, d.layers[0]); }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.layers[3].weight_bytes = 0; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.layers[3].weight_bytes = UINT64_MAX; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.layers[3].active_bytes = mib + 1; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.layers[3].active_bytes = 0; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.layers[3].kv_bytes_per_token = UINT64_MAX; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.head_bytes = UINT64_MAX; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.embedding_bytes = UINT64_MAX; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.hidden_size = 0; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.tied_head = true, d.head_bytes = 1; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.cuts = {1, 1}; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.cuts = {0}; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.cuts = {4}; }));
    EXPECT_TRUE(refused([](ModelDescription& d) { d.cuts = {3, 1}; }));
    EXPECT_EQ(cuts_every(4, 10), (std::vector<std::uint16_t>{4, 8}));
}

}  // namespace
}  // namespace shoal::pipeline
