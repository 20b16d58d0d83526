#include "app/engine_gauge.h"

#include <algorithm>
#include <map>

namespace shoal::app {
namespace {

constexpr std::uint32_t context_tokens = 1024;
// A round decodes for about so long: what comes in between, a late event of a small model too, is small beside it.
constexpr Duration round_time = 400ms;
constexpr std::uint64_t steps_min = 16;
constexpr std::uint64_t steps_max = 256;
constexpr std::size_t runs_max = 24;  // a round of a model that ends its answers at once
constexpr std::size_t short_words = 8;
constexpr std::size_t long_words = 120;  // three or four tokens each

// The least of all that was measured, and the next to it.
class Least {
public:
    void add(Duration time) {
        if (time < least_) std::swap(time, least_);
        next_ = std::min(next_, time);
    }
    Duration least() const { return least_; }
    double uncertainty() const {
        return next_ == Duration::max() ? 1 : static_cast<double>((next_ - least_).count()) / double(least_.count());
    }

private:
    Duration least_ = Duration::max();
    Duration next_ = Duration::max();
};

std::uint64_t steps_of(Duration step) {
    return std::clamp<std::uint64_t>(static_cast<std::uint64_t>(round_time / step), steps_min, steps_max);
}

}  // namespace

// What has been seen of jobs that were submitted together.
struct EngineGauge::Group {
    std::map<std::uint64_t, std::uint32_t> counts;  // tokens so far, by job; bounded: `batch`
    Instant submitted{};
    Instant first{};
    Instant begin{};
    Instant end{};
    std::uint64_t tokens_at_begin = 0;
    std::uint64_t tokens_at_end = 0;
    std::size_t begun = 0;
    std::size_t ended = 0;
    std::uint32_t prompt_tokens = 0;
    std::string failure;

    std::uint64_t tokens() const {
        std::uint64_t sum = 0;
        for (const auto& [job, count] : counts) sum += count;
        return sum;
    }
    void on_tokens(Instant now, JobId job, std::uint32_t count) {
        const auto at = counts.find(job.value());
        if (at == counts.end()) return;
        if (at->second == 0 && count > 0) {
            if (begun == 0) first = now;
            ++begun;
            at->second = count;
            if (begun == counts.size()) {
                begin = end = now;
                tokens_at_begin = tokens_at_end = tokens();
            }
        }
        at->second = std::max(at->second, count);
        if (begun == counts.size() && ended == 0) {
            end = now;
            tokens_at_end = tokens();
        }
    }
    void on_event(Instant now, const engine::Event& event) {
        if (const auto* text = std::get_if<engine::Text>(&event)) {
            on_tokens(now, text->job, text->completion.value());
        } else if (const auto* started = std::get_if<engine::Started>(&event)) {
            prompt_tokens = started->prompt.value();
        } else if (const auto* done = std::get_if<engine::Finished>(&event)) {
            on_tokens(now, done->job, done->usage.completion.value());
            ++ended;
        } else if (const auto* failed = std::get_if<engine::Failed>(&event)) {
            failure = failed->message;
            ++ended;
        }
    }
};

EngineGauge::EngineGauge(net::Loop& loop, Log& log, Rng& rng, const std::string& model_path, std::uint16_t threads,
                         backend::EngineCommand command, std::optional<backend::GpuChoice> gpu)
    : loop_(loop), rng_(rng) {
    backend::WorkerOptions options;
    options.model_path = model_path;
    options.command = std::move(command);
    options.gpu = std::move(gpu);
    options.load.context_tokens = context_tokens;
    options.load.sequences = batch;
    options.load.threads = threads;
    // An event is taken at the next turn of wait(), which a posted function begins.
    engine_ = std::make_unique<backend::WorkerEngine>(loop, log, options, [this] { loop_.post([] {}); });
}

void EngineGauge::wait(const std::function<bool()>& done) {
    do {
        engine_->on_tick(loop_.now());
    } while (!loop_.run_until(done, 250ms));
}

Result<engine::ModelInfo> EngineGauge::load() {
    wait([this] {
        while (engine_->poll()) {
        }
        return engine_->health() == engine::Health::ready || engine_->health() == engine::Health::dead;
    });
    if (engine_->health() == engine::Health::dead) return fail(Errc::invalid, engine_->down_reason());
    return *engine_->model();
}

// Words that no prompt had before, so that nothing can be reused.
std::string EngineGauge::random_words(std::size_t count) {
    std::string out;
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t letters = 3 + rng_.below(5); letters > 0; --letters) {
            out += static_cast<char>('a' + rng_.below(26));
        }
        out += ' ';
    }
    return out;
}

Result<EngineGauge::Window> EngineGauge::run(std::size_t jobs, std::size_t words, std::uint32_t tokens) {
    Group group;
    group.submitted = loop_.now().mono;
    for (std::size_t i = 0; i < jobs; ++i) {
        engine::Job job;
        job.id = JobId(++last_job_);
        job.request.messages.push_back({Role::user, Plaintext(random_words(words))});
        // Nearly any of the likelier tokens: few answers end early, and the sampler has little to do.
        job.request.sampling.temperature = 2;
        job.request.sampling.top_k = 64;
        job.request.completion_tokens_max = tokens;
        job.client_seed = rng_.array<32>();
        group.counts[last_job_] = 0;
        engine_->submit(loop_.now(), std::move(job));
    }
    wait([&] {
        while (const auto event = engine_->poll()) group.on_event(loop_.now().mono, *event);
        return group.ended >= jobs || engine_->health() == engine::Health::dead;
    });
    if (!group.failure.empty()) return fail(Errc::unavailable, "the engine failed: " + group.failure);
    if (group.ended < jobs) return fail(Errc::unavailable, "the engine failed: " + engine_->down_reason());
    Window out;
    out.prompt_tokens = group.prompt_tokens;
    if (group.begun > 0) out.first_token = group.first - group.submitted;
    if (group.begun == jobs) {
        out.time = group.end - group.begin;
        out.tokens = group.tokens_at_end - group.tokens_at_begin;
    }
    return out;
}

Result<Duration> EngineGauge::step_time(std::size_t jobs, std::uint64_t steps) {
    Duration time{};
    std::uint64_t tokens = 0;
    for (std::size_t i = 0; i < runs_max && tokens < steps * jobs; ++i) {
        const Window window = TRY(run(jobs, short_words, static_cast<std::uint32_t>(steps + 1)));
        time += window.time;
        tokens += window.tokens;
    }
    if (tokens < jobs) return fail(Errc::unavailable, "the model ends its answers at once; measure with another one");
    return time * static_cast<std::int64_t>(jobs) / static_cast<std::int64_t>(tokens);
}

Result<EngineGauge::Prompt> EngineGauge::prompt_time(std::size_t words) {
    const Window window = TRY(run(1, words, 1));
    return Prompt{window.first_token, window.prompt_tokens};
}

Result<EngineFigures> EngineGauge::measure(std::size_t rounds, const std::function<void(std::size_t round)>& on_round) {
    TRY(run(1, short_words, 4));  // pages in the weights
    const std::uint64_t steps = steps_of(std::max(TRY(step_time(1, steps_min)), Duration(1)));
    Least step, batch_step, prompt_token;
    // The short prompt says what a prompt costs besides its tokens; the quickest of all stands for it. A slow one would
    // make the tokens of the long prompt look quick.
    Prompt brief{Duration::max(), 0};
    std::vector<Prompt> full;  // bounded: rounds
    EngineFigures out;
    const auto uncertainty = [&] {
        return std::max({step.uncertainty(), batch_step.uncertainty(), prompt_token.uncertainty()});
    };
    for (out.rounds = 0; out.rounds < rounds; ++out.rounds) {
        if (out.rounds >= rounds_min && uncertainty() <= certain) break;
        on_round(out.rounds);
        step.add(TRY(step_time(1, steps)));
        batch_step.add(TRY(step_time(batch, std::max(steps / 3, steps_min / 2))));
        const Prompt few = TRY(prompt_time(short_words));
        if (few.first_token < brief.first_token) brief = few;
        full.push_back(TRY(prompt_time(long_words)));
        prompt_token = Least();
        for (const Prompt& many : full) {
            if (many.tokens <= brief.tokens || many.first_token <= brief.first_token) continue;
            prompt_token.add((many.first_token - brief.first_token) / (many.tokens - brief.tokens));
        }
    }
    if (prompt_token.least() == Duration::max()) {
        return fail(Errc::unavailable, "a long prompt took no longer than a short one; measure again");
    }
    out.step = step.least();
    out.batch_step = batch_step.least();
    out.prompt_token = prompt_token.least();
    out.uncertainty = uncertainty();
    return out;
}

}  // namespace shoal::app
