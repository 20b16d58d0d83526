// Asker: one question to one model node, at the client. Sends cloves over lanes, gathers the reply, mends what breaks.
//
// A lane is one sealed stream on one circuit. The owner (client/) provides circuits; the asker says what it wants of
// them and never sees a circuit.
//
//   [sending] --ACCEPTED--> [accepted] --first record--> [receiving] --end--> [over]
//       | no GOT: that clove once more on another lane; nothing helps: a new message with the same request id
//       | attempts used up, or refused: Over{fault}, moveable: another node may be asked
//       v
//   a lane lost after ACCEPTED: a new lane with RESUME from the first missing record
//
// Rules
//   1. Clove i goes on a lane whose guard has the parity of i (LaneWanted::index): the node duplicates the reply over
//      one odd and one even clove, so it comes over both guards.
//   2. Timers use GOT and ACCEPTED only. Rationale: prefill may take long, and its time must not make traffic.
//   3. A reply record is taken once, in order of its number, whatever lane brings it.
//   4. A clove whose proxy does not know the node is tried over one more: that proxy's directory may be older.
//   5. Before the first reply record a failed question is `moveable`; after it the fault is node_lost.
//
// What proxies can do: end lanes; each costs a new lane, until attempts are used up. What the node can do: answer
// wrongly (row D), slowly or not at all.
// Pure; one thread.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "crypto/stream_seal.h"
#include "prompt/cloves.h"
#include "prompt/reply.h"
#include "wire/relay.h"

namespace shoal::prompt {

using LaneId = StrongInt<struct LaneIdTag, std::uint32_t>;

struct AskerConfig {
    NetworkId network;
    NodeId node;
    crypto::PublicKey hpke_key{};
    std::uint8_t n = limits::cloves_default;
    std::uint8_t k = limits::cloves_needed_default;
    Duration round_trip = 500ms;  // smoothed, to the node and back
    Duration cell_interval{};     // between two cells of one lane by its pacer; zero: none
};

// Outputs for the owner.
struct LaneWanted {
    LaneId lane;
    std::uint8_t index;     // its parity chooses the guard; for RESUME too
    wire::Connect connect;  // to be opened on a circuit that this question does not use yet
};
struct LaneSend {
    LaneId lane;
    crypto::SealedRecord sealed;
};
struct LaneEnd {
    LaneId lane;
};
// The question is over; with nothing or a fault. Comes once and last.
struct Over {
    std::optional<ChatFault> fault;
    bool moveable = false;
};
using AskerOutput = std::variant<LaneWanted, LaneSend, LaneEnd, ChatDelta, ChatEnd, Over>;

class Asker {
public:
    // Errc::exhausted: the request is too long for the largest bucket. `rng` outlives the asker.
    static Result<Asker> start(Now now, AskerConfig config, wire::Request request, Rng& rng);

    // The owner has opened the lane's stream / has no circuit for it / the stream ended.
    void on_lane_open(Now now, LaneId lane);
    void on_lane_failed(Now now, LaneId lane);
    void on_lane_end(Now now, LaneId lane, wire::StreamEndReason reason);
    void on_lane_data(Now now, LaneId lane, const crypto::SealedRecord& sealed);
    // Frees the node's slot; no output follows but LaneSend and LaneEnd.
    void cancel(Now now);

    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<AskerOutput> poll();

    bool over() const { return state_ == State::over; }

private:
    enum class State : std::uint8_t { sending, accepted, receiving, over };
    struct Lane {
        std::uint8_t index = 0;
        bool resume = false;
        bool open = false;
        bool got = false;
        bool accepted = false;
        unsigned message_number = 0;  // which set of cloves it carries
        crypto::StreamSealer sealer;
        Instant got_due = Instant::max();
    };

    Asker(AskerConfig config, wire::Request request, Rng& rng);
    Status send_message(Now now);
    void want_lane(std::uint8_t index, bool resume);
    void send_clove(Now now, LaneId id, Lane& lane);
    void retry_clove(Now now, std::uint8_t index);
    void lane_gone(Now now, LaneId id);
    void resume_if_needed(Now now);
    void on_record(Now now, LaneId id, const wire::Record& record);
    void on_reply(Now now, const wire::Reply& reply);
    void take_frames(Now now, ByteView frames);
    void finish(std::optional<ChatFault> fault, bool moveable);
    void fail_sending(Now now, ChatFault fault);
    void end_lanes();
    Duration got_timeout() const;

    AskerConfig config_;
    wire::Request request_;
    Rng& rng_;
    State state_ = State::sending;
    Cloves cloves_;
    std::set<std::uint8_t> resent_;  // bounded: n; of this message
    unsigned messages_sent_ = 0;
    unsigned resumes_ = 0;
    std::uint32_t next_lane_ = 1;
    std::map<LaneId, Lane> lanes_;  // bounded: streams_per_message_max
    ReplySealer sealer_;
    std::map<std::uint32_t, Bytes> early_;  // bounded: reply_early_max; beyond the first missing record
    std::uint32_t next_reply_ = 0;
    wire::ReplyFrames frames_;
    Instant accept_due_ = Instant::max();
    Instant silence_due_ = Instant::max();
    Instant gap_due_ = Instant::max();
    std::deque<AskerOutput> out_;  // bounded: drained after every input
};

}  // namespace shoal::prompt
