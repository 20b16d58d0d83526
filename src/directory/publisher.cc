#include "directory/publisher.h"

#include <algorithm>
#include <functional>

#include "base/codec.h"
#include "directory/sign.h"

namespace shoal::directory {
namespace {

constexpr std::string_view state_magic = "SC1P";
constexpr std::uint8_t state_version = 1;

UnixTime later(UnixTime t, Duration by) {
    return t + std::chrono::duration_cast<std::chrono::seconds>(by);
}

crypto::KeyPair read_key(Reader& in) {
    return crypto::KeyPair::from_secret(Key32(in.array<32>()));
}

// Sorted, each once, at most `max`: as a descriptor wants its lists.
template <typename T, typename Projection>
void normalise(std::vector<T>& items, std::size_t max, Projection key) {
    std::ranges::stable_sort(items, {}, key);
    const auto same = [&key](const T& a, const T& b) { return std::invoke(key, a) == std::invoke(key, b); };
    items.erase(std::unique(items.begin(), items.end(), same), items.end());
    if (items.size() > max) items.resize(max);
}

}  // namespace

Publisher::Publisher(Now now, const crypto::SigningKey& identity, NetworkId network, Rng& rng)
    : identity_(identity), network_(network), rng_(rng) {
    for (Rotating* keys : {&onion_, &hpke_}) {
        keys->current = crypto::KeyPair::generate(rng_);
        keys->since = now.wall;
    }
    touch();
}

// ---- state -------------------------------------------------------------------------------------------------------
// "SC1P" | version u8 | node 32 | network 32 | sequence u64 | onion | hpke
// each: secret 32 | since u64 | has previous u8 | (secret 32, until u64)

Bytes Publisher::state() const {
    Writer out(256);
    out.bytes(as_bytes(state_magic));
    out.u8(state_version);
    out.bytes(identity_.node_id().view());
    out.bytes(network_.view());
    out.u64(sequence_);
    for (const Rotating* keys : {&onion_, &hpke_}) {
        out.bytes(keys->current.secret.expose());
        out.u64(unix_seconds(keys->since));
        out.u8(keys->previous ? 1 : 0);
        if (!keys->previous) continue;
        out.bytes(keys->previous->secret.expose());
        out.u64(unix_seconds(keys->previous_until));
    }
    return out.take();
}

Status Publisher::restore(Now now, ByteView state) {
    Reader in(state);
    const std::string_view magic = as_text(in.bytes(state_magic.size()));
    const std::uint8_t version = in.u8();
    if (in.failed() || magic != state_magic || version != state_version) {
        return fail(Errc::malformed, "publisher state: not of this program; move the file away to start with new keys");
    }
    const NodeId node(in.array<32>());
    const NetworkId network(in.array<32>());
    const std::uint64_t sequence = in.u64();
    Rotating onion;
    Rotating hpke;
    for (Rotating* keys : {&onion, &hpke}) {
        keys->current = read_key(in);
        keys->since = from_unix_seconds(in.u64());
        const std::uint8_t has_previous = in.u8();
        if (has_previous > 1) return fail(Errc::malformed, "publisher state: damaged");
        if (has_previous == 0) continue;
        keys->previous = read_key(in);
        keys->previous_until = from_unix_seconds(in.u64());
    }
    TRY(in.finish("publisher state"));
    if (node != identity_.node_id() || network != network_) {
        return fail(Errc::invalid, "publisher state: of another node or network");
    }
    onion_ = std::move(onion);
    hpke_ = std::move(hpke);
    sequence_ = sequence;
    signed_.reset();
    shown_ = persist_due_ = persist_under_way_ = false;
    touch();
    on_tick(now);
    return ok();
}

// ---- what the descriptor says ------------------------------------------------------------------------------------

void Publisher::touch() {
    changed_ = true;
    next_ = Instant::min();
}

void Publisher::set_roles(std::uint16_t roles) {
    roles &= wire::role_bits_all;
    // What a lead serves is not whole: who has both says the one that warns.
    if ((roles & wire::role_lead) != 0) roles &= static_cast<std::uint16_t>(~wire::role_model);
    if ((roles & wire::role_relay) == 0) roles &= static_cast<std::uint16_t>(~wire::role_guard);
    if (std::exchange(roles_, roles) != roles) touch();
}

void Publisher::set_family(FamilyId family) {
    if (std::exchange(family_, family) != family) touch();
}

void Publisher::set_addresses(std::vector<wire::Address> addresses) {
    std::erase_if(addresses, [](const wire::Address& a) { return !wire::is_dialable(a); });
    normalise(addresses, limits::addresses_per_node_max, std::identity{});
    if (addresses == addresses_) return;
    addresses_ = std::move(addresses);
    touch();
}

void Publisher::set_models(std::vector<wire::OfferedModel> models) {
    std::erase_if(models, [](const wire::OfferedModel& m) {
        return !wire::is_model_name(m.name) || m.context_tokens < 1 || m.context_tokens > limits::context_tokens_max;
    });
    normalise(models, limits::models_per_node_max, &wire::OfferedModel::model);
    if (models == models_) return;
    models_ = std::move(models);
    touch();
}

// ---- time --------------------------------------------------------------------------------------------------------

bool Publisher::rotate(Rotating& keys, UnixTime now, Duration life) {
    // A clock that was ahead must not stretch a key's life.
    keys.since = std::min(keys.since, now);
    if (keys.previous) keys.previous_until = std::min(keys.previous_until, later(now, life));
    if (keys.previous && now >= keys.previous_until) {
        keys.previous.reset();  // wiped here, and on the disk with the next state
        persist_due_ = true;
    }
    if (now < later(keys.since, life)) return false;
    keys.previous.reset();
    keys.previous_until = later(keys.since, 2 * life);
    // A machine that was off for long: nobody uses the old key any more.
    if (now < keys.previous_until) keys.previous = std::move(keys.current);
    keys.current = crypto::KeyPair::generate(rng_);
    keys.since = now;
    persist_due_ = true;
    return true;
}

bool Publisher::must_sign(UnixTime now) const {
    if (changed_ || !signed_) return true;
    const wire::Descriptor& d = signed_->descriptor;
    // Also when the clock was set back: nobody would take a descriptor from the future.
    return now >= later(d.valid_after, limits::descriptor_age_max / 2) ||
           later(now, limits::clock_skew) < d.valid_after;
}

void Publisher::sign(Now now) {
    sequence_ = std::max(sequence_ + 1, unix_seconds(now.wall));
    wire::Descriptor d;
    d.node = identity_.node_id();
    d.onion_key = onion_.current.public_key;
    d.hpke_key = hpke_.current.public_key;
    d.roles = roles_;
    d.addresses = addresses_;
    d.sequence = sequence_;
    d.valid_after = now.wall;
    d.valid_until = later(now.wall, limits::descriptor_age_max);
    d.family = family_;
    if ((roles_ & (wire::role_model | wire::role_lead)) != 0) d.models = models_;
    signed_ = sign_descriptor(identity_, network_, std::move(d));
    changed_ = shown_ = waiting_ = false;
    persist_due_ = offer_due_ = true;
    offer_at_.reset();
    answer_by_ = now.mono + limits::publish_timeout;
    backoff_ = Duration::zero();
    refusal_.clear();
}

void Publisher::on_tick(Now now) {
    const bool onion_changed = rotate(onion_, now.wall, limits::onion_key_lifetime);
    const bool hpke_changed = rotate(hpke_, now.wall, limits::hpke_key_lifetime);
    changed_ = changed_ || onion_changed || hpke_changed;
    if (roles_ == 0 || addresses_.empty()) {
        signed_.reset();  // nothing more is said; the last descriptor ends by itself
        shown_ = waiting_ = offer_due_ = false;
        offer_at_.reset();
    } else if (must_sign(now.wall)) {
        sign(now);
    }
    if (waiting_ && answer_by_ && now.mono >= *answer_by_) on_failed(now);
    if (offer_at_ && now.mono >= *offer_at_) {
        offer_at_.reset();
        offer_due_ = true;
        answer_by_ = now.mono + limits::publish_timeout;
    }
    set_deadline(now);
}

void Publisher::set_deadline(Now now) {
    UnixTime first =
        std::min(later(onion_.since, limits::onion_key_lifetime), later(hpke_.since, limits::hpke_key_lifetime));
    for (const Rotating* keys : {&onion_, &hpke_}) {
        if (keys->previous) first = std::min(first, keys->previous_until);
    }
    if (signed_) first = std::min(first, later(signed_->descriptor.valid_after, limits::descriptor_age_max / 2));
    next_ = now.mono + (first - now.wall);
    if (offer_at_) next_ = std::min(*next_, *offer_at_);
    if (waiting_ && answer_by_) next_ = std::min(*next_, *answer_by_);
}

// ---- publishing --------------------------------------------------------------------------------------------------

std::optional<Bytes> Publisher::take_persist() {
    if (!persist_due_ || persist_under_way_) return std::nullopt;
    persist_due_ = false;
    persist_under_way_ = true;
    return state();
}

void Publisher::on_persisted() {
    persist_under_way_ = false;
}

std::optional<wire::SignedDescriptor> Publisher::take_descriptor() {
    if (!signed_ || !offer_due_ || persist_due_ || persist_under_way_) return std::nullopt;
    offer_due_ = false;
    waiting_ = true;
    // The answer is waited for from the tick that made it due; a slow disk only makes the first wait shorter.
    next_ = std::min(next_.value_or(*answer_by_), *answer_by_);
    return signed_;
}

void Publisher::on_directory(Now now, const View& view) {
    const wire::SnapshotEntry* entry = view.find(identity_.node_id());
    const std::uint64_t listed = entry != nullptr ? entry->descriptor.sequence : 0;
    const bool is_ours = entry != nullptr && signed_ && entry->descriptor == signed_->descriptor;
    // Of a run whose state is lost: go on above it.
    if ((listed > sequence_ || (signed_ && listed == sequence_ && !is_ours)) && listed < UINT64_MAX) {
        sequence_ = listed;
        changed_ = true;
        on_tick(now);
        return;
    }
    if (!signed_) return;
    const bool was_shown = std::exchange(shown_, is_ours);
    if (shown_) {
        offer_due_ = waiting_ = false;
        offer_at_.reset();
    } else if (was_shown) {
        offer_at_ = now.mono;  // the committee forgot us
    }
    on_tick(now);
}

void Publisher::on_result(Now now, const wire::PublishResult& result) {
    if (!waiting_) return;
    refusal_ = result.accepted ? std::string() : result.reason;
    if (!result.accepted) {
        on_failed(now);
        return;
    }
    waiting_ = false;
    backoff_ = Duration::zero();
    offer_at_ = now.mono + limits::publish_accepted_retry;
    set_deadline(now);
}

void Publisher::on_failed(Now now) {
    if (!waiting_) return;
    waiting_ = false;
    backoff_ =
        backoff_ == Duration::zero() ? limits::publish_retry_min : std::min(2 * backoff_, limits::publish_retry_max);
    offer_at_ = now.mono + rng_.between(backoff_ / 2, backoff_ + backoff_ / 2);
    set_deadline(now);
}

}  // namespace shoal::directory
