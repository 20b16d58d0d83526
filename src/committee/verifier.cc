#include "committee/verifier.h"

#include <algorithm>

#include "base/codec.h"
#include "directory/sign.h"
#include "directory/view.h"

namespace shoal::committee {
namespace {

constexpr std::string_view state_magic = "SC1V";
constexpr std::uint8_t state_version = 1;
// What a snapshot has besides its entries: less than 200 bytes of head and 31 signatures of 65.
constexpr std::size_t snapshot_frame_bytes = 4096;
constexpr std::size_t entry_tail_bytes = 4 + 2;  // weight, reputation

std::chrono::seconds seconds(Duration d) {
    return std::chrono::duration_cast<std::chrono::seconds>(d);
}

std::uint64_t weight_of(const directory::Genesis& genesis, const std::vector<wire::CommitteeSignature>& signatures) {
    std::uint64_t weight = 0;
    for (const wire::CommitteeSignature& one : signatures) weight += genesis.verifiers[one.index].weight;
    return weight;
}

}  // namespace

std::uint32_t entry_weight(const wire::Descriptor&) {
    return 1;
}
std::uint16_t entry_reputation(const wire::Descriptor&) {
    return 500;
}

bool Verifier::is_member(const directory::Genesis& genesis, const NodeId& node) {
    return std::ranges::count(genesis.verifiers, node, &directory::Genesis::Verifier::id) == 1;
}

Verifier::Verifier(directory::Genesis genesis, const crypto::SigningKey& key)
    : genesis_(std::move(genesis)), network_(genesis_.network()), key_(key) {
    ASSERT(genesis_.check() && is_member(genesis_, key.node_id()));
    const auto self = std::ranges::find(genesis_.verifiers, key.node_id(), &directory::Genesis::Verifier::id);
    index_ = static_cast<std::uint8_t>(self - genesis_.verifiers.begin());
}

// ---- descriptors -------------------------------------------------------------------------------------------------

wire::PublishResult Verifier::on_publish(Now now, const wire::SignedDescriptor& descriptor) {
    // Before the signature check: a republished descriptor is the common case, and a replay the cheap attack.
    const auto at = known_.find(descriptor.descriptor.node);
    if (at != known_.end() && at->second.descriptor == descriptor.descriptor) return {true, ""};
    if (at != known_.end() && descriptor.descriptor.sequence <= at->second.sequence) {
        return {false, "the sequence must be above " + std::to_string(at->second.sequence) +
                           ", which this node published before; do two nodes run with one identity?"};
    }
    const Result<wire::Descriptor> verified = directory::verify_descriptor(descriptor, network_, now);
    if (!verified) return {false, verified.error().message};
    const Status admitted = admit(now, *verified);
    if (!admitted) return {false, admitted.error().message};
    put(now, *verified);
    changed_ = true;
    set_deadline(now);
    return {true, ""};
}

// What the network's own rules ask beyond what a descriptor must be by itself.
Status Verifier::admit(Now now, const wire::Descriptor& descriptor) {
    if ((descriptor.roles & wire::role_verifier) != 0 && !is_member(genesis_, descriptor.node)) {
        return fail(Errc::invalid, "a verifier must be named in network.toml");
    }
    // One with less than this is gone from the next snapshot before anybody could use it.
    if (descriptor.valid_until <= now.wall + seconds(limits::snapshot_interval_min)) {
        return fail(Errc::expired, "the descriptor has all but ended");
    }
    const auto at = known_.find(descriptor.node);
    const bool listed = at != known_.end() && at->second.descriptor.has_value();
    const std::size_t replaced_bytes = listed ? at->second.bytes : 0;
    const std::size_t bytes = wire::encode_descriptor_body(descriptor).size() + entry_tail_bytes;
    if ((!listed && listed_ >= limits::snapshot_nodes_max) ||
        listed_bytes_ - replaced_bytes + bytes > limits::snapshot_bytes_max - snapshot_frame_bytes) {
        return fail(Errc::exhausted, "the directory is full; try again when nodes have left");
    }
    return ok();
}

void Verifier::put(Now now, const wire::Descriptor& descriptor) {
    Known& known = known_[descriptor.node];
    unlist(known);
    known.sequence = descriptor.sequence;
    known.descriptor = descriptor;
    known.bytes = wire::encode_descriptor_body(descriptor).size() + entry_tail_bytes;
    // Whatever the node signed before began by now, give or take the skew, and lasts a day at most.
    known.forget = now.wall + seconds(limits::clock_skew) + seconds(limits::descriptor_age_max);
    ++listed_;
    listed_bytes_ += known.bytes;
}

void Verifier::unlist(Known& known) {
    if (!known.descriptor) return;
    known.descriptor.reset();
    --listed_;
    listed_bytes_ -= known.bytes;
}

void Verifier::sweep(Now now) {
    for (auto at = known_.begin(); at != known_.end();) {
        Known& known = at->second;
        if (known.descriptor && known.descriptor->valid_until <= now.wall) {
            unlist(known);
            changed_ = true;
        }
        at = !known.descriptor && known.forget <= now.wall ? known_.erase(at) : std::next(at);
    }
    forget_surplus();
    sweep_at_ = now.mono + sweep_interval;
}

// Those that would be forgotten first go first.
void Verifier::forget_surplus() {
    const std::size_t remembered = known_.size() - listed_;
    if (remembered <= limits::snapshot_nodes_max) return;
    std::vector<std::pair<UnixTime, NodeId>> left;
    for (const auto& [node, known] : known_) {
        if (!known.descriptor) left.emplace_back(known.forget, node);
    }
    const auto surplus = static_cast<std::ptrdiff_t>(remembered - limits::snapshot_nodes_max);
    std::ranges::nth_element(left, left.begin() + surplus);
    for (auto at = left.begin(); at != left.begin() + surplus; ++at) known_.erase(at->second);
}

// ---- snapshots ---------------------------------------------------------------------------------------------------

Duration Verifier::interval() const {
    const auto parts = static_cast<Duration::rep>(1 + listed_ / limits::snapshot_entries_per_interval);
    return parts * limits::snapshot_interval_min;
}

bool Verifier::due(Now now) const {
    if (ready_ || persist_due_ || persist_under_way_) return false;
    if (draft_) return now.mono >= *drafted_at_ + draft_patience;
    if (epoch_.value() == 0 && listed_ == 0) return false;
    if (drafted_at_ && now.mono < *drafted_at_ + interval()) return false;
    // The last: a clock that was ahead has been set back, and nobody takes a snapshot from the future.
    return changed_ || now.wall >= valid_after_ + seconds(limits::snapshot_fresh / 2) ||
           valid_after_ > now.wall + seconds(limits::clock_skew);
}

void Verifier::on_tick(Now now) {
    if (!sweep_at_ || now.mono >= *sweep_at_) sweep(now);
    if (due(now)) make_draft(now);
    set_deadline(now);
}

void Verifier::make_draft(Now now) {
    sweep(now);
    epoch_ = Epoch(epoch_.value() + 1);
    valid_after_ = now.wall;
    wire::SignedSnapshot draft;
    draft.snapshot = {.network = network_,
                      .epoch = epoch_,
                      .valid_after = now.wall,
                      .fresh_until = now.wall + seconds(limits::snapshot_fresh),
                      .valid_until = now.wall + seconds(limits::snapshot_valid),
                      .previous = sealed_hash_,
                      .entries = {}};
    draft.snapshot.entries.reserve(listed_);
    for (const auto& [node, known] : known_) {
        if (!known.descriptor) continue;
        const wire::Descriptor& d = *known.descriptor;
        draft.snapshot.entries.push_back({d, entry_weight(d), entry_reputation(d)});
    }
    draft.body = wire::encode_snapshot_body(draft.snapshot);
    draft.signatures = {directory::sign_snapshot(key_, network_, index_, draft.body)};
    draft_ = std::move(draft);
    drafted_at_ = now.mono;
    changed_ = sealed_ = false;
    seal_if_quorum();
}

void Verifier::seal_if_quorum() {
    if (directory::is_quorum(weight_of(genesis_, draft_->signatures), genesis_.total_weight())) {
        sealed_ = true;
        sealed_hash_ = directory::snapshot_hash(draft_->body);
    }
    last_ = wire::encode(*draft_);
    persist_due_ = true;
}

Status Verifier::on_signature(Now now, Epoch epoch, const wire::CommitteeSignature& signature) {
    if (!draft_ || sealed_ || epoch != epoch_) return fail(Errc::not_found, "no draft of this epoch waits");
    if (signature.index >= genesis_.verifiers.size()) return fail(Errc::unauthenticated, "unknown verifier");
    std::vector<wire::CommitteeSignature>& all = draft_->signatures;
    const auto at = std::ranges::lower_bound(all, signature.index, {}, &wire::CommitteeSignature::index);
    if (at != all.end() && at->index == signature.index) return ok();
    if (!directory::verify_snapshot_signature(genesis_.verifiers[signature.index].id, network_, signature,
                                              draft_->body)) {
        return fail(Errc::unauthenticated, "the signature does not hold for this draft");
    }
    all.insert(at, signature);
    seal_if_quorum();
    set_deadline(now);
    return ok();
}

std::optional<Bytes> Verifier::take_persist() {
    if (!persist_due_ || persist_under_way_) return std::nullopt;
    persist_due_ = false;
    persist_under_way_ = true;
    return state();
}

void Verifier::on_persisted() {
    persist_under_way_ = false;
    next_ = Instant::min();  // what was held up may be due
    if (persist_due_ || !draft_ || !sealed_) return;
    ready_ = std::move(draft_);
    draft_.reset();
    sealed_ = false;
}

const wire::SignedSnapshot* Verifier::draft() const {
    return draft_ && !sealed_ && !persist_due_ && !persist_under_way_ ? &*draft_ : nullptr;
}

std::optional<wire::SignedSnapshot> Verifier::take_snapshot() {
    if (ready_) next_ = Instant::min();
    return std::exchange(ready_, std::nullopt);
}

void Verifier::set_deadline(Now now) {
    next_ = sweep_at_.value_or(now.mono);
    const auto no_later = [&](Instant t) { next_ = std::min(*next_, t); };
    if (ready_ || persist_due_ || persist_under_way_) return;  // the driver's turn
    if (draft_) {
        no_later(*drafted_at_ + draft_patience);
        return;
    }
    const Instant free_at = drafted_at_ ? *drafted_at_ + interval() : now.mono;
    if (changed_) no_later(free_at);
    if (epoch_.value() == 0) return;
    const Duration until_old = valid_after_ + seconds(limits::snapshot_fresh / 2) - now.wall;
    no_later(std::max(free_at, now.mono + std::max(until_old, Duration::zero())));
}

// ---- state -------------------------------------------------------------------------------------------------------
// "SC1V" | version u8 | network 32 | sealed hash 32 | last draft u32, bytes | count u32 |
// (node 32, sequence u64, forget u64) each: what is remembered of nodes that the draft does not list.

Bytes Verifier::state() const {
    Writer out(last_.size() + 128 + (known_.size() - listed_) * 48);
    out.bytes(as_bytes(state_magic));
    out.u8(state_version);
    out.bytes(network_.view());
    out.bytes(sealed_hash_);
    out.bytes_u32(last_);
    out.u32(static_cast<std::uint32_t>(known_.size() - listed_));
    for (const auto& [node, known] : known_) {
        if (known.descriptor) continue;
        out.bytes(node.view());
        out.u64(known.sequence);
        out.u64(unix_seconds(known.forget));
    }
    return out.take();
}

Status Verifier::restore(Now now, ByteView state) {
    Reader in(state);
    const std::string_view magic = as_text(in.bytes(state_magic.size()));
    const std::uint8_t version = in.u8();
    if (in.failed() || magic != state_magic || version != state_version) {
        return fail(Errc::malformed, "verifier state: not of this program");
    }
    const NetworkId network(in.array<32>());
    const auto sealed_hash = in.array<32>();
    const ByteView last = in.bytes_u32(limits::snapshot_bytes_max);
    const std::uint32_t remembered = in.u32();
    if (remembered > limits::snapshot_nodes_max) return fail(Errc::malformed, "verifier state: damaged");
    std::map<NodeId, Known> known;
    for (std::uint32_t i = 0; i < remembered && !in.failed(); ++i) {
        const NodeId node(in.array<32>());
        Known& one = known[node];
        one.sequence = in.u64();
        one.forget = from_unix_seconds(in.u64());
    }
    TRY(in.finish("verifier state"));
    if (network != network_) return fail(Errc::invalid, "verifier state: of another network");
    if (last.empty()) return ok();
    wire::SignedSnapshot snapshot = TRY(wire::decode_signed_snapshot(last));

    // A quorum makes it a snapshot; else our own signature shows that the draft is ours.
    const Now then{now.mono, snapshot.snapshot.valid_after};
    const Result<directory::View> whole = directory::View::verify(genesis_, snapshot, then);
    const bool ours = std::ranges::any_of(snapshot.signatures, [&](const wire::CommitteeSignature& one) {
        return one.index == index_ &&
               directory::verify_snapshot_signature(key_.node_id(), network_, one, snapshot.body);
    });
    if (!whole && !(ours && snapshot.snapshot.network == network_)) {
        return fail(Errc::unauthenticated, "verifier state: not signed by this verifier; was the file changed?");
    }
    known_ = std::move(known);
    listed_ = listed_bytes_ = 0;
    sealed_hash_ = whole ? whole->hash() : sealed_hash;
    epoch_ = snapshot.snapshot.epoch;
    valid_after_ = snapshot.snapshot.valid_after;
    last_ = to_bytes(last);
    take_entries(now, snapshot.snapshot);
    if (whole && whole->running(now)) ready_ = std::move(snapshot);
    set_deadline(now);
    return ok();
}

Status Verifier::adopt(Now now, const wire::SignedSnapshot& snapshot) {
    const Now then{now.mono, snapshot.snapshot.valid_after};
    const directory::View view = TRY(directory::View::verify(genesis_, snapshot, then));
    if (view.epoch() <= epoch_) return fail(Errc::replayed, "snapshot: not of a higher epoch");
    wire::SignedSnapshot read = TRY(wire::decode_signed_snapshot(view.encoded()));
    epoch_ = view.epoch();
    sealed_hash_ = view.hash();
    valid_after_ = view.valid_after();
    last_ = to_bytes(view.encoded());
    draft_.reset();
    ready_.reset();
    sealed_ = persist_due_ = false;  // it is on other machines' disks; ours gets it with the next draft
    changed_ = true;
    take_entries(now, read.snapshot);
    set_deadline(now);
    return ok();
}

// Entries carry no signature of their node any more: the committee's stands for them. Of those that have ended only the
// sequence is kept.
void Verifier::take_entries(Now now, const wire::Snapshot& snapshot) {
    for (const wire::SnapshotEntry& entry : snapshot.entries) {
        const auto at = known_.find(entry.descriptor.node);
        if (at != known_.end() && at->second.sequence >= entry.descriptor.sequence) continue;
        if (admit(now, entry.descriptor)) {
            put(now, entry.descriptor);
            continue;
        }
        Known& ended = known_[entry.descriptor.node];
        unlist(ended);
        ended.sequence = entry.descriptor.sequence;
        ended.forget = now.wall + seconds(limits::clock_skew) + seconds(limits::descriptor_age_max);
        changed_ = true;
    }
    forget_surplus();
}

Verifier::Use Verifier::usage() const {
    return {listed_, known_.size() - listed_, listed_bytes_ + snapshot_frame_bytes};
}

void Verifier::check() const {
    std::size_t listed = 0;
    std::size_t bytes = 0;
    for (const auto& [node, known] : known_) {
        if (!known.descriptor) continue;
        ASSERT(known.descriptor->node == node && known.descriptor->sequence == known.sequence);
        ++listed;
        bytes += known.bytes;
    }
    ASSERT(listed == listed_ && bytes == listed_bytes_);
    ASSERT(listed_ <= limits::snapshot_nodes_max);
    ASSERT(!(draft_ && ready_));
    ASSERT(!sealed_ || draft_);
}

}  // namespace shoal::committee
