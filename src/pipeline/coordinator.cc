#include "pipeline/coordinator.h"

#include <algorithm>

#include "engine/finite.h"
#include "pipeline/stage_host.h"

namespace shoal::pipeline {

namespace {

// Why a hop is lost, where it is a rank other than the first that says so or is gone.
template <typename Member>
std::string of_rank(const Member& member, const std::string& why) {
    return member.rank == 0 ? why : "rank " + std::to_string(member.rank) + " (" + member.node.hex() + "): " + why;
}

}  // namespace

Coordinator::Coordinator(Now now, CoordinatorConfig config, Rng& rng)
    : config_(std::move(config)),
      session_(rng.id<wire::StageSessionId>()),
      next_token_(config_.first_token),
      intended_(wire::activation_row_bytes(config_.type, config_.width), config_.context, config_.sequences, true),
      outlet_(wire::activation_row_bytes(config_.type, config_.width), config_.history_bytes_max, true),
      results_(wire::activation_row_bytes(config_.type, config_.width), config_.context, config_.sequences, true) {
    ASSERT(!config_.hops.empty() && config_.hops.size() <= limits::stage_hops_max);
    for (std::size_t i = 1; i < config_.hops.size(); ++i) {
        ASSERT(config_.hops[i].layers.first == config_.hops[i - 1].layers.end);
    }
    for (const StageNode& hop : config_.hops) places_.push_back(place_of(hop, places_.size()));
    kept_.resize(places_.size());
    for (const StageNode& standby : config_.standbys) {
        const auto hop = std::find_if(places_.begin(), places_.end(),
                                      [&](const Place& place) { return place.hop.layers == standby.layers; });
        ASSERT(hop != places_.end());
        standbys_.push_back(place_of(standby, hop->index));
    }
    for (Place& place : places_) open(now, place);
    for (Place& standby : standbys_) open(now, standby);
}

Coordinator::Place Coordinator::place_of(const StageNode& hop, std::size_t index) const {
    ASSERT(hop.ranks.empty() ||
           (hop.ranks.size() >= 2 && hop.ranks.size() <= limits::group_ranks_max && hop.ranks.front() == hop.node));
    Place out{.hop = hop, .index = index};
    if (hop.ranks.empty()) out.members.push_back({.node = hop.node});
    for (const NodeId& node : hop.ranks) {
        out.members.push_back({.node = node, .rank = static_cast<std::uint8_t>(out.members.size())});
    }
    return out;
}

template <typename Is>
Coordinator::Found Coordinator::find(Is is) {
    const auto in = [&](Place& place) {
        const auto at = std::find_if(place.members.begin(), place.members.end(), is);
        return at == place.members.end() ? Found{} : Found{&place, &*at};
    };
    for (Place& place : places_) {
        if (const Found found = in(place)) return found;
    }
    for (Place& place : standbys_) {
        if (const Found found = in(place)) return found;
    }
    return {};
}

Coordinator::Found Coordinator::by_token(std::uint64_t token) {
    return find([token](const Member& member) { return member.dialling == token; });
}

Coordinator::Found Coordinator::by_control(ChannelId channel) {
    return find([channel](const Member& member) { return member.control == channel; });
}

bool Coordinator::is_standby(const Place& place) const {
    return &place < places_.data() || &place >= places_.data() + places_.size();
}

std::uint64_t Coordinator::given_to(std::size_t index) const {
    return index == 0 ? next_number_ - 1 : places_[index - 1].done;
}

NodeId Coordinator::node_behind(std::size_t index) const {
    return index + 1 < hops() ? places_[index + 1].hop.node : config_.self;
}

// ---- opening -----------------------------------------------------------------------------------------------------

void Coordinator::open(Now now, Place& place) {
    place.open_until = now.mono + limits::stage_open_timeout;
    for (Member& member : place.members) {
        member.dialling = next_token_++;
        channels_out_.emplace_back(Connect{*member.dialling, member.node});
    }
}

void Coordinator::on_connected(Now now, std::uint64_t token, ChannelId channel) {
    if (dialling_first_ == token) {
        dialling_first_.reset();
        first_ = channel;
        channels_out_.emplace_back(SendMessage{channel, wire::StageJoin{session_, 1}});
        return;
    }
    const auto [place, member] = by_token(token);
    if (place == nullptr) {
        channels_out_.emplace_back(CloseChannel{channel});
        return;
    }
    member->dialling.reset();
    member->control = channel;
    if (member->rank == 0) place->told_next = node_behind(place->index);
    place->heard = now.mono;
    wire::StageOpen open;
    open.session = session_;
    open.model = config_.model;
    open.layers = place->hop.layers;
    open.hop = static_cast<std::uint8_t>(place->index + 1);
    open.type = config_.type;
    open.width = config_.width;
    open.context = config_.context;
    open.sequences = config_.sequences;
    open.next = node_behind(place->index);
    open.ranks = place->hop.ranks;
    open.rank = member->rank;
    channels_out_.emplace_back(SendMessage{channel, std::move(open)});
}

void Coordinator::on_connect_failed(Now now, std::uint64_t token) {
    if (dialling_first_ == token) {
        dialling_first_.reset();
        return lose(now, 0, "the node cannot be reached");
    }
    if (const Found found = by_token(token))
        lose(now, *found.place, of_rank(*found.member, "the node cannot be reached"));
}

void Coordinator::on_opened(Now now, Place& place, Member& member, const wire::StageOpened& opened) {
    if (member.opened) return lose(now, place, of_rank(member, "it says OPENED twice"), Loss::breach);
    const std::size_t layers = place.hop.layers.end - std::size_t{place.hop.layers.first};
    if (opened.kv && (opened.kv->layers.size() != layers || place.members.size() > 1)) {
        return lose(now, place, of_rank(member, "what it keeps is not of its layers"), Loss::breach);
    }
    member.opened = true;
    if (member.rank == 0) place.kv = opened.kv;
    place.opened = std::all_of(place.members.begin(), place.members.end(), [](const Member& m) { return m.opened; });
    if (!place.opened) return;
    place.opened_at = place.heard = now.mono;  // it may owe since long before it could compute
    place.open_until = Instant::max();
    if (place.returned) out_.emplace_back(StandbyBack{static_cast<std::uint8_t>(place.index + 1), place.hop.node});
    if (is_standby(place)) return;
    if (!suits(place)) {
        return lose(now, place.index, "it keeps tokens in another form than the node whose place it takes");
    }
    keep_as(place.index, place.kv);
    go_on(now);
}

bool Coordinator::suits(const Place& place) const {
    return !moved_ || !place.opened || place.kv == kept_[place.index];
}

void Coordinator::keep_as(std::size_t index, const std::optional<wire::KvShape>& kv) {
    if (kept_[index] == kv) return;
    kept_[index] = kv;
    if (ready_) out_.emplace_back(KeepsOther{});
}

void Coordinator::go_on(Now now) {
    tell_routes(now);
    const bool all = std::all_of(places_.begin(), places_.end(), [](const Place& p) { return p.opened; });
    if (!all || ready_) return;
    ready_ = true;
    out_.emplace_back(Ready{});
}

// Whoever sends to a node that is not the next hop any more is told, once the next hop is there.
void Coordinator::tell_routes(Now) {
    for (std::size_t i = 0; i < hops(); ++i) {
        Place& place = places_[i];
        const bool next_is_there = i + 1 == hops() || places_[i + 1].opened;
        if (!place.opened || !next_is_there || place.told_next == node_behind(i)) continue;
        place.told_next = node_behind(i);
        channels_out_.emplace_back(SendMessage{*place.members[0].control, wire::StageReroute{place.told_next}});
    }
    const bool all = std::all_of(places_.begin(), places_.end(), [](const Place& p) { return p.opened; });
    if ((all || ready_) && places_[0].opened && !first_ && !dialling_first_) dial_first();
}

void Coordinator::dial_first() {
    dialling_first_ = next_token_++;
    ++first_dials_;
    channels_out_.emplace_back(Connect{*dialling_first_, places_[0].hop.node});
}

// ---- operations --------------------------------------------------------------------------------------------------

std::optional<std::uint64_t> Coordinator::step(Now now, wire::StageRows rows) {
    return send(now, wire::StageStep{next_number_, results_.last(), std::move(rows)});
}

std::optional<std::uint64_t> Coordinator::truncate(Now now, std::uint16_t sequence, std::uint32_t length) {
    return send(now, wire::StageTruncate{next_number_, results_.last(), sequence, length});
}

std::optional<std::uint64_t> Coordinator::fill(Now now, wire::StageKvRows rows) {
    moved_ = true;
    return send(now, wire::StageFill{next_number_, results_.last(), std::move(rows)});
}

std::optional<std::uint64_t> Coordinator::read(Now now, const wire::StageReadOf& of) {
    moved_ = true;
    return send(now, wire::StageRead{next_number_, results_.last(), of, {}});
}

std::optional<wire::KvShape> Coordinator::kv() const {
    std::optional<wire::KvShape> out;
    for (const std::optional<wire::KvShape>& kv : kept_) {
        if (!kv) return std::nullopt;
        if (!out) {
            out = kv;
            continue;
        }
        const bool alike = out->turned_keys == kv->turned_keys && out->turned_values == kv->turned_values;
        out->layers.insert(out->layers.end(), kv->layers.begin(), kv->layers.end());
        if (!alike || !wire::kv_shape_fault(*out).empty()) return std::nullopt;
    }
    return out;
}

std::optional<std::uint64_t> Coordinator::send(Now now, Operation operation) {
    if (!ready_ || over_ || in_flight() >= limits::stage_unsettled_max) return std::nullopt;
    const Status follows_on = intended_.take(operation);
    ASSERT(follows_on);
    const std::uint64_t number = next_number_++;
    if (places_[0].done + 1 == number) places_[0].heard = now.mono;  // it owes from now on
    const Status kept = outlet_.add(std::move(operation));
    ASSERT(kept);  // stage_open_max: what is under way, and what was when a replay began
    hand_on();
    return number;
}

void Coordinator::hand_on() {
    if (first_ && outlet_.attached()) channels_out_.emplace_back(HasData{*first_});
}

std::optional<wire::StageMessage> Coordinator::next_data(ChannelId channel) {
    if (channel != first_) return std::nullopt;
    return outlet_.poll();
}

bool Coordinator::takes(const NodeId&, const wire::StageMessage& first) const {
    const auto* join = std::get_if<wire::StageJoin>(&first);
    return join != nullptr && join->session == session_ && join->hop == hops() + 1 && !over_;
}

void Coordinator::on_message(Now now, ChannelId channel, const NodeId& from, wire::StageMessage message) {
    if (over_) return;
    channels_out_.emplace_back(Took{channel});
    if (channel == first_) {
        const auto* joined = std::get_if<wire::StageJoined>(&message);
        if (joined == nullptr || outlet_.attached()) return lose(now, 0, "it speaks out of turn", Loss::breach);
        if (const Status attached = outlet_.attach(*joined); !attached) {
            // Of a history that is not kept any more no standby has more.
            if (joined->fresh) return over(0, attached.error().message);
            return lose(now, 0, attached.error().message, Loss::breach);
        }
        first_dials_ = 0;
        return hand_on();
    }
    if (channel == results_channel_) return on_result(now, std::move(message));
    if (const Found found = by_control(channel)) return on_control(now, *found.place, *found.member, message);
    if (!takes(from, message) || from != places_.back().hop.node) {
        channels_out_.emplace_back(CloseChannel{channel});
        return;
    }
    if (results_channel_) channels_out_.emplace_back(CloseChannel{*results_channel_});
    results_channel_ = channel;
    channels_out_.emplace_back(SendMessage{channel, results_.joined()});
}

void Coordinator::on_control(Now now, Place& place, Member& member, const wire::StageMessage& message) {
    if (const auto* opened = std::get_if<wire::StageOpened>(&message)) return on_opened(now, place, member, *opened);
    if (member.rank != 0) {  // it computes for rank 0, and says nothing else here
        const auto* fault = std::get_if<wire::StageFault>(&message);
        if (fault == nullptr) return lose(now, place, of_rank(member, "it speaks out of turn"), Loss::breach);
        return lose(now, place, of_rank(member, fault->text));
    }
    place.heard = now.mono;
    if (std::holds_alternative<wire::StageAlive>(message)) return;
    if (const auto* done = std::get_if<wire::StageDone>(&message)) return on_done(now, place, *done);
    const auto* fault = std::get_if<wire::StageFault>(&message);
    if (fault == nullptr) return lose(now, place, "it speaks out of turn", Loss::breach);
    if (fault->code != wire::StageFaultCode::next_lost) return lose(now, place, fault->text);
    // Of one that is being replaced already, or that is no hop yet.
    if (is_standby(place) || place.told_next != node_behind(place.index)) return;
    if (place.index + 1 < hops()) return lose(now, place.index + 1, "the hop before cannot reach it");
    lose(now, place, "it cannot reach the coordinator");
}

void Coordinator::on_done(Now now, Place& place, const wire::StageDone& done) {
    if (is_standby(place)) return lose(now, place, "it has computed what nobody asked", Loss::breach);
    // Smaller: again, after a replay. It may be ahead of the hop before, if that is a standby that catches up.
    if (done.number <= place.done || done.number >= next_number_) return;
    const std::uint64_t before = std::exchange(place.done, done.number);
    Place* next = place.index + 1 < hops() ? &places_[place.index + 1] : nullptr;
    const std::uint64_t next_done = next != nullptr ? next->done : results_.last();
    // Until now it owed nothing.
    if (before <= next_done && next_done < done.number) (next != nullptr ? next->heard : results_heard_) = now.mono;
}

bool Coordinator::answers(const Operation& result) const {
    const Operation* sent = outlet_.unsettled(number_of(result));
    if (sent == nullptr || sent->index() != result.index()) return false;
    if (const auto* step = std::get_if<wire::StageStep>(&result)) {
        return step->rows.parts == std::get<wire::StageStep>(*sent).rows.parts;
    }
    if (const auto* truncate = std::get_if<wire::StageTruncate>(&result)) {
        const auto& was = std::get<wire::StageTruncate>(*sent);
        return truncate->sequence == was.sequence && truncate->length == was.length;
    }
    if (const auto* fill = std::get_if<wire::StageFill>(&result)) {
        // Each hop takes its part, so nothing is left.
        const wire::StageKvRows& was = std::get<wire::StageFill>(*sent).rows;
        const bool same = fill->rows.sequence == was.sequence && fill->rows.position == was.position;
        return same && fill->rows.rows == was.rows && fill->rows.tensor.empty();
    }
    const auto& read = std::get<wire::StageRead>(result);
    const auto shape = kv();
    return read.of == std::get<wire::StageRead>(*sent).of && shape &&
           read.bytes.size() == wire::read_bytes(read.of, *shape);
}

void Coordinator::on_result(Now now, wire::StageMessage message) {
    const std::size_t last = hops() - 1;
    results_heard_ = now.mono;
    std::optional<Operation> result;
    std::visit(
        [&result](auto& each) {
            if constexpr (std::is_constructible_v<Operation, decltype(std::move(each))>) result = std::move(each);
        },
        message);
    if (!result) return lose(now, last, "it speaks out of turn", Loss::breach);
    const std::uint64_t number = number_of(*result);
    // It would let more and more operations out that nobody takes.
    if (number > outlet_.most_sent()) return lose(now, last, "it gives results of what was not asked", Loss::breach);
    auto* step = std::get_if<wire::StageStep>(&*result);
    // Nobody's but its: an honest hop holds its own engine to this, and no engine takes such rows.
    if (step != nullptr && !engine::all_finite(config_.type, step->rows.tensor)) {
        return lose(now, last, "its results are numbers that are none", Loss::breach);
    }
    if (!answers(*result) || !results_.take(*result)) {
        const char* whose = hops() == 1 ? "" : " (its fault, or that of a hop before it)";
        return lose(now, last, std::string("its results do not fit") + whose, Loss::breach);
    }
    settle(now);
    if (step != nullptr) {
        out_.emplace_back(Result{number, std::move(step->rows)});
    } else if (std::holds_alternative<wire::StageFill>(*result)) {
        out_.emplace_back(Filled{number});
    } else if (auto* read = std::get_if<wire::StageRead>(&*result)) {
        out_.emplace_back(Given{number, std::move(read->bytes)});
    }
}

void Coordinator::settle(Now now) {
    outlet_.settle(results_.last());
    // A result passed every hop.
    for (Place& place : places_) {
        if (place.done >= results_.last()) continue;
        place.done = results_.last();
        place.heard = now.mono;
    }
}

// ---- losses ------------------------------------------------------------------------------------------------------

void Coordinator::on_closed(Now now, ChannelId channel) {
    if (over_) return;
    if (channel == results_channel_) return results_channel_.reset();  // the last hop dials again
    if (channel == first_) {
        first_.reset();
        outlet_.detach();
        if (first_dials_ >= limits::stage_dials_max) return lose(now, 0, "it takes no rows");
        return tell_routes(now);
    }
    if (const Found found = by_control(channel)) {
        found.member->control.reset();
        lose(now, *found.place, of_rank(*found.member, "the link to it was lost"));
    }
}

void Coordinator::drop_channels(Place& place) {
    for (Member& member : place.members) {
        if (member.control) channels_out_.emplace_back(CloseChannel{*member.control});
        member.control.reset();
        member.dialling.reset();
        member.opened = false;
    }
    place.opened = false;
    place.kv.reset();
}

void Coordinator::lose(Now now, Place& place, std::string why, Loss loss) {
    if (!is_standby(place)) return lose(now, place.index, std::move(why), loss);
    if (place.opened || !place.returned) out_.emplace_back(StandbyLost{place.hop.node, std::move(why)});
    Place lost = place;
    standbys_.remove_if([&](const Place& each) { return &each == &place; });
    retire(now, std::move(lost), loss);
}

// It is not among hops and standbys any more.
void Coordinator::retire(Now now, Place place, Loss loss) {
    if (place.opened && now.mono - place.opened_at >= limits::stage_return_max) {
        place.return_delay = limits::stage_return_min;
    }
    drop_channels(place);
    if (loss == Loss::breach) return;
    const Instant at = now.mono + place.return_delay;
    Place again = place_of(place.hop, place.index);
    again.returned = true;
    again.return_delay = std::min<Duration>(2 * place.return_delay, limits::stage_return_max);
    returning_.push_back({again, at});
}

void Coordinator::take_back(Now now) {
    for (std::size_t i = 0; i < returning_.size();) {
        if (now.mono < returning_[i].at) {
            ++i;
            continue;
        }
        standbys_.push_back(returning_[i].place);
        returning_.erase(returning_.begin() + static_cast<std::ptrdiff_t>(i));
        open(now, standbys_.back());
    }
}

void Coordinator::lose(Now now, std::size_t index, std::string why, Loss loss) {
    Place& place = places_[index];
    if (index == 0) {
        if (first_) channels_out_.emplace_back(CloseChannel{*first_});
        first_.reset();
        dialling_first_.reset();
        outlet_.detach();
        first_dials_ = 0;
    }
    if (index + 1 == hops() && results_channel_) {
        channels_out_.emplace_back(CloseChannel{*results_channel_});
        results_channel_.reset();
    }
    const auto fits = [&](const Place& standby) { return standby.index == index && suits(standby); };
    auto standby =
        std::find_if(standbys_.begin(), standbys_.end(), [&](const Place& each) { return fits(each) && each.opened; });
    if (standby == standbys_.end()) standby = std::find_if(standbys_.begin(), standbys_.end(), fits);
    if (standby == standbys_.end()) return over(index, std::move(why));
    retire(now, place, loss);
    out_.emplace_back(
        Replaced{static_cast<std::uint8_t>(index + 1), place.hop.node, standby->hop.node, std::move(why)});
    place = std::move(*standby);
    standbys_.erase(standby);
    place.done = results_.last();
    place.heard = now.mono;
    // Also where it is the node that was there before: the hop before has given that one up meanwhile.
    if (index > 0) places_[index - 1].told_next = {};
    if (place.opened) keep_as(index, place.kv);
    go_on(now);
}

void Coordinator::over(std::size_t index, std::string why) {
    const NodeId node = places_[index].hop.node;
    close();
    out_.emplace_back(Over{static_cast<std::uint8_t>(index + 1), node, std::move(why)});
}

void Coordinator::close() {
    if (over_) return;
    over_ = true;
    for (Place& place : places_) drop_channels(place);
    for (Place& standby : standbys_) drop_channels(standby);
    if (first_) channels_out_.emplace_back(CloseChannel{*first_});
    if (results_channel_) channels_out_.emplace_back(CloseChannel{*results_channel_});
    first_.reset();
    results_channel_.reset();
}

void Coordinator::on_tick(Now now) {
    if (over_) return;
    take_back(now);
    for (auto at = standbys_.begin(); at != standbys_.end();) {
        Place& standby = *at++;  // lose() takes it out
        if (now.mono >= standby.open_until) lose(now, standby, "it did not load its layers in time");
    }
    for (std::size_t i = 0; i < hops() && !over_; ++i) {
        const Place& place = places_[i];
        if (now.mono >= place.open_until) {
            lose(now, i, "it did not load its layers in time");
        } else if (place.opened && place.done < given_to(i) && now.mono >= place.heard + limits::stage_silence_max) {
            lose(now, i, "nothing is heard from it");
        }
    }
    // The last hop says that it has computed, but nothing comes.
    if (!over_ && places_.back().done > results_.last() && now.mono >= results_heard_ + limits::stage_silence_max) {
        lose(now, hops() - 1, "its results do not come");
    }
}

Instant Coordinator::next_deadline() const {
    Instant next = Instant::max();
    if (over_) return next;
    for (const Place& standby : standbys_) next = std::min(next, standby.open_until);
    for (const Returning& returning : returning_) next = std::min(next, returning.at);
    for (std::size_t i = 0; i < hops(); ++i) {
        const Place& place = places_[i];
        next = std::min(next, place.open_until);
        if (place.opened && place.done < given_to(i)) next = std::min(next, place.heard + limits::stage_silence_max);
    }
    if (places_.back().done > results_.last()) next = std::min(next, results_heard_ + limits::stage_silence_max);
    return next;
}

std::optional<ChannelOutput> Coordinator::poll_channels() {
    if (channels_out_.empty()) return std::nullopt;
    ChannelOutput next = std::move(channels_out_.front());
    channels_out_.pop_front();
    return next;
}

std::optional<Coordinator::Output> Coordinator::poll() {
    if (out_.empty()) return std::nullopt;
    Output next = std::move(out_.front());
    out_.pop_front();
    return next;
}

}  // namespace shoal::pipeline
