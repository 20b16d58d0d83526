// What the objects of this room ask of whoever carries their messages, and what they give him.
//
// A channel is a stream of stage messages between two nodes, over the link that is authenticated for both: reliable, in
// order, closed when the link is lost. It has a window: what is sent counts until the other side has taken it.
//
// Rules for who carries
//   1. Messages of one channel are handed over in order, and each is answered by one Took, in that order, once what it
//      asked is done. Rationale: a hop that computes slowly holds back the one before it, and nothing piles up.
//   2. After HasData the carrier calls next_data() whenever the window of the channel has room, until it gives nothing.
//   3. Every Connect is answered by on_connected or on_connect_failed with its token.
#pragma once

#include <optional>
#include <variant>

#include "base/ids.h"
#include "base/time.h"
#include "wire/stage.h"

namespace shoal::pipeline {

using ChannelId = StrongInt<struct ChannelIdTag, std::uint64_t>;  // local handle, given by the carrier, never reused

// At once, behind what was sent before: handshakes and control.
struct SendMessage {
    ChannelId channel;
    wire::StageMessage message;
};
// Rows wait for this channel's window.
struct HasData {
    ChannelId channel;
};
struct Took {
    ChannelId channel;
};
struct Connect {
    std::uint64_t token = 0;
    NodeId node;
};
struct CloseChannel {
    ChannelId channel;
};
using ChannelOutput = std::variant<SendMessage, HasData, Took, Connect, CloseChannel>;

class ChannelUser {
public:
    virtual ~ChannelUser() = default;
    // Whether a channel that the peer opened and that begins with this message is for this object.
    virtual bool takes(const NodeId& from, const wire::StageMessage& first) const = 0;
    virtual void on_message(Now now, ChannelId channel, const NodeId& from, wire::StageMessage message) = 0;
    virtual void on_connected(Now now, std::uint64_t token, ChannelId channel) = 0;
    virtual void on_connect_failed(Now now, std::uint64_t token) = 0;
    virtual void on_closed(Now now, ChannelId channel) = 0;
    // The next rows for a channel; nullopt: none now.
    virtual std::optional<wire::StageMessage> next_data(ChannelId channel) = 0;
    virtual std::optional<ChannelOutput> poll_channels() = 0;
};

}  // namespace shoal::pipeline
