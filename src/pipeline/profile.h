// What a node is worth to a pipeline: its profile, believed once it is signed, and the times that follow from it.
//
// A profile is a claim (protocol/profile.md). It decides who is asked first; what a node then really takes is seen by
// its neighbours.
#pragma once

#include <optional>

#include "base/result.h"
#include "base/time.h"
#include "crypto/sign.h"
#include "wire/profile.h"

namespace shoal::pipeline {

inline constexpr crypto::Domain domain_profile{"SC1-PROF"};

// `profile.node` must be the key's own id.
wire::SignedProfile sign_profile(const crypto::SigningKey& key, NetworkId network, wire::Profile profile);
// The profile, if its own node signed it for this network and its time is now. Errc::unauthenticated; Errc::expired;
// Errc::invalid: what wire::check_profile refuses.
Result<wire::Profile> verify_profile(const wire::SignedProfile& signed_profile, NetworkId network, Now now);

// How fast one node runs layers of one quantisation. Made from measurements only, so its times are positive and no sum
// over a model overflows (limits.h).
//
// Times are linear in bytes: t = overhead + bytes · rate. Source: decoding is bound by memory, prefill by arithmetic on
// the same weights; protocol/profile.md.
class NodeSpeed {
public:
    // Of a quantisation that was not measured: in each respect the slowest of those that were. Errc::invalid, as
    // wire::check_measurements.
    static Result<NodeSpeed> make(const wire::Measurements& measured, std::uint8_t quantisation);

    std::uint64_t memory_bytes() const { return memory_bytes_; }
    Duration stage_overhead() const { return stage_overhead_; }
    // One step of `sequences` (1 to engine_sequences_max) through a layer of which `weight_bytes` (at most
    // layer_bytes_max) are read once and `kv_bytes` more by all sequences together.
    Duration decode(std::uint64_t weight_bytes, std::uint64_t kv_bytes, std::uint32_t sequences) const;
    // A chunk of `tokens` (1 to prefill_chunk_tokens) through that layer.
    Duration prefill(std::uint64_t weight_bytes, std::uint32_t tokens) const;

private:
    NodeSpeed() = default;
    std::uint64_t memory_bytes_ = 0;
    Duration stage_overhead_{};
    Duration layer_overhead_{};
    std::uint64_t decode_ps_per_mib_ = 0;
    std::uint64_t batch_ps_per_mib_ = 0;
    std::uint64_t prefill_ps_per_mib_ = 0;
};

// One direction of a link.
class LinkSpeed {
public:
    // Errc::invalid, as wire::check_link.
    static Result<LinkSpeed> make(Duration round_trip, std::uint64_t bytes_per_second);

    Duration round_trip() const { return round_trip_; }
    // Half a round trip: what a message of no length takes.
    Duration delay() const { return round_trip_ / 2; }
    // How long `bytes` (below 2^33) occupy the link, in addition.
    Duration transfer(std::uint64_t bytes) const;

private:
    LinkSpeed() = default;
    Duration round_trip_{};
    std::uint64_t bytes_per_second_ = 1;
};

// From `from` to `to`: the longer of the round trips that the two measured, and the sender's bandwidth. None if the
// sender never measured it.
std::optional<LinkSpeed> link_between(const wire::Profile& from, const wire::Profile& to);

}  // namespace shoal::pipeline
