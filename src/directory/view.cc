#include "directory/view.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "directory/sign.h"

namespace shoal::directory {
namespace {

constexpr auto skew = std::chrono::duration_cast<std::chrono::seconds>(limits::clock_skew);

Status check_times(const wire::Snapshot& s, Now now) {
    if (s.fresh_until <= s.valid_after || s.valid_until < s.fresh_until) {
        return fail(Errc::invalid, "snapshot: its times are out of order");
    }
    if (s.fresh_until - s.valid_after > limits::snapshot_fresh ||
        s.valid_until - s.valid_after > limits::snapshot_valid) {
        return fail(Errc::invalid, "snapshot: it would run too long");
    }
    if (s.valid_after > now.wall + skew) {
        return fail(Errc::expired, "snapshot: it begins in the future; is this machine's clock right?");
    }
    if (now.wall >= s.valid_until) {
        return fail(Errc::expired, "snapshot: it has ended; is this machine's clock right?");
    }
    return ok();
}

// The committee may not list what was dead already when it signed.
Status check_entries(const wire::Snapshot& s) {
    for (const wire::SnapshotEntry& entry : s.entries) {
        if (entry.descriptor.valid_until <= s.valid_after) {
            return fail(Errc::invalid, "snapshot: it lists " + entry.descriptor.node.hex() + ", which had ended");
        }
    }
    return ok();
}

// The decoder has seen to it that no signer is there twice. Stops as soon as the matter is decided either way: each
// check hashes the whole body, and a list of 31 forged signatures should cost a third of them at most.
Status check_signatures(const Genesis& genesis, const wire::SignedSnapshot& snapshot) {
    const NetworkId network = genesis.network();
    const std::uint64_t total = genesis.total_weight();
    std::uint64_t valid = 0;
    std::uint64_t possible = 0;
    for (const wire::CommitteeSignature& one : snapshot.signatures) {
        if (one.index >= genesis.verifiers.size()) {
            return fail(Errc::unauthenticated, "snapshot: signed by a verifier that network.toml does not name");
        }
        possible += genesis.verifiers[one.index].weight;
    }
    for (const wire::CommitteeSignature& one : snapshot.signatures) {
        if (!is_quorum(possible, total) || is_quorum(valid, total)) break;
        const Genesis::Verifier& verifier = genesis.verifiers[one.index];
        if (verify_snapshot_signature(verifier.id, network, one, snapshot.body)) {
            valid += verifier.weight;
        } else {
            possible -= verifier.weight;
        }
    }
    if (!is_quorum(valid, total)) {
        return fail(Errc::unauthenticated, "snapshot: not signed by more than two thirds of the committee");
    }
    return ok();
}

// What most weight claims. Ties go to the smaller value, so that everyone decides alike.
template <typename T>
T heaviest(const std::map<T, std::uint64_t>& weights) {
    const auto lighter = [](const auto& a, const auto& b) { return a.second < b.second; };
    return std::max_element(weights.begin(), weights.end(), lighter)->first;
}

}  // namespace

Result<View> View::verify(const Genesis& genesis, const wire::SignedSnapshot& snapshot, Now now) {
    if (snapshot.body.empty() || snapshot.signatures.size() > limits::committee_max) {
        return fail(Errc::invalid, "snapshot: no body, or too many signatures");
    }
    View view;
    view.encoded_ = wire::encode(snapshot);
    wire::SignedSnapshot read = TRY(wire::decode_signed_snapshot(view.encoded_));  // rule 3
    if (read.snapshot.network != genesis.network()) {
        return fail(Errc::unauthenticated, "snapshot: it is of another network");
    }
    TRY(check_times(read.snapshot, now));
    TRY(check_signatures(genesis, read));
    TRY(check_entries(read.snapshot));
    view.hash_ = snapshot_hash(read.body);
    view.snapshot_ = std::move(read.snapshot);
    view.index_roles();
    view.index_models();
    return view;
}

void View::index_roles() {
    for (std::uint32_t i = 0; i < snapshot_.entries.size(); ++i) {
        const wire::SnapshotEntry& entry = snapshot_.entries[i];
        if (entry.weight == 0) continue;
        const std::uint16_t roles = entry.descriptor.roles;
        if ((roles & wire::role_relay) != 0) relays_.push_back(i);
        if ((roles & wire::role_guard) != 0) guards_.push_back(i);
        if ((roles & wire::role_model) != 0) model_nodes_.push_back(i);
        if ((roles & wire::role_lead) != 0) leads_.push_back(i);
    }
}

void View::index_models() {
    const auto add = [this](std::uint32_t i, bool lead) {
        const auto& models = snapshot_.entries[i].descriptor.models;
        for (std::uint32_t slot = 0; slot < models.size(); ++slot)
            offers_.push_back({models[slot].model, i, slot, lead});
    };
    for (const std::uint32_t i : model_nodes_) add(i, false);
    for (const std::uint32_t i : leads_) add(i, true);
    std::ranges::sort(offers_, {}, [](const Offer& o) { return std::tie(o.model, o.entry, o.slot); });

    std::map<std::pair<std::string, ModelId>, std::uint64_t> claims;  // weight behind "this name means this model"
    for (auto at = offers_.begin(); at != offers_.end();) {
        const auto end = std::ranges::upper_bound(at, offers_.end(), at->model, {}, &Offer::model);
        std::map<std::string, std::uint64_t> names;
        std::map<std::uint32_t, std::uint64_t> contexts;
        ModelSummary summary{at->model, {}};
        for (; at != end; ++at) {
            ++(at->lead ? summary.leads : summary.nodes);
            const wire::SnapshotEntry& entry = snapshot_.entries[at->entry];
            const wire::OfferedModel& offered = entry.descriptor.models[at->slot];
            names[offered.name] += entry.weight;
            contexts[offered.context_tokens] += entry.weight;
            claims[{offered.name, offered.model}] += entry.weight;
        }
        summary.name = heaviest(names);
        summary.context_tokens = heaviest(contexts);
        models_.push_back(std::move(summary));
    }

    // Claims come by name, then by id: the first of equal weight is the smaller id.
    std::uint64_t best = 0;
    for (const auto& [claim, weight] : claims) {
        const auto& [name, model] = claim;
        if (names_.empty() || names_.back().name != name) {
            names_.push_back({name, model});
            best = weight;
        } else if (weight > best) {
            names_.back().model = model;
            best = weight;
        }
    }
}

const wire::SnapshotEntry* View::find(const NodeId& node) const {
    const auto id = [](const wire::SnapshotEntry& entry) -> const NodeId& { return entry.descriptor.node; };
    const auto at = std::ranges::lower_bound(snapshot_.entries, node, {}, id);
    return at != snapshot_.entries.end() && id(*at) == node ? &*at : nullptr;
}

std::vector<NodeId> View::offering(const ModelId& model, bool lead) const {
    std::vector<NodeId> out;
    auto at = std::ranges::lower_bound(offers_, model, {}, &Offer::model);
    for (; at != offers_.end() && at->model == model; ++at) {
        if (at->lead == lead) out.push_back(snapshot_.entries[at->entry].descriptor.node);
    }
    return out;
}

std::optional<ModelId> View::find_model(std::string_view name) const {
    const auto text = [](const Name& n) { return std::string_view(n.name); };
    const auto at = std::ranges::lower_bound(names_, name, {}, text);
    if (at == names_.end() || text(*at) != name) return std::nullopt;
    return at->model;
}

}  // namespace shoal::directory
