#include "engine_worker/batcher.h"

#include <algorithm>

#include "wire/text.h"

namespace shoal::engine_worker {

using engine::Failed;
using engine::Finished;
using engine::Started;
using engine::Text;

Batcher::Batcher(Model& model, Emit emit)
    : model_(model),
      emit_(std::move(emit)),
      batch_(llama_batch_init(static_cast<std::int32_t>(limits::prefill_chunk_tokens), 0, 1)),
      free_cells_(model.cells) {
    for (std::uint32_t i = model.info.sequences; i > 0; --i)
        free_sequences_.push_back(static_cast<llama_seq_id>(i - 1));
    batch_.n_tokens = 0;
}

Batcher::~Batcher() {
    llama_batch_free(batch_);
}

bool Batcher::is_known(JobId job) const {
    return std::any_of(queue_.begin(), queue_.end(), [job](const Waiting& w) { return w.job.id == job; }) ||
           std::any_of(running_.begin(), running_.end(), [job](const auto& r) { return r->job == job; });
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
    for (auto at = queue_.begin(); at != queue_.end(); ++at) {
        if (at->job.id != job) continue;
        queue_.erase(at);
        return fail_job(job, AskFault::cancelled, "cancelled");
    }
    for (auto at = running_.begin(); at != running_.end(); ++at) {
        if ((*at)->job != job) continue;
        const Usage used = usage(**at);
        release(**at);
        running_.erase(at);
        return fail_job(job, AskFault::cancelled, "cancelled", used);
    }
}

void Batcher::admit() {
    while (!queue_.empty() && !free_sequences_.empty() && queue_.front().cells <= free_cells_) {
        Waiting next = std::move(queue_.front());
        queue_.pop_front();
        start(std::move(next));
    }
}

void Batcher::start(Waiting waiting) {
    auto run = std::make_unique<Running>();
    const ChatRequest& request = waiting.job.request;
    run->job = waiting.job.id;
    run->sequence = free_sequences_.back();
    free_sequences_.pop_back();
    run->cells = waiting.cells;
    free_cells_ -= run->cells;
    run->completion_max = request.completion_tokens_max;
    run->prompt = std::move(waiting.prompt);
    run->sampler = std::make_unique<Sampler>(
        request.sampling, Noise(waiting.job.client_seed, request.sampling.seed, run->prompt.expose()));
    run->text = std::make_unique<TextStream>(request.stop);
    emit_(Started{run->job, TokenCount(static_cast<std::uint32_t>(run->prompt.expose().size()))});
    running_.push_back(std::move(run));
}

void Batcher::add_row(Running& run, llama_token token, std::uint32_t position, bool wanted) {
    const std::int32_t row = batch_.n_tokens++;
    batch_.token[row] = token;
    batch_.pos[row] = static_cast<llama_pos>(position);
    batch_.n_seq_id[row] = 1;
    batch_.seq_id[row][0] = run.sequence;
    batch_.logits[row] = wanted ? 1 : 0;
    if (wanted) run.row = row;
}

void Batcher::fill_batch() {
    batch_.n_tokens = 0;
    for (auto& run : running_) run->row = -1;
    const bool prompts = std::any_of(running_.begin(), running_.end(), [](const auto& r) { return r->reading(); });
    const bool decodes = std::any_of(running_.begin(), running_.end(), [](const auto& r) { return !r->reading(); });
    // Recurrent layers take rows of one kind only: then the two kinds take turns.
    const bool only_prompts = model_.one_kind_a_step && prompts && !(decodes && prompts_last_);
    if (!only_prompts) {
        for (auto& run : running_) {
            if (run->reading()) continue;
            const auto position = static_cast<std::uint32_t>(run->prompt.expose().size()) + run->completion - 1;
            add_row(*run, run->pending, position, true);
        }
    }
    const bool with_prompts = prompts && (!model_.one_kind_a_step || only_prompts);
    if (with_prompts) {
        const std::uint32_t limit = running_.size() == 1 ? limits::prefill_chunk_tokens : prompt_tokens_shared;
        const auto rows = static_cast<std::uint32_t>(batch_.n_tokens);
        add_prompts(std::min(limit, limits::prefill_chunk_tokens - rows));
    }
    prompts_last_ = with_prompts;
}

// Equal shares; what a short prompt leaves goes to the longer ones.
void Batcher::add_prompts(std::uint32_t budget) {
    std::vector<Running*> reading;
    for (auto& run : running_) {
        if (run->reading()) reading.push_back(run.get());
    }
    const auto left = [](const Running* run) {
        return static_cast<std::uint32_t>(run->prompt.expose().size()) - run->fed;
    };
    if (model_.one_kind_a_step) reading.resize(1);
    std::stable_sort(reading.begin(), reading.end(), [&left](Running* a, Running* b) { return left(a) < left(b); });
    for (std::size_t i = 0; i < reading.size() && budget > 0; ++i) {
        Running& run = *reading[i];
        const auto sharing = static_cast<std::uint32_t>(reading.size() - i);
        const std::uint32_t count = std::min(left(&run), std::max(budget / sharing, 1U));
        for (std::uint32_t j = 0; j < count; ++j, ++run.fed) {
            const bool last = run.fed + 1 == run.prompt.expose().size();
            add_row(run, run.prompt.expose()[run.fed], run.fed, last);
        }
        budget -= count;
    }
}

void Batcher::step() {
    admit();
    if (running_.empty()) return;
    fill_batch();
    if (llama_decode(model_.context.get(), batch_) != 0) return fail_step();
    for (std::size_t i = 0; i < running_.size();) {
        if (running_[i]->row < 0 || !take(*running_[i])) {
            ++i;
            continue;
        }
        release(*running_[i]);
        running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    }
}

bool Batcher::take(Running& run) {
    const float* logits = llama_get_logits_ith(model_.context.get(), run.row);
    const auto count = static_cast<std::size_t>(llama_vocab_n_tokens(model_.vocab()));
    const std::optional<std::int32_t> token =
        logits == nullptr ? std::nullopt : run.sampler->next(std::span<const float>(logits, count));
    if (!token) {
        fail_job(run.job, AskFault::engine_failed, "the model gave no finite logits", usage(run));
        return true;
    }
    ++run.completion;
    run.pending = *token;
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
    give_text(run, run.text->finish());
    emit_(Finished{run.job, reason, usage(run)});
}

void Batcher::release(const Running& run) {
    llama_memory_seq_rm(llama_get_memory(model_.context.get()), run.sequence, -1, -1);
    free_sequences_.push_back(run.sequence);
    free_cells_ += run.cells;
}

// The library refused the whole step: which sequence is at fault cannot be told, so all end and the memory is emptied.
void Batcher::fail_step() {
    for (const auto& run : running_) {
        fail_job(run->job, AskFault::engine_failed, "the model cannot be computed", usage(*run));
        release(*run);
    }
    running_.clear();
    llama_memory_clear(llama_get_memory(model_.context.get()), true);
}

void Batcher::fail_job(JobId job, AskFault fault, const std::string& message, Usage usage) {
    emit_(Failed{job, fault, wire::plain_text(message, engine::pipe::reason_bytes_max), usage});
}

}  // namespace shoal::engine_worker
