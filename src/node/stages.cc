#include "node/stages.h"

#include <algorithm>

namespace shoal::node {

using pipeline::ChannelUser;
using wire::ChannelCloseReason;

namespace {

// What a message holds; the rest of it is less than a cell.
std::size_t bytes_of(const wire::StageMessage& message) {
    if (const auto* step = std::get_if<wire::StageStep>(&message)) return step->rows.tensor.size();
    if (const auto* replay = std::get_if<wire::StageReplay>(&message)) return replay->rows.tensor.size();
    return 0;
}

}  // namespace

link::Channels* Stages::channels_of(const Place& place) {
    Link* link = place.other ? nullptr : links_.get(place.link);
    return link == nullptr ? nullptr : &link->channels;
}

// ---- links -------------------------------------------------------------------------------------------------------

void Stages::on_cell(Now now, LinkId id, const wire::Cell& cell) {
    Link* link = links_.get(id);
    if (link == nullptr) return;
    link->channels.on_cell(cell);
    take_events(now, id);
    (void)drain(now);
}

void Stages::take_events(Now now, LinkId id) {
    for (;;) {
        Link* link = links_.get(id);  // a user may have ended it
        if (link == nullptr) return;
        auto event = link->channels.poll();
        if (!event) break;
        on_event(now, id, std::move(*event));
    }
    links_.wake(id);
}

void Stages::on_event(Now now, LinkId link, link::Channels::Event event) {
    if (const auto* opened = std::get_if<link::Channels::Opened>(&event)) {
        if (opened->protocol != wire::ChannelProtocol::stage) return hand_on(now, link, event);
        (void)places_.add({.peer = links_.get(link)->peer, .link = link, .number = opened->channel});
        return;
    }
    const auto number = std::visit([](const auto& each) { return each.channel; }, event);
    const auto id = places_.find(link, number);
    if (!id) return hand_on(now, link, std::move(event));
    if (auto* message = std::get_if<link::Channels::Message>(&event)) {
        auto decoded = wire::decode_stage_message(message->bytes);
        if (!decoded) return close(now, *id, ChannelCloseReason::protocol, true);
        deliver(now, *id, std::move(*decoded));
    } else if (std::holds_alternative<link::Channels::Room>(event)) {
        pump(now, *id);
    } else {
        const auto gone = places_.take(*id);
        if (gone->user != nullptr) gone->user->on_closed(now, *id);
    }
}

void Stages::hand_on(Now now, LinkId link, link::Channels::Event event) {
    if (others_ != nullptr) return others_->on_channel(now, link, std::move(event));
    const auto* opened = std::get_if<link::Channels::Opened>(&event);
    if (opened != nullptr) links_.get(link)->channels.close(opened->channel, ChannelCloseReason::refused);
}

void Stages::deliver(Now now, Id id, wire::StageMessage message) {
    Place& place = *places_.find(id);
    if (place.user == nullptr) {
        const auto takes = [&](const ChannelUser* user) { return user->takes(place.peer, message); };
        const auto user = std::find_if(users_.begin(), users_.end(), takes);
        if (user == users_.end()) return close(now, id, ChannelCloseReason::refused, false);
        place.user = *user;
    }
    const NodeId peer = place.peer;
    place.user->on_message(now, id, peer, std::move(message));
}

void Stages::on_link_up(Now now, const NodeId& peer, LinkId link) {
    for (const Waiting& waiting : take_waiting(waiting_, peer)) connect_over(now, waiting, link);
    (void)drain(now);
}

void Stages::on_unreachable(Now now, const NodeId& peer) {
    for (const Waiting& waiting : take_waiting(waiting_, peer)) waiting.user->on_connect_failed(now, waiting.token);
    (void)drain(now);
}

void Stages::on_link_down(Now now, LinkId link) {
    while (const auto id = places_.any_of(link)) {
        const auto gone = places_.take(*id);
        if (gone->user != nullptr) gone->user->on_closed(now, *id);
    }
    (void)drain(now);
}

// ---- users -------------------------------------------------------------------------------------------------------

bool Stages::drain(Now now) {
    bool any = false;
    for (bool more = true; more;) {
        more = drain_local(now);
        for (ChannelUser* user : users_) more = drain_user(now, *user) || more;
        any = any || more;
    }
    return any;
}

bool Stages::drain_user(Now now, ChannelUser& user) {
    bool any = false;
    while (auto output = user.poll_channels()) {
        any = true;
        carry_out(now, user, std::move(*output));
    }
    return any;
}

void Stages::carry_out(Now now, ChannelUser& user, pipeline::ChannelOutput output) {
    if (const auto* message = std::get_if<pipeline::SendMessage>(&output)) {
        send(now, message->channel, message->message);
    } else if (const auto* data = std::get_if<pipeline::HasData>(&output)) {
        pump(now, data->channel);
    } else if (const auto* done = std::get_if<pipeline::Took>(&output)) {
        took(done->channel);
    } else if (const auto* wanted = std::get_if<pipeline::Connect>(&output)) {
        connect(now, user, wanted->token, wanted->node);
    } else {
        close(now, std::get<pipeline::CloseChannel>(output).channel, ChannelCloseReason::done, false);
    }
}

void Stages::connect(Now now, ChannelUser& user, std::uint64_t token, const NodeId& node) {
    if (node == self_) return connect_here(now, user, token);
    const Waiting waiting{&user, token, node};
    if (const auto link = links_.find(node, Identity::own)) return connect_over(now, waiting, *link);
    waiting_.push_back(waiting);
    out_.push_back({node});
}

void Stages::connect_over(Now now, const Waiting& waiting, LinkId id) {
    Link* link = links_.get(id);
    const auto number = link == nullptr ? std::nullopt : link->channels.open(wire::ChannelProtocol::stage);
    if (!number) return waiting.user->on_connect_failed(now, waiting.token);
    const Id channel = places_.add({.peer = waiting.node, .user = waiting.user, .link = id, .number = *number});
    waiting.user->on_connected(now, waiting.token, channel);
    links_.wake(id);
}

void Stages::connect_here(Now now, ChannelUser& user, std::uint64_t token) {
    const Id ours = places_.add({.peer = self_, .user = &user});
    places_.find(ours)->other = places_.add({.peer = self_, .other = ours});
    user.on_connected(now, token, ours);
}

bool Stages::may_send(Place& place) {
    if (place.other) {
        return place.under_way.size() < limits::channel_window_messages &&
               place.under_way_bytes < limits::channel_window_bytes;
    }
    link::Channels* channels = channels_of(place);
    return channels != nullptr && channels->may_send(place.number);
}

void Stages::send(Now now, Id id, const wire::StageMessage& message) {
    Place* at = places_.find(id);
    if (at == nullptr) return;  // closed meanwhile: its user will hear of it
    Place& place = *at;
    if (place.other) {
        constexpr std::size_t most = limits::channel_window_messages + limits::channel_queued_messages_max;
        if (place.under_way.size() >= most) return close(now, id, ChannelCloseReason::busy, true);
        place.under_way.push_back(bytes_of(message));
        place.under_way_bytes += place.under_way.back();
        local_.push_back({*place.other, message});
        return;
    }
    link::Channels* channels = channels_of(place);
    const bool sent = channels != nullptr && channels->send(place.number, wire::encode_stage_message(message));
    if (!sent) return close(now, id, ChannelCloseReason::busy, true);
    links_.wake(place.link);
}

void Stages::took(Id id) {
    const Place* place = places_.find(id);
    if (place == nullptr) return;
    if (!place->other) {
        if (link::Channels* channels = channels_of(*place)) channels->took(place->number);
        return links_.wake(place->link);
    }
    Place* other = places_.find(*place->other);
    if (other == nullptr || other->under_way.empty()) return;
    other->under_way_bytes -= other->under_way.front();
    other->under_way.pop_front();
}

void Stages::pump(Now now, Id id) {
    for (;;) {
        Place* place = places_.find(id);
        if (place == nullptr || place->user == nullptr) return;
        place->has_data = true;
        if (!may_send(*place)) return;
        auto message = place->user->next_data(id);
        if (!message) {
            place->has_data = false;
            return;
        }
        send(now, id, *message);
    }
}

void Stages::close(Now now, Id id, ChannelCloseReason reason, bool tell_user) {
    const auto gone = places_.take(id);
    if (!gone) return;
    if (gone->other) {
        dropped_.push_back(*gone->other);
    } else {
        if (link::Channels* channels = channels_of(*gone)) channels->close(gone->number, reason);
        links_.wake(gone->link);
    }
    if (tell_user && gone->user != nullptr) gone->user->on_closed(now, id);
}

// Messages to this node itself, one at a time: each may bring more.
bool Stages::drain_local(Now now) {
    bool any = false;
    while (!local_.empty()) {
        any = true;
        Local next = std::move(local_.front());
        local_.pop_front();
        if (places_.find(next.to) != nullptr) deliver(now, next.to, std::move(next.message));
    }
    for (const Id id : std::exchange(dropped_, {})) {
        any = true;
        const auto gone = places_.take(id);
        if (gone && gone->user != nullptr) gone->user->on_closed(now, id);
    }
    std::vector<Id> ready;
    for (auto& [id, place] : places_) {
        if (place.other && place.has_data && may_send(place)) ready.push_back(id);
    }
    for (const Id id : ready) pump(now, id);
    return any || !ready.empty();
}

std::optional<Stages::WantLink> Stages::poll() {
    if (out_.empty()) return std::nullopt;
    const WantLink next = out_.front();
    out_.pop_front();
    return next;
}

}  // namespace shoal::node
