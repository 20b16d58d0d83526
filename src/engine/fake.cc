#include "engine/fake.h"

#include <algorithm>

#include "wire/chat.h"
#include "wire/text.h"

namespace shoal::engine {
namespace {

constexpr std::size_t token_bytes = 4;
constexpr std::uint32_t message_overhead_tokens = 4;

std::vector<std::string> cut_tokens(std::string_view text) {
    std::vector<std::string> tokens;
    while (!text.empty()) {
        std::size_t bytes = std::min(token_bytes, text.size());
        bytes -= wire::utf8_incomplete_tail(text.substr(0, bytes));
        tokens.emplace_back(text.substr(0, bytes));
        text.remove_prefix(bytes);
    }
    return tokens;
}

std::uint32_t prompt_tokens(const ChatRequest& request) {
    std::uint32_t tokens = 0;
    for (const ChatMessage& message : request.messages) {
        tokens += message_overhead_tokens + FakeEngine::count_tokens(message.content.expose());
    }
    return tokens;
}

std::string echo(const ChatRequest& request) {
    return "echo: " + request.messages.back().content.expose();
}

}  // namespace

FakeEngine::FakeEngine(FakeOptions options)
    : options_(std::move(options)),
      prefixes_(options_.prefix_bytes_per_token,
                [this](Now now, JobId job, std::uint32_t reused) { on_settled(now, job, reused); }) {
    ASSERT(options_.sequences >= 1 && options_.sequences <= limits::engine_sequences_max);
    ASSERT(options_.prefill_per_second > 0 && options_.decode_per_second > 0);
    if (!options_.reply) options_.reply = echo;
    model_.id = options_.model;
    model_.architecture = "fake";
    model_.name = "fake";
    model_.parameters = 1;
    model_.context_tokens = options_.context_tokens;
    model_.sequences = options_.sequences;
}

std::uint32_t FakeEngine::count_tokens(std::string_view text) {
    return static_cast<std::uint32_t>(cut_tokens(text).size());
}

bool FakeEngine::holds(JobId job) {
    return running_.contains(job.value()) ||
           std::any_of(queue_.begin(), queue_.end(), [job](const Job& waiting) { return waiting.id == job; });
}

void FakeEngine::submit(Now now, Job job) {
    on_tick(now);
    ASSERT(!holds(job.id));
    if (health_ == Health::down || health_ == Health::dead) {
        return fail_job(job, AskFault::engine_failed, "the engine is down");
    }
    if (const Status valid = wire::check_chat_request(job.request); !valid) {
        return fail_job(job, AskFault::bad_request, valid.error().message);
    }
    const std::uint32_t prompt = prompt_tokens(job.request);
    if (prompt >= options_.context_tokens) {
        return fail_job(job, AskFault::context_exceeded,
                        "the prompt has " + std::to_string(prompt) + " tokens; the context holds " +
                            std::to_string(options_.context_tokens) + " with the reply");
    }
    const JobId id = job.id;
    if (!queue_.push(std::move(job))) {
        Failed full;
        full.job = id;
        full.fault = AskFault::overloaded;
        full.message = "the engine's queue is full";
        events_.push_back(std::move(full));
        return;
    }
    admit(now.mono);
}

void FakeEngine::cancel(Now now, JobId job) {
    on_tick(now);
    if (const auto at = running_.find(job.value()); at != running_.end()) {
        const Running& run = at->second;
        const Usage used = {TokenCount(run.started ? run.prompt : 0),
                            TokenCount(static_cast<std::uint32_t>(run.given))};
        fail_job(run.job, AskFault::cancelled, "cancelled", used);
        prefixes_.forget(job);
        running_.erase(at);
        admit(now.mono);
        return;
    }
    if (!holds(job)) return;
    queue_.erase_if([job](const Job& waiting) { return waiting.id == job; });
    Job gone;
    gone.id = job;
    fail_job(gone, AskFault::cancelled, "cancelled");
}

void FakeEngine::on_tick(Now now) {
    if (health_ == Health::dead) return;
    if (!ready_once_ && health_ == Health::starting && !wakes_at_) wakes_at_ = now.mono + options_.load_time;
    while (wakes_at_ && *wakes_at_ <= now.mono) {
        const Instant at = *wakes_at_;
        if (health_ == Health::down) {
            health_ = Health::starting;
            wakes_at_ = at + options_.load_time;
            continue;
        }
        wakes_at_.reset();
        health_ = Health::ready;
        ready_once_ = true;
        events_.push_back(Ready{model_});
        admit(at);
    }
    // In the order of time, so that one late tick gives the events of many punctual ones.
    for (;;) {
        const auto next = std::min_element(running_.begin(), running_.end(), [](const auto& a, const auto& b) {
            return a.second.next_at < b.second.next_at;
        });
        if (next == running_.end() || next->second.next_at > now.mono) return;
        const Instant at = next->second.next_at;
        if (!step(next->second)) continue;
        running_.erase(next);
        admit(at);
    }
}

bool FakeEngine::step(Running& run) {
    if (!run.started) {
        run.started = true;
        events_.push_back(Started{run.job.id, TokenCount(run.prompt)});
    } else {
        Text text{run.job.id, Plaintext(std::move(run.tokens[run.given])), {}};
        text.completion = TokenCount(static_cast<std::uint32_t>(++run.given));
        events_.push_back(std::move(text));
    }
    run.next_at += from_seconds(1.0 / options_.decode_per_second);
    if (run.given < run.tokens.size()) return false;
    const auto completion = static_cast<std::uint32_t>(run.given);
    std::optional<KeptPrefix> kept;
    if (run.job.request.scope && prefixes() != nullptr) kept = prefixes_.keep(*run.job.request.scope, run.prompt);
    events_.push_back(Finished{
        run.job.id, run.reason, {TokenCount(run.prompt), TokenCount(completion), TokenCount(run.reused)}, kept});
    return true;
}

void FakeEngine::admit(Instant at) {
    while (health_ == Health::ready && !queue_.empty() && running_.size() < options_.sequences) {
        Running run;
        run.job = queue_.pop();
        run.prompt = prompt_tokens(run.job.request);
        plan_reply(run);
        const auto& source = run.job.request.source;
        const double source_tokens = source ? source->kept.tokens : 0;
        const Duration recompute = from_seconds(source_tokens / options_.prefill_per_second);
        if (prefixes() != nullptr && prefixes_.waits(run.job, run.prompt, recompute)) {
            run.next_at = Instant::max();
        } else {
            read_prompt(run, at);
        }
        const std::uint64_t id = run.job.id.value();
        running_.emplace(id, std::move(run));
    }
}

void FakeEngine::read_prompt(Running& run, Instant at) {
    const double tokens = run.prompt - run.reused;
    prefill_free_at_ = std::max(prefill_free_at_, at) + from_seconds(tokens / options_.prefill_per_second);
    run.next_at = prefill_free_at_;
}

void FakeEngine::on_settled(Now now, JobId job, std::uint32_t reused) {
    Running& run = running_.at(job.value());
    run.reused = reused;
    read_prompt(run, now.mono);
}

void FakeEngine::plan_reply(Running& run) const {
    const ChatRequest& request = run.job.request;
    std::string text = options_.reply(request);
    ASSERT(wire::is_utf8(text));
    std::size_t end = text.size();
    for (const std::string& stop : request.stop) end = std::min(end, text.find(stop));
    text.resize(std::min(end, text.size()));
    run.tokens = cut_tokens(text);
    std::uint32_t room = options_.context_tokens - run.prompt;
    if (request.completion_tokens_max > 0) room = std::min(room, request.completion_tokens_max);
    if (run.tokens.size() > room) {
        run.tokens.resize(room);
        run.reason = FinishReason::length;
    }
}

std::optional<Instant> FakeEngine::next_deadline() const {
    std::optional<Instant> next = wakes_at_;
    for (const auto& [id, run] : running_) {
        if (!next || run.next_at < *next) next = run.next_at;
    }
    return next;
}

std::optional<Event> FakeEngine::poll() {
    if (events_.empty()) return std::nullopt;
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
}

void FakeEngine::die(Now now, std::string reason, bool permanent) {
    on_tick(now);
    if (health_ == Health::dead) return;
    fail_all("the engine died: " + reason);
    events_.push_back(Down{std::move(reason), permanent});
    health_ = permanent ? Health::dead : Health::down;
    wakes_at_.reset();
    if (!permanent) wakes_at_ = now.mono + options_.restart_delay;
    prefill_free_at_ = now.mono;
}

void FakeEngine::fail_all(const std::string& message) {
    for (const auto& [id, run] : running_) {
        const Usage used = {TokenCount(run.started ? run.prompt : 0),
                            TokenCount(static_cast<std::uint32_t>(run.given))};
        fail_job(run.job, AskFault::engine_failed, message, used);
    }
    running_.clear();
    while (!queue_.empty()) fail_job(queue_.pop(), AskFault::engine_failed, message);
    prefixes_.clear();
}

void FakeEngine::fail_job(const Job& job, AskFault fault, std::string message, Usage usage) {
    events_.push_back(Failed{job.id, fault, std::move(message), usage});
}

}  // namespace shoal::engine
