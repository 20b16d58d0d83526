// Channels: whole messages of any length between two nodes, in the cells of one link (protocol/channel.md).
//
//   open() / Opened --send(), Message--> --close() / Closed--> gone
//
// Rules
//   1. A message is under way from send() until the other side has taken it. Only channel_window_messages of them, and
//      less than channel_window_bytes before each, may be; more wait in a queue of channel_queued_messages_max, beyond
//      which send() says no. Rationale: who has much to send asks may_send() and makes it when there is room.
//   2. What is received is handed over at once and counts until took(). A peer that sends beyond the window loses the
//      channel.
//      Until a first message of the channel was taken none may be longer than a cell. Rationale: a stranger, whom the
//      first message shows to be one, can make nobody hold a long one.
//   3. Cells of all channels take turns, so that a long message of one does not hold up a short one of another.
//   4. close() lets go what is under way before it; what waits in the queue is dropped.
//   5. The first message that was taken is credited at once, others when they are half a window: the sender always has
//      the other half. Rationale: a stream of small messages, a token each, would else cost as many cells back.
//   6. A cell that does not fit ends its channel, never the link. Cells of a channel that is gone are ignored.
//
// What the peer can do: open channels_per_link_max channels and hold a window and a message of memory in each.
// Pure; one thread. Cost: each byte is copied once out and once in.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <variant>

#include "base/rng.h"
#include "link/cell_source.h"
#include "wire/channel.h"

namespace shoal::link {

using ChannelNumber = std::uint32_t;  // on its link

class Channels final : public CellSource {
public:
    struct Opened {  // by the peer
        ChannelNumber channel;
        wire::ChannelProtocol protocol;
    };
    struct Message {
        ChannelNumber channel;
        Bytes bytes;
    };
    // may_send() said no, and would say yes now.
    struct Room {
        ChannelNumber channel;
    };
    // By the peer, or here for what it sent. Nothing more comes of the channel.
    struct Closed {
        ChannelNumber channel;
        wire::ChannelCloseReason reason;
    };
    using Event = std::variant<Opened, Message, Room, Closed>;

    // `we_dialled`: this node is the TLS initiator of the link. `rng` outlives the object.
    Channels(bool we_dialled, Rng& rng) : we_dialled_(we_dialled), rng_(rng) {}

    // nullopt: as many as there may be are open.
    std::optional<ChannelNumber> open(wire::ChannelProtocol protocol);
    bool may_send(ChannelNumber channel);
    // False: the channel is gone, or too much waits. 1 to channel_message_bytes_max bytes (ASSERT).
    [[nodiscard]] bool send(ChannelNumber channel, Bytes message);
    // The oldest message that was handed over and not taken is.
    void took(ChannelNumber channel);
    void close(ChannelNumber channel, wire::ChannelCloseReason reason);

    // CHANNEL cells of this link.
    void on_cell(const wire::Cell& cell);
    bool has_cell() const override { return !turns_.empty(); }
    wire::Cell next_cell() override;
    std::optional<Event> poll();

    // Open ones, those included whose CLOSE has not left.
    std::size_t count() const { return channels_.size(); }
    // Every structure agrees with every other; false means a bug (tests).
    bool check() const;

private:
    struct Channel {
        // out
        std::optional<wire::ChannelProtocol> opening;  // OPEN has to leave
        std::deque<Bytes> outbox;                      // bounded: the window; the first may have left in part
        std::size_t sent = 0;                          // bytes of the first
        std::deque<std::size_t> under_way;             // bounded: channel_window_messages; sizes, oldest first
        std::size_t under_way_bytes = 0;
        std::deque<Bytes> queue;  // bounded: channel_queued_messages_max
        std::uint64_t credited = 0;
        bool wants_room = false;
        std::optional<wire::ChannelCloseReason> closing;
        // in
        Bytes partial;
        std::uint32_t total = 0;                // 0: no message has begun
        std::deque<std::size_t> untaken_sizes;  // bounded: channel_window_messages
        std::size_t untaken_bytes = 0;
        std::uint64_t taken = 0;
        std::uint64_t said = 0;        // of these, by the last CREDIT
        std::size_t unsaid_bytes = 0;  // of the others
        bool credit_due = false;
        bool has_turn = false;

        bool has_window() const {
            return under_way.size() < limits::channel_window_messages && under_way_bytes < limits::channel_window_bytes;
        }
        bool has_cell() const { return opening || credit_due || !outbox.empty() || closing; }
    };

    Channel* find(ChannelNumber channel);
    void begin(Channel& channel, Bytes message);
    void on_open(const wire::Cell& cell);
    void on_data(ChannelNumber number, Channel& channel, const wire::Cell& cell);
    void on_credit(ChannelNumber number, Channel& channel, const wire::Cell& cell);
    // The peer's fault: the channel ends here, and CLOSE tells it.
    void fault(ChannelNumber number, Channel& channel);
    void give_turn(ChannelNumber number, Channel& channel);
    void stop(ChannelNumber number, Channel& channel, wire::ChannelCloseReason reason);
    Bytes next_payload(Channel& channel, wire::CellCommand& command);

    bool we_dialled_;
    Rng& rng_;
    std::map<ChannelNumber, Channel> channels_;  // bounded: channels_per_link_max
    std::deque<ChannelNumber> turns_;            // bounded: as channels_; who has a cell to send
    std::deque<Event> out_;                      // bounded: drained after every input
};

}  // namespace shoal::link
