// Stages: carries stage messages between the channels of this node's links and the objects that speak over them: a host
// of stages, and leads of models. Holds no policy.
//
// Rules
//   1. Channels live on links under the node's own identity: both ends are known by their keys.
//   2. The first message of a channel that a peer opened says whose it is; what nobody takes is closed.
//   3. What comes of channels of another protocol is handed on (OtherChannels).
//   4. A node that is both lead and hop speaks to itself without a link, in order, with the window of any channel.
//
// Pure; one thread.
#pragma once

#include <vector>

#include "node/channel_places.h"
#include "node/links.h"
#include "pipeline/channel.h"

namespace shoal::node {

// Whoever carries another protocol over channels of the same links.
class OtherChannels {
public:
    virtual ~OtherChannels() = default;
    virtual void on_channel(Now now, LinkId link, link::Channels::Event event) = 0;
};

class Stages {
public:
    // Somebody wants a channel to this node: answer with on_link_up or on_unreachable.
    struct WantLink {
        NodeId node;
    };

    // `links` outlives it.
    Stages(const NodeId& self, Links& links) : self_(self), links_(links) {}

    // Asked in the order in which they are added. `user` outlives this object.
    void add(pipeline::ChannelUser& user) { users_.push_back(&user); }
    bool empty() const { return users_.empty(); }
    // Outlives this object. Without it channels of another protocol are refused.
    void set_others(OtherChannels& others) { others_ = &others; }

    // A CHANNEL cell of an open link.
    void on_cell(Now now, LinkId link, const wire::Cell& cell);
    void on_link_up(Now now, const NodeId& peer, LinkId link);
    void on_link_down(Now now, LinkId link);
    void on_unreachable(Now now, const NodeId& peer);
    // After every input to a user or to this object. Whether there was anything to do.
    bool drain(Now now);
    std::optional<WantLink> poll();

    bool uses_link(LinkId link) const { return places_.any_of(link).has_value(); }

private:
    using Id = pipeline::ChannelId;
    struct Place {
        NodeId peer = {};
        pipeline::ChannelUser* user = nullptr;  // none until the first message
        LinkId link = {};
        link::ChannelNumber number = 0;
        std::optional<Id> other = std::nullopt;  // the other end, of a channel to this node itself
        // Sizes of the messages that the other end has not taken, of such a channel.
        std::deque<std::size_t> under_way = {};  // bounded: the window, and channel_queued_messages_max
        std::size_t under_way_bytes = 0;
        bool has_data = false;
    };
    struct Waiting {
        pipeline::ChannelUser* user;
        std::uint64_t token;
        NodeId node;
    };
    struct Local {
        Id to;
        wire::StageMessage message;
    };

    void take_events(Now now, LinkId link);
    void on_event(Now now, LinkId link, link::Channels::Event event);
    void hand_on(Now now, LinkId link, link::Channels::Event event);
    void deliver(Now now, Id id, wire::StageMessage message);
    bool drain_user(Now now, pipeline::ChannelUser& user);
    bool drain_local(Now now);
    void carry_out(Now now, pipeline::ChannelUser& user, pipeline::ChannelOutput output);
    void connect(Now now, pipeline::ChannelUser& user, std::uint64_t token, const NodeId& node);
    void connect_over(Now now, const Waiting& waiting, LinkId link);
    void connect_here(Now now, pipeline::ChannelUser& user, std::uint64_t token);
    bool may_send(Place& place);
    void send(Now now, Id id, const wire::StageMessage& message);
    void took(Id id);
    // Data of the channel's user, as far as the window has room.
    void pump(Now now, Id id);
    // Ends it here; the peer is told, and the user unless it wished so.
    void close(Now now, Id id, wire::ChannelCloseReason reason, bool tell_user);
    link::Channels* channels_of(const Place& place);

    NodeId self_;
    Links& links_;
    OtherChannels* others_ = nullptr;
    std::vector<pipeline::ChannelUser*> users_;  // bounded: models_per_node_max and one
    ChannelPlaces<Id, Place> places_;
    std::vector<Waiting> waiting_;  // bounded: by the users, one a hop
    std::deque<Local> local_;       // bounded: as places_, a window each
    std::deque<Id> dropped_;        // other ends of local channels that were closed
    std::deque<WantLink> out_;      // bounded: drained after every input
};

}  // namespace shoal::node
