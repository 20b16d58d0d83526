#include "pipeline/stage_host.h"

#include <algorithm>

namespace shoal::pipeline {

using wire::StageFaultCode;

struct StageHost::Session {
    // What the engine has not answered yet, in order; truncations and fills wait for what is before them.
    struct Pending {
        std::variant<wire::StageReplay, wire::StageRefill, Operation> what;  // without what the engine has
        ChannelId channel;                                                   // that brought it
        bool stale = false;                                                  // of a replay that was broken off
        bool passes = false;  // a read in which these layers have no part
    };

    wire::StageOpen open;
    NodeId coordinator;
    ChannelId control;
    engine::StageHandle handle;
    bool ready = false;
    std::size_t kv_bytes = 0;    // that its layers keep of a token; 0: they cannot be filled
    std::size_t fill_bytes = 0;  // of a row that comes from the hop before; 0: none has
    Intake intake;
    Outlet outlet;
    std::deque<Pending> pending;  // bounded: stage_queued_max
    std::optional<ChannelId> before;
    std::optional<ChannelId> after;
    std::optional<std::uint64_t> dialling;  // token
    Instant dial_at = Instant::max();
    int dials = 0;
    Instant alive_at = Instant::max();
    std::uint64_t handed_on = 0;       // the last operation
    Instant done_at = Instant::max();  // when to say so; rule 7

    Session(const wire::StageOpen& m, const NodeId& from, ChannelId channel, engine::StageHandle h,
            std::size_t history_max)
        : open(m),
          coordinator(from),
          control(channel),
          handle(h),
          intake(wire::activation_row_bytes(m.type, m.width), m.context, m.sequences, false),
          outlet(wire::activation_row_bytes(m.type, m.width), history_max, false) {}
};

StageHost::StageHost(StageHostConfig config, engine::StageEngine& engine)
    : config_(std::move(config)), engine_(engine) {}
StageHost::~StageHost() = default;

StageHost::Session* StageHost::by_channel(ChannelId channel) {
    const auto at = at_.find(channel);
    return at == at_.end() ? nullptr : sessions_.at(at->second).get();
}

StageHost::Session* StageHost::by_handle(engine::StageHandle handle) {
    for (auto& [id, session] : sessions_) {
        if (session->handle == handle) return session.get();
    }
    return nullptr;
}

void StageHost::say(ChannelId channel, wire::StageMessage message) {
    out_.emplace_back(SendMessage{channel, std::move(message)});
}

// ---- what comes in -----------------------------------------------------------------------------------------------

bool StageHost::takes(const NodeId&, const wire::StageMessage& first) const {
    const auto* join = std::get_if<wire::StageJoin>(&first);
    if (join == nullptr) return true;
    const auto session = sessions_.find(join->session);
    return session != sessions_.end() && session->second->open.hop == join->hop;
}

void StageHost::on_message(Now now, ChannelId channel, const NodeId& from, wire::StageMessage message) {
    Session* session = by_channel(channel);
    // Rows are taken once they are computed, everything else at once.
    if (session != nullptr && channel == session->before) return on_data(now, *session, channel, std::move(message));
    out_.emplace_back(Took{channel});
    if (session == nullptr) {
        if (const auto* open = std::get_if<wire::StageOpen>(&message)) return on_open(now, channel, from, *open);
        if (const auto* join = std::get_if<wire::StageJoin>(&message)) return on_join(now, channel, *join);
        out_.emplace_back(CloseChannel{channel});
        return;
    }
    if (channel == session->control) return on_control(now, *session, message);
    on_successor(now, *session, message);
}

void StageHost::on_open(Now now, ChannelId channel, const NodeId& from, const wire::StageOpen& open) {
    const auto refuse = [&](StageFaultCode code, const char* text) {
        say(channel, wire::StageFault{code, text});
        out_.emplace_back(CloseChannel{channel});
    };
    if (!config_.allowed || !config_.allowed(from)) {
        return refuse(StageFaultCode::refused, "this node computes no stages for you");
    }
    if (sessions_.size() >= config_.sessions_max) return refuse(StageFaultCode::busy, "too many sessions");
    if (sessions_.contains(open.session)) return refuse(StageFaultCode::protocol, "this session is open already");
    const engine::StageHandle handle(next_handle_++);
    sessions_.emplace(open.session, std::make_unique<Session>(open, from, channel, handle, config_.history_bytes_max));
    at_.emplace(channel, open.session);
    engine::StageShape shape{open.model, open.layers, open.type, open.width, open.context, open.sequences};
    if (!open.ranks.empty()) shape.group = engine::StageGroup{open.session, open.hop, open.rank, open.ranks};
    engine_.open(now, handle, shape);
    on_engine(now);
}

void StageHost::on_join(Now now, ChannelId channel, const wire::StageJoin& join) {
    const auto at = sessions_.find(join.session);
    // Rows go to rank 0 of a group; the others have them from it.
    const bool fits = at != sessions_.end() && at->second->open.hop == join.hop && at->second->open.rank == 0;
    if (!fits || !at->second->ready) {
        out_.emplace_back(CloseChannel{channel});
        return;
    }
    Session& session = *at->second;
    // The coordinator has put another hop before this one: the old one's rows are not wanted any more.
    if (session.before) {
        at_.erase(*session.before);
        out_.emplace_back(CloseChannel{*session.before});
    }
    session.before = channel;
    at_.emplace(channel, join.session);
    if (!session.intake.primed()) start_over(now, session);
    say(channel, session.intake.joined());
    if (!session.after && !session.dialling) dial_next(now, session);
}

// What an unfinished replay brought is brought again: the engine starts from nothing, and so does a fresh next hop.
void StageHost::start_over(Now now, Session& session) {
    if (session.pending.empty() && !session.intake.began()) return;
    for (std::uint16_t i = 0; i < session.open.sequences; ++i) engine_.truncate(now, session.handle, i, 0);
    session.intake.start_over();
    for (Session::Pending& pending : session.pending) pending.stale = true;
    session.outlet =
        Outlet(wire::activation_row_bytes(session.open.type, session.open.width), config_.history_bytes_max, false);
    hang_up(session);
}

void StageHost::hang_up(Session& session) {
    if (session.after) {
        at_.erase(*session.after);
        out_.emplace_back(CloseChannel{*session.after});
        session.after.reset();
    }
    session.dialling.reset();
    session.outlet.detach();
}

void StageHost::on_control(Now now, Session& session, const wire::StageMessage& message) {
    const auto* reroute = std::get_if<wire::StageReroute>(&message);
    if (reroute == nullptr) return end(now, session, StageFaultCode::protocol, "not for a control channel");
    session.open.next = reroute->next;
    hang_up(session);
    session.dials = 0;
    if (session.before) dial_next(now, session);
}

void StageHost::on_data(Now now, Session& session, ChannelId channel, wire::StageMessage message) {
    if (session.pending.size() >= limits::stage_queued_max) {
        return end(now, session, StageFaultCode::busy, "more operations than the coordinator may have under way");
    }
    Session::Pending pending{{}, channel};
    if (auto* replay = std::get_if<wire::StageReplay>(&message)) {
        if (const Status taken = session.intake.take(*replay); !taken) {
            return end(now, session, StageFaultCode::protocol, taken.error().message);
        }
        if (!replay->rows.parts.empty()) engine_.compute(now, session.handle, replay->rows);
        replay->rows.tensor.clear();
        pending.what = std::move(*replay);
    } else if (auto* step = std::get_if<wire::StageStep>(&message)) {
        Operation operation = std::move(*step);
        if (const Status taken = session.intake.take(operation); !taken) {
            return end(now, session, StageFaultCode::protocol, taken.error().message);
        }
        auto& rows = std::get<wire::StageStep>(operation).rows;
        engine_.compute(now, session.handle, rows);
        rows.tensor.clear();
        pending.what = std::move(operation);
    } else if (const auto* truncate = std::get_if<wire::StageTruncate>(&message)) {
        if (const Status taken = session.intake.take(Operation(*truncate)); !taken) {
            return end(now, session, StageFaultCode::protocol, taken.error().message);
        }
        engine_.truncate(now, session.handle, truncate->sequence, truncate->length);
        pending.what = Operation(*truncate);
    } else if (auto* with = std::get_if<wire::StageFill>(&message)) {
        Operation operation = std::move(*with);
        Status taken = session.intake.take(operation);
        if (taken) taken = fill(now, session, std::get<wire::StageFill>(operation).rows);
        if (!taken) return end(now, session, StageFaultCode::protocol, taken.error().message);
        pending.what = std::move(operation);
    } else if (auto* again = std::get_if<wire::StageRefill>(&message)) {
        Status taken = session.intake.take(*again);
        if (taken) taken = fill(now, session, again->rows);
        if (!taken) return end(now, session, StageFaultCode::protocol, taken.error().message);
        pending.what = std::move(*again);
    } else if (auto* asked = std::get_if<wire::StageRead>(&message)) {
        Operation operation = std::move(*asked);
        const Status taken = session.intake.take(operation);
        const Result<bool> ours =
            taken ? read(now, session, std::get<wire::StageRead>(operation)) : Result<bool>(taken.error());
        if (!ours) return end(now, session, StageFaultCode::protocol, ours.error().message);
        pending.passes = !*ours;
        pending.what = std::move(operation);
    } else {
        return end(now, session, StageFaultCode::protocol, "not for a data channel");
    }
    if (const auto* operation = std::get_if<Operation>(&pending.what)) {
        if (settled_by(*operation) >= session.handed_on) session.done_at = Instant::max();  // rule 7
    }
    session.pending.push_back(std::move(pending));
    if (session.alive_at == Instant::max()) session.alive_at = now.mono + limits::stage_alive_interval;
    pass_on(now, session);
    on_engine(now);
}

Status StageHost::fill(Now now, Session& session, wire::StageKvRows& rows) {
    const std::size_t own = session.kv_bytes, all = rows.tensor.size() / rows.rows;
    if (own == 0 || all < own) return fail(Errc::invalid, "pipeline: not what these layers keep of a token");
    // One size for the whole session: how much a hop holds for the next one follows from the tokens.
    if (session.fill_bytes != 0 && session.fill_bytes != all) return fail(Errc::invalid, "pipeline: rows of two sizes");
    session.fill_bytes = all;
    wire::StageKvRows ours{rows.sequence, rows.position, rows.rows, {}};
    Bytes rest;
    ours.tensor.reserve(rows.rows * own);
    rest.reserve(rows.rows * (all - own));
    for (std::size_t row = 0; row < rows.rows; ++row) {
        const ByteView bytes = ByteView(rows.tensor).subspan(row * all, all);
        append(ours.tensor, bytes.first(own));
        append(rest, bytes.subspan(own));
    }
    rows.tensor = std::move(rest);
    engine_.fill(now, session.handle, ours);
    return ok();
}

Result<bool> StageHost::read(Now now, Session& session, const wire::StageRead& read) {
    const bool hashes = read.of.what == wire::StageReadWhat::hashes;
    const wire::LayerRange& layers = session.open.layers;
    if (!hashes && (read.of.layer < layers.first || read.of.layer >= layers.end)) return false;
    if (session.kv_bytes == 0) return fail(Errc::invalid, "pipeline: what these layers keep cannot be read");
    if (!hashes && !read.bytes.empty()) return fail(Errc::invalid, "pipeline: another hop has given it");
    const std::size_t all = read.bytes.size() / 32 + layers.end - layers.first;
    if (hashes && all > limits::model_layers_max) return fail(Errc::invalid, "pipeline: hashes of too many layers");
    engine_.read(now, session.handle, read.of);
    return true;
}

void StageHost::on_successor(Now now, Session& session, const wire::StageMessage& message) {
    const auto* joined = std::get_if<wire::StageJoined>(&message);
    if (joined == nullptr || session.outlet.attached()) return lose_next(now, session);
    if (const Status attached = session.outlet.attach(*joined); !attached) {
        if (joined->fresh) return end(now, session, StageFaultCode::busy, attached.error().message);
        hang_up(session);
        return say(session.control, wire::StageFault{StageFaultCode::next_lost, attached.error().message});
    }
    session.dials = 0;
    hand_on(session);
}

// ---- computing ---------------------------------------------------------------------------------------------------

void StageHost::on_engine(Now now) {
    while (auto event = engine_.poll()) {
        if (auto* computed = std::get_if<engine::StageComputed>(&*event)) {
            if (Session* session = by_handle(computed->handle)) on_computed(now, *session, std::move(*computed));
        } else if (auto* given = std::get_if<engine::StageGiven>(&*event)) {
            if (Session* session = by_handle(given->handle)) on_given(now, *session, std::move(*given));
        } else if (const auto* ready = std::get_if<engine::StageReady>(&*event)) {
            Session* session = by_handle(ready->handle);
            if (session == nullptr) continue;
            session->ready = true;
            session->kv_bytes = ready->kv ? ready->kv->token_bytes() : 0;
            say(session->control, wire::StageOpened{ready->kv});
        } else {
            const auto& failed = std::get<engine::StageFailed>(*event);
            if (Session* session = by_handle(failed.handle)) end(now, *session, failed.code, failed.text);
        }
    }
}

void StageHost::on_computed(Now now, Session& session, engine::StageComputed computed) {
    ASSERT(!session.pending.empty());
    Session::Pending& front = session.pending.front();
    Status kept = ok();
    if (front.stale) {
        // What it would be part of has begun anew.
    } else if (auto* replay = std::get_if<wire::StageReplay>(&front.what)) {
        replay->rows.tensor = std::move(computed.tensor);
        kept = session.outlet.add_replay(*replay);
    } else {
        auto& step = std::get<wire::StageStep>(std::get<Operation>(front.what));
        step.rows.tensor = std::move(computed.tensor);
        kept = add(now, session, std::move(step));
    }
    answered(now, session, kept);
}

void StageHost::on_given(Now now, Session& session, engine::StageGiven given) {
    ASSERT(!session.pending.empty());
    auto& read = std::get<wire::StageRead>(std::get<Operation>(session.pending.front().what));
    append(read.bytes, given.bytes);
    answered(now, session, add(now, session, std::move(read)));
}

// The engine has, what stands at the front.
void StageHost::answered(Now now, Session& session, const Status& kept) {
    if (!kept) return end(now, session, StageFaultCode::busy, kept.error().message);
    hand_on(session);
    out_.emplace_back(Took{session.pending.front().channel});
    session.pending.pop_front();
    pass_on(now, session);
}

Status StageHost::add(Now now, Session& session, Operation operation) {
    const std::uint64_t number = number_of(operation);
    TRY(session.outlet.add(std::move(operation)));
    session.handed_on = number;
    if (session.done_at == Instant::max()) session.done_at = now.mono + limits::stage_done_delay;
    return ok();
}

// Those at the front wait for nothing that is computed.
void StageHost::pass_on(Now now, Session& session) {
    while (!session.pending.empty()) {
        const Session::Pending& front = session.pending.front();
        Status kept = ok();
        if (const auto* replay = std::get_if<wire::StageReplay>(&front.what)) {
            if (!replay->rows.parts.empty()) break;
            if (!front.stale) kept = session.outlet.add_replay(*replay);
        } else if (const auto* refill = std::get_if<wire::StageRefill>(&front.what)) {
            if (!front.stale) kept = session.outlet.add_refill(*refill);
        } else {
            const auto& operation = std::get<Operation>(front.what);
            if (std::holds_alternative<wire::StageStep>(operation)) break;
            if (std::holds_alternative<wire::StageRead>(operation) && !front.passes) break;
            kept = add(now, session, operation);
        }
        if (!kept) return end(now, session, StageFaultCode::busy, kept.error().message);
        out_.emplace_back(Took{front.channel});
        session.pending.pop_front();
    }
    // Of what is replayed nothing is said to be done, and a line may be slower than the engine: so that
    // something came is said.
    if (session.pending.empty() && session.intake.primed()) session.alive_at = Instant::max();
    hand_on(session);
}

void StageHost::hand_on(Session& session) {
    if (session.after && session.outlet.attached()) out_.emplace_back(HasData{*session.after});
}

std::optional<wire::StageMessage> StageHost::next_data(ChannelId channel) {
    Session* session = by_channel(channel);
    if (session == nullptr || channel != session->after) return std::nullopt;
    return session->outlet.poll();
}

// ---- the way on --------------------------------------------------------------------------------------------------

void StageHost::dial_next(Now, Session& session) {
    session.dial_at = Instant::max();
    session.dialling = next_token_++;
    ++session.dials;
    out_.emplace_back(Connect{*session.dialling, session.open.next});
}

void StageHost::on_connected(Now, std::uint64_t token, ChannelId channel) {
    for (auto& [id, session] : sessions_) {
        if (session->dialling != token) continue;
        session->dialling.reset();
        session->after = channel;
        at_.emplace(channel, id);
        return say(channel, wire::StageJoin{id, static_cast<std::uint8_t>(session->open.hop + 1)});
    }
    out_.emplace_back(CloseChannel{channel});  // nobody wants it any more
}

void StageHost::on_connect_failed(Now now, std::uint64_t token) {
    for (auto& [id, session] : sessions_) {
        if (session->dialling == token) return lose_next(now, *session);
    }
}

void StageHost::lose_next(Now now, Session& session) {
    hang_up(session);
    if (session.dials >= limits::stage_dials_max) {
        session.dial_at = Instant::max();
        return say(session.control, wire::StageFault{StageFaultCode::next_lost, "the next hop cannot be reached"});
    }
    session.dial_at = now.mono + limits::stage_dial_interval;
}

// ---- endings, time -----------------------------------------------------------------------------------------------

void StageHost::on_closed(Now now, ChannelId channel) {
    Session* session = by_channel(channel);
    if (session == nullptr) return;
    at_.erase(channel);
    if (channel == session->control) return end(now, *session, std::nullopt, {});
    if (channel == session->before) {
        session->before.reset();
        return;  // another joins, or the coordinator gives up
    }
    session->after.reset();
    lose_next(now, *session);
}

void StageHost::end(Now now, Session& session, std::optional<StageFaultCode> code, std::string text) {
    if (code) say(session.control, wire::StageFault{*code, std::move(text)});
    engine_.close(now, session.handle);
    for (const std::optional<ChannelId>& channel : {std::optional(session.control), session.before, session.after}) {
        if (!channel) continue;
        out_.emplace_back(CloseChannel{*channel});
        at_.erase(*channel);
    }
    const wire::StageSessionId id = session.open.session;
    sessions_.erase(id);
}

void StageHost::on_tick(Now now) {
    on_engine(now);
    for (auto& [id, session] : sessions_) {
        if (now.mono >= session->alive_at) {
            say(session->control, wire::StageAlive{});
            session->alive_at = session->pending.empty() ? Instant::max() : now.mono + limits::stage_alive_interval;
        }
        if (now.mono >= session->done_at) {
            say(session->control, wire::StageDone{session->handed_on});
            session->done_at = Instant::max();
        }
        if (now.mono >= session->dial_at) dial_next(now, *session);
    }
}

Instant StageHost::next_deadline() const {
    Instant next = Instant::max();
    for (const auto& [id, session] : sessions_)
        next = std::min({next, session->alive_at, session->done_at, session->dial_at});
    return next;
}

std::optional<ChannelOutput> StageHost::poll_channels() {
    if (out_.empty()) return std::nullopt;
    ChannelOutput next = std::move(out_.front());
    out_.pop_front();
    return next;
}

}  // namespace shoal::pipeline
