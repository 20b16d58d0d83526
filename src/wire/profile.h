// Profile: what a node has measured of itself and of its links, signed by its identity. Format: protocol/profile.md.
//
// A plan of layer ranges is computed from these (src/pipeline). All numbers are integers with bounds, so that no sum of
// a hostile node's numbers overflows and none is infinite or not a number.
#pragma once

#include <vector>

#include "base/codec.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/time.h"

namespace shoal::wire {

// How fast layers of one quantisation run. Times are for a MiB of weights rather than a layer, so that one measurement
// serves every model of that quantisation.
struct MeasuredRate {
    std::uint8_t quantisation = 0;         // ggml file type, as in OfferedModel
    std::uint64_t decode_ps_per_mib = 0;   // one token of one sequence
    std::uint64_t batch_ps_per_mib = 0;    // each further sequence of the same step
    std::uint64_t prefill_ps_per_mib = 0;  // each token of a chunk of chunk_tokens
    std::uint32_t layer_overhead_ns = 0;   // once a layer and step, whatever its size
    friend bool operator==(const MeasuredRate&, const MeasuredRate&) = default;
};

// From this node to a peer.
struct MeasuredLink {
    NodeId peer;
    std::uint32_t rtt_us = 0;
    std::uint64_t bytes_per_second = 0;  // that this node can send to the peer
    friend bool operator==(const MeasuredLink&, const MeasuredLink&) = default;
};

// What one machine can do: the part of a profile that has no name and no date.
struct Measurements {
    std::uint64_t memory_bytes = 0;  // for weights and KV cache together
    std::uint32_t stage_overhead_ns =
        0;                            // once a step: from the activations' arrival to their leaving, less the layers
    std::uint16_t chunk_tokens = 0;   // of the prefill measurement; 1 to limits::prefill_chunk_tokens
    std::vector<MeasuredRate> rates;  // 1 to profile_rates_max, strictly ascending by quantisation
    friend bool operator==(const Measurements&, const Measurements&) = default;
};

struct Profile {
    NodeId node;
    UnixTime valid_after{};
    UnixTime valid_until{};  // at most profile_age_max later
    Measurements measured;
    std::vector<MeasuredLink> links;  // at most profile_links_max, strictly ascending by peer, never to itself
    friend bool operator==(const Profile&, const Profile&) = default;
};

// Errc::invalid, naming the value that is outside its bounds (limits.h), or the list that is out of order.
Status check_measurements(const Measurements& m);
Status check_link(const MeasuredLink& link);
Status check_profile(const Profile& p);

// The part that is signed: all but the signature. `p` must pass check_profile (ASSERT).
Bytes encode_profile_body(const Profile& p);

struct SignedProfile {
    Profile profile;
    ByteArray<64> signature{};
};
Bytes encode(const SignedProfile& m);
// Errc::malformed; Errc::unsupported: another version; Errc::invalid as check_profile. Whether it is signed and its
// time is now, pipeline::verify_profile says.
Result<SignedProfile> decode_signed_profile(ByteView in);

}  // namespace shoal::wire
