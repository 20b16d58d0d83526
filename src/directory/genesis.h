// Genesis: what a network is, as network.toml says it. The one thing that a node must be given by hand.
//
// Rules
//   1. The network's id is a hash over name, creation time and verifiers, in their order.
//      Rationale: every signature carries the id, so nothing of one network means anything in another, and whoever
//      swaps a verifier in somebody's file has made another network, not taken this one over.
//   2. Bootstraps are not hashed. Rationale: addresses change; they are only the first to be asked, and what they
//      answer is verified like all else. A hostile one can stay silent or serve an older snapshot that still runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "wire/descriptor.h"

namespace shoal::directory {

struct Genesis {
    struct Verifier {
        NodeId id;
        std::uint32_t weight = 1;
        friend bool operator==(const Verifier&, const Verifier&) = default;
    };
    struct Bootstrap {
        NodeId id;
        wire::Address address;
        friend bool operator==(const Bootstrap&, const Bootstrap&) = default;
    };

    std::string name;  // 1 to limits::network_name_bytes_max of [a-z0-9-]
    std::vector<Verifier> verifiers;
    std::vector<Bootstrap> bootstraps;
    UnixTime created{};

    // BLAKE2b-256("SC1-GENE" | created u64 | name: length u16, bytes | count u8 | (id 32, weight u32) each).
    // The genesis must pass check().
    NetworkId network() const;
    std::uint64_t total_weight() const;
    // Errc::invalid, naming the field: no name or one outside its letters, no verifier, more than committee_max, one
    // twice, weight zero, weights above committee_weight_max together, more than bootstraps_max, a bootstrap twice or
    // with an address that is not dialable.
    Status check() const;

    friend bool operator==(const Genesis&, const Genesis&) = default;
};

// Whether signers that weigh `signed_weight` of `total_weight` decide: more than two thirds. Exact, in integers.
constexpr bool is_quorum(std::uint64_t signed_weight, std::uint64_t total_weight) {
    return 3 * signed_weight > 2 * total_weight;
}

}  // namespace shoal::directory
