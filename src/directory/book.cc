#include "directory/book.h"

namespace shoal::directory {

Book::Book(Genesis genesis) : genesis_(std::move(genesis)), network_(genesis_.network()) {
    ASSERT(genesis_.check());
}

Result<bool> Book::accept(Now now, const wire::SignedSnapshot& snapshot) {
    // A first look that costs no signature check; what it goes by is compared again once it is verified.
    const auto too_old = [&](Epoch epoch) {
        return current_ && epoch < current_->epoch() && !(previous_ && epoch == previous_->epoch());
    };
    const Error lower = fail(Errc::replayed, "snapshot: of a lower epoch than the one held");
    if (too_old(snapshot.snapshot.epoch)) return lower;

    View view = TRY(View::verify(genesis_, snapshot, now));
    if (too_old(view.epoch())) return lower;
    for (const auto& held : {current_, previous_}) {
        if (held && held->epoch() == view.epoch()) {
            TRY(refuse_conflict(*held, view));
            if (held == current_) return false;
            return lower;
        }
    }
    const bool follows = current_ && view.epoch().value() == current_->epoch().value() + 1;
    if (follows && view.previous() != current_->hash()) keep_evidence(*current_, view);
    previous_ = std::move(current_);
    current_ = std::make_shared<const View>(std::move(view));
    return true;
}

Status Book::refuse_conflict(const View& held, const View& other) {
    if (held.hash() == other.hash()) return ok();
    keep_evidence(held, other);
    return fail(Errc::invalid, "snapshot: a second one for epoch " + std::to_string(held.epoch().value()) +
                                   "; the committee contradicts itself, the first one stays");
}

void Book::keep_evidence(const View& first, const View& second) {
    if (!evidence_) evidence_ = Evidence{to_bytes(first.encoded()), to_bytes(second.encoded())};
}

std::shared_ptr<const View> Book::current(Now now) const {
    return current_ && current_->running(now) ? current_ : nullptr;
}

std::shared_ptr<const View> Book::previous(Now now) const {
    return previous_ && previous_->running(now) ? previous_ : nullptr;
}

const wire::Descriptor* Book::find(const NodeId& node, Now now) const {
    if (!current(now)) return nullptr;
    if (const wire::SnapshotEntry* entry = current_->find(node)) return &entry->descriptor;
    if (!previous(now)) return nullptr;
    const wire::SnapshotEntry* entry = previous_->find(node);
    return entry != nullptr ? &entry->descriptor : nullptr;
}

bool Book::fresh(Now now) const {
    return current(now) && now.wall < current_->fresh_until();
}

Bytes Book::state() const {
    return current_ ? to_bytes(current_->encoded()) : Bytes{};
}

Status Book::restore(Now now, ByteView state) {
    if (state.empty()) return ok();
    wire::SignedSnapshot snapshot = TRY(wire::decode_signed_snapshot(state));
    TRY(accept(now, snapshot));
    return ok();
}

}  // namespace shoal::directory
