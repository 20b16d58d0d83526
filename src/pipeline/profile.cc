#include "pipeline/profile.h"

#include <algorithm>

#include "base/limits.h"

namespace shoal::pipeline {
namespace {

// Rounded up, so that nothing takes no time. Whole MiB and the rest apart, so that the largest KV cache of a layer at
// the slowest rate (2^26 MiB at 10^10 ps) stays below 2^63.
constexpr std::uint64_t bytes_max =
    limits::engine_sequences_max * std::uint64_t{limits::context_tokens_max} * limits::layer_kv_bytes_per_token_max +
    limits::layer_bytes_max;
static_assert((bytes_max >> 20) + 1 <= (std::uint64_t{1} << 62) / limits::rate_ps_per_mib_max);

Duration time_of(std::uint64_t bytes, std::uint64_t ps_per_mib) {
    ASSERT(bytes <= bytes_max);
    const std::uint64_t kib = (bytes + 1023) / 1024;
    const std::uint64_t ps = kib / 1024 * ps_per_mib + kib % 1024 * ps_per_mib / 1024;
    return Duration(static_cast<std::int64_t>((ps + 999) / 1000));
}

}  // namespace

wire::SignedProfile sign_profile(const crypto::SigningKey& key, NetworkId network, wire::Profile profile) {
    ASSERT(profile.node == key.node_id());
    wire::SignedProfile out{std::move(profile), {}};
    out.signature = key.sign(domain_profile, network, wire::encode_profile_body(out.profile));
    return out;
}

Result<wire::Profile> verify_profile(const wire::SignedProfile& signed_profile, NetworkId network, Now now) {
    const wire::Profile& p = signed_profile.profile;
    if (now.wall >= p.valid_until) return fail(Errc::expired, "profile: it has ended; measure again");
    if (p.valid_after > now.wall + std::chrono::duration_cast<std::chrono::seconds>(limits::clock_skew)) {
        return fail(Errc::expired, "profile: it begins in the future; is the node's clock right?");
    }
    TRY(wire::check_profile(p));
    if (!crypto::verify(p.node, domain_profile, network, wire::encode_profile_body(p), signed_profile.signature)) {
        return fail(Errc::unauthenticated, "profile: the signature is not its node's for this network");
    }
    return p;
}

Result<NodeSpeed> NodeSpeed::make(const wire::Measurements& measured, std::uint8_t quantisation) {
    TRY(wire::check_measurements(measured));
    const auto known = std::ranges::find(measured.rates, quantisation, &wire::MeasuredRate::quantisation);
    wire::MeasuredRate rate;
    if (known != measured.rates.end()) {
        rate = *known;
    } else {
        for (const wire::MeasuredRate& r : measured.rates) {
            rate.decode_ps_per_mib = std::max(rate.decode_ps_per_mib, r.decode_ps_per_mib);
            rate.batch_ps_per_mib = std::max(rate.batch_ps_per_mib, r.batch_ps_per_mib);
            rate.prefill_ps_per_mib = std::max(rate.prefill_ps_per_mib, r.prefill_ps_per_mib);
            rate.layer_overhead_ns = std::max(rate.layer_overhead_ns, r.layer_overhead_ns);
        }
    }
    NodeSpeed out;
    out.memory_bytes_ = measured.memory_bytes;
    out.stage_overhead_ = Duration(measured.stage_overhead_ns);
    out.layer_overhead_ = Duration(rate.layer_overhead_ns);
    out.decode_ps_per_mib_ = rate.decode_ps_per_mib;
    out.batch_ps_per_mib_ = rate.batch_ps_per_mib;
    out.prefill_ps_per_mib_ = rate.prefill_ps_per_mib;
    return out;
}

Duration NodeSpeed::decode(std::uint64_t weight_bytes, std::uint64_t kv_bytes, std::uint32_t sequences) const {
    ASSERT(sequences >= 1 && sequences <= limits::engine_sequences_max);
    return layer_overhead_ + time_of(weight_bytes + kv_bytes, decode_ps_per_mib_) +
           (sequences - 1) * time_of(weight_bytes, batch_ps_per_mib_);
}

Duration NodeSpeed::prefill(std::uint64_t weight_bytes, std::uint32_t tokens) const {
    ASSERT(tokens >= 1 && tokens <= limits::prefill_chunk_tokens);
    return layer_overhead_ + tokens * time_of(weight_bytes, prefill_ps_per_mib_);
}

Result<LinkSpeed> LinkSpeed::make(Duration round_trip, std::uint64_t bytes_per_second) {
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(round_trip).count();
    if (us < 1 || round_trip > limits::link_rtt_max) return fail(Errc::invalid, "link: round trip out of range");
    TRY(wire::check_link({{}, static_cast<std::uint32_t>(us), bytes_per_second}));
    LinkSpeed out;
    out.round_trip_ = round_trip;
    out.bytes_per_second_ = bytes_per_second;
    return out;
}

Duration LinkSpeed::transfer(std::uint64_t bytes) const {
    ASSERT(bytes < std::uint64_t{1} << 33);
    return Duration(static_cast<std::int64_t>((bytes * 1'000'000'000 + bytes_per_second_ - 1) / bytes_per_second_));
}

std::optional<LinkSpeed> link_between(const wire::Profile& from, const wire::Profile& to) {
    const auto there = std::ranges::find(from.links, to.node, &wire::MeasuredLink::peer);
    if (there == from.links.end()) return std::nullopt;
    const auto back = std::ranges::find(to.links, from.node, &wire::MeasuredLink::peer);
    const std::uint32_t rtt_us = std::max(there->rtt_us, back == to.links.end() ? 0 : back->rtt_us);
    const auto link = LinkSpeed::make(std::chrono::microseconds(rtt_us), there->bytes_per_second);
    return link ? std::optional(*link) : std::nullopt;
}

}  // namespace shoal::pipeline
