// What the two objects that move prefixes between nodes (prefix_fetcher.h, prefix_holder.h) ask of whoever carries
// their messages, and what they say for the log.
//
// A channel is a stream of prefix messages between two nodes over the link that is authenticated for both: reliable, in
// order, closed when the link is lost.
//
// Rules for who carries
//   1. Messages of one channel are handed over in order; each is answered by one PrefixTook, in that order, once there
//      is room for more. Rationale: an engine that is busy holds back who sends, and nothing piles up here.
//   2. After PrefixHasData the carrier calls next_data() whenever the window of the channel has room, until it gives
//      nothing.
//   3. Every PrefixConnect is answered by on_connected or on_connect_failed with its token.
#pragma once

#include <functional>
#include <string>
#include <variant>

#include "base/ids.h"
#include "base/time.h"
#include "wire/prefix.h"

namespace shoal::model {

using PrefixChannelId = StrongInt<struct PrefixChannelIdTag, std::uint64_t>;  // local handle, never reused

struct PrefixSend {
    PrefixChannelId channel;
    wire::PrefixMessage message;
};
struct PrefixHasData {
    PrefixChannelId channel;
};
struct PrefixTook {
    PrefixChannelId channel;
};
struct PrefixConnect {
    std::uint64_t token = 0;
    NodeId node;
};
// A channel to this node may be wanted soon: a link to it may as well be there by then.
struct PrefixExpect {
    NodeId node;
};
struct PrefixClose {
    PrefixChannelId channel;
};
using PrefixOutput = std::variant<PrefixSend, PrefixHasData, PrefixTook, PrefixExpect, PrefixConnect, PrefixClose>;

// Whether the directory lists the node as one that answers for the model.
using PrefixListed = std::function<bool(Now, const NodeId&, const ModelId&)>;

// One thing that happened, for the log.
struct PrefixNote {
    enum class What : std::uint8_t {
        fetched,   // all of it is with the engine, which still checks it
        given,     // to another node
        left,      // the prompt is read instead; `reason`
        tampered,  // the engine found that it is not what was promised, and reads the prompt; `reason`
    };
    What what = What::fetched;
    NodeId node;  // the other one
    std::uint32_t tokens = 0;
    std::uint64_t bytes = 0;  // that came or went
    Duration took{};
    Duration recompute{};  // what reading would have taken; zero where it is not known
    std::string reason{};
};

}  // namespace shoal::model
