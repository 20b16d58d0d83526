#include "client/circuits.h"

#include <algorithm>

namespace shoal::client {

using circuit::Origin;

namespace {
constexpr std::uint32_t initiator_bit = 0x8000'0000;
constexpr std::size_t build_times_kept = 100;
// A set may need more circuits than it takes, since they must be disjoint.
constexpr std::size_t spare_per_question = 2 * limits::cloves_default;
// Questions that are built for at once: as many as circuits_building_max serves. What is free is searched for a
// disjoint set at every change, at a cost of its square; a crowd of questions must not make that slow.
constexpr std::size_t questions_ahead = limits::circuits_building_max / limits::cloves_default;
// Short beside what a person notices; where no set exists at all it bounds what trying costs.
constexpr Duration renewal_interval_min = 100ms;
}  // namespace

std::vector<circuit::RelayInfo> relays_of(const directory::View& view) {
    std::vector<circuit::RelayInfo> out;
    out.reserve(view.relays().size());
    for (const std::uint32_t index : view.relays()) {
        const wire::SnapshotEntry& entry = view.entries()[index];
        circuit::RelayInfo info;
        info.id = entry.descriptor.node;
        info.family = entry.descriptor.family;
        info.weight = entry.weight;
        info.guard = (entry.descriptor.roles & wire::role_guard) != 0;
        for (const wire::Address& address : entry.descriptor.addresses) info.subnets.push_back(address.subnet());
        out.push_back(std::move(info));
    }
    return out;
}

Circuits::Circuits(CircuitsConfig config, Rng& rng) : config_(std::move(config)), rng_(rng), guards_(rng) {}

void Circuits::on_directory(Now now, const directory::View& view) {
    relays_ = relays_of(view);
    index_ = circuit::RelayIndex(relays_);
    onion_keys_.clear();
    for (const std::uint32_t index : view.relays()) {
        const wire::Descriptor& descriptor = view.entries()[index].descriptor;
        onion_keys_.emplace(descriptor.node, descriptor.onion_key);
    }
    guards_.update(now, relays_, config_.self);
    out_.emplace_back(Changed{});
    build_more(now);
}

void Circuits::on_guard_up(Now now, const NodeId& guard, LinkId link) {
    links_[guard] = {link, false};
    guards_.on_reached(guard);
    build_more(now);
}

void Circuits::on_guard_failed(Now now, const NodeId& guard) {
    const auto at = links_.find(guard);
    if (at == links_.end()) return;
    const std::optional<LinkId> link = at->second.link;
    links_.erase(at);
    guards_.on_failed(now, guard);
    if (link) {
        std::vector<CircuitNumber> lost;
        for (auto& [number, slot] : slots_) {
            if (slot.link == *link) lost.push_back(number);
        }
        for (const CircuitNumber number : lost) lose(now, number);
    }
    // A guard that refuses at once would be asked at once again.
    build_not_before_ = std::max(build_not_before_, now.mono + limits::dial_backoff_min);
    build_more(now);
}

void Circuits::on_cell(Now now, LinkId link, const wire::Cell& cell) {
    const auto at = by_id_.find({link, cell.id});
    if (at == by_id_.end()) return;  // crossed with our DESTROY
    const CircuitNumber number = at->second;
    slots_.at(number).origin->on_cell(now, cell);
    drain(now, number);
}

void Circuits::on_send_refused(Now now, LinkId link, const wire::Cell& cell) {
    const auto at = by_id_.find({link, cell.id});
    if (at == by_id_.end()) return;
    lose(now, at->second);
}

void Circuits::lose(Now now, CircuitNumber number) {
    const auto at = slots_.find(number);
    if (at == slots_.end()) return;
    at->second.link_lost = true;
    at->second.origin->on_link_down(now);
    drain(now, number);
}

// ---- building ----------------------------------------------------------------------------------------------------

std::size_t Circuits::usable_through(const NodeId& guard) const {
    std::size_t count = 0;
    for (const auto& [number, slot] : slots_) {
        const auto state = slot.origin->state();
        const bool alive = state == Origin::State::building || state == Origin::State::ready;
        if (alive && !slot.in_use && slot.path.hops[0] == guard) ++count;
    }
    return count;
}

void Circuits::build_more(Now now) {
    const std::vector<NodeId> guards = guards_.in_use();
    if (guards.empty() || relays_.empty()) return;
    for (const NodeId& guard : guards) {
        Guard& state = links_[guard];
        if (!state.link && !state.wanted && !backing_off(now)) {
            state.wanted = true;
            out_.emplace_back(GuardWanted{guard});
        }
    }
    const std::size_t target =
        config_.ready_target + std::min(waiting_questions_, questions_ahead) * spare_per_question;
    const std::size_t each = (target + guards.size() - 1) / guards.size();
    for (const NodeId& guard : guards) {
        while (!backing_off(now) && building() < limits::circuits_building_max &&
               slots_.size() < limits::client_circuits_max && usable_through(guard) < each) {
            if (!build_one(now, guard)) break;
            if (backoff_ > Duration::zero()) build_not_before_ = now.mono + backoff_;
        }
    }
}

bool Circuits::build_one(Now now, const NodeId& guard) {
    const auto link = links_.find(guard);
    if (link == links_.end() || !link->second.link) return false;
    std::optional<circuit::Path> path;
    std::uint64_t set = 0;
    for (const std::uint64_t open : open_sets(guard)) {
        circuit::Exclusions exclusions = excluded();
        for (const auto& [number, slot] : slots_) {
            if (slot.set != open) continue;
            for (std::size_t i = 1; i < limits::hops; ++i) {
                if (const circuit::RelayInfo* relay = index_.find(slot.path.hops[i])) exclusions.add(*relay);
            }
        }
        path = circuit::PathSelector::select(index_, guard, exclusions, record_, rng_);
        set = open;
        if (path) break;
    }
    if (!path) {
        set = next_set_++;
        path = circuit::PathSelector::select(index_, guard, excluded(), record_, rng_);
    }
    const auto id = draw_id(*link->second.link);
    if (!path || !id) return false;

    circuit::OriginConfig config;
    config.network = config_.network;
    config.id = *id;
    config.pacer = config_.pacer;
    config.rate = config_.rate;
    for (std::size_t i = 0; i < limits::hops; ++i) {
        const auto key = onion_keys_.find(path->hops[i]);
        if (key == onion_keys_.end()) return false;
        config.path[i] = {path->hops[i], key->second};
    }
    if (!build_times_.empty()) {
        std::vector<Duration> sorted = build_times_;
        std::sort(sorted.begin(), sorted.end());
        const Duration p80 = sorted[sorted.size() * 4 / 5];
        config.build_timeout = std::max(limits::circuit_build_timeout_min, p80 * 3 / 2);
    }
    const CircuitNumber number(next_number_++);
    Slot slot;
    slot.path = *path;
    slot.set = set;
    slot.link = *link->second.link;
    slot.begun = now.mono;
    slot.origin = std::make_unique<Origin>(now, config, rng_);
    by_id_.emplace(std::pair(slot.link, id->value()), number);
    slots_.emplace(number, std::move(slot));
    drain(now, number);
    return true;
}

circuit::Exclusions Circuits::excluded() const {
    circuit::Exclusions out = guards_.exclusions();
    for (const NodeId& node : config_.self.nodes) out.nodes.push_back(node);
    for (const FamilyId& family : config_.self.families) out.families.push_back(family);
    for (const std::uint64_t subnet : config_.self.subnets) out.subnets.push_back(subnet);
    return out;
}

std::vector<std::uint64_t> Circuits::open_sets(const NodeId& guard) const {
    struct Members {
        std::size_t all = 0;
        std::size_t through_guard = 0;
        bool taken = false;  // its relays are some question's now; who joined it would have to avoid them for nothing
    };
    std::map<std::uint64_t, Members> sets;
    for (const auto& [number, slot] : slots_) {
        Members& members = sets[slot.set];
        const auto state = slot.origin->state();
        members.taken = members.taken || slot.in_use || slot.released;
        if (state != Origin::State::building && state != Origin::State::ready) continue;
        ++members.all;
        members.through_guard += slot.path.hops[0] == guard ? 1 : 0;
    }
    const std::size_t guards = std::max<std::size_t>(guards_.in_use().size(), 1);
    const std::size_t through_one = (config_.set_size + guards - 1) / guards;
    std::vector<std::uint64_t> out;
    for (const auto& [set, members] : sets) {
        if (!members.taken && members.all < config_.set_size && members.through_guard < through_one) out.push_back(set);
    }
    return out;
}

void Circuits::set_waiting(Now now, std::size_t questions) {
    const bool more = questions > waiting_questions_;
    waiting_questions_ = questions;
    if (more) build_more(now);
}

std::optional<CircuitId> Circuits::draw_id(LinkId link) {
    for (int tries = 0; tries < 64; ++tries) {
        const std::uint32_t id = static_cast<std::uint32_t>(rng_.u64()) | initiator_bit;  // the client dials
        if (id != initiator_bit && !by_id_.contains({link, id})) return CircuitId(id);
    }
    return std::nullopt;
}

void Circuits::drain(Now now, CircuitNumber number) {
    const auto at = slots_.find(number);
    if (at == slots_.end()) return;
    Origin& origin = *at->second.origin;
    for (wire::Cell& cell : origin.take_cells()) out_.emplace_back(SendCell{at->second.link, std::move(cell)});
    bool closed = false;
    while (auto event = origin.poll()) {
        if (std::holds_alternative<Origin::Ready>(*event)) {
            for (const NodeId& hop : at->second.path.hops) record_.on_build(hop, true);
            guards_.on_reached(at->second.path.hops[0]);
            build_times_.push_back(origin.build_time());
            if (build_times_.size() > build_times_kept) build_times_.erase(build_times_.begin());
            backoff_ = Duration::zero();
            out_.emplace_back(Changed{});
        } else if (const auto* data = std::get_if<Origin::StreamData>(&*event)) {
            out_.emplace_back(StreamData{number, data->stream, data->sealed});
        } else if (const auto* end = std::get_if<Origin::StreamEnd>(&*event)) {
            out_.emplace_back(StreamEnd{number, end->stream, end->reason});
        } else {
            closed = true;
            on_closed(now, at->second, std::get<Origin::Closed>(*event));
        }
    }
    if (!closed) return;
    by_id_.erase({at->second.link, origin.config().id.value()});
    slots_.erase(at);
    build_more(now);
}

void Circuits::on_closed(Now now, const Slot& slot, const Origin::Closed& closed) {
    // Only what is known here excuses a failure: any hop can write "link lost" into its DESTROY.
    if (closed.hops_built == limits::hops || slot.link_lost) return;
    // The hop that was being reached did not answer; the ones before it did.
    record_.on_build(slot.path.hops[closed.hops_built], false);
    if (closed.hops_built == 0) guards_.on_failed(now, slot.path.hops[0]);
    failures_.push_back(now.mono);
    while (!failures_.empty() && now.mono - failures_.front() > limits::build_failure_window) failures_.pop_front();
    if (failures_.size() < limits::build_failures_max) return;
    failures_.pop_front();
    if (slot.begun <= backoff_since_) return;  // of the same burst: it has been answered by waiting
    backoff_since_ = now.mono;
    backoff_ = std::clamp(backoff_ * 2, limits::build_backoff_min, limits::build_backoff_max);
    build_not_before_ = std::max(build_not_before_, now.mono + backoff_);
}

// ---- use ---------------------------------------------------------------------------------------------------------

bool Circuits::free_for(const Slot& slot, const NodeId& node) {
    const auto& hops = slot.path.hops;
    return !slot.in_use && slot.origin->state() == Origin::State::ready &&
           std::find(hops.begin(), hops.end(), node) == hops.end();
}

std::optional<std::vector<CircuitNumber>> Circuits::take_set(Now now, std::size_t n, const NodeId& node) {
    std::vector<CircuitNumber> numbers;
    std::map<std::uint64_t, std::vector<CircuitNumber>> sets;
    for (const auto& [number, slot] : slots_) {
        if (!free_for(slot, node)) continue;
        numbers.push_back(number);
        sets[slot.set].push_back(number);
    }
    std::optional<std::vector<CircuitNumber>> chosen;
    for (auto at = sets.begin(); at != sets.end() && !chosen; ++at) {
        if (at->second.size() >= n) chosen = choose(n, at->second);
    }
    if (!chosen) chosen = choose(n, numbers);
    if (!chosen) {
        build_more(now);
        if (numbers.size() >= n && building() == 0) renew(now, numbers);
        return std::nullopt;
    }
    for (const CircuitNumber number : *chosen) slots_.at(number).in_use = true;
    build_more(now);
    return chosen;
}

std::optional<std::vector<CircuitNumber>> Circuits::choose(std::size_t n, const std::vector<CircuitNumber>& free) {
    std::vector<circuit::Path> paths;
    paths.reserve(free.size());
    for (const CircuitNumber number : free) paths.push_back(slots_.at(number).path);
    const std::size_t per_guard_max = guards_.in_use().size() > 1 ? (n + 1) / 2 : n;
    const auto chosen = circuit::PathSelector::choose_set(paths, n, index_, rng_, per_guard_max);
    if (!chosen) return std::nullopt;
    std::vector<CircuitNumber> out;
    for (const std::size_t index : *chosen) out.push_back(free[index]);
    return out;
}

void Circuits::renew(Now now, const std::vector<CircuitNumber>& free) {
    if (backing_off(now) || now.mono < renew_not_before_) return;
    renew_not_before_ = now.mono + renewal_interval_min;
    for (const CircuitNumber number : free) {
        if (rng_.below(2) == 0) slots_.at(number).origin->retire();
    }
    build_more(now);
}

std::optional<CircuitNumber> Circuits::take_one(Now now, const std::vector<CircuitNumber>& others, const NodeId& node,
                                                std::size_t side) {
    std::optional<CircuitNumber> other_side;
    for (auto& [number, slot] : slots_) {
        if (!free_for(slot, node)) continue;
        const circuit::Path& mine = slot.path;
        const bool apart = std::all_of(others.begin(), others.end(), [&](CircuitNumber other) {
            const circuit::Path* used = path(other);
            return used == nullptr || circuit::PathSelector::disjoint(mine, *used, index_);
        });
        if (!apart) continue;
        if (side_of(number) != side) {
            other_side = number;
            continue;
        }
        slot.in_use = true;
        build_more(now);
        return number;
    }
    if (other_side) slots_.at(*other_side).in_use = true;
    build_more(now);
    return other_side;
}

std::size_t Circuits::side_of(CircuitNumber number) const {
    const auto at = slots_.find(number);
    const std::vector<NodeId> guards = guards_.in_use();
    if (at == slots_.end() || guards.size() < 2) return 0;
    return at->second.path.hops[0] == guards[0] ? 0 : 1;
}

std::optional<StreamId> Circuits::open_stream(CircuitNumber number, const wire::Connect& connect) {
    const auto at = slots_.find(number);
    if (at == slots_.end()) return std::nullopt;
    queued_.insert(number);
    return at->second.origin->open_stream(connect);
}

void Circuits::send(CircuitNumber number, StreamId stream, ByteView sealed) {
    const auto at = slots_.find(number);
    if (at == slots_.end()) return;
    queued_.insert(number);
    at->second.origin->send(stream, sealed);
}

void Circuits::end_stream(CircuitNumber number, StreamId stream) {
    const auto at = slots_.find(number);
    if (at == slots_.end()) return;
    queued_.insert(number);
    at->second.origin->end_stream(stream);
}

bool Circuits::flush(Now now) {
    const std::set<CircuitNumber> numbers = std::exchange(queued_, {});
    for (const CircuitNumber number : numbers) {
        if (const auto at = slots_.find(number); at != slots_.end()) at->second.origin->flush(now);
        drain(now, number);
    }
    return !numbers.empty();
}

void Circuits::release(CircuitNumber number) {
    const auto at = slots_.find(number);
    if (at == slots_.end()) return;
    at->second.released = true;
    at->second.origin->retire();
}

Duration Circuits::round_trip(CircuitNumber number) const {
    const auto at = slots_.find(number);
    // Building crosses one, two and three links and back; the way to the node and back is four.
    return at == slots_.end() ? Duration::zero() : at->second.origin->build_time() * 4 / 6;
}

const circuit::Path* Circuits::path(CircuitNumber number) const {
    const auto at = slots_.find(number);
    return at == slots_.end() ? nullptr : &at->second.path;
}

bool Circuits::done(const Slot& slot) {
    return slot.origin->state() == Origin::State::retired && slot.origin->idle() && (slot.released || !slot.in_use);
}

void Circuits::sweep(Now now) {
    std::vector<CircuitNumber> numbers;
    for (const auto& [number, slot] : slots_) numbers.push_back(number);
    for (const CircuitNumber number : numbers) {
        const auto at = slots_.find(number);
        if (at == slots_.end()) continue;
        Origin& origin = *at->second.origin;
        origin.on_tick(now);
        if (!done(at->second)) {
            drain(now, number);
            continue;
        }
        origin.destroy(wire::DestroyReason::none);
        for (wire::Cell& cell : origin.take_cells()) out_.emplace_back(SendCell{at->second.link, std::move(cell)});
        by_id_.erase({at->second.link, origin.config().id.value()});
        slots_.erase(at);
    }
}

void Circuits::on_tick(Now now) {
    guards_.on_tick(now);
    record_.on_tick(now);
    if (now.mono >= build_not_before_) build_not_before_ = Instant::min();
    if (now.mono >= renew_not_before_) renew_not_before_ = Instant::min();
    sweep(now);
    build_more(now);
}

Instant Circuits::next_deadline() const {
    Instant next = Instant::max();
    if (build_not_before_ > Instant::min()) next = build_not_before_;
    if (renew_not_before_ > Instant::min()) next = std::min(next, renew_not_before_);
    if (const auto due = guards_.next_deadline()) next = std::min(next, *due);
    if (const auto due = record_.next_deadline()) next = std::min(next, *due);
    for (const auto& [number, slot] : slots_) {
        next = std::min(next, slot.origin->next_deadline());
        if (done(slot)) next = Instant::min();
    }
    return next;
}

std::size_t Circuits::ready() const {
    return static_cast<std::size_t>(std::count_if(slots_.begin(), slots_.end(), [](const auto& entry) {
        return !entry.second.in_use && entry.second.origin->state() == Origin::State::ready;
    }));
}

std::size_t Circuits::building() const {
    return static_cast<std::size_t>(std::count_if(slots_.begin(), slots_.end(), [](const auto& entry) {
        return entry.second.origin->state() == Origin::State::building;
    }));
}

bool Circuits::uses_link(LinkId link) const {
    const std::vector<NodeId> guards = guards_.in_use();
    const bool of_guard = std::any_of(links_.begin(), links_.end(), [&](const auto& entry) {
        return entry.second.link == link && std::find(guards.begin(), guards.end(), entry.first) != guards.end();
    });
    return of_guard ||
           std::any_of(slots_.begin(), slots_.end(), [&](const auto& entry) { return entry.second.link == link; });
}

std::optional<Circuits::Output> Circuits::poll() {
    if (out_.empty()) return std::nullopt;
    Output next = std::move(out_.front());
    out_.pop_front();
    return next;
}

}  // namespace shoal::client
