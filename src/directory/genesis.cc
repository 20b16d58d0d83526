#include "directory/genesis.h"

#include <algorithm>
#include <set>

#include "base/codec.h"
#include "crypto/hash.h"

namespace shoal::directory {
namespace {

// Narrow on purpose: the name is shown to people and must not be able to imitate another with look-alike letters.
bool is_network_name(std::string_view name) {
    const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
    return !name.empty() && name.size() <= limits::network_name_bytes_max && std::ranges::all_of(name, allowed);
}

Status check_verifiers(const std::vector<Genesis::Verifier>& verifiers) {
    if (verifiers.empty()) return fail(Errc::invalid, "genesis: no verifier; name at least one");
    if (verifiers.size() > limits::committee_max) {
        return fail(Errc::invalid, "genesis: more than " + std::to_string(limits::committee_max) + " verifiers");
    }
    std::set<NodeId> seen;
    std::uint64_t total = 0;  // at most 31 * 2^32
    for (const Genesis::Verifier& verifier : verifiers) {
        if (!seen.insert(verifier.id).second) {
            return fail(Errc::invalid, "genesis: verifier " + verifier.id.hex() + " is there twice");
        }
        if (verifier.weight == 0) return fail(Errc::invalid, "genesis: verifier " + verifier.id.hex() + " weighs 0");
        total += verifier.weight;
    }
    if (total > limits::committee_weight_max) {
        return fail(Errc::invalid, "genesis: the verifiers' weights are more than " +
                                       std::to_string(limits::committee_weight_max) + " together");
    }
    return ok();
}

Status check_bootstraps(const std::vector<Genesis::Bootstrap>& bootstraps) {
    if (bootstraps.size() > limits::bootstraps_max) {
        return fail(Errc::invalid, "genesis: more than " + std::to_string(limits::bootstraps_max) + " bootstraps");
    }
    std::set<NodeId> seen;
    for (const Genesis::Bootstrap& bootstrap : bootstraps) {
        if (!seen.insert(bootstrap.id).second) {
            return fail(Errc::invalid, "genesis: bootstrap " + bootstrap.id.hex() + " is there twice");
        }
        if (!wire::is_dialable(bootstrap.address)) {
            return fail(Errc::invalid,
                        "genesis: bootstrap " + bootstrap.id.hex() + " has an address that nobody can dial");
        }
    }
    return ok();
}

}  // namespace

NetworkId Genesis::network() const {
    ASSERT(name.size() <= limits::network_name_bytes_max && verifiers.size() <= limits::committee_max);
    Writer out;
    out.bytes(as_bytes("SC1-GENE"));
    out.u64(unix_seconds(created));
    out.text_u16(name);
    out.u8(static_cast<std::uint8_t>(verifiers.size()));
    for (const Verifier& verifier : verifiers) {
        out.bytes(verifier.id.view());
        out.u32(verifier.weight);
    }
    return NetworkId(crypto::blake2b<32>({out.view()}));
}

std::uint64_t Genesis::total_weight() const {
    std::uint64_t total = 0;
    for (const Verifier& verifier : verifiers) total += verifier.weight;
    return total;
}

Status Genesis::check() const {
    if (!is_network_name(name)) {
        return fail(Errc::invalid, "genesis: the name must be 1 to " + std::to_string(limits::network_name_bytes_max) +
                                       " of a-z, 0-9 and '-'");
    }
    TRY(check_verifiers(verifiers));
    return check_bootstraps(bootstraps);
}

}  // namespace shoal::directory
