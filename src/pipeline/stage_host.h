// StageHost: the stages that this node computes for others' pipelines.
//
//   OPEN (control, coordinator) -> [loading] -> OPENED, [ready] -- JOIN (data, hop before) --> computing, handing on
//        | refused, engine failed       | control closed, fault
//        +------------------------------+--> gone: engine closed, channels closed
//
// Rules
//   1. Only coordinators that `allowed` names are served, at most stage_sessions_max at once. Rationale: hidden states
//      can be turned back into text, and layers cost memory; both are for people who know each other until credits
//      come.
//   2. A session lives as long as its control channel. Its data channel may break and be joined anew by whoever knows
//      the session: 16 random bytes that only the coordinator and its hops have.
//   3. The next hop is dialled once the hop before has joined. A broken way to it is dialled again
//      stage_dials_max times, stage_dial_interval apart; then FAULT{next_lost}, and the coordinator names another.
//   4. What the hop before sends is checked by Intake before the engine sees it; a misfit ends the session, since what
//      follows would be wrong as well.
//   5. Of keys and values that fill a sequence the engine gets those of these layers, and the next hop the rest. What
//      is read of these layers the engine gives, and it goes on with what the hops before have given.
//   6. While something is being computed, ALIVE leaves every stage_alive_interval. Rationale: silence means that this
//      node is gone.
//   7. What was handed on is said (DONE) after stage_done_delay, unless the coordinator has its result by then.
//      Rationale: a message a token and hop, in the time in which the next hop computes, tells it nothing that the
//      result does not.
//
// Pure; one thread. Channels are made by the owner (channel.h).
#pragma once

#include <functional>
#include <memory>
#include <set>

#include "base/bounded.h"
#include "engine/stage.h"
#include "pipeline/channel.h"
#include "pipeline/intake.h"

namespace shoal::pipeline {

struct StageHostConfig {
    std::function<bool(const NodeId&)> allowed;  // may lead a session here
    std::size_t sessions_max = limits::stage_sessions_max;
    std::size_t history_bytes_max = limits::stage_history_bytes_max;  // of each session
};

class StageHost final : public ChannelUser {
public:
    // `engine` outlives the host.
    StageHost(StageHostConfig config, engine::StageEngine& engine);
    ~StageHost() override;

    // All but a JOIN of another's: a node that is lead and hop has both its own sessions and those of its lead. What it
    // takes it may still refuse.
    bool takes(const NodeId& from, const wire::StageMessage& first) const override;
    void on_message(Now now, ChannelId channel, const NodeId& from, wire::StageMessage message) override;
    void on_connected(Now now, std::uint64_t token, ChannelId channel) override;
    void on_connect_failed(Now now, std::uint64_t token) override;
    void on_closed(Now now, ChannelId channel) override;
    std::optional<wire::StageMessage> next_data(ChannelId channel) override;
    std::optional<ChannelOutput> poll_channels() override;
    // The engine has events.
    void on_engine(Now now);
    void on_tick(Now now);
    Instant next_deadline() const;

    std::size_t sessions() const { return sessions_.size(); }

private:
    struct Session;
    using Sessions = std::map<wire::StageSessionId, std::unique_ptr<Session>>;

    void on_open(Now now, ChannelId channel, const NodeId& from, const wire::StageOpen& open);
    void on_join(Now now, ChannelId channel, const wire::StageJoin& join);
    void on_control(Now now, Session& session, const wire::StageMessage& message);
    void on_data(Now now, Session& session, ChannelId channel, wire::StageMessage message);
    void on_successor(Now now, Session& session, const wire::StageMessage& message);
    void on_computed(Now now, Session& session, engine::StageComputed computed);
    void on_given(Now now, Session& session, engine::StageGiven given);
    // Rule 5: leaves the rest. Errc::invalid: that is not what these layers keep.
    Status fill(Now now, Session& session, wire::StageKvRows& rows);
    // Whether its layers have a part in it. Errc::invalid: they have, and cannot give it.
    Result<bool> read(Now now, Session& session, const wire::StageRead& read);
    void answered(Now now, Session& session, const Status& kept);
    void pass_on(Now now, Session& session);
    // To what the next hop gets. Errc::exhausted: there is no room.
    Status add(Now now, Session& session, Operation operation);
    void hand_on(Session& session);
    void start_over(Now now, Session& session);
    void dial_next(Now now, Session& session);
    void hang_up(Session& session);
    void lose_next(Now now, Session& session);
    // Ends the session; with a code the coordinator is told first.
    void end(Now now, Session& session, std::optional<wire::StageFaultCode> code, std::string text);
    Session* by_channel(ChannelId channel);
    Session* by_handle(engine::StageHandle handle);
    void say(ChannelId channel, wire::StageMessage message);

    StageHostConfig config_;
    engine::StageEngine& engine_;
    Sessions sessions_;                             // bounded: config_.sessions_max
    std::map<ChannelId, wire::StageSessionId> at_;  // bounded: three a session
    std::uint64_t next_token_ = 1;
    std::uint64_t next_handle_ = 1;
    std::deque<ChannelOutput> out_;  // bounded: drained after every input
};

}  // namespace shoal::pipeline
