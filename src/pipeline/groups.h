// Groups: the stages that this node computes together with others, each rank a part of every layer
// (protocol/stage_group.md). Stands between the host of stages and the engine, and speaks with the ranks before and
// behind on the ring.
//
//   open() -> loading, dialling the rank behind, waiting for the one before -> near, loaded, joined: StageReady
//       -> [ rank 0: compute() / others: COMPUTE ] -> computing, parts of sums in and out -> own result, AGREE
//       -> rank 0: StageComputed -> ... -> close(), or anything that does not fit: StageFailed
//
// Rules
//   1. What is not divided passes through to the engine.
//   2. One computation is under way in a group. Rank 0 holds back what its host asks meanwhile. Rationale: every queue
//      on the ring is then as long as one sum makes it, and all ranks see the operations in one order.
//   3. A neighbour must be known by its key to be the one that the coordinator named, know the session, and answer a
//      probe within group_rtt_max; else the group does not come together.
//   4. What comes from the rank before is checked before the engine sees it: rows as Intake has them, parts no more
//      than ranks - 1 ahead of what this rank has sent, and of the size of a chunk.
//   5. A result leaves rank 0 once every rank has said that its own is the same, bit for bit.
//   6. While it computes a rank says ALIVE to the next one. Silence of stage_silence_max from the rank before, while
//      something of it is owed, ends the group, and so does a ring channel that closes: the hop is lost as a whole.
//
// Pure; one thread. Channels are made by the owner (channel.h).
#pragma once

#include <deque>
#include <map>
#include <memory>

#include "engine/stage.h"
#include "pipeline/channel.h"

namespace shoal::pipeline {

class Groups final : public engine::StageEngine, public ChannelUser {
public:
    // `engine` outlives it.
    explicit Groups(engine::RankEngine& engine);
    ~Groups() override;

    // As an engine, to the host of stages.
    void open(Now now, engine::StageHandle handle, const engine::StageShape& shape) override;
    void compute(Now now, engine::StageHandle handle, const wire::StageRows& rows) override;
    void truncate(Now now, engine::StageHandle handle, std::uint16_t sequence, std::uint32_t length) override;
    void fill(Now now, engine::StageHandle handle, const wire::StageKvRows& rows) override;
    void read(Now now, engine::StageHandle handle, const wire::StageReadOf& of) override;
    void close(Now now, engine::StageHandle handle) override;
    std::optional<engine::StageEvent> poll() override;

    // On the ring.
    bool takes(const NodeId& from, const wire::StageMessage& first) const override;
    void on_message(Now now, ChannelId channel, const NodeId& from, wire::StageMessage message) override;
    void on_connected(Now now, std::uint64_t token, ChannelId channel) override;
    void on_connect_failed(Now now, std::uint64_t token) override;
    void on_closed(Now now, ChannelId channel) override;
    std::optional<wire::StageMessage> next_data(ChannelId channel) override;
    std::optional<ChannelOutput> poll_channels() override;
    // The engine below has events.
    void on_engine(Now now);
    void on_tick(Now now);
    Instant next_deadline() const;

private:
    struct Group;

    Group* find(engine::StageHandle handle);
    Group* by_channel(ChannelId channel);
    void dial(Group& group);
    void probe(Now now, Group& group);
    void on_join(Now now, ChannelId channel, const NodeId& from, const wire::GroupJoin& join);
    void on_echo(Now now, Group& group, const wire::GroupEcho& echo);
    void on_before(Now now, Group& group, wire::StageMessage message);
    Status take(Now now, Group& group, wire::StageMessage message);
    Status take_compute(Now now, Group& group, wire::GroupCompute message);
    Status take_truncate(Now now, Group& group, const wire::GroupTruncate& message);
    Status take_part(Now now, Group& group, wire::ReducePart part);
    Status take_agree(Now now, Group& group, const wire::GroupAgree& agree);
    void on_computed(Now now, Group& group, engine::StageComputed computed);
    void begin(Now now, Group& group, const wire::StageRows& rows);
    // Rank 0: what waits, as far as it may go.
    void advance(Now now, Group& group);
    void finish_if(Now now, Group& group);
    void ready_if(Group& group);
    void hand_on(Group& group, wire::StageMessage message);
    void fail_group(Now now, Group& group, wire::StageFaultCode code, std::string text);
    void drop(Group& group);

    engine::RankEngine& engine_;
    std::map<engine::StageHandle, std::unique_ptr<Group>> groups_;  // bounded: stage_sessions_max, by the host
    std::map<ChannelId, engine::StageHandle> at_;                   // bounded: two a group
    std::uint64_t next_token_ = 1;
    std::deque<engine::StageEvent> events_;  // bounded: as those of the engine
    std::deque<ChannelOutput> out_;          // bounded: drained after every input
};

}  // namespace shoal::pipeline
