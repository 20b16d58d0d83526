#include "model/own_model.h"

#include <vector>

namespace shoal::model {

using engine::Health;

OwnModel::OwnModel(engine::Engine& engine, std::string name) : engine_(engine), name_(std::move(name)) {}

std::string OwnModel::why_not() const {
    if (ready()) return {};
    return down_reason_.empty() ? "the model is being brought together" : down_reason_;
}

std::variant<JobId, ChatFault> OwnModel::ask(Now now, const ModelId& model, ChatRequest request,
                                             const ByteArray<32>& client_seed) {
    if (!ready()) return ChatFault{AskFault::engine_failed, why_not()};
    if (info()->id != model) return ChatFault{AskFault::model_unknown, "this node asks its own model only"};
    const JobId id(next_++);
    engine::Job job{id, std::move(request), client_seed};
    const auto verdict = admission_.submit(now, id);
    if (verdict == sched::Admission::Verdict::refuse) {
        return ChatFault{AskFault::overloaded, "too many questions at once"};
    }
    Question& question = questions_[id];
    if (verdict == sched::Admission::Verdict::wait) {
        question.waiting = std::move(job);
    } else {
        engine_.submit(now, std::move(job));
        on_engine(now);
    }
    return id;
}

void OwnModel::cancel(Now now, JobId id) {
    const auto at = questions_.find(id);
    if (at == questions_.end()) return;
    if (at->second.waiting) {
        admission_.withdraw(id);
        questions_.erase(at);
        return;
    }
    at->second.cancelled = true;
    engine_.cancel(now, id);
    on_engine(now);
}

void OwnModel::on_engine(Now now) {
    while (auto event = engine_.poll()) on_event(now, std::move(*event));
}

void OwnModel::on_event(Now now, engine::Event event) {
    if (const auto* ready = std::get_if<engine::Ready>(&event)) {
        down_reason_.clear();
        admission_.set_slots(ready->model.sequences);
        return run_next(now);
    }
    if (const auto* down = std::get_if<engine::Down>(&event)) {
        down_reason_ = down->reason;
        return fail_waiting(AskFault::engine_failed, down_reason_);
    }
    if (auto* text = std::get_if<engine::Text>(&event)) return on_text(now, std::move(*text));
    if (const auto* finished = std::get_if<engine::Finished>(&event)) {
        const auto at = questions_.find(finished->job);
        if (at == questions_.end()) return;
        if (!at->second.cancelled) out_.emplace_back(End{finished->job, {finished->reason, finished->usage}});
        return ended(now, finished->job);
    }
    if (auto* failed = std::get_if<engine::Failed>(&event)) {
        const auto at = questions_.find(failed->job);
        if (at == questions_.end()) return;
        if (!at->second.cancelled) out_.emplace_back(Fault{failed->job, {failed->fault, std::move(failed->message)}});
        ended(now, failed->job);
    }
}

void OwnModel::on_text(Now now, engine::Text text) {
    const auto at = questions_.find(text.job);
    if (at == questions_.end() || at->second.cancelled) return;
    at->second.bytes += text.text.size();
    if (at->second.bytes > limits::reply_bytes_max) {
        // The engine ends an answer before; one that does not is broken, and gives no more.
        at->second.cancelled = true;
        out_.emplace_back(Fault{text.job, {AskFault::engine_failed, "the engine gave more than an answer may have"}});
        return engine_.cancel(now, text.job);
    }
    out_.emplace_back(Delta{text.job, ChatDelta{std::move(text.text)}});
}

void OwnModel::ended(Now now, JobId id) {
    questions_.erase(id);
    admission_.finished(id);
    run_next(now);
}

void OwnModel::run_next(Now now) {
    while (ready()) {
        const auto next = admission_.take_next();
        if (!next) return;
        engine::Job job = std::move(*questions_.at(*next).waiting);
        questions_.at(*next).waiting.reset();
        engine_.submit(now, std::move(job));
    }
}

void OwnModel::fail_waiting(AskFault fault, const std::string& why) {
    std::vector<JobId> waiting;
    for (const auto& [id, question] : questions_) {
        if (question.waiting) waiting.push_back(id);
    }
    for (const JobId id : waiting) {
        admission_.withdraw(id);
        questions_.erase(id);
        out_.emplace_back(Fault{id, {fault, why}});
    }
}

void OwnModel::on_tick(Now now) {
    engine_.on_tick(now);
    on_engine(now);
    for (const JobId id : admission_.take_expired(now)) {
        questions_.erase(id);
        out_.emplace_back(Fault{id, {AskFault::overloaded, "no slot became free in time"}});
    }
}

Instant OwnModel::next_deadline() const {
    Instant next = Instant::max();
    if (const auto due = engine_.next_deadline()) next = std::min(next, *due);
    if (const auto due = admission_.next_deadline()) next = std::min(next, *due);
    return next;
}

std::optional<OwnModel::Output> OwnModel::poll() {
    if (out_.empty()) return std::nullopt;
    Output next = std::move(out_.front());
    out_.pop_front();
    return next;
}

}  // namespace shoal::model
