#include "node/prefix_channels.h"

namespace shoal::node {

using wire::ChannelCloseReason;

bool PrefixChannels::uses_link(LinkId link) const {
    const auto first = at_.lower_bound({link, 0});
    return first != at_.end() && first->first.first == link;
}

// ---- links -------------------------------------------------------------------------------------------------------

void PrefixChannels::on_channel(Now now, LinkId link_id, link::Channels::Event event) {
    Link* link = links_.get(link_id);
    if (link == nullptr) return;
    touched_ = true;
    if (const auto* opened = std::get_if<link::Channels::Opened>(&event)) {
        if (empty()) return link->channels.close(opened->channel, ChannelCloseReason::refused);
        const Id id(next_id_++);
        places_[id] = {link->peer, link_id, opened->channel, false};
        at_[{link_id, opened->channel}] = id;
        return;
    }
    const auto number = std::visit([](const auto& each) { return each.channel; }, event);
    const auto at = at_.find({link_id, number});
    if (at == at_.end()) return;
    const Id id = at->second;
    if (const auto* message = std::get_if<link::Channels::Message>(&event)) {
        on_message(now, id, message->bytes);
    } else if (std::holds_alternative<link::Channels::Room>(event)) {
        pump(now, id);
    } else {
        const Place gone = places_.at(id);
        places_.erase(id);
        at_.erase(at);
        tell_closed(now, id, gone);
    }
}

void PrefixChannels::on_message(Now now, Id id, const Bytes& bytes) {
    const Place place = places_.at(id);
    auto message = wire::decode_prefix_message(bytes);
    if (!message) return close(now, id, ChannelCloseReason::protocol, true);
    if (place.ours) {
        fetcher_->on_message(now, id, std::move(*message));
    } else {
        holder_->on_message(now, id, place.peer, *message);
    }
}

void PrefixChannels::on_link_up(Now now, const NodeId& peer, LinkId link) {
    for (const Waiting& waiting : std::exchange(waiting_, {})) {
        if (waiting.node == peer) {
            connect_over(now, waiting, link);
        } else {
            waiting_.push_back(waiting);
        }
    }
}

void PrefixChannels::on_unreachable(Now now, const NodeId& peer) {
    for (const Waiting& waiting : std::exchange(waiting_, {})) {
        if (waiting.node == peer) {
            fetcher_->on_connect_failed(now, waiting.token);
        } else {
            waiting_.push_back(waiting);
        }
    }
}

void PrefixChannels::on_link_down(Now now, LinkId link) {
    for (auto at = at_.lower_bound({link, 0}); at != at_.end() && at->first.first == link;
         at = at_.lower_bound({link, 0})) {
        const Id id = at->second;
        at_.erase(at);
        const Place gone = places_.at(id);
        places_.erase(id);
        tell_closed(now, id, gone);
    }
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
    const Id id(next_id_++);
    places_[id] = {waiting.node, link_id, *number, true};
    at_[{link_id, *number}] = id;
    fetcher_->on_connected(now, waiting.token, id);
    links_.wake(link_id);
}

void PrefixChannels::send(Now now, Id id, const wire::PrefixMessage& message) {
    const auto at = places_.find(id);
    if (at == places_.end()) return;  // closed meanwhile: its user has heard of it
    Link* link = links_.get(at->second.link);
    const LinkId link_id = at->second.link;
    const bool sent = link != nullptr && link->channels.send(at->second.number, wire::encode_prefix_message(message));
    if (!sent) return close(now, id, ChannelCloseReason::busy, true);
    links_.wake(link_id);
}

void PrefixChannels::took(Id id) {
    const auto at = places_.find(id);
    Link* link = at == places_.end() ? nullptr : links_.get(at->second.link);
    if (link == nullptr) return;
    link->channels.took(at->second.number);
    links_.wake(at->second.link);
}

void PrefixChannels::pump(Now now, Id id) {
    for (;;) {
        const auto at = places_.find(id);
        if (at == places_.end() || at->second.ours) return;
        Link* link = links_.get(at->second.link);
        if (link == nullptr || !link->channels.may_send(at->second.number)) return;  // Room comes back to it
        const auto message = holder_->next_data(now, id);
        if (!message) return;
        send(now, id, *message);
    }
}

void PrefixChannels::close(Now now, Id id, ChannelCloseReason reason, bool tell_user) {
    const auto at = places_.find(id);
    if (at == places_.end()) return;
    const Place gone = at->second;
    places_.erase(at);
    at_.erase({gone.link, gone.number});
    if (Link* link = links_.get(gone.link)) link->channels.close(gone.number, reason);
    links_.wake(gone.link);
    if (tell_user) tell_closed(now, id, gone);
}

std::optional<PrefixChannels::WantLink> PrefixChannels::poll() {
    if (out_.empty()) return std::nullopt;
    const WantLink next = out_.front();
    out_.pop_front();
    return next;
}

}  // namespace shoal::node
