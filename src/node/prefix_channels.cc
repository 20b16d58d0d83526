#include "node/prefix_channels.h"

namespace shoal::node {

using wire::ChannelCloseReason;

// ---- links -------------------------------------------------------------------------------------------------------

void PrefixChannels::on_channel(Now now, LinkId link_id, link::Channels::Event event) {
    Link* link = links_.get(link_id);
    if (link == nullptr) return;
    touched_ = true;
    if (const auto* opened = std::get_if<link::Channels::Opened>(&event)) {
        if (empty()) return link->channels.close(opened->channel, ChannelCloseReason::refused);
        (void)places_.add({link->peer, link_id, opened->channel, false});
        return;
    }
    const auto number = std::visit([](const auto& each) { return each.channel; }, event);
    const auto id = places_.find(link_id, number);
    if (!id) return;
    if (const auto* message = std::get_if<link::Channels::Message>(&event)) {
        on_message(now, *id, message->bytes);
    } else if (std::holds_alternative<link::Channels::Room>(event)) {
        pump(now, *id);
    } else {
        tell_closed(now, *id, *places_.take(*id));
    }
}

void PrefixChannels::on_message(Now now, Id id, const Bytes& bytes) {
    const Place place = *places_.find(id);
    auto message = wire::decode_prefix_message(bytes);
    if (!message) return close(now, id, ChannelCloseReason::protocol, true);
    if (place.ours) {
        fetcher_->on_message(now, id, std::move(*message));
    } else {
        holder_->on_message(now, id, place.peer, *message);
    }
}

void PrefixChannels::on_link_up(Now now, const NodeId& peer, LinkId link) {
    for (const Waiting& waiting : take_waiting(waiting_, peer)) connect_over(now, waiting, link);
}

void PrefixChannels::on_unreachable(Now now, const NodeId& peer) {
    for (const Waiting& waiting : take_waiting(waiting_, peer)) fetcher_->on_connect_failed(now, waiting.token);
}

void PrefixChannels::on_link_down(Now now, LinkId link) {
    while (const auto id = places_.any_of(link)) tell_closed(now, *id, *places_.take(*id));
}

void PrefixChannels::tell_closed(Now now, Id id, const Place& place) {
    place.ours ? fetcher_->on_closed(now, id) : holder_->on_closed(now, id);
}

// ---- users -------------------------------------------------------------------------------------------------------

bool PrefixChannels::drain(Now now) {
    if (empty()) return false;
    bool any = std::exchange(touched_, false);
    for (;;) {
        auto output = fetcher_->poll();
        if (!output) output = holder_->poll();
        if (!output) return any;
        any = true;
        carry_out(now, *output);
    }
}

void PrefixChannels::carry_out(Now now, const model::PrefixOutput& output) {
    if (const auto* message = std::get_if<model::PrefixSend>(&output)) {
        send(now, message->channel, message->message);
    } else if (const auto* data = std::get_if<model::PrefixHasData>(&output)) {
        pump(now, data->channel);
    } else if (const auto* done = std::get_if<model::PrefixTook>(&output)) {
        took(done->channel);
    } else if (const auto* expected = std::get_if<model::PrefixExpect>(&output)) {
        if (!links_.find(expected->node, Identity::own)) out_.push_back({expected->node});
    } else if (const auto* wanted = std::get_if<model::PrefixConnect>(&output)) {
        connect(now, {wanted->token, wanted->node});
    } else {
        close(now, std::get<model::PrefixClose>(output).channel, ChannelCloseReason::done, false);
    }
}

void PrefixChannels::connect(Now now, const Waiting& waiting) {
    if (const auto link = links_.find(waiting.node, Identity::own)) return connect_over(now, waiting, *link);
    if (waiting_.size() >= limits::dials_max) return fetcher_->on_connect_failed(now, waiting.token);
    waiting_.push_back(waiting);
    out_.push_back({waiting.node});
}

void PrefixChannels::connect_over(Now now, const Waiting& waiting, LinkId link_id) {
    Link* link = links_.get(link_id);
    const auto number = link == nullptr ? std::nullopt : link->channels.open(wire::ChannelProtocol::prefix);
    if (!number) return fetcher_->on_connect_failed(now, waiting.token);
    const Id id = places_.add({waiting.node, link_id, *number, true});
    fetcher_->on_connected(now, waiting.token, id);
    links_.wake(link_id);
}

void PrefixChannels::send(Now now, Id id, const wire::PrefixMessage& message) {
    const Place* place = places_.find(id);
    if (place == nullptr) return;  // closed meanwhile: its user has heard of it
    Link* link = links_.get(place->link);
    const bool sent = link != nullptr && link->channels.send(place->number, wire::encode_prefix_message(message));
    if (!sent) return close(now, id, ChannelCloseReason::busy, true);
    links_.wake(place->link);
}

void PrefixChannels::took(Id id) {
    const Place* place = places_.find(id);
    Link* link = place == nullptr ? nullptr : links_.get(place->link);
    if (link == nullptr) return;
    link->channels.took(place->number);
    links_.wake(place->link);
}

void PrefixChannels::pump(Now now, Id id) {
    for (;;) {
        const Place* place = places_.find(id);
        if (place == nullptr || place->ours) return;
        Link* link = links_.get(place->link);
        if (link == nullptr || !link->channels.may_send(place->number)) return;  // Room comes back to it
        const auto message = holder_->next_data(now, id);
        if (!message) return;
        send(now, id, *message);
    }
}

void PrefixChannels::close(Now now, Id id, ChannelCloseReason reason, bool tell_user) {
    const auto gone = places_.take(id);
    if (!gone) return;
    if (Link* link = links_.get(gone->link)) link->channels.close(gone->number, reason);
    links_.wake(gone->link);
    if (tell_user) tell_closed(now, id, *gone);
}

std::optional<PrefixChannels::WantLink> PrefixChannels::poll() {
    if (out_.empty()) return std::nullopt;
    const WantLink next = out_.front();
    out_.pop_front();
    return next;
}

}  // namespace shoal::node
