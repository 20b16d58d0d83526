// An engine without a model: deterministic, in virtual time, and held to every rule of engine.h. For tests and for the
// simulator, where thousands of model nodes answer in one process.
//
// A token is the next four bytes of text, cut back to a whole character; a prompt costs four tokens a message besides.
// Prompts are read one after the other at prefill_per_second; every running sequence then gives one token each
// 1 / decode_per_second, whatever the others do. The reply comes from `reply`, by default "echo: " and the last
// message, so that a test can tell whose answer it holds.
//
// Complexity: O(sequences) a tick. Thread: the one that owns the object.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "base/bounded.h"
#include "base/limits.h"
#include "engine/engine.h"
#include "engine/fake_prefixes.h"

namespace shoal::engine {

struct FakeOptions {
    ModelId model = ModelId(ByteArray<32>{0xfa, 0x4e});
    std::uint32_t sequences = 16;
    std::uint32_t context_tokens = 4096;
    double prefill_per_second = 2000;  // tokens
    double decode_per_second = 50;     // tokens, each sequence
    Duration load_time = 0s;           // from the first tick to Ready, and after each death
    Duration restart_delay = limits::engine_restart_min;
    std::function<std::string(const ChatRequest&)> reply;  // well-formed UTF-8
    // Of what it computed of a prompt; 0: that cannot be moved, and no second door is there.
    std::uint32_t prefix_bytes_per_token = 0;
};

class FakeEngine final : public Engine {
public:
    explicit FakeEngine(FakeOptions options);

    void submit(Now now, Job job) override;
    void cancel(Now now, JobId job) override;
    void on_tick(Now now) override;
    std::optional<Instant> next_deadline() const override;
    std::optional<Event> poll() override;
    Health health() const override { return health_; }
    const ModelInfo* model() const override { return ready_once_ ? &model_ : nullptr; }

    Prefixes* prefixes() override { return options_.prefix_bytes_per_token > 0 ? &prefixes_ : nullptr; }
    FakePrefixes& fake_prefixes() { return prefixes_; }

    // What a killed worker does to its node. With `permanent` it never comes back.
    void die(Now now, std::string reason, bool permanent = false);

    // Jobs that decode or are being read, and jobs that wait.
    std::size_t running() const { return running_.size(); }
    std::size_t queued() const { return queue_.size(); }
    // Tokens that a text costs here.
    static std::uint32_t count_tokens(std::string_view text);

private:
    struct Running {
        Job job;
        std::uint32_t prompt = 0;
        std::vector<std::string> tokens;  // of the reply, as far as it will be given
        std::size_t given = 0;
        FinishReason reason = FinishReason::stop;
        std::uint32_t reused = 0;
        bool started = false;
        Instant next_at;  // of Started, then of each token; never, while it waits for a prefix
    };

    void admit(Instant at);
    void plan_reply(Running& run) const;
    void read_prompt(Running& run, Instant at);
    void on_settled(Now now, JobId job, std::uint32_t reused);
    // The next thing that happens to `run` happens; true when that was its end.
    bool step(Running& run);
    void fail_job(const Job& job, AskFault fault, std::string message, Usage usage = {});
    void fail_all(const std::string& message);
    bool holds(JobId job);

    FakeOptions options_;
    FakePrefixes prefixes_;
    ModelInfo model_;
    Health health_ = Health::starting;
    bool ready_once_ = false;
    std::optional<Instant> wakes_at_;  // the model is loaded, or the engine is started again
    Instant prefill_free_at_{};        // when the prompt that is being read is done
    BoundedQueue<Job> queue_{limits::engine_jobs_queued_max};
    std::map<std::uint64_t, Running> running_;  // at most options_.sequences; ordered, so that a run is repeatable
    std::deque<Event> events_;  // at most what its jobs can still cause: bounded by queue_, running_ and reply lengths
};

}  // namespace shoal::engine
