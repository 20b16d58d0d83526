// Continuous batching: every step computes one token of each running sequence and a piece of the prompts that wait.
//
// Rules
//   1. A step holds all running sequences, so a stream is never starved by a prompt. While anything else is active,
//      prompts together get prompt_tokens_shared a step; alone, a prompt gets limits::prefill_chunk_tokens.
//      Rationale: a step's time bounds how long a token is late; on processors 128 tokens a step cost about as little
//      each as 512 do.
//   2. Prompts share a step equally, so that a short one beside a long one is soon done.
//   3. A job starts when a sequence is free and the cells that it may come to need are, in the order of arrival.
//      Rationale: reserved, not hoped for: no running job is ever thrown out for want of memory.
//   4. completion counts every token that was sampled, the one that ends the generation included; prompt counts what
//      was computed.
//
// A step's cost is the model's, and O(vocabulary) for each running sequence. One thread.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "engine_worker/model.h"
#include "engine_worker/sampler.h"
#include "engine_worker/text_stream.h"

namespace shoal::engine_worker {

inline constexpr std::uint32_t prompt_tokens_shared = 128;

class Batcher {
public:
    using Emit = std::function<void(const engine::pipe::FromWorker&)>;

    // `model` must outlive it.
    Batcher(Model& model, Emit emit);
    ~Batcher();

    void submit(engine::Job job);
    void cancel(JobId job);
    bool busy() const { return !queue_.empty() || !running_.empty(); }
    // One step, when busy.
    void step();

private:
    struct Waiting {
        engine::Job job;
        TokenIds prompt;
        std::uint32_t cells = 0;  // that it may come to need
    };
    struct Running {
        JobId job;
        llama_seq_id sequence = 0;
        TokenIds prompt;
        std::uint32_t fed = 0;  // tokens of the prompt that were computed
        std::uint32_t completion = 0;
        std::uint32_t completion_max = 0;
        std::uint32_t cells = 0;
        llama_token pending = 0;  // sampled, not computed yet
        std::int32_t row = -1;    // of this step's batch, whose logits are wanted
        std::unique_ptr<Sampler> sampler;
        std::unique_ptr<TextStream> text;
        bool reading() const { return fed < prompt.expose().size(); }
    };

    void admit();
    void start(Waiting waiting);
    void fill_batch();
    void add_prompts(std::uint32_t budget);
    void add_row(Running& run, llama_token token, std::uint32_t position, bool wanted);
    // What a row's logits mean for its sequence; true when that was its end.
    bool take(Running& run);
    void give_text(Running& run, std::string text);
    void end(Running& run, FinishReason reason);
    void fail_job(JobId job, AskFault fault, const std::string& message, Usage usage = {});
    void release(const Running& run);
    void fail_step();
    bool is_known(JobId job) const;
    Usage usage(const Running& run) const { return {TokenCount(run.fed), TokenCount(run.completion)}; }

    Model& model_;
    Emit emit_;
    llama_batch batch_;
    std::deque<Waiting> queue_;  // at most limits::engine_jobs_queued_max
    std::vector<std::unique_ptr<Running>> running_;
    std::vector<llama_seq_id> free_sequences_;
    std::uint32_t free_cells_;
    bool prompts_last_ = false;  // for models of one kind a step: what the step before was
};

}  // namespace shoal::engine_worker
