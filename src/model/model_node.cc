#include "model/model_node.h"

#include <algorithm>

#include "wire/chat.h"

namespace shoal::model {

ModelNode::ModelNode(prompt::ServerConfig config, PrefixListed listed)
    : server_(config), fetcher_(config.self, listed), holder_(std::move(listed)) {}

void ModelNode::add_engine(engine::Engine& engine, std::string name) {
    ASSERT(wire::is_model_name(name) && served_.size() < limits::models_per_node_max);
    served_.push_back({&engine, std::move(name), {}, {}});
    holder_.add_engine(engine);
}

void ModelNode::on_cell(Now now, LinkId link, const wire::Cell& cell) {
    server_.on_cell(now, link, cell);
    settle(now);
}

void ModelNode::on_link_down(Now now, LinkId link) {
    server_.on_link_down(now, link);
    settle(now);
}

void ModelNode::settle(Now now) {
    do {
        drain_server(now);
    } while (drain_engines(now));
}

void ModelNode::drain_server(Now now) {
    while (auto output = server_.poll()) {
        if (auto* cell = std::get_if<prompt::StreamCell>(&*output)) {
            out_.push_back(std::move(*cell));
        } else if (auto* opened = std::get_if<prompt::Opened>(&*output)) {
            take(now, std::move(*opened));
        } else {
            stop(now, std::get<prompt::Stopped>(*output).handle);
        }
    }
}

void ModelNode::take(Now now, prompt::Opened opened) {
    ++stats_.requests;
    std::size_t index = 0;
    const auto serves = [&](const Served& s) {
        const engine::ModelInfo* info = s.engine->model();
        return info != nullptr && info->id == opened.request.model;
    };
    while (index < served_.size() && !serves(served_[index])) ++index;
    if (index == served_.size()) {
        // Which models they are is known once they are loaded; the directory may know it from before a restart.
        const auto starting = [](const Served& s) {
            return s.engine->model() == nullptr && s.engine->health() != engine::Health::dead;
        };
        if (std::any_of(served_.begin(), served_.end(), starting)) {
            return refuse(now, opened.handle, AskFault::engine_failed, "the engine is being started");
        }
        return refuse(now, opened.handle, AskFault::model_unknown, "this node does not serve the model");
    }
    Served& served = served_[index];
    if (!opened.request.unpaid) {
        return refuse(now, opened.handle, AskFault::refused, "this node takes unpaid requests only");
    }
    if (served.engine->health() != engine::Health::ready) {
        const bool dead = served.engine->health() == engine::Health::dead;
        return refuse(now, opened.handle, AskFault::engine_failed,
                      dead ? "the engine of this node is dead" : "the engine is being restarted");
    }
    auto request = wire::decode_chat_request(as_bytes(opened.request.body.expose()));
    if (!request) return refuse(now, opened.handle, AskFault::bad_request, request.error().message);

    const JobId id(next_job_++);
    engine::Job job{id, std::move(*request), opened.request.client_seed};
    const auto verdict = served.admission.submit(now, id);
    if (verdict == sched::Admission::Verdict::refuse) {
        return refuse(now, opened.handle, AskFault::overloaded, "the node's queue is full");
    }
    if (job.request.source && served.engine->prefixes() != nullptr) {
        fetcher_.expected(now, opened.request.model, job.request.source->node);
    }
    Running& running = jobs_.emplace(id, Running{opened.handle, index, std::nullopt}).first->second;
    by_handle_.emplace(opened.handle, id);
    if (verdict == sched::Admission::Verdict::wait) {
        running.waiting = std::move(job);
    } else {
        served.engine->submit(now, std::move(job));
    }
}

void ModelNode::refuse(Now now, prompt::Handle handle, AskFault fault, std::string message) {
    ++stats_.refused;
    (void)server_.reply(now, handle, ChatFault{fault, std::move(message)});
}

void ModelNode::stop(Now now, prompt::Handle handle) {
    const auto at = by_handle_.find(handle);
    if (at == by_handle_.end()) return;
    const JobId id = at->second;
    Running& running = jobs_.at(id);
    Served& served = served_[running.served];
    ++stats_.cancelled;
    if (running.waiting) {
        served.admission.withdraw(id);
        jobs_.erase(id);
        by_handle_.erase(at);
        return;
    }
    served.engine->cancel(now, id);  // it ends with Failed{cancelled}
}

// ---- the engine's side -------------------------------------------------------------------------------------------

void ModelNode::on_engine(Now now) {
    settle(now);
}

bool ModelNode::drain_engines(Now now) {
    bool any = false;
    fetcher_.on_engine();
    for (std::size_t i = 0; i < served_.size(); ++i) {
        any = drain_prefixes(now, *served_[i].engine) || any;
        while (auto event = served_[i].engine->poll()) {
            any = true;
            on_event(now, i, std::move(*event));
        }
    }
    return any;
}

// Before its other events: that a prefix was refused is said before the job goes on.
bool ModelNode::drain_prefixes(Now now, engine::Engine& engine) {
    engine::Prefixes* prefixes = engine.prefixes();
    bool any = false;
    while (prefixes != nullptr) {
        auto event = prefixes->poll_prefix();
        if (!event) break;
        any = true;
        if (const auto* wanted = std::get_if<engine::PrefixWanted>(&*event)) {
            if (jobs_.contains(wanted->job)) fetcher_.wanted(now, *prefixes, engine.model()->id, *wanted);
        } else if (const auto* refused = std::get_if<engine::PrefixRefused>(&*event)) {
            fetcher_.refused(now, *refused);
        } else if (auto* piece = std::get_if<engine::PrefixPiece>(&*event)) {
            holder_.on_piece(now, std::move(*piece));
        } else {
            holder_.on_gone(now, std::get<engine::PrefixGone>(*event).read);
        }
    }
    return any;
}

void ModelNode::on_event(Now now, std::size_t index, engine::Event event) {
    Served& served = served_[index];
    if (const auto* ready = std::get_if<engine::Ready>(&event)) {
        served.down_reason.clear();
        served.admission.set_slots(ready->model.sequences);
        run_next(now, served);
    } else if (const auto* down = std::get_if<engine::Down>(&event)) {
        served.down_reason = down->reason;
        fail_waiting(now, index);
    } else if (auto* text = std::get_if<engine::Text>(&event)) {
        on_text(now, *text);
    } else if (const auto* finished = std::get_if<engine::Finished>(&event)) {
        const auto at = jobs_.find(finished->job);
        if (at == jobs_.end()) return;
        ++stats_.finished;
        stats_.prompt_tokens += finished->usage.prompt.value();
        stats_.completion_tokens += finished->usage.completion.value();
        (void)server_.reply(now, at->second.handle,
                            ChatEnd{finished->reason, finished->usage, std::nullopt, finished->kept});
        ended(now, finished->job);
    } else if (auto* failed = std::get_if<engine::Failed>(&event)) {
        const auto at = jobs_.find(failed->job);
        if (at == jobs_.end()) return;
        if (failed->fault == AskFault::cancelled && at->second.too_long) {
            (void)server_.reply(now, at->second.handle, ChatEnd{FinishReason::length, failed->usage});
        } else {
            if (failed->fault != AskFault::cancelled) ++stats_.failed;
            (void)server_.reply(now, at->second.handle, ChatFault{failed->fault, failed->message});
        }
        ended(now, failed->job);
    }
}

void ModelNode::on_text(Now now, engine::Text& text) {
    const auto at = jobs_.find(text.job);
    if (at == jobs_.end()) return;
    Running& running = at->second;
    if (running.too_long) return;
    std::string_view rest = text.text.expose();
    while (!rest.empty()) {
        std::size_t take = std::min(rest.size(), wire::reply_frame_text_bytes_max);
        if (take < rest.size()) take -= wire::utf8_incomplete_tail(rest.substr(0, take));
        if (!server_.reply(now, running.handle, ChatDelta{Plaintext(std::string(rest.substr(0, take)))})) {
            // Too long, or nobody wants it any more (then the end below is not sent).
            running.too_long = true;
            served_[running.served].engine->cancel(now, text.job);
            return;
        }
        rest.remove_prefix(take);
    }
}

void ModelNode::ended(Now now, JobId job) {
    fetcher_.job_ended(job);
    const auto at = jobs_.find(job);
    Served& served = served_[at->second.served];
    by_handle_.erase(at->second.handle);
    jobs_.erase(at);
    served.admission.finished(job);
    run_next(now, served);
}

void ModelNode::run_next(Now now, Served& served) {
    if (served.engine->health() != engine::Health::ready) return;
    while (const auto next = served.admission.take_next()) {
        Running& running = jobs_.at(*next);
        engine::Job job = std::move(*running.waiting);
        running.waiting.reset();
        served.engine->submit(now, std::move(job));
    }
}

// Another node may serve them before this engine is back.
void ModelNode::fail_waiting(Now now, std::size_t index) {
    std::vector<JobId> waiting;
    for (const auto& [id, running] : jobs_) {
        if (running.served == index && running.waiting) waiting.push_back(id);
    }
    for (const JobId id : waiting) {
        served_[index].admission.withdraw(id);
        const prompt::Handle handle = jobs_.at(id).handle;
        jobs_.erase(id);
        by_handle_.erase(handle);
        ++stats_.failed;
        (void)server_.reply(now, handle, ChatFault{AskFault::engine_failed, "the engine died"});
    }
}

void ModelNode::expire(Now now) {
    for (Served& served : served_) {
        for (const JobId job : served.admission.take_expired(now)) {
            const prompt::Handle handle = jobs_.at(job).handle;
            jobs_.erase(job);
            by_handle_.erase(handle);
            refuse(now, handle, AskFault::overloaded, "no slot became free in time");
        }
    }
}

void ModelNode::on_tick(Now now) {
    for (Served& served : served_) served.engine->on_tick(now);
    fetcher_.on_tick(now);
    holder_.on_tick(now);
    on_engine(now);
    expire(now);
    server_.on_tick(now);
    settle(now);
}

Instant ModelNode::next_deadline() const {
    Instant next = std::min({server_.next_deadline(), fetcher_.next_deadline(), holder_.next_deadline()});
    for (const Served& served : served_) {
        if (const auto due = served.engine->next_deadline()) next = std::min(next, *due);
        if (const auto due = served.admission.next_deadline()) next = std::min(next, *due);
    }
    return next;
}

std::optional<prompt::StreamCell> ModelNode::poll() {
    if (out_.empty()) return std::nullopt;
    prompt::StreamCell next = std::move(out_.front());
    out_.pop_front();
    return next;
}

std::optional<PrefixNote> ModelNode::poll_note() {
    auto note = fetcher_.poll_note();
    return note ? note : holder_.poll_note();
}

std::vector<wire::OfferedModel> ModelNode::offered() const {
    std::vector<wire::OfferedModel> out;
    for (const Served& served : served_) {
        const engine::ModelInfo* info = served.engine->model();
        if (info == nullptr || served.engine->health() == engine::Health::dead) continue;
        wire::OfferedModel model;
        model.model = info->id;
        model.quantisation = info->quantisation;
        model.context_tokens = info->context_tokens;
        model.name = served.name;
        out.push_back(std::move(model));
    }
    return out;
}

std::optional<std::string> ModelNode::failed_engine() const {
    for (const Served& served : served_) {
        // One that loads again after a death is not back yet: its reason is kept until it is ready.
        const engine::Health health = served.engine->health();
        const bool first_start = health == engine::Health::starting && served.down_reason.empty();
        if (health == engine::Health::ready || first_start) continue;
        return served.name + ": " + served.down_reason;
    }
    return std::nullopt;
}

}  // namespace shoal::model
