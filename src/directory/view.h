// View: a directory that may be believed. The only way to one is View::verify; from then on it never changes.
//
// Rules
//   1. Signed by verifiers of the genesis that weigh more than two thirds of it together, each counted once and only
//      if its signature holds. A signer that the genesis does not know refuses the whole.
//   2. The times make sense (valid_after, fresh_until, valid_until in order, spans within limits::snapshot_fresh and
//      snapshot_valid) and now lies between them, with limits::clock_skew of grace at the start and none at the end.
//   3. What was signed is what is used: verify decodes the body again and uses nothing else of its argument but the
//      signatures. Rationale: a SignedSnapshot holds both forms; one that pairs an honest body with other entries must
//      get nowhere.
//   4. A model name belongs to the model that nodes of the largest total weight offer under it; ties go to the smaller
//      id. In the same way name and context of a model are those that most weight claims.
//      Rationale: nodes choose the names they claim, so a name alone identifies nothing; whoever takes over a name must
//      outweigh all who serve it honestly, and every client sees the same answer. Who wants certainty asks by id.
//   5. Entries of weight 0 are known (find) but never offered (relays, guards, nodes_of, models).
//
// What an attacker can do: withhold, or show a snapshot that is still running instead of a newer one (up to
// limits::snapshot_valid old). Cost of verify: one signature check per signer until the weight suffices, each hashing
// the body once, and one pass over the entries; memory about twice the encoded size.
//
// Thread: any, it is immutable.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "directory/genesis.h"
#include "wire/snapshot.h"

namespace shoal::directory {

struct ModelSummary {
    ModelId id;
    std::string name;                  // by rule 4; several models may bear one name, find_model picks
    std::uint32_t context_tokens = 0;  // by rule 4
    std::uint32_t nodes = 0;           // that hold all of it
    std::uint32_t leads = 0;           // that serve it over stages
};

class View {
public:
    // Errc::unauthenticated: rule 1, or another network. Errc::expired: not now. Errc::invalid: entries or times that
    // contradict themselves. Errc::malformed, Errc::unsupported: the body is no snapshot (wire/snapshot.h).
    static Result<View> verify(const Genesis& genesis, const wire::SignedSnapshot& snapshot, Now now);

    View(View&&) = default;
    View& operator=(View&&) = default;
    View(const View&) = delete;
    View& operator=(const View&) = delete;

    Epoch epoch() const { return snapshot_.epoch; }
    const ByteArray<32>& hash() const { return hash_; }
    const ByteArray<32>& previous() const { return snapshot_.previous; }
    UnixTime valid_after() const { return snapshot_.valid_after; }
    UnixTime fresh_until() const { return snapshot_.fresh_until; }
    UnixTime valid_until() const { return snapshot_.valid_until; }
    bool running(Now now) const { return now.wall < valid_until(); }

    // Strictly ascending by node.
    std::span<const wire::SnapshotEntry> entries() const { return snapshot_.entries; }
    // nullptr: not listed. O(log n); lives as long as the view.
    const wire::SnapshotEntry* find(const NodeId& node) const;
    // The whole signed snapshot as wire::encode gives it, to serve to others.
    ByteView encoded() const { return encoded_; }

    // Indices into entries(), ascending, by role. A guard is a relay too and is in both lists.
    std::span<const std::uint32_t> relays() const { return relays_; }
    std::span<const std::uint32_t> guards() const { return guards_; }
    std::span<const std::uint32_t> model_nodes() const { return model_nodes_; }
    std::span<const std::uint32_t> leads() const { return leads_; }

    // Every model that is offered, by id. Many nodes: O(1), computed in verify.
    std::span<const ModelSummary> models() const { return models_; }
    // Who holds all of it, and who serves it over stages: ascending by node; empty when nobody does.
    std::vector<NodeId> nodes_of(const ModelId& model) const { return offering(model, false); }
    std::vector<NodeId> leads_of(const ModelId& model) const { return offering(model, true); }
    // The model that a program means by this name (rule 4).
    std::optional<ModelId> find_model(std::string_view name) const;

private:
    struct Offer {  // one node's offer of one model
        ModelId model;
        std::uint32_t entry;
        std::uint32_t slot;  // in its descriptor's models
        bool lead;
    };
    struct Name {
        std::string name;
        ModelId model;
    };

    View() = default;
    void index_roles();
    void index_models();
    std::vector<NodeId> offering(const ModelId& model, bool lead) const;

    // bounded: by snapshot_bytes_max; the lists below by its snapshot_nodes_max entries and their models_per_node_max
    wire::Snapshot snapshot_;
    Bytes encoded_;
    ByteArray<32> hash_{};
    std::vector<std::uint32_t> relays_;
    std::vector<std::uint32_t> guards_;
    std::vector<std::uint32_t> model_nodes_;
    std::vector<std::uint32_t> leads_;
    std::vector<Offer> offers_;         // by model, then entry
    std::vector<ModelSummary> models_;  // by id
    std::vector<Name> names_;           // by name
};

}  // namespace shoal::directory
