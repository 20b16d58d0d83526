// Continuous batching: every step computes one token of each running sequence and a piece of the prompts that wait.
//
// Rules
//   1. A step holds all running sequences, so a stream is never starved by a prompt. Beside such, and over stages,
//      prompts together get prompt_tokens_shared a step, else prompt_tokens_only (engine/prompt_steps.h).
//   2. Where prompts have to wait for each other the shortest comes first: one that fits has a step for itself, but not
//      twice in a row. In the other steps a quarter is kept for the longest.
//      Rationale: a short request beside a long one is soon done, and the long one is hardly later for it.
//   3. A job starts when a sequence is free and the cells that it may come to need are, in the order of arrival.
//      Rationale: reserved, not hoped for: no running job is ever thrown out for want of memory.
//      What is only kept (rule 7) counts as free: it goes, the oldest first, before a job would wait.
//   4. Over stages on other machines several steps are under way at once (Backbone::steps_max): then the sequences that
//      decode are shared among them, those first that have waited longest, and the pieces of a prompt follow each
//      other without waiting for results.
//      Rationale: while one stage computes a step the others would have nothing to do.
//   5. Where the next tokens can be guessed, a sequence that decodes has rows for its guesses too, at most
//      guess_rows_max a step together. A guess counts when it is the token that is drawn from the logits of the row
//      before it; from the first that is not, the sequence is set back. So guesses change no token.
//   6. completion counts every token that was sampled, the one that ends the generation included; prompt counts what
//      was read, reused how much of that was not computed.
//   7. The sequence of a job with a scope stays as it is when the job has ended (prefix_cache.h), for a later job of
//      that scope whose prompt begins the same: that one reads only the rest. After an error nothing stays, and in a
//      model with recurrent layers neither: their state cannot be set back, and a part of it would be silently wrong.
//   8. A job starts beside no more of what is kept for others than slows it by a twentieth (beside_tokens_max of the
//      backbone). When it is alone, all of it goes where more cells than that have been in use since all were free:
//      what is left may lie far apart, and attention passes over what is in between as well.
//   9. A job that names an engine with more of its prompt than this one kept asks for it (engine/prefixes.h) and waits,
//      with its sequence, where reading that itself would take limits::prefix_recompute_min or longer. What a token
//      takes is measured; where nothing was read yet, the first measured_tokens_min of this prompt are read first.
//      What comes is used when all of it was checked (kv_snapshot.h); else the job reads its prompt, as if it had never
//      asked.
//  10. A job whose rows are lost in the middle of its reply has its prompt and the reply so far read again, and goes
//      on: tokens were drawn, so none changes. It ends when that has happened starts_over_max times without a token
//      more.
//
// A step's cost is the model's, and O(vocabulary) for each running sequence. One thread.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "engine_worker/backbone.h"
#include "engine_worker/far_giver.h"
#include "engine_worker/kv_snapshot.h"
#include "engine_worker/model.h"
#include "engine_worker/prefix_cache.h"
#include "engine_worker/prefix_giver.h"
#include "engine_worker/sampler.h"
#include "engine_worker/speculation.h"
#include "engine_worker/text_stream.h"

namespace shoal::engine_worker {

class Batcher {
public:
    using Emit = std::function<void(const engine::pipe::FromWorker&)>;
    using Clock = std::function<std::chrono::steady_clock::time_point()>;
    static constexpr std::uint32_t measured_tokens_min = 32;
    static constexpr unsigned starts_over_max = 3;

    // Both must outlive it. Of `model` the text side is used, and its sizes.
    Batcher(Model& model, Backbone& backbone, Speculation speculation, Emit emit,
            Clock clock = std::chrono::steady_clock::now);

    void submit(engine::Job job);
    void cancel(JobId job);
    // There is something to do without being told anything.
    bool busy() const;
    // Jobs wait for what other engines computed.
    bool waits() const { return waiting() > 0; }
    std::size_t under_way() const { return steps_.size(); }
    // Begins one more step; false: there is nothing to begin now.
    bool begin_step();
    // Which rows of the oldest step under way have logits that are wanted.
    const std::vector<std::size_t>& wanted_rows() const { return steps_.front().wanted; }
    // It is computed. `logits` gives those of a wanted row, by its place in the step; nullptr: there are none.
    void end_step(const std::function<const float*(std::size_t row)>& logits);
    // Nothing that is under way will come, and the backbone holds nothing any more. What waits goes on waiting. All
    // that run end, or those with a token of their reply go on by rule 10.
    void fail_all(const std::string& why);
    void start_over(const std::string& why);
    // What waits ends as well.
    void fail_waiting(const std::string& why);

    // Rule 9: of what the job waits for. Of a job that does not wait it is dropped.
    void give(JobId job, ByteView bytes, bool last);
    void give_up(JobId job);
    // What others wait for: of what is kept here, or elsewhere.
    PrefixGiver& giver() { return giver_; }
    FarGiver& far_giver() { return far_giver_; }

private:
    struct Waiting {
        engine::Job job;
        TokenIds prompt;
        std::uint32_t cells = 0;  // that it may come to need
    };
    struct Running {
        JobId job;
        llama_seq_id sequence = 0;
        TokenIds tokens;  // of the prompt, and what was said
        std::uint32_t prompt = 0;
        std::uint32_t to_read = 0;  // tokens: the prompt, or after rule 10 all that there were
        std::uint32_t fed = 0;      // of these, computed or reused
        std::uint32_t reused = 0;   // of these
        std::uint32_t completion = 0;
        std::uint32_t completion_max = 0;
        std::uint32_t cells = 0;
        std::uint32_t steps = 0;                 // under way, with rows of it
        std::uint64_t stepped = 0;               // its turn, when it was last decoded
        bool awaits = false;                     // logits are under way
        bool cancelled = false;                  // ends when nothing of it is under way
        std::optional<PrefixScope> scope;        // none: nothing is kept of it
        std::optional<PrefixSource> source;      // that it has not asked yet
        std::unique_ptr<SnapshotIntake> intake;  // while it waits for one
        std::optional<KvCopy> copy;              // what came, while it is put in its place by steps
        std::uint32_t placed = 0;                // tokens of it
        std::optional<engine::Finished> end;     // to be said
        std::unique_ptr<Sampler> sampler;
        std::unique_ptr<TextStream> text;
        unsigned starts_over = 0;  // since it said something
        bool reading() const { return fed < to_read; }
        // One that is to ask reads only what is measured first.
        bool computes() const { return !cancelled && !intake && !copy && !(source && steps > 0); }
        // That its sequence holds for certain once nothing is under way. The last token was not computed yet, or is not
        // known to be.
        std::uint32_t held() const { return reading() ? fed : static_cast<std::uint32_t>(tokens.expose().size()) - 1; }
        // Sampled, not computed yet.
        llama_token pending() const { return tokens.expose().back(); }
    };
    // A sequence that takes the logits of rows that follow on: of the last token it has, then of each guess.
    struct Taker {
        Running* run = nullptr;
        std::size_t row = 0;
        Guess guess;
    };
    struct Step {
        std::vector<Running*> runs;       // each that has rows in it
        std::vector<std::size_t> wanted;  // rows
        std::vector<Taker> takers;
        std::chrono::steady_clock::time_point began;
        std::size_t rows = 0;
        bool with_prompts = false;
    };

    void admit();
    void start(Waiting waiting);
    bool has_room(const Waiting& next) const;
    // Rules 7, 8 and 3.
    void take_sequence(Running& run);
    // Rule 9.
    std::size_t waiting() const;
    Running* find_waiting(JobId job);
    bool is_of_use(const Running& run, const KeptPrefix& kept) const;
    void ask_for_prefix(Running& run);
    void refuse(Running& run, const std::string& why);
    void use_prefix(Running& run);
    // A piece of what some job waits for, or other engines do; false: none does.
    bool begin_move();
    bool begin_place();
    void drop_what_fits_no_more(Running& run);
    void measure(const Step& step);
    void drop(const PrefixCache::Taken& kept);
    void drop_kept(std::uint32_t tokens_left);
    std::uint32_t cells_in_use() const;
    void fill(Step& step);
    void add_decodes(Step& step);
    void add_prompts(Step& step, std::uint32_t budget);
    void add_row(Step& step, Running& run, llama_token token, std::uint32_t position, bool wanted);
    Guess guess(const Running& run, std::size_t most);
    // Rule 5. True when that was the end of the sequence.
    bool take_all(const Step& step, const Taker& taker, const std::function<const float*(std::size_t row)>& logits);
    // What the logits mean for its sequence; true when that was its end.
    bool take(Running& run, const float* logits);
    void give_text(Running& run, std::string text);
    void end(Running& run, FinishReason reason);
    void fail(Running& run, const std::string& why);
    void fail_job(JobId job, AskFault fault, const std::string& message, Usage usage = {});
    void release(Running& run);
    bool is_known(JobId job) const;
    Usage usage(const Running& run) const {
        return {TokenCount(run.completion > 0 ? run.prompt : run.fed), TokenCount(run.completion),
                TokenCount(run.reused)};
    }

    Model& model_;
    Backbone& backbone_;
    Speculation speculation_;
    Emit emit_;
    std::vector<BatchRow> rows_;  // of the step that is being filled; at most limits::prefill_chunk_tokens
    std::deque<Step> steps_;      // under way; at most Backbone::steps_max
    std::deque<Waiting> queue_;   // at most limits::engine_jobs_queued_max
    std::vector<std::unique_ptr<Running>> running_;
    PrefixCache kept_;
    std::uint32_t kept_tokens_max_;
    PrefixGiver giver_;
    FarGiver far_giver_;
    Clock clock_;
    std::chrono::steady_clock::duration last_step_{};
    std::uint64_t decoded_ = 0;                   // sequences, one after another
    std::chrono::duration<double> token_time_{};  // of a prompt, lately; 0: not known yet
    // Each sequence is free, a job's or kept; and so is each cell.
    std::vector<llama_seq_id> free_sequences_;
    std::uint32_t free_cells_;
    std::uint32_t cells_peak_ = 0;  // in use at once since all were free
    bool prompts_last_ = false;     // for models of one kind a step: what the step before was
    bool short_last_ = false;       // rule 2: the prompts of the step before were short ones only
    bool moved_last_ = false;       // the step before computed nothing
};

}  // namespace shoal::engine_worker
