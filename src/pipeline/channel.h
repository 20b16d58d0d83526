// What the objects of this room ask of whoever carries their messages.
//
// A channel is a stream of stage messages between two nodes, over the link that is authenticated for both: reliable, in
// order, closed when the link is lost.
#pragma once

#include <variant>

#include "base/ids.h"
#include "wire/stage.h"

namespace shoal::pipeline {

using ChannelId = StrongInt<struct ChannelIdTag, std::uint64_t>;  // local handle, given by the carrier, never reused

struct SendMessage {
    ChannelId channel;
    wire::StageMessage message;
};
// Answered by on_connected or on_connect_failed with the token.
struct Connect {
    std::uint64_t token = 0;
    NodeId node;
};
struct CloseChannel {
    ChannelId channel;
};
using ChannelOutput = std::variant<SendMessage, Connect, CloseChannel>;

}  // namespace shoal::pipeline
