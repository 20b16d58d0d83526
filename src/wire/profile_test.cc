#include "wire/profile.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "base/test_rng.h"
#include "wire/vectors_test.h"

namespace shoal::wire {
namespace {

Json profile_json(const SignedProfile& m) {
    const Profile& p = m.profile;
    Json rates = Json::array();
    for (const MeasuredRate& r : p.measured.rates) {
        rates.push_back({{"quantisation", r.quantisation},
                         {"decode_ps_per_mib", r.decode_ps_per_mib},
                         {"batch_ps_per_mib", r.batch_ps_per_mib},
                         {"prefill_ps_per_mib", r.prefill_ps_per_mib},
                         {"layer_overhead_ns", r.layer_overhead_ns}});
    }
    Json links = Json::array();
    for (const MeasuredLink& l : p.links) {
        links.push_back({{"peer", l.peer.hex()}, {"rtt_us", l.rtt_us}, {"bytes_per_second", l.bytes_per_second}});
    }
    return {{"node", p.node.hex()},
            {"valid_after", unix_seconds(p.valid_after)},
            {"valid_until", unix_seconds(p.valid_until)},
            {"memory_bytes", p.measured.memory_bytes},
            {"stage_overhead_ns", p.measured.stage_overhead_ns},
            {"chunk_tokens", p.measured.chunk_tokens},
            {"rates", rates},
            {"links", links},
            {"signature", to_hex(m.signature)}};
}

SignedProfile profile_from(const Json& f) {
    SignedProfile m;
    m.profile.node = unhex_id<NodeId>(f["node"]);
    m.profile.valid_after = untime(f["valid_after"]);
    m.profile.valid_until = untime(f["valid_until"]);
    m.profile.measured = {f["memory_bytes"], f["stage_overhead_ns"], f["chunk_tokens"], {}};
    for (const Json& r : f["rates"]) {
        m.profile.measured.rates.push_back({r["quantisation"], r["decode_ps_per_mib"], r["batch_ps_per_mib"],
                                            r["prefill_ps_per_mib"], r["layer_overhead_ns"]});
    }
    for (const Json& l : f["links"]) {
        m.profile.links.push_back({unhex_id<NodeId>(l["peer"]), l["rtt_us"], l["bytes_per_second"]});
    }
    m.signature = unhex_array<64>(f["signature"]);
    return m;
}

TEST(Profile, TheVectorsHoldBothWays) {
    check_vectors("profile", {{"signed_profile", codec_of(decode_signed_profile, profile_json, profile_from)}});
}

std::uint64_t between(TestRng& rng, std::uint64_t low, std::uint64_t high) {
    return low + rng.below(high - low + 1);
}

Profile arbitrary_profile(TestRng& rng) {
    using namespace limits;
    Profile p;
    p.node = rng.id<NodeId>();
    p.valid_after = from_unix_seconds(rng.below(7'000'000'000));
    p.valid_until = p.valid_after + std::chrono::seconds(1 + rng.below(7 * 86'400));
    p.measured.memory_bytes = between(rng, 1, node_memory_bytes_max);
    p.measured.stage_overhead_ns = static_cast<std::uint32_t>(rng.below(1'000'000'001));
    p.measured.chunk_tokens = static_cast<std::uint16_t>(between(rng, 1, prefill_chunk_tokens));
    const auto rate = [&] { return between(rng, rate_ps_per_mib_min, rate_ps_per_mib_max); };
    for (std::size_t i = 0; i < between(rng, 1, profile_rates_max); ++i) {
        p.measured.rates.push_back({static_cast<std::uint8_t>(i * 3), rate(), rate(), rate(),
                                    static_cast<std::uint32_t>(rng.below(100'000'001))});
    }
    for (std::size_t i = rng.below(profile_links_max + 1); i > 0; --i) {
        p.links.push_back({rng.id<NodeId>(), static_cast<std::uint32_t>(between(rng, 1, 10'000'000)),
                           between(rng, link_bytes_per_second_min, link_bytes_per_second_max)});
    }
    std::ranges::sort(p.links, {}, &MeasuredLink::peer);
    return p;
}

RC_GTEST_PROP(Profile, EveryProfileComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    const SignedProfile m{arbitrary_profile(rng), rng.array<64>()};
    const Bytes bytes = encode(m);
    RC_ASSERT(bytes.size() <= limits::profile_bytes_max);
    const auto back = decode_signed_profile(bytes);
    RC_ASSERT(back.has_value());
    RC_ASSERT(back->profile == m.profile);
    RC_ASSERT(back->signature == m.signature);
}

TEST(Profile, OneThatNobodyWouldTakeIsNeverSent) {
    TestRng rng(1);
    Profile p = arbitrary_profile(rng);
    p.measured.memory_bytes = 0;
    EXPECT_DEATH(encode_profile_body(p), "check_profile");
}

}  // namespace
}  // namespace shoal::wire
