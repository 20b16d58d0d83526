#include "pipeline/lead.h"

namespace shoal::pipeline {

using engine::Health;

Lead::Lead(LeadConfig config, engine::LeadEngine& ends, Rng& rng, Report report)
    : config_(std::move(config)), ends_(ends), rng_(rng), report_(std::move(report)) {}

Health Lead::health() const {
    if (dead_) return Health::dead;
    const Health ends = ends_.health();
    if (ends != Health::ready) return ends;
    if (ready()) return Health::ready;
    return down_reason_.empty() ? Health::starting : Health::down;
}

void Lead::submit(Now now, engine::Job job) {
    if (!ready()) {
        events_.emplace_back(
            engine::Failed{job.id, AskFault::engine_failed, "the layers of the model are not together", {}});
        return;
    }
    ends_.submit(now, std::move(job));
    run(now);
}

void Lead::cancel(Now now, JobId job) {
    ends_.cancel(now, job);
    run(now);
}

// ---- the session -------------------------------------------------------------------------------------------------

std::string Lead::misfit() const {
    const std::uint32_t layers = ends_.shape()->layers, end = config_.hops.back().layers.end;
    if (end == layers) return {};
    const std::string has = "the model has layers 0 to " + std::to_string(layers - 1);
    if (end > layers) return has + ", and a hop is to compute up to layer " + std::to_string(end - 1);
    return has + ", and no hop has layers " + std::to_string(end) + " to " + std::to_string(layers - 1);
}

void Lead::open_session(Now now) {
    const engine::LeadShape& shape = *ends_.shape();
    if (std::string why = misfit(); !why.empty()) {
        dead_ = true;
        open_at_.reset();
        down_reason_ = std::move(why);
        events_.emplace_back(engine::Down{down_reason_, true});
        return;
    }
    CoordinatorConfig config;
    config.self = config_.self;
    config.model = ends_.model()->id;
    config.type = shape.type;
    config.width = shape.width;
    config.context = shape.context;
    config.sequences = shape.sequences;
    config.first_token = (++sessions_ << 32) + 1;
    config.hops = config_.hops;
    config.standbys = config_.standbys;
    lengths_.clear();
    filling_.clear();
    waiting_.reset();
    open_at_.reset();
    opened_at_ = now.mono;
    carried_ = false;
    coordinator_ = std::make_unique<Coordinator>(now, std::move(config), rng_);
}

void Lead::close_session() {
    if (!coordinator_) return;
    coordinator_->close();
    while (auto output = coordinator_->poll_channels()) channels_out_.push_back(std::move(*output));
    coordinator_.reset();
    waiting_.reset();
}

// The model is loaded all the same: it is ready again when the layers are.
void Lead::lose_session(Now now, std::string why) {
    close_session();
    down_reason_ = std::move(why);
    if (carried_) break_ends(now, engine::BrokenFor::now);
    if (now.mono - opened_at_ >= limits::engine_restart_max) delay_ = limits::engine_restart_min;
    open_at_ = now.mono + delay_;
    delay_ = std::min<Duration>(2 * delay_, limits::engine_restart_max);
    held_ready_ = engine::Ready{*ends_.model()};
    events_.emplace_back(engine::Down{down_reason_, false});
    report_(down_reason_ + "; the layers are brought together again");
}

// Rule 2. What a session that was never ready did not carry need not be said to be lost.
void Lead::break_ends(Now now, engine::BrokenFor how_long) {
    carried_ = false;
    pause_end_.reset();
    if (how_long == engine::BrokenFor::now) pause_end_ = now.mono + pause_max;
    ends_.broken(now, down_reason_, how_long);
}

void Lead::take(Now now, Coordinator::Output output) {
    if (auto* result = std::get_if<Coordinator::Result>(&output)) {
        ends_.returned(now, std::move(result->rows.tensor));
    } else if (std::holds_alternative<Coordinator::Filled>(output)) {
        ends_.filled(now);
    } else if (auto* given = std::get_if<Coordinator::Given>(&output)) {
        ends_.given(now, std::move(given->bytes));
    } else if (std::holds_alternative<Coordinator::Ready>(output)) {
        was_ready_ = carried_ = true;
        down_reason_.clear();
        pause_end_.reset();
        ends_.holds(now, coordinator_->kv());
        report_("all layers of the model are together");
        if (held_ready_) events_.emplace_back(*std::exchange(held_ready_, std::nullopt));
    } else if (std::holds_alternative<Coordinator::KeepsOther>(output)) {
        ends_.holds(now, coordinator_->kv());
    } else if (const auto* replaced = std::get_if<Coordinator::Replaced>(&output)) {
        report_("hop " + std::to_string(replaced->hop) + " is " + replaced->to.hex() + " now, no more " +
                replaced->from.hex() + ": " + replaced->why);
    } else if (const auto* lost = std::get_if<Coordinator::StandbyLost>(&output)) {
        report_("standby " + lost->node.hex() + " is none any more: " + lost->why);
    } else if (const auto* back = std::get_if<Coordinator::StandbyBack>(&output)) {
        report_("standby " + back->node.hex() + " is back, for hop " + std::to_string(back->hop));
    } else {
        const auto& over = std::get<Coordinator::Over>(output);
        lose_session(now, "hop " + std::to_string(over.hop) + " (" + over.node.hex() + ") was lost: " + over.why);
    }
}

// The ends are another process: what does not follow on is its fault, and no reason to stop this one.
bool Lead::follows_on(std::uint16_t sequence, std::uint32_t position, std::uint16_t rows) {
    const engine::LeadShape& shape = *ends_.shape();
    return sequence < shape.sequences && position == lengths_[sequence] && rows <= shape.context - position;
}

// False: the coordinator has no room.
bool Lead::hand_over(Now now, engine::LeadEngine::Work& work) {
    if (auto* forward = std::get_if<engine::Forward>(&work)) {
        for (const wire::StagePart& part : forward->rows.parts) {
            if (follows_on(part.sequence, part.position, part.rows)) continue;
            lose_session(now, "the engine sent rows that do not follow on");
            return false;
        }
        std::size_t rows = 0;
        for (const wire::StagePart& part : forward->rows.parts) rows += part.rows;
        const engine::LeadShape& shape = *ends_.shape();
        if (forward->rows.tensor.size() != rows * wire::activation_row_bytes(shape.type, shape.width)) {
            lose_session(now, "the engine sent rows of another shape");
            return false;
        }
        const std::vector<wire::StagePart> parts = forward->rows.parts;
        if (!coordinator_->step(now, forward->rows)) return false;
        for (const wire::StagePart& part : parts) {
            lengths_[part.sequence] += part.rows;
            filling_.erase(part.sequence);
        }
        return true;
    }
    if (auto* fill = std::get_if<engine::Fill>(&work)) {
        const wire::StageKvRows& rows = fill->rows;
        const bool fits = follows_on(rows.sequence, rows.position, rows.rows) &&
                          (rows.position == 0 || filling_.contains(rows.sequence));
        const auto kv = coordinator_->kv();
        if (!fits || !kv || rows.tensor.size() != rows.rows * kv->token_bytes()) {
            lose_session(now, "the engine filled in what is not kept so");
            return false;
        }
        if (!coordinator_->fill(now, rows)) return false;
        lengths_[rows.sequence] = rows.position + rows.rows;
        filling_.insert(rows.sequence);
        return true;
    }
    if (const auto* read = std::get_if<engine::Read>(&work)) {
        const auto kv = coordinator_->kv();
        const auto held = lengths_.find(read->of.sequence);
        const bool fits = kv && held != lengths_.end() && read->of.tokens <= held->second;
        if (!fits || wire::read_bytes(read->of, *kv) == 0) {
            lose_session(now, "the engine reads what is not kept");
            return false;
        }
        if (!coordinator_->read(now, read->of)) return false;
        filling_.erase(read->of.sequence);
        return true;
    }
    const auto& [sequence, length] = std::get<engine::Truncate>(work);
    if (lengths_[sequence] <= length) return true;
    if (!coordinator_->truncate(now, sequence, length)) return false;
    lengths_[sequence] = length;
    filling_.erase(sequence);
    return true;
}

void Lead::run(Now now) {
    while (auto event = ends_.poll()) {
        meter_.on_event(now, *event);
        if (auto* ready = std::get_if<engine::Ready>(&*event)) {
            held_ready_ = std::move(*ready);
            delay_ = limits::engine_restart_min;
            open_at_ = now.mono;
        } else if (std::holds_alternative<engine::Down>(*event)) {
            close_session();
            down_reason_.clear();
            open_at_.reset();
            pause_end_.reset();
            held_ready_.reset();
            events_.push_back(std::move(*event));
        } else {
            events_.push_back(std::move(*event));
        }
    }
    if (pause_end_ && now.mono >= *pause_end_) break_ends(now, engine::BrokenFor::good);
    if (const auto measured = meter_.take()) report_(text_of(*measured, config_.predicted));
    if (open_at_ && now.mono >= *open_at_ && ends_.health() == Health::ready) open_session(now);
    while (coordinator_) {
        auto output = coordinator_->poll();
        if (!output) break;
        take(now, std::move(*output));
    }
    while (ready()) {
        if (!waiting_) waiting_ = ends_.next_work();
        if (!waiting_ || !hand_over(now, *waiting_)) break;
        waiting_.reset();
    }
    while (coordinator_) {
        auto output = coordinator_->poll_channels();
        if (!output) break;
        channels_out_.push_back(std::move(*output));
    }
}

// ---- what comes in -----------------------------------------------------------------------------------------------

bool Lead::takes(const NodeId& from, const wire::StageMessage& first) const {
    return coordinator_ && coordinator_->takes(from, first);
}

void Lead::on_message(Now now, ChannelId channel, const NodeId& from, wire::StageMessage message) {
    if (coordinator_) coordinator_->on_message(now, channel, from, std::move(message));
    run(now);
}

void Lead::on_connected(Now now, std::uint64_t token, ChannelId channel) {
    if (coordinator_) {
        coordinator_->on_connected(now, token, channel);
    } else {
        channels_out_.emplace_back(CloseChannel{channel});
    }
    run(now);
}

void Lead::on_connect_failed(Now now, std::uint64_t token) {
    if (coordinator_) coordinator_->on_connect_failed(now, token);
    run(now);
}

void Lead::on_closed(Now now, ChannelId channel) {
    if (coordinator_) coordinator_->on_closed(now, channel);
    run(now);
}

std::optional<wire::StageMessage> Lead::next_data(ChannelId channel) {
    return coordinator_ ? coordinator_->next_data(channel) : std::nullopt;
}

std::optional<ChannelOutput> Lead::poll_channels() {
    if (channels_out_.empty()) return std::nullopt;
    ChannelOutput next = std::move(channels_out_.front());
    channels_out_.pop_front();
    return next;
}

void Lead::on_tick(Now now) {
    ends_.on_tick(now);
    if (coordinator_) coordinator_->on_tick(now);
    run(now);
}

std::optional<Instant> Lead::next_deadline() const {
    std::optional<Instant> next = ends_.next_deadline();
    const auto no_later = [&](Instant t) {
        if (t != Instant::max()) next = next ? std::min(*next, t) : t;
    };
    if (coordinator_) no_later(coordinator_->next_deadline());
    if (open_at_) no_later(*open_at_);
    if (pause_end_) no_later(*pause_end_);
    return next;
}

std::optional<engine::Event> Lead::poll() {
    if (events_.empty()) return std::nullopt;
    engine::Event event = std::move(events_.front());
    events_.pop_front();
    return event;
}

}  // namespace shoal::pipeline
