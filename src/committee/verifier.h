// Verifier: one member of the committee, with the embedded ledger's part that makes the directory.
//
// It takes descriptors, and signs a snapshot of them when something changed or the last one grows old. Its draft
// becomes a snapshot once signatures of more than two thirds of the genesis' weight are on it; a committee of one has
// that with its own. (The others' signatures come through on_signature; carrying drafts between members is the work of
// the BFT engine beside a committee of several.)
//
// Rules
//   1. Never two hashes for one epoch. The draft leaves through take_persist() before it or its signature leaves in any
//      other way: take_snapshot() and draft() give nothing until on_persisted(). After a restart the next epoch is one
//      above the persisted one; the persisted one itself, if it was complete, is handed out again as it was.
//   2. A node's sequence only rises. What was accepted is remembered until no older descriptor of it can run, also when
//      the node itself has left. The same descriptor again is welcome: the first answer may have been lost.
//   3. Snapshots are snapshot_interval_min apart, and one more for each snapshot_entries_per_interval entries; at half
//      of snapshot_fresh at the latest. An empty one is never the first.
//   4. Starting without state is for a new network. A verifier that lost its disk reads its own last snapshot back from
//      any node (adopt) before it signs anything; without it, it would break rule 1.
//
//        make_draft          quorum of signatures            taken from the disk's point of view
//   (none) -------> drafted -------------------> sealed -------------------------------------> ready -> taken
//                      \__ no quorum within draft_patience: another one, of the next epoch
//
// Thread: the one that owns the object.
#pragma once

#include <map>
#include <optional>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "crypto/sign.h"
#include "directory/genesis.h"
#include "wire/snapshot.h"

namespace shoal::committee {

class Verifier {
public:
    // How often entries that have ended are looked for.
    static constexpr Duration sweep_interval = 30s;
    // How long a draft waits for the others' signatures.
    static constexpr Duration draft_patience = 20s;

    // `key` must be a verifier's of the genesis (ASSERT; see is_member) and outlive the object.
    Verifier(directory::Genesis genesis, const crypto::SigningKey& key);
    static bool is_member(const directory::Genesis& genesis, const NodeId& node);

    // A node's descriptor. The reason of a refusal is one line, for the node's operator.
    wire::PublishResult on_publish(Now now, const wire::SignedDescriptor& descriptor);
    // Another verifier's signature on the draft. Errc::not_found: no draft, or it is of another epoch;
    // Errc::unauthenticated: unknown signer, or the signature does not hold.
    Status on_signature(Now now, Epoch epoch, const wire::CommitteeSignature& signature);
    void on_tick(Now now);
    // May lie in the past: at once.
    std::optional<Instant> next_deadline() const { return next_; }

    // The whole state, to replace what is on disk durably before on_persisted() is called. Given once each.
    std::optional<Bytes> take_persist();
    void on_persisted();
    // A snapshot for the world. Given once each.
    std::optional<wire::SignedSnapshot> take_snapshot();
    // What waits for the others' signatures, with ours on it: nullptr when nothing does.
    const wire::SignedSnapshot* draft() const;

    // What take_persist() last gave or would give now; no secret in it.
    Bytes state() const;
    // Before anything else is called. Errc::malformed; Errc::unauthenticated: neither our signature nor a quorum is on
    // the snapshot in it; Errc::invalid: another network's.
    Status restore(Now now, ByteView state);
    // A snapshot of this network found elsewhere, of a higher epoch than ours: go on behind it. Errors as View::verify
    // (its end is not minded: descriptors in it may run still); Errc::replayed: not higher.
    Status adopt(Now now, const wire::SignedSnapshot& snapshot);

    struct Use {
        std::size_t nodes = 0;       // that the next snapshot would list
        std::size_t remembered = 0;  // sequences of nodes that left
        std::size_t body_bytes = 0;  // of the next snapshot, about
    };
    Use usage() const;
    // Invariants; ASSERTs. For tests and fuzzing.
    void check() const;
    // Of the last draft.
    Epoch epoch() const { return epoch_; }

private:
    struct Known {
        std::uint64_t sequence = 0;
        std::optional<wire::Descriptor> descriptor;  // none: only the sequence is remembered
        std::size_t bytes = 0;                       // of its entry
        UnixTime forget{};                           // no older descriptor can run after this
    };

    Status admit(Now now, const wire::Descriptor& descriptor);
    void put(Now now, const wire::Descriptor& descriptor);
    void unlist(Known& known);
    void take_entries(Now now, const wire::Snapshot& snapshot);
    void sweep(Now now);
    void forget_surplus();
    bool due(Now now) const;
    void make_draft(Now now);
    void seal_if_quorum();
    void set_deadline(Now now);
    Duration interval() const;

    directory::Genesis genesis_;
    NetworkId network_;
    const crypto::SigningKey& key_;
    std::uint8_t index_ = 0;
    std::map<NodeId, Known> known_;  // bounded: snapshot_nodes_max listed, as many remembered
    std::size_t listed_ = 0;
    std::size_t listed_bytes_ = 0;
    bool changed_ = false;  // since the last draft
    std::optional<Instant> sweep_at_;

    Epoch epoch_;                  // of the last draft: never used again
    ByteArray<32> sealed_hash_{};  // of the last snapshot with a quorum: what the next one names
    UnixTime valid_after_{};       // of the last draft
    std::optional<Instant> drafted_at_;
    Bytes last_;  // the last draft with its signatures, encoded; empty before the first. bounded: snapshot_bytes_max
    std::optional<wire::SignedSnapshot> draft_;
    bool sealed_ = false;
    bool persist_due_ = false;
    bool persist_under_way_ = false;
    std::optional<wire::SignedSnapshot> ready_;
    std::optional<Instant> next_;
};

// Weight of an entry in path selection. One for every node until bandwidth is measured: an unmeasured claim would let a
// liar draw traffic to itself.
std::uint32_t entry_weight(const wire::Descriptor& descriptor);
// Reputation in thousandths. 500 for every node until challenges are scored: neither earned nor lost.
std::uint16_t entry_reputation(const wire::Descriptor& descriptor);

}  // namespace shoal::committee
