// PrefixChannels: carries prefix messages between the channels of this node's links and the two objects that speak over
// them, the one that fetches and the one that gives (model/prefix_channel.h). Holds no policy.
//
// Rules
//   1. Channels live on links under the node's own identity: both ends are known by their keys.
//   2. Who opened a channel fetches over it. A node that answers for no model gives nothing: its channels are closed.
//
// Pure; one thread.
#pragma once

#include <optional>
#include <vector>

#include "model/prefix_fetcher.h"
#include "model/prefix_holder.h"
#include "node/channel_places.h"
#include "node/links.h"
#include "node/stages.h"

namespace shoal::node {

class PrefixChannels final : public OtherChannels {
public:
    // Somebody wants a channel to this node, or will soon: answer with on_link_up or on_unreachable.
    struct WantLink {
        NodeId node;
    };

    // `links` outlives it.
    explicit PrefixChannels(Links& links) : links_(links) {}
    // Both outlive it.
    void set_users(model::PrefixFetcher& fetcher, model::PrefixHolder& holder) {
        fetcher_ = &fetcher;
        holder_ = &holder;
    }
    bool empty() const { return fetcher_ == nullptr; }

    void on_channel(Now now, LinkId link, link::Channels::Event event) override;
    void on_link_up(Now now, const NodeId& peer, LinkId link);
    void on_link_down(Now now, LinkId link);
    void on_unreachable(Now now, const NodeId& peer);
    // After every input to a user or to this object. Whether there was anything to do.
    bool drain(Now now);
    std::optional<WantLink> poll();

    bool uses_link(LinkId link) const { return places_.any_of(link).has_value(); }

private:
    using Id = model::PrefixChannelId;
    struct Place {
        NodeId peer;
        LinkId link;
        link::ChannelNumber number = 0;
        bool ours = false;  // this node opened it
    };
    struct Waiting {
        std::uint64_t token;
        NodeId node;
    };

    void on_message(Now now, Id id, const Bytes& bytes);
    void carry_out(Now now, const model::PrefixOutput& output);
    void connect(Now now, const Waiting& waiting);
    void connect_over(Now now, const Waiting& waiting, LinkId link);
    void send(Now now, Id id, const wire::PrefixMessage& message);
    void took(Id id);
    void pump(Now now, Id id);
    // Ends it here; the peer is told, and the user where it wished otherwise.
    void close(Now now, Id id, wire::ChannelCloseReason reason, bool tell_user);
    void tell_closed(Now now, Id id, const Place& place);

    Links& links_;
    model::PrefixFetcher* fetcher_ = nullptr;
    model::PrefixHolder* holder_ = nullptr;
    ChannelPlaces<Id, Place> places_;
    std::vector<Waiting> waiting_;  // bounded: dials_max
    bool touched_ = false;          // an engine may have something to say since
    std::deque<WantLink> out_;      // bounded: drained after every input
};

}  // namespace shoal::node
