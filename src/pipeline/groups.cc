#include "pipeline/groups.h"

#include <algorithm>
#include <cstdio>

#include "crypto/hash.h"
#include "pipeline/intake.h"

namespace shoal::pipeline {

using wire::StageFaultCode;

struct Groups::Group {
    engine::StageHandle handle;
    engine::StageShape shape;
    Intake intake;
    // setting up
    bool loaded = false;
    bool near = false;
    bool ready = false;
    std::optional<ChannelId> before;
    std::optional<ChannelId> after;
    std::optional<std::uint64_t> dialling;  // token
    Instant dial_at = Instant::max();
    std::uint8_t probe = 0;  // the one that is out
    Instant probed{};
    Duration nearest = Duration::max();
    // computing
    std::deque<std::variant<wire::StageRows, wire::GroupTruncate>> waiting;  // of rank 0; bounded: stage_queued_max
    std::uint64_t number = 0;                                                // of the last computation
    bool computing = false;
    std::size_t rows = 0;         // of this computation
    std::size_t truncations = 0;  // since the last one
    std::optional<engine::StageComputed> own;
    ByteArray<32> digest{};
    std::optional<ByteArray<32>> agreed;  // by all ranks up to the one before
    std::uint64_t parts_in = 0;
    std::uint64_t parts_out = 0;
    std::deque<wire::StageMessage> out;  // to the rank behind; bounded: parts that the engine owes an answer to
    Instant heard = Instant::max();      // from the rank before
    Instant alive_at = Instant::max();

    Group(engine::StageHandle h, const engine::StageShape& s)
        : handle(h), shape(s), intake(wire::activation_row_bytes(s.type, s.width), s.context, s.sequences, true) {}
    const engine::StageGroup& id() const { return *shape.group; }
    std::size_t ranks() const { return id().ranks.size(); }
    std::size_t rank() const { return id().rank; }
    std::size_t rank_before() const { return (rank() + ranks() - 1) % ranks(); }
    std::size_t rank_behind() const { return (rank() + 1) % ranks(); }
    // For people.
    std::string name(std::size_t rank) const {
        return "rank " + std::to_string(rank) + " (" + id().ranks[rank].hex() + ")";
    }
    bool waits() const { return computing && !agreed; }
};

namespace {

std::string milliseconds(Duration d) {
    char text[32];
    (void)std::snprintf(text, sizeof text, "%.1f ms", to_seconds(d) * 1e3);
    return text;
}

std::size_t rows_of(const wire::StageRows& rows) {
    std::size_t out = 0;
    for (const wire::StagePart& part : rows.parts) out += part.rows;
    return out;
}

Error misfit(const char* what) {
    return fail(Errc::invalid, std::string("it sends ") + what);
}

}  // namespace

Groups::Groups(engine::RankEngine& engine) : engine_(engine) {}
Groups::~Groups() = default;

Groups::Group* Groups::find(engine::StageHandle handle) {
    const auto at = groups_.find(handle);
    return at == groups_.end() ? nullptr : at->second.get();
}

Groups::Group* Groups::by_channel(ChannelId channel) {
    const auto at = at_.find(channel);
    return at == at_.end() ? nullptr : find(at->second);
}

// ---- for the host ------------------------------------------------------------------------------------------------

void Groups::open(Now now, engine::StageHandle handle, const engine::StageShape& shape) {
    if (shape.group) {
        Group& group = *groups_.emplace(handle, std::make_unique<Group>(handle, shape)).first->second;
        dial(group);
    }
    engine_.open(now, handle, shape);
    on_engine(now);
}

void Groups::compute(Now now, engine::StageHandle handle, const wire::StageRows& rows) {
    Group* group = find(handle);
    if (group == nullptr) {
        engine_.compute(now, handle, rows);
    } else {
        group->waiting.emplace_back(rows);
        advance(now, *group);
    }
    on_engine(now);
}

void Groups::truncate(Now now, engine::StageHandle handle, std::uint16_t sequence, std::uint32_t length) {
    Group* group = find(handle);
    if (group == nullptr) return engine_.truncate(now, handle, sequence, length);
    group->waiting.emplace_back(wire::GroupTruncate{sequence, length});
    advance(now, *group);
}

// Each rank of a group keeps a part of every row, and says of none that it can be filled in.
void Groups::fill(Now now, engine::StageHandle handle, const wire::StageKvRows& rows) {
    ASSERT(find(handle) == nullptr);
    engine_.fill(now, handle, rows);
}

void Groups::read(Now now, engine::StageHandle handle, const wire::StageReadOf& of) {
    ASSERT(find(handle) == nullptr);
    engine_.read(now, handle, of);
    on_engine(now);
}

void Groups::close(Now now, engine::StageHandle handle) {
    if (Group* group = find(handle)) drop(*group);
    engine_.close(now, handle);
    std::erase_if(events_, [&](const engine::StageEvent& event) {
        return std::visit([&](const auto& each) { return each.handle == handle; }, event);
    });
}

std::optional<engine::StageEvent> Groups::poll() {
    if (events_.empty()) return std::nullopt;
    engine::StageEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
}

// Parts first: those of a computation come before its result.
void Groups::on_engine(Now now) {
    for (;;) {
        while (auto part = engine_.poll_part()) {
            if (Group* group = find(part->handle)) {
                ++group->parts_out;
                hand_on(*group, std::move(part->part));
            }
        }
        auto event = engine_.poll();
        if (!event) return;
        Group* group = find(std::visit([](const auto& each) { return each.handle; }, *event));
        if (group == nullptr) {
            events_.push_back(std::move(*event));
        } else if (auto* computed = std::get_if<engine::StageComputed>(&*event)) {
            on_computed(now, *group, std::move(*computed));
        } else if (const auto* failed = std::get_if<engine::StageFailed>(&*event)) {
            fail_group(now, *group, failed->code, failed->text);
        } else {
            group->loaded = true;
            ready_if(*group);
        }
    }
}

// ---- coming together ---------------------------------------------------------------------------------------------

void Groups::dial(Group& group) {
    group.dial_at = Instant::max();
    group.dialling = next_token_++;
    out_.emplace_back(Connect{*group.dialling, group.id().ranks[group.rank_behind()]});
}

void Groups::on_connected(Now now, std::uint64_t token, ChannelId channel) {
    for (auto& [handle, group] : groups_) {
        if (group->dialling != token) continue;
        group->dialling.reset();
        group->after = channel;
        group->probe = 0;
        at_.emplace(channel, handle);
        out_.emplace_back(SendMessage{channel, wire::GroupJoin{group->id().session, group->id().hop,
                                                               static_cast<std::uint8_t>(group->rank_behind())}});
        return probe(now, *group);
    }
    out_.emplace_back(CloseChannel{channel});  // nobody wants it any more
}

void Groups::on_connect_failed(Now now, std::uint64_t token) {
    for (auto& [handle, group] : groups_) {
        if (group->dialling != token) continue;
        group->dialling.reset();
        group->dial_at = now.mono + limits::stage_dial_interval;
    }
}

void Groups::probe(Now now, Group& group) {
    group.probed = now.mono;
    out_.emplace_back(SendMessage{*group.after, wire::GroupProbe{++group.probe}});
}

void Groups::on_echo(Now now, Group& group, const wire::GroupEcho& echo) {
    if (group.near || echo.number != group.probe) {
        return fail_group(now, group, StageFaultCode::protocol,
                          group.name(group.rank_behind()) + " speaks out of turn");
    }
    group.nearest = std::min<Duration>(group.nearest, now.mono - group.probed);
    if (group.nearest <= limits::group_rtt_max) {
        group.near = true;
        return ready_if(group);
    }
    if (group.probe < limits::group_probes_max) return probe(now, group);
    fail_group(now, group, StageFaultCode::refused,
               "the way to " + group.name(group.rank_behind()) + " and back takes " + milliseconds(group.nearest) +
                   "; ranks of a hop may be " + milliseconds(limits::group_rtt_max) + " apart");
}

bool Groups::takes(const NodeId&, const wire::StageMessage& first) const {
    return std::holds_alternative<wire::GroupJoin>(first);
}

void Groups::on_join(Now now, ChannelId channel, const NodeId& from, const wire::GroupJoin& join) {
    const auto fits = [&](const auto& entry) {
        const Group& group = *entry.second;
        return group.id().session == join.session && group.id().hop == join.hop && group.rank() == join.rank &&
               group.id().ranks[group.rank_before()] == from && !group.ready;
    };
    const auto at = std::find_if(groups_.begin(), groups_.end(), fits);
    if (at == groups_.end()) {
        out_.emplace_back(CloseChannel{channel});
        return;
    }
    Group& group = *at->second;
    if (group.before) {
        at_.erase(*group.before);
        out_.emplace_back(CloseChannel{*group.before});
    }
    group.before = channel;
    group.heard = now.mono;
    at_.emplace(channel, group.handle);
    ready_if(group);
}

void Groups::ready_if(Group& group) {
    if (group.ready || !group.loaded || !group.near || !group.before) return;
    group.ready = true;
    events_.emplace_back(engine::StageReady{group.handle});
}

// ---- the ring ----------------------------------------------------------------------------------------------------

void Groups::on_message(Now now, ChannelId channel, const NodeId& from, wire::StageMessage message) {
    out_.emplace_back(Took{channel});
    Group* group = by_channel(channel);
    if (group == nullptr) {
        const auto* join = std::get_if<wire::GroupJoin>(&message);
        if (join != nullptr) return on_join(now, channel, from, *join);
        out_.emplace_back(CloseChannel{channel});
        return;
    }
    if (channel == group->before) return on_before(now, *group, std::move(message));
    const auto* echo = std::get_if<wire::GroupEcho>(&message);
    if (echo != nullptr) return on_echo(now, *group, *echo);
    fail_group(now, *group, StageFaultCode::protocol, group->name(group->rank_behind()) + " speaks out of turn");
}

void Groups::on_before(Now now, Group& group, wire::StageMessage message) {
    group.heard = now.mono;
    if (const auto* probe = std::get_if<wire::GroupProbe>(&message)) {
        out_.emplace_back(SendMessage{*group.before, wire::GroupEcho{probe->number}});
        return;
    }
    const engine::StageHandle handle = group.handle;
    const Status taken = take(now, group, std::move(message));
    Group* left = find(handle);
    if (!taken && left != nullptr) {
        return fail_group(now, *left, StageFaultCode::protocol,
                          left->name(left->rank_before()) + ": " + taken.error().message);
    }
    on_engine(now);
}

Status Groups::take(Now now, Group& group, wire::StageMessage message) {
    if (!group.ready) return misfit("what comes later");
    if (auto* part = std::get_if<wire::ReducePart>(&message)) return take_part(now, group, std::move(*part));
    if (auto* compute = std::get_if<wire::GroupCompute>(&message)) return take_compute(now, group, std::move(*compute));
    if (const auto* truncate = std::get_if<wire::GroupTruncate>(&message)) return take_truncate(now, group, *truncate);
    if (const auto* agree = std::get_if<wire::GroupAgree>(&message)) return take_agree(now, group, *agree);
    if (std::holds_alternative<wire::GroupAlive>(message)) return ok();
    return misfit("what is not for a ring");
}

Status Groups::take_compute(Now now, Group& group, wire::GroupCompute message) {
    if (group.rank() == 0 || group.computing || message.number != group.number + 1) {
        return misfit("a computation out of its turn");
    }
    Operation operation = wire::StageStep{group.intake.last() + 1, 0, std::move(message.rows)};
    TRY(group.intake.take(operation));
    begin(now, group, std::get<wire::StageStep>(operation).rows);
    return ok();
}

Status Groups::take_truncate(Now now, Group& group, const wire::GroupTruncate& message) {
    if (group.rank() == 0 || group.computing || ++group.truncations > limits::stage_queued_max) {
        return misfit("a truncation out of its turn");
    }
    TRY(group.intake.take(
        Operation(wire::StageTruncate{group.intake.last() + 1, 0, message.sequence, message.length})));
    if (group.rank_behind() != 0) hand_on(group, message);
    engine_.truncate(now, group.handle, message.sequence, message.length);
    return ok();
}

Status Groups::take_part(Now now, Group& group, wire::ReducePart part) {
    const std::size_t values = group.rows * group.shape.width;
    const std::size_t chunk_max = (values + group.ranks() - 1) / group.ranks() * sizeof(float);
    if (!group.computing || group.parts_in + 1 > group.parts_out + group.ranks() - 1) return misfit("too many parts");
    if (part.data.size() > chunk_max) return misfit("a part that is too large");
    ++group.parts_in;
    engine_.reduce(now, group.handle, std::move(part));
    return ok();
}

Status Groups::take_agree(Now now, Group& group, const wire::GroupAgree& agree) {
    if (group.rank() == 1 || !group.computing || group.agreed || agree.number != group.number) {
        return misfit("an agreement out of its turn");
    }
    group.agreed = agree.digest;
    finish_if(now, group);
    return ok();
}

void Groups::hand_on(Group& group, wire::StageMessage message) {
    group.out.push_back(std::move(message));
    if (group.after) out_.emplace_back(HasData{*group.after});
}

std::optional<wire::StageMessage> Groups::next_data(ChannelId channel) {
    Group* group = by_channel(channel);
    if (group == nullptr || channel != group->after || group->out.empty()) return std::nullopt;
    wire::StageMessage next = std::move(group->out.front());
    group->out.pop_front();
    return next;
}

// ---- computing ---------------------------------------------------------------------------------------------------

void Groups::advance(Now now, Group& group) {
    while (!group.computing && !group.waiting.empty()) {
        const auto next = std::move(group.waiting.front());
        group.waiting.pop_front();
        if (const auto* rows = std::get_if<wire::StageRows>(&next)) {
            begin(now, group, *rows);
        } else {
            const auto& cut = std::get<wire::GroupTruncate>(next);
            hand_on(group, cut);
            engine_.truncate(now, group.handle, cut.sequence, cut.length);
        }
    }
}

void Groups::begin(Now now, Group& group, const wire::StageRows& rows) {
    group.computing = true;
    group.truncations = 0;
    group.rows = rows_of(rows);
    group.heard = now.mono;
    group.alive_at = now.mono + limits::stage_alive_interval;
    ++group.number;
    if (group.rank_behind() != 0) hand_on(group, wire::GroupCompute{group.number, rows});
    engine_.compute(now, group.handle, rows);
}

void Groups::on_computed(Now now, Group& group, engine::StageComputed computed) {
    ASSERT(group.computing && !group.own);
    group.digest = crypto::blake2b<32>({computed.tensor});
    group.own = std::move(computed);
    finish_if(now, group);
}

void Groups::finish_if(Now now, Group& group) {
    if (!group.own || (group.rank() != 1 && !group.agreed)) return;
    if (group.agreed && *group.agreed != group.digest) {
        return fail_group(now, group, StageFaultCode::engine,
                          "its ranks have computed different results, of which " + group.name(group.rank_before()) +
                              " says the one and " + group.name(group.rank()) + " the other");
    }
    if (group.rank() != 0) {
        hand_on(group, wire::GroupAgree{group.number, group.digest});
    } else {
        events_.emplace_back(std::move(*group.own));
    }
    group.own.reset();
    group.agreed.reset();
    group.computing = false;
    group.alive_at = Instant::max();
    advance(now, group);
}

// ---- endings, time -----------------------------------------------------------------------------------------------

void Groups::drop(Group& group) {
    for (const std::optional<ChannelId>& channel : {group.before, group.after}) {
        if (!channel) continue;
        at_.erase(*channel);
        out_.emplace_back(CloseChannel{*channel});
    }
    groups_.erase(group.handle);
}

void Groups::fail_group(Now now, Group& group, StageFaultCode code, std::string text) {
    const engine::StageHandle handle = group.handle;
    drop(group);
    engine_.close(now, handle);
    events_.emplace_back(engine::StageFailed{handle, code, std::move(text)});
}

void Groups::on_closed(Now now, ChannelId channel) {
    Group* group = by_channel(channel);
    if (group == nullptr) return;
    at_.erase(channel);
    const bool was_before = channel == group->before;
    (was_before ? group->before : group->after).reset();
    if (group->ready) {
        const std::size_t rank = was_before ? group->rank_before() : group->rank_behind();
        return fail_group(now, *group, StageFaultCode::engine, "the link to " + group->name(rank) + " was lost");
    }
    // The rank behind may not have been opened yet.
    if (was_before) return;
    group->near = false;
    group->dial_at = now.mono + limits::stage_dial_interval;
}

void Groups::on_tick(Now now) {
    on_engine(now);
    std::vector<engine::StageHandle> silent;
    for (auto& [handle, group] : groups_) {
        if (now.mono >= group->dial_at) dial(*group);
        if (now.mono >= group->alive_at) {
            group->alive_at = now.mono + limits::stage_alive_interval;
            if (group->out.empty()) hand_on(*group, wire::GroupAlive{});
        }
        if (group->waits() && now.mono >= group->heard + limits::stage_silence_max) silent.push_back(handle);
    }
    for (const engine::StageHandle handle : silent) {
        Group& group = *find(handle);
        // What is to be computed comes to the last rank through all others.
        const bool unsure = group.rank() == 0 && group.ranks() > 2;
        fail_group(
            now, group, StageFaultCode::engine,
            "nothing is heard from " + group.name(group.rank_before()) + (unsure ? ", or from one before it" : ""));
    }
}

Instant Groups::next_deadline() const {
    Instant next = Instant::max();
    for (const auto& [handle, group] : groups_) {
        next = std::min({next, group->dial_at, group->alive_at});
        if (group->waits()) next = std::min(next, group->heard + limits::stage_silence_max);
    }
    return next;
}

std::optional<ChannelOutput> Groups::poll_channels() {
    if (out_.empty()) return std::nullopt;
    ChannelOutput next = std::move(out_.front());
    out_.pop_front();
    return next;
}

}  // namespace shoal::pipeline
