#include "engine_worker/batcher.h"

#include <algorithm>
#include <set>

#include "engine/prompt_steps.h"
#include "wire/text.h"

namespace shoal::engine_worker {

using engine::Failed;
using engine::Finished;
using engine::Started;
using engine::Text;

Batcher::Batcher(Model& model, Backbone& backbone, Speculation speculation, Emit emit, Clock clock)
    : model_(model),
      backbone_(backbone),
      speculation_(std::move(speculation)),
      emit_(std::move(emit)),
      kept_tokens_max_(backbone.kept_tokens_max()),
      giver_(backbone, kept_, emit_),
      far_giver_(backbone, kept_, emit_),
      clock_(std::move(clock)),
      free_cells_(model.cells) {
    if (model.one_kind_a_step) kept_tokens_max_ = 0;
    for (std::uint32_t i = model.info.sequences; i > 0; --i)
        free_sequences_.push_back(static_cast<llama_seq_id>(i - 1));
}

bool Batcher::busy() const {
    const bool computes = std::any_of(running_.begin(), running_.end(), [](const auto& r) { return r->computes(); });
    return computes || !steps_.empty() || giver_.busy() || (!queue_.empty() && has_room(queue_.front()));
}

bool Batcher::is_known(JobId job) const {
    return giver_.knows(job) || far_giver_.knows(job) ||
           std::any_of(queue_.begin(), queue_.end(), [job](const Waiting& w) { return w.job.id == job; }) ||
           std::any_of(running_.begin(), running_.end(),
                       [job](const auto& r) { return r->job == job && !r->cancelled; });
}

void Batcher::submit(engine::Job job) {
    if (is_known(job.id)) return;  // an id names one job: a second one would end twice
    if (queue_.size() >= limits::engine_jobs_queued_max) {
        return fail_job(job.id, AskFault::overloaded, "the engine's queue is full");
    }
    const Result<std::vector<Segment>> segments = model_.chat_template->render(job.request);
    if (!segments) return fail_job(job.id, AskFault::bad_request, segments.error().message);
    Waiting waiting{std::move(job), model_.tokenizer->tokenize(*segments)};
    const std::size_t prompt = waiting.prompt.expose().size();
    const std::uint32_t context = model_.info.context_tokens;
    if (prompt == 0) return fail_job(waiting.job.id, AskFault::bad_request, "messages: the prompt is empty");
    if (prompt >= context) {
        return fail_job(waiting.job.id, AskFault::context_exceeded,
                        "messages: the prompt has " + std::to_string(prompt) + " tokens; the model's context holds " +
                            std::to_string(context) + " with the reply");
    }
    std::uint32_t completion = context - static_cast<std::uint32_t>(prompt);
    const std::uint32_t asked = waiting.job.request.completion_tokens_max;
    if (asked > 0) completion = std::min(completion, asked);
    waiting.job.request.completion_tokens_max = completion;
    waiting.cells = static_cast<std::uint32_t>(prompt) + completion;
    queue_.push_back(std::move(waiting));
}

void Batcher::cancel(JobId job) {
    if (giver_.hurry(job) || far_giver_.hurry(job)) return;
    for (auto at = queue_.begin(); at != queue_.end(); ++at) {
        if (at->job.id != job) continue;
        queue_.erase(at);
        return fail_job(job, AskFault::cancelled, "cancelled");
    }
    for (auto at = running_.begin(); at != running_.end(); ++at) {
        Running& run = **at;
        if (run.job != job || run.cancelled) continue;
        fail_job(job, AskFault::cancelled, "cancelled", usage(run));
        run.cancelled = true;
        if (run.steps > 0) return;  // released when they are back
        release(run);
        running_.erase(at);
        return;
    }
}

void Batcher::admit() {
    while (!queue_.empty() && has_room(queue_.front())) {
        Waiting next = std::move(queue_.front());
        queue_.pop_front();
        start(std::move(next));
    }
}

bool Batcher::has_room(const Waiting& next) const {
    return (!free_sequences_.empty() || !kept_.empty()) && next.cells <= free_cells_ + kept_.tokens();
}

void Batcher::drop(const PrefixCache::Taken& kept) {
    backbone_.truncate(kept.sequence, 0);
    free_sequences_.push_back(kept.sequence);
    free_cells_ += kept.held;
}

void Batcher::drop_kept(std::uint32_t tokens_left) {
    while (kept_.tokens() > tokens_left) drop(*kept_.take_oldest());
}

std::uint32_t Batcher::cells_in_use() const {
    std::uint32_t out = kept_.tokens();
    for (const auto& run : running_)
        out += run->reading() ? run->fed : static_cast<std::uint32_t>(run->tokens.expose().size());
    return out;
}

void Batcher::take_sequence(Running& run) {
    std::optional<PrefixCache::Taken> match;
    if (run.scope) match = kept_.take(*run.scope, run.tokens.expose());
    if (match) {
        backbone_.truncate(match->sequence, match->common);
        if (backbone_.holds(match->sequence, match->common)) {
            run.sequence = match->sequence;
            run.fed = run.reused = match->common;
            free_cells_ += match->held;
        } else {
            drop(*std::exchange(match, std::nullopt));
        }
    }
    const bool apart = running_.empty() && cells_peak_ > backbone_.beside_tokens_max();
    drop_kept(apart ? 0 : backbone_.beside_tokens_max());
    while (run.cells > free_cells_ || (!match && free_sequences_.empty())) drop(*kept_.take_oldest());
    if (!match && free_cells_ == model_.cells) cells_peak_ = 0;
    free_cells_ -= run.cells;
    if (match) return;
    run.sequence = free_sequences_.back();
    free_sequences_.pop_back();
}

void Batcher::start(Waiting waiting) {
    auto run = std::make_unique<Running>();
    const ChatRequest& request = waiting.job.request;
    run->job = waiting.job.id;
    run->cells = waiting.cells;
    run->scope = request.scope;
    run->source = request.source;
    run->completion_max = request.completion_tokens_max;
    run->tokens = std::move(waiting.prompt);
    run->prompt = run->to_read = static_cast<std::uint32_t>(run->tokens.expose().size());
    take_sequence(*run);
    run->sampler = std::make_unique<Sampler>(
        request.sampling, Noise(waiting.job.client_seed, request.sampling.seed, run->tokens.expose()));
    run->text = std::make_unique<TextStream>(request.stop);
    emit_(Started{run->job, TokenCount(run->prompt)});
    running_.push_back(std::move(run));
}

void Batcher::add_row(Step& step, Running& run, llama_token token, std::uint32_t position, bool wanted) {
    if (step.runs.empty() || step.runs.back() != &run) {
        step.runs.push_back(&run);
        ++run.steps;
    }
    if (wanted) step.wanted.push_back(rows_.size());
    rows_.push_back({token, position, run.sequence, wanted});
}

void Batcher::fill(Step& step) {
    rows_.clear();
    const bool prompts =
        std::any_of(running_.begin(), running_.end(), [](const auto& r) { return r->reading() && r->computes(); });
    const bool decodes = std::any_of(running_.begin(), running_.end(),
                                     [](const auto& r) { return !r->reading() && !r->awaits && r->computes(); });
    // Recurrent layers take rows of one kind only: then the two kinds take turns.
    const bool only_prompts = model_.one_kind_a_step && prompts && !(decodes && prompts_last_);
    if (!only_prompts) add_decodes(step);
    const bool with_prompts = prompts && (!model_.one_kind_a_step || only_prompts);
    if (with_prompts) {
        const bool only = backbone_.steps_max() == 1 &&
                          std::all_of(running_.begin(), running_.end(), [](const auto& r) { return r->reading(); });
        const std::uint32_t limit = only ? engine::prompt_tokens_only : engine::prompt_tokens_shared;
        add_prompts(step, std::min(limit, limits::prefill_chunk_tokens - static_cast<std::uint32_t>(rows_.size())));
    }
    prompts_last_ = with_prompts;
    step.with_prompts = with_prompts;
    step.rows = rows_.size();
}

// What is computed with it must fit into what the job may come to need, and be of use: the last token needs no guess.
Guess Batcher::guess(const Running& run, std::size_t most) {
    if (!speculation_.any() || model_.one_kind_a_step) return {};
    most = std::min<std::size_t>(most, run.completion_max - run.completion - 1);
    return speculation_.guess(run.sequence, run.tokens.expose(), most, *run.sampler);
}

void Batcher::add_decodes(Step& step) {
    std::vector<Running*> decoding;
    for (const auto& run : running_) {
        if (!run->reading() && !run->cancelled) decoding.push_back(run.get());
    }
    const std::size_t share = (decoding.size() + backbone_.steps_max() - 1) / backbone_.steps_max();
    std::erase_if(decoding, [](const Running* run) { return run->awaits; });
    std::stable_sort(decoding.begin(), decoding.end(), [](Running* a, Running* b) { return a->stepped < b->stepped; });
    decoding.resize(std::min(decoding.size(), share));
    for (Running* run : decoding) {
        run->stepped = ++decoded_;
        auto position = static_cast<std::uint32_t>(run->tokens.expose().size()) - 1;
        Taker taker{run, rows_.size(), guess(*run, guess_rows_max / std::max<std::size_t>(share, 1))};
        add_row(step, *run, run->pending(), position, true);
        for (const llama_token token : taker.guess.tokens) add_row(step, *run, token, ++position, true);
        step.takers.push_back(std::move(taker));
        run->awaits = true;
    }
}

// Rule 2.
void Batcher::add_prompts(Step& step, std::uint32_t budget) {
    std::vector<Running*> reading;
    for (auto& run : running_) {
        if (run->reading() && run->computes()) reading.push_back(run.get());
    }
    const auto left = [](const Running* run) { return run->to_read - run->fed; };
    if (model_.one_kind_a_step) reading.resize(1);
    std::stable_sort(reading.begin(), reading.end(), [&left](Running* a, Running* b) { return left(a) < left(b); });
    std::size_t all = 0;
    for (const Running* run : reading) all += left(run);
    const bool some_wait = reading.size() > 1 && all > budget;
    const bool short_only = some_wait && !short_last_ && left(reading[0]) <= budget;
    std::uint32_t kept = some_wait && !short_only ? budget / 4 : 0;
    short_last_ = short_only;
    for (Running* run : reading) {
        if (short_only && left(run) > budget) return;
        if (run == reading.back()) kept = 0;
        std::uint32_t count = std::min(left(run), budget - kept);
        if (run->source) count = std::min(count, measured_tokens_min);
        for (std::uint32_t j = 0; j < count; ++j, ++run->fed) {
            const bool last = run->fed + 1 == run->to_read;
            if (last) {
                step.takers.push_back({run, rows_.size(), {}});
                run->awaits = true;
            }
            add_row(step, *run, run->tokens.expose()[run->fed], run->fed, last);
        }
        budget -= count;
    }
}

bool Batcher::begin_step() {
    if (steps_.size() >= backbone_.steps_max()) return false;
    giver_.work(last_step_);
    admit();
    for (auto& run : running_) {
        if (run->source && run->steps == 0) ask_for_prefix(*run);
        if (run->copy) drop_what_fits_no_more(*run);
    }
    // They take turns with what is computed.
    if (!moved_last_ && begin_move()) return moved_last_ = true;
    moved_last_ = false;
    Step step;
    step.began = clock_();
    fill(step);
    if (rows_.empty()) return begin_move();
    cells_peak_ = std::max(cells_peak_, cells_in_use());
    steps_.push_back(std::move(step));
    // Which sequence is at fault cannot be told, so all end.
    if (const Status begun = backbone_.begin(rows_); !begun) {
        fail_all(begun.error().message);
        return false;
    }
    return true;
}

bool Batcher::begin_move() {
    if (begin_place()) return true;
    if (!far_giver_.begin()) return false;
    steps_.emplace_back();
    return true;
}

// Other stages have taken over since, and keep tokens in another form.
void Batcher::drop_what_fits_no_more(Running& run) {
    const KvShape* shape = backbone_.kv_shape();
    if (shape != nullptr && *shape == run.copy->shape()) return;
    if (run.placed > 0) {
        backbone_.truncate(run.sequence, 0);
        run.fed = 0;
    }
    run.copy.reset();
}

bool Batcher::begin_place() {
    const auto at =
        std::find_if(running_.begin(), running_.end(), [](const auto& r) { return r->copy && !r->cancelled; });
    if (at == running_.end()) return false;
    Running& run = **at;
    run.placed += backbone_.begin_place(run.sequence, *run.copy, run.placed);
    Step step;
    step.runs.push_back(&run);
    ++run.steps;
    steps_.push_back(std::move(step));
    if (run.placed < run.copy->tokens()) return true;
    // Steps end in their order, so what is begun now comes behind it.
    run.fed = run.reused = run.placed;
    run.copy.reset();
    return true;
}

void Batcher::end_step(const std::function<const float*(std::size_t row)>& logits) {
    ASSERT(!steps_.empty());
    const Step step = std::move(steps_.front());
    steps_.pop_front();
    measure(step);
    if (step.rows > 0) last_step_ = clock_() - step.began;
    for (Running* run : step.runs) --run->steps;
    std::set<const Running*> ended;
    for (const Taker& taker : step.takers) {
        taker.run->awaits = false;
        if (!taker.run->cancelled && take_all(step, taker, logits)) ended.insert(taker.run);
    }
    for (std::size_t i = 0; i < running_.size();) {
        Running& run = *running_[i];
        if (!ended.contains(&run) && !(run.cancelled && run.steps == 0)) {
            ++i;
            continue;
        }
        release(run);
        running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    }
}

bool Batcher::take_all(const Step& step, const Taker& taker,
                       const std::function<const float*(std::size_t row)>& logits) {
    Running& run = *taker.run;
    const std::vector<llama_token>& guesses = taker.guess.tokens;
    std::size_t right = 0;
    bool ended = take(run, logits(taker.row));
    while (!ended && right < guesses.size() && guesses[right] == run.pending()) {
        ++right;
        ended = take(run, logits(taker.row + right));
    }
    if (!step.with_prompts && !ended) {
        speculation_.note(taker.guess.drafter, guesses.size(), right, clock_() - step.began);
    }
    if (!ended && right < guesses.size()) {
        backbone_.truncate(run.sequence, static_cast<std::uint32_t>(run.tokens.expose().size()) - 1);
    }
    return ended;
}

bool Batcher::take(Running& run, const float* logits) {
    const auto count = static_cast<std::size_t>(llama_vocab_n_tokens(model_.vocab()));
    const std::optional<std::int32_t> token =
        logits == nullptr ? std::nullopt : run.sampler->next(std::span<const float>(logits, count));
    if (!token) {
        fail_job(run.job, AskFault::engine_failed, "the model gave no finite logits", usage(run));
        run.scope.reset();
        return true;
    }
    ++run.completion;
    run.starts_over = 0;
    run.tokens.append(*token);
    if (model_.tokenizer->ends_generation(*token)) {
        end(run, FinishReason::stop);
        return true;
    }
    give_text(run, run.text->feed(model_.tokenizer->piece(*token)));
    if (run.text->stopped()) {
        end(run, FinishReason::stop);
        return true;
    }
    if (run.completion < run.completion_max && run.text->given_bytes() < limits::reply_bytes_max) return false;
    end(run, FinishReason::length);
    return true;
}

void Batcher::give_text(Running& run, std::string text) {
    std::string_view rest = text;
    while (!rest.empty()) {
        std::string_view part = rest.substr(0, engine::pipe::text_bytes_max);
        part.remove_suffix(wire::utf8_incomplete_tail(part));
        emit_(Text{run.job, Plaintext(std::string(part)), TokenCount(run.completion)});
        rest.remove_prefix(part.size());
    }
    wipe(text.data(), text.size());
}

void Batcher::end(Running& run, FinishReason reason) {
    give_text(run, run.text->finish(reason == FinishReason::length));
    run.end = Finished{run.job, reason, usage(run)};
}

void Batcher::release(Running& run) {
    speculation_.forget(run.sequence);
    std::uint32_t kept = 0;
    if (run.scope && kept_tokens_max_ > 0) {
        kept = kept_.keep(*run.scope, std::span(run.tokens.expose()).first(run.held()), run.sequence);
    }
    backbone_.truncate(run.sequence, kept);
    if (run.end && kept > 0) {
        const auto prompt = std::span(run.tokens.expose()).first(run.prompt);
        if (backbone_.moves_by_steps()) {
            far_giver_.finish(*run.end, *run.scope, prompt, run.sequence);
        } else {
            giver_.finish(*run.end, *run.scope, prompt, run.sequence);
        }
    } else if (run.end) {
        emit_(*run.end);
    }
    free_cells_ += run.cells - kept;
    if (kept == 0) free_sequences_.push_back(run.sequence);
    drop_kept(kept_tokens_max_);
}

void Batcher::fail(Running& run, const std::string& why) {
    run.intake.reset();
    run.copy.reset();
    if (!run.cancelled) fail_job(run.job, AskFault::engine_failed, why, usage(run));
    run.scope.reset();
    release(run);
}

void Batcher::fail_all(const std::string& why) {
    for (const auto& run : running_) fail(*run, why);
    running_.clear();
    steps_.clear();
    far_giver_.lost();
    drop_kept(0);  // the backbone may have lost what it held
}

void Batcher::fail_waiting(const std::string& why) {
    for (const Waiting& waiting : std::exchange(queue_, {})) fail_job(waiting.job.id, AskFault::engine_failed, why);
}

void Batcher::start_over(const std::string& why) {
    std::erase_if(running_, [&](const auto& run) {
        if (run->cancelled || run->completion == 0 || ++run->starts_over > starts_over_max) {
            fail(*run, why);
            return true;
        }
        run->steps = 0;
        run->awaits = false;
        run->fed = run->reused = 0;
        run->to_read = static_cast<std::uint32_t>(run->tokens.expose().size());
        return false;
    });
    steps_.clear();
    far_giver_.lost();
    drop_kept(0);
}

// ---- rule 9 --------------------------------------------------------------------------------------------------------

std::size_t Batcher::waiting() const {
    return static_cast<std::size_t>(
        std::count_if(running_.begin(), running_.end(), [](const auto& r) { return r->intake != nullptr; }));
}

Batcher::Running* Batcher::find_waiting(JobId job) {
    const auto at = std::find_if(running_.begin(), running_.end(),
                                 [job](const auto& r) { return r->job == job && r->intake != nullptr; });
    return at == running_.end() ? nullptr : at->get();
}

void Batcher::measure(const Step& step) {
    if (!step.with_prompts || step.rows < measured_tokens_min) return;
    const std::chrono::duration<double> each = (clock_() - step.began) / static_cast<double>(step.rows);
    token_time_ = token_time_.count() == 0 ? each : (3 * token_time_ + each) / 4;
}

bool Batcher::is_of_use(const Running& run, const KeptPrefix& kept) const {
    const KvShape* shape = backbone_.kv_shape();
    if (shape == nullptr || !run.scope) return false;
    if (kept.tokens < PrefixGiver::tokens_min || kept.tokens % prefix_block_tokens != 0) return false;
    if (kept.tokens <= run.fed || kept.tokens >= run.prompt || kept.bytes > backbone_.moved_bytes_max()) return false;
    return kept.bytes == snapshot_bytes(*shape, kept.tokens);
}

void Batcher::ask_for_prefix(Running& run) {
    const PrefixSource source = *run.source;
    const bool of_use = is_of_use(run, source.kept);
    if (of_use && token_time_.count() == 0) return;
    run.source.reset();
    if (!of_use) return;
    if (waiting() >= limits::prefix_fetches_max) return;
    const auto recompute = std::chrono::duration_cast<Duration>(token_time_ * (source.kept.tokens - run.fed));
    if (recompute < limits::prefix_recompute_min) return;
    run.intake = std::make_unique<SnapshotIntake>(*backbone_.kv_shape(), source.kept.tokens, source.kept.digest);
    const auto tokens = std::span(run.tokens.expose()).first(source.kept.tokens);
    emit_(engine::pipe::PrefixAsk{run.job, prefix_chain(*run.scope, tokens), std::min<Duration>(recompute, 24h)});
}

void Batcher::give(JobId job, ByteView bytes, bool last) {
    Running* run = find_waiting(job);
    if (run == nullptr) return;
    if (const Status fed = run->intake->feed(bytes); !fed) return refuse(*run, fed.error().message);
    if (!last) return;
    if (!run->intake->complete()) return refuse(*run, "the snapshot of a prefix ends too early");
    use_prefix(*run);
}

void Batcher::give_up(JobId job) {
    if (Running* run = find_waiting(job)) run->intake.reset();
}

void Batcher::refuse(Running& run, const std::string& why) {
    run.intake.reset();
    emit_(engine::PrefixRefused{run.job, wire::plain_text(why, engine::pipe::reason_bytes_max)});
}

void Batcher::use_prefix(Running& run) {
    KvCopy copy = run.intake->take();
    run.intake.reset();
    if (backbone_.moves_by_steps()) {
        run.copy = std::move(copy);
        return;
    }
    run.fed = run.reused = copy.tokens();
    const Status placed = backbone_.place(run.sequence, copy);
    if (placed && backbone_.holds(run.sequence, run.fed)) return;
    backbone_.truncate(run.sequence, 0);
    run.fed = run.reused = 0;
}

void Batcher::fail_job(JobId job, AskFault fault, const std::string& message, Usage usage) {
    emit_(Failed{job, fault, wire::plain_text(message, engine::pipe::reason_bytes_max), usage});
}

}  // namespace shoal::engine_worker
