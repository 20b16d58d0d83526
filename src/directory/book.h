// Book: what a node believes about the network now: the newest verified snapshot, and the one before it.
//
// Rules
//   1. Epochs only rise. A snapshot of a lower epoch, one that does not verify, and one that has ended are refused.
//   2. Two different snapshots of one epoch, both signed by the committee, are proof that it equivocated: the first one
//      seen stays in use, the second is refused, and both are kept as evidence. So is a successor that names another
//      predecessor than the one held; that one is taken, being newer.
//      Rationale: a committee that shows two faces can tell clients apart; one proof is enough, so one pair is kept.
//   3. Nothing is believed for having been on our own disk: restore() verifies like accept().
//
// Thread: the one that owns the object; the views it hands out may go anywhere.
#pragma once

#include <memory>
#include <optional>

#include "base/bytes.h"
#include "directory/genesis.h"
#include "directory/view.h"

namespace shoal::directory {

class Book {
public:
    // Two encoded SignedSnapshots that the same committee signed and that contradict each other.
    struct Evidence {
        Bytes first;
        Bytes second;
    };

    // The genesis must pass check().
    explicit Book(Genesis genesis);

    // True: taken. False: it is the one already held. Errors as View::verify, and Errc::replayed: lower epoch;
    // Errc::invalid: the second of an epoch (rule 2).
    Result<bool> accept(Now now, const wire::SignedSnapshot& snapshot);

    // nullptr when none was taken, or it has ended. Co-owners: the book, and whoever is choosing from it right now.
    std::shared_ptr<const View> current(Now now) const;
    // The one before, for as long as it runs itself.
    std::shared_ptr<const View> previous(Now now) const;
    // In the current view, else in the previous one: a relay may be asked for a node that just left. Valid until the
    // next accept() or restore(). Nothing when current() is nullptr.
    const wire::Descriptor* find(const NodeId& node, Now now) const;
    // Has a directory, and its fresh_until has not passed.
    bool fresh(Now now) const;

    const std::optional<Evidence>& evidence() const { return evidence_; }
    const Genesis& genesis() const { return genesis_; }
    NetworkId network() const { return network_; }

    // For the cache on disk: the current snapshot as its bytes came; empty when there is none. Holds no secret.
    Bytes state() const;
    // The cache, read back. Errors as accept() and Errc::malformed; the book is then as before.
    Status restore(Now now, ByteView state);

private:
    Status refuse_conflict(const View& held, const View& other);
    void keep_evidence(const View& first, const View& second);

    Genesis genesis_;
    NetworkId network_;
    std::shared_ptr<const View> current_;
    std::shared_ptr<const View> previous_;
    std::optional<Evidence> evidence_;
};

}  // namespace shoal::directory
