// Lead: an engine whose layers are on other nodes. Joins the ends of a model (engine/lead.h) with a session of stages
// (coordinator.h), and looks like any engine to the model node.
//
//   ends load -> a session is opened -> ready --ends die--> down ...   as the worker says; the session is closed
//                    ^                    | session over
//                    +---- delay ---------+ jobs wait, or end with engine_failed
//
// Rules
//   1. It is ready when both the ends and all hops are. A hop that is lost and replaced is no news to its owner: the
//      jobs pause.
//   2. When a session is over (a hop lost and no standby), another is opened after engine_restart_min, doubling up to
//      engine_restart_max; the delay falls back once a session has lasted for engine_restart_max. Jobs in the middle of
//      an answer wait for it, for pause_max; then they end with engine_failed, as the others do at once.
//   3. An operation is handed to the coordinator in the order in which the ends give it. A truncation of a sequence
//      that holds no more than that is dropped.
//   4. Hops that do not end with the model's last layer make it dead: nobody would compute what is missing.
//   5. What its answers measure is reported from time to time, beside what a plan predicted (meter.h).
//
// Pure; one thread.
#pragma once

#include <deque>
#include <memory>
#include <set>

#include "engine/lead.h"
#include "pipeline/coordinator.h"
#include "pipeline/meter.h"

namespace shoal::pipeline {

struct LeadConfig {
    NodeId self;
    std::vector<StageNode> hops;  // 1 to stage_hops_max, layers joined without a gap
    std::vector<StageNode> standbys;
    std::optional<Prediction> predicted = {};  // said beside what is measured
};

class Lead final : public engine::Engine, public ChannelUser {
public:
    // For people: what happened to the session, one line each.
    using Report = std::function<void(const std::string& line)>;
    static constexpr Duration pause_max = 30s;

    // `ends` and `rng` outlive it.
    Lead(LeadConfig config, engine::LeadEngine& ends, Rng& rng, Report report);

    void submit(Now now, engine::Job job) override;
    void cancel(Now now, JobId job) override;
    void on_tick(Now now) override;
    std::optional<Instant> next_deadline() const override;
    std::optional<engine::Event> poll() override;
    engine::Health health() const override;
    // Not before all layers were together once.
    const engine::ModelInfo* model() const override { return was_ready_ ? ends_.model() : nullptr; }
    engine::Prefixes* prefixes() override { return ends_.prefixes(); }

    // Why it is down or dead, one line; empty while it is not for want of layers.
    const std::string& down_reason() const { return down_reason_; }

    // The ends may have something to say.
    void on_ends(Now now) { run(now); }

    bool takes(const NodeId& from, const wire::StageMessage& first) const override;
    void on_message(Now now, ChannelId channel, const NodeId& from, wire::StageMessage message) override;
    void on_connected(Now now, std::uint64_t token, ChannelId channel) override;
    void on_connect_failed(Now now, std::uint64_t token) override;
    void on_closed(Now now, ChannelId channel) override;
    std::optional<wire::StageMessage> next_data(ChannelId channel) override;
    std::optional<ChannelOutput> poll_channels() override;

private:
    // Everything that can move on does.
    void run(Now now);
    void open_session(Now now);
    // Rule 4. Empty, or what is wrong.
    std::string misfit() const;
    void close_session();
    void lose_session(Now now, std::string why);
    void take(Now now, Coordinator::Output output);
    bool follows_on(std::uint16_t sequence, std::uint32_t position, std::uint16_t rows);
    bool hand_over(Now now, engine::LeadEngine::Work& work);
    bool ready() const { return coordinator_ && coordinator_->ready(); }
    void break_ends(Now now, engine::BrokenFor how_long);

    LeadConfig config_;
    engine::LeadEngine& ends_;
    Rng& rng_;
    Report report_;
    Meter meter_;
    std::unique_ptr<Coordinator> coordinator_;
    std::optional<engine::LeadEngine::Work> waiting_;  // the coordinator had no room
    std::map<std::uint16_t, std::uint32_t> lengths_;   // bounded: sequences of the session; rows that each holds
    std::set<std::uint16_t> filling_;                  // bounded: as lengths_; where a fill was the last thing
    std::optional<engine::Ready> held_ready_;          // of the ends, until the session is open
    bool was_ready_ = false;
    std::string down_reason_;  // while it is down, or dead, though the ends are not
    bool dead_ = false;        // rule 4
    std::uint64_t sessions_ = 0;
    Instant opened_at_{};
    std::optional<Instant> open_at_;
    bool carried_ = false;              // the session was ready: the ends may have rows in it
    std::optional<Instant> pause_end_;  // jobs wait until then
    Duration delay_ = limits::engine_restart_min;
    std::deque<engine::Event> events_;        // bounded: as those of the ends
    std::deque<ChannelOutput> channels_out_;  // bounded: drained after every input
};

}  // namespace shoal::pipeline
