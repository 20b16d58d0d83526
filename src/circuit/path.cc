#include "circuit/path.h"

#include <algorithm>
#include <bitset>
#include <numeric>

#include "base/codec.h"

namespace shoal::circuit {
namespace {

constexpr std::string_view state_magic = "SC1G";
constexpr std::uint8_t state_version = 1;
// Draws that meet only relays which may not be used, before all are looked at one by one.
constexpr int rejections_max = 64;
constexpr int proxies_tried_max = 16;
// Steps of the search for a set of circuits: a fraction of a millisecond.
constexpr int search_steps_max = 20'000;

bool in_list(const auto& list, const auto& item) {
    return std::ranges::find(list, item) != list.end();
}

bool share_subnet(std::span<const std::uint64_t> a, std::span<const std::uint64_t> b) {
    return std::ranges::any_of(a, [&](std::uint64_t subnet) { return in_list(b, subnet); });
}

std::chrono::seconds seconds(Duration d) {
    return std::chrono::duration_cast<std::chrono::seconds>(d);
}

}  // namespace

bool related(const RelayInfo& a, const RelayInfo& b) {
    return a.id == b.id || (!a.family.is_zero() && a.family == b.family) || share_subnet(a.subnets, b.subnets);
}

void Exclusions::add(const RelayInfo& relay) {
    nodes.push_back(relay.id);
    if (!relay.family.is_zero()) families.push_back(relay.family);
    subnets.insert(subnets.end(), relay.subnets.begin(), relay.subnets.end());
}

bool Exclusions::contains(const RelayInfo& relay) const {
    return in_list(nodes, relay.id) || (!relay.family.is_zero() && in_list(families, relay.family)) ||
           share_subnet(relay.subnets, subnets);
}

// ---- SuccessRecord -----------------------------------------------------------------------------------------------

void SuccessRecord::on_tick(Now now) {
    if (!next_) next_ = now.mono + half_life;
    if (now.mono < *next_) return;
    next_ = now.mono + half_life;
    for (auto& [relay, count] : counts_) {
        count.builds /= 2;
        count.successes /= 2;
    }
    std::erase_if(counts_, [](const auto& item) { return item.second.builds == 0; });
}

void SuccessRecord::on_build(const NodeId& relay, bool success) {
    if (counts_.size() >= relays_max && !counts_.contains(relay)) return;
    Count& count = counts_[relay];
    if (count.builds == UINT32_MAX) return;
    ++count.builds;
    count.successes += success ? 1 : 0;
}

bool SuccessRecord::dropped(const NodeId& relay) const {
    const auto at = counts_.find(relay);
    if (at == counts_.end() || at->second.builds < limits::relay_builds_judged) return false;
    return at->second.successes < limits::relay_success_min * at->second.builds;
}

// ---- RelayIndex --------------------------------------------------------------------------------------------------

RelayIndex::RelayIndex(std::span<const RelayInfo> relays) : relays_(relays) {
    by_id_.resize(relays.size());
    std::iota(by_id_.begin(), by_id_.end(), 0);
    const auto id = [&](std::uint32_t i) -> const NodeId& { return relays_[i].id; };
    if (!std::ranges::is_sorted(by_id_, {}, id)) std::ranges::sort(by_id_, {}, id);
    weight_before_.reserve(relays.size() + 1);
    weight_before_.push_back(0);
    for (const RelayInfo& relay : relays) weight_before_.push_back(weight_before_.back() + relay.weight);
}

const RelayInfo* RelayIndex::find(const NodeId& id) const {
    const auto id_of = [&](std::uint32_t i) -> const NodeId& { return relays_[i].id; };
    const auto at = std::ranges::lower_bound(by_id_, id, {}, id_of);
    return at != by_id_.end() && id_of(*at) == id ? &relays_[*at] : nullptr;
}

// Drawing from all and rejecting those that may not be used leaves the odds of the others as they are to one another;
// so does the walk over the rest, which ends it when almost nobody may be used.
template <typename Eligible>
const RelayInfo* RelayIndex::draw(Rng& rng, Eligible eligible) const {
    const std::uint64_t total = weight_before_.back();
    if (total == 0) return nullptr;
    for (int i = 0; i < rejections_max; ++i) {
        const auto at = std::ranges::upper_bound(weight_before_, rng.below(total));
        const RelayInfo& relay = relays_[static_cast<std::size_t>(at - weight_before_.begin()) - 1];
        if (eligible(relay)) return &relay;
    }
    std::vector<const RelayInfo*> rest;
    std::uint64_t rest_weight = 0;
    for (const RelayInfo& relay : relays_) {
        if (relay.weight == 0 || !eligible(relay)) continue;
        rest.push_back(&relay);
        rest_weight += relay.weight;
    }
    if (rest.empty()) return nullptr;
    std::uint64_t target = rng.below(rest_weight);
    for (const RelayInfo* relay : rest) {
        if (target < relay->weight) return relay;
        target -= relay->weight;
    }
    ASSERT(false);
    return nullptr;
}

// ---- Guards ------------------------------------------------------------------------------------------------------
// "SC1G" | version u8 | count u8 | (node 32, added u64, expires u64, unlisted since u64 or 0) each

Bytes Guards::state() const {
    Writer out(6 + sample_.size() * 56);
    out.bytes(as_bytes(state_magic));
    out.u8(state_version);
    out.u8(static_cast<std::uint8_t>(sample_.size()));
    for (const Sampled& guard : sample_) {
        out.bytes(guard.id.view());
        out.u64(unix_seconds(guard.added));
        out.u64(unix_seconds(guard.expires));
        out.u64(guard.unlisted_since ? unix_seconds(*guard.unlisted_since) : 0);
    }
    return out.take();
}

Status Guards::restore(ByteView state) {
    Reader in(state);
    const std::string_view magic = as_text(in.bytes(state_magic.size()));
    const std::uint8_t version = in.u8();
    const std::size_t count = in.u8();
    if (in.failed() || magic != state_magic || version != state_version || count > limits::guards_kept_max) {
        return fail(Errc::malformed, "guard state: not of this program");
    }
    std::vector<Sampled> sample;
    for (std::size_t i = 0; i < count; ++i) {
        Sampled guard;
        guard.id = NodeId(in.array<32>());
        guard.added = from_unix_seconds(in.u64());
        guard.expires = from_unix_seconds(in.u64());
        const std::uint64_t unlisted = in.u64();
        if (unlisted != 0) guard.unlisted_since = from_unix_seconds(unlisted);
        if (std::ranges::count(sample, guard.id, &Sampled::id) != 0) {
            return fail(Errc::malformed, "guard state: one guard twice");
        }
        sample.push_back(std::move(guard));
    }
    TRY(in.finish("guard state"));
    sample_ = std::move(sample);
    return ok();
}

bool Guards::take_changed() {
    return std::exchange(changed_, false);
}

void Guards::update(Now now, std::span<const RelayInfo> relays, const Exclusions& self) {
    candidates_.clear();
    for (const RelayInfo& relay : relays) {
        if (relay.guard && relay.weight > 0 && !self.contains(relay)) candidates_.push_back(relay);
    }
    const RelayIndex listed(candidates_);
    for (Sampled& guard : sample_) {
        if (const RelayInfo* info = listed.find(guard.id)) {
            guard.info = *info;
            changed_ = changed_ || guard.unlisted_since;
            guard.unlisted_since.reset();
        } else if (!guard.unlisted_since) {
            guard.unlisted_since = now.wall;
            changed_ = true;
        }
    }
    expire(now);
    while (pick(false).size() < limits::guards && draw(now)) {
    }
}

void Guards::expire(Now now) {
    const auto gone = [&](const Sampled& guard) {
        return guard.expires <= now.wall ||
               (guard.unlisted_since && now.wall - *guard.unlisted_since >= limits::guard_unlisted_max);
    };
    if (std::erase_if(sample_, gone) > 0) changed_ = true;
}

bool Guards::draw(Now now) {
    const auto listed = static_cast<std::size_t>(std::ranges::count_if(sample_, &Guards::usable));
    if (listed >= limits::guards_sampled_max || sample_.size() >= limits::guards_kept_max) return false;
    const auto eligible = [&](const RelayInfo& relay) {
        return std::ranges::none_of(
            sample_, [&](const Sampled& guard) { return guard.id == relay.id || related(guard.info, relay); });
    };
    const RelayInfo* drawn = RelayIndex(candidates_).draw(rng_, eligible);
    if (drawn == nullptr) return false;
    Sampled guard;
    guard.id = drawn->id;
    guard.info = *drawn;
    guard.added = now.wall;
    guard.expires = now.wall + seconds(rng_.between(limits::guard_lifetime_min, limits::guard_lifetime_max));
    sample_.push_back(std::move(guard));
    changed_ = true;
    return true;
}

std::vector<NodeId> Guards::pick(bool reachable_only) const {
    std::vector<const Sampled*> picked;
    for (const Sampled& guard : sample_) {
        if (picked.size() == limits::guards) break;
        if (!usable(guard) || (reachable_only && guard.retry_at)) continue;
        // They were unrelated when drawn; a later directory may say otherwise.
        if (std::ranges::any_of(picked, [&](const Sampled* p) { return related(p->info, guard.info); })) continue;
        picked.push_back(&guard);
    }
    std::vector<NodeId> out;
    out.reserve(picked.size());
    for (const Sampled* guard : picked) out.push_back(guard->id);
    return out;
}

std::vector<NodeId> Guards::in_use() const {
    std::vector<NodeId> reachable = pick(true);
    return reachable.empty() ? pick(false) : reachable;
}

Exclusions Guards::exclusions() const {
    Exclusions out;
    for (const Sampled& guard : sample_) {
        out.add(guard.info);
        out.nodes.push_back(guard.id);  // also when the directory never listed it since the start
    }
    return out;
}

void Guards::on_tick(Now now) {
    // One more try; its failures are remembered, so that one failure is enough to go back.
    for (Sampled& guard : sample_) {
        if (guard.retry_at && now.mono >= *guard.retry_at) guard.retry_at.reset();
    }
}

std::optional<Instant> Guards::next_deadline() const {
    std::optional<Instant> next;
    for (const Sampled& guard : sample_) {
        if (guard.retry_at) next = next ? std::min(*next, *guard.retry_at) : *guard.retry_at;
    }
    return next;
}

void Guards::on_reached(const NodeId& guard) {
    for (Sampled& one : sample_) {
        if (one.id != guard) continue;
        one.failures = 0;
        one.retry = Duration::zero();
        one.retry_at.reset();
    }
}

void Guards::on_failed(Now now, const NodeId& guard) {
    const auto at = std::ranges::find(sample_, guard, &Sampled::id);
    if (at == sample_.end() || at->retry_at) return;
    at->failures = std::min(at->failures + 1, limits::guard_failures_max);
    if (at->failures < limits::guard_failures_max) return;
    at->retry =
        at->retry == Duration::zero() ? limits::guard_retry_min : std::min(2 * at->retry, limits::guard_retry_max);
    at->retry_at = now.mono + at->retry;
    if (pick(true).size() < limits::guards) draw(now);
}

// ---- PathSelector ------------------------------------------------------------------------------------------------

std::optional<Path> PathSelector::select(const RelayIndex& relays, const NodeId& guard, const Exclusions& exclusions,
                                         const SuccessRecord& record, Rng& rng) {
    const RelayInfo* first = relays.find(guard);
    if (first == nullptr) return std::nullopt;
    for (const bool heed_record : {true, false}) {
        const auto eligible = [&](const RelayInfo& relay) {
            return !exclusions.contains(relay) && !related(relay, *first) && !(heed_record && record.dropped(relay.id));
        };
        for (int i = 0; i < proxies_tried_max; ++i) {
            const RelayInfo* proxy = relays.draw(rng, eligible);
            if (proxy == nullptr) break;
            const RelayInfo* middle =
                relays.draw(rng, [&](const RelayInfo& relay) { return !related(relay, *proxy) && eligible(relay); });
            if (middle != nullptr) return Path{{guard, middle->id, proxy->id}};
        }
    }
    return std::nullopt;
}

namespace {

using Hops = std::array<const RelayInfo*, limits::hops>;

std::optional<Hops> look_up(const Path& path, const RelayIndex& relays) {
    Hops out{};
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = relays.find(path.hops[i]);
        if (out[i] == nullptr) return std::nullopt;
    }
    return out;
}

bool are_disjoint(const Hops& a, const Hops& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        for (std::size_t j = 0; j < b.size(); ++j) {
            if ((i != 0 || j != 0) && related(*a[i], *b[j])) return false;
        }
    }
    return true;
}

// Depth first over circuits in random order; what is chosen stays compatible.
class SetSearch {
public:
    using Allowed = std::bitset<limits::client_circuits_max>;
    SetSearch(std::span<const Path> ready, const std::vector<Allowed>& compatible, std::vector<std::size_t> order,
              std::size_t per_guard_max)
        : ready_(ready), compatible_(compatible), order_(std::move(order)), per_guard_max_(per_guard_max) {}

    bool extend(std::size_t n, std::size_t from, const Allowed& allowed) {
        if (chosen.size() == n) return true;
        for (std::size_t i = from; i < order_.size() && steps_ < search_steps_max; ++i) {
            ++steps_;
            const std::size_t candidate = order_[i];
            if (!allowed[candidate] || guard_full(candidate)) continue;
            chosen.push_back(candidate);
            if (extend(n, i + 1, allowed & compatible_[candidate])) return true;
            chosen.pop_back();
        }
        return false;
    }
    std::vector<std::size_t> chosen;

private:
    bool guard_full(std::size_t candidate) const {
        const auto same = [&](std::size_t c) { return ready_[c].hops[0] == ready_[candidate].hops[0]; };
        return static_cast<std::size_t>(std::ranges::count_if(chosen, same)) >= per_guard_max_;
    }
    std::span<const Path> ready_;
    const std::vector<Allowed>& compatible_;
    std::vector<std::size_t> order_;  // bounded: one for each of ready_
    std::size_t per_guard_max_;
    int steps_ = 0;
};

}  // namespace

bool PathSelector::disjoint(const Path& a, const Path& b, const RelayIndex& relays) {
    const auto hops_a = look_up(a, relays);
    const auto hops_b = look_up(b, relays);
    return hops_a && hops_b && are_disjoint(*hops_a, *hops_b);
}

std::optional<std::vector<std::size_t>> PathSelector::choose_set(std::span<const Path> ready, std::size_t n,
                                                                 const RelayIndex& relays, Rng& rng,
                                                                 std::size_t per_guard_max) {
    ASSERT(ready.size() <= limits::client_circuits_max && n <= limits::cloves_max);
    std::vector<std::optional<Hops>> hops;
    for (const Path& path : ready) hops.push_back(look_up(path, relays));
    SetSearch::Allowed listed;
    std::vector<SetSearch::Allowed> compatible(ready.size());
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < ready.size(); ++i) {
        if (!hops[i]) continue;
        listed.set(i);
        order.insert(order.begin() + static_cast<std::ptrdiff_t>(rng.below(order.size() + 1)), i);
        for (std::size_t j = 0; j < i; ++j) {
            if (!hops[j] || !are_disjoint(*hops[i], *hops[j])) continue;
            compatible[i].set(j);
            compatible[j].set(i);
        }
    }
    SetSearch search(ready, compatible, std::move(order), per_guard_max);
    if (!search.extend(n, 0, listed)) return std::nullopt;
    return std::move(search.chosen);
}

Profile choose_profile(double per_path_success) {
    return per_path_success < lossy_below ? profile_lossy : profile_default;
}

}  // namespace shoal::circuit
