#include "backend/worker_engine.h"

#include <csignal>

#include <algorithm>

#include "net/loop.h"
#include "wire/chat.h"
#include "wire/text.h"

namespace shoal::backend {

using engine::Failed;
using engine::Health;
using engine::pipe::Fatal;

namespace {

constexpr std::size_t open_jobs_max = limits::engine_jobs_queued_max + limits::engine_sequences_max;

}  // namespace

WorkerEngine::WorkerEngine(net::Loop& loop, Log& log, WorkerOptions options, std::function<void()> wake)
    : loop_(loop),
      log_(log),
      options_(std::move(options)),
      wake_(std::move(wake)),
      prefixes_([this](const engine::pipe::ToWorker& message) { send(message); }, [this] { return unsent_bytes_; }) {}

WorkerEngine::~WorkerEngine() = default;

int WorkerEngine::pid() const {
    return child_ && child_->running() ? child_->pid() : 0;
}

void WorkerEngine::submit(Now now, engine::Job job) {
    ASSERT(!open_.contains(job.id.value()));
    if (health_ == Health::down || health_ == Health::dead) {
        return fail_job(job.id, AskFault::engine_failed, "the engine is down", {});
    }
    if (open_.size() >= open_jobs_max) return fail_job(job.id, AskFault::overloaded, "the engine's queue is full", {});
    if (const Status valid = wire::check_chat_request(job.request); !valid) {
        return fail_job(job.id, AskFault::bad_request, valid.error().message, {});
    }
    const JobId id = job.id;
    const std::optional<PrefixSource> source = job.request.source;
    const engine::pipe::ToWorker message = std::move(job);
    auto frame = engine::pipe::encode(message);
    if (!frame) return fail_job(id, AskFault::bad_request, frame.error().message, {});
    if (open_.empty()) check_at_.reset();  // of jobs that have ended
    open_[id.value()] = {};
    prefixes_.on_submit(id, source);
    queue(std::move(*frame));
    watch(now);
}

void WorkerEngine::cancel(Now, JobId job) {
    const auto at = open_.find(job.value());
    if (at != open_.end() && !std::exchange(at->second.cancelled, true)) send(engine::pipe::Cancel{job});
}

void WorkerEngine::on_tick(Now now) {
    if (health_ == Health::starting && !child_ && !start_at_) start_at_ = now.mono;
    if (start_at_ && *start_at_ <= now.mono) {
        start_at_.reset();
        start();
    }
    if (load_deadline_ && *load_deadline_ <= now.mono) {
        load_deadline_.reset();
        distrust("the engine was silent for too long while it loaded the model");
    }
    if (check_at_ && *check_at_ <= now.mono) check_silence(now);
}

void WorkerEngine::watch(Now now) {
    if (health_ != Health::ready || open_.empty() || check_at_) return;
    check_at_ = now.mono + options_.silence_max / 2;
    heard_ = true;
    silent_checks_ = 0;
}

void WorkerEngine::check_silence(Now now) {
    check_at_.reset();
    if (open_.empty()) return;
    if (forwards_ > 0) heard_ = true;
    silent_checks_ = std::exchange(heard_, false) ? 0 : silent_checks_ + 1;
    // Two in a row: with the time before the first, at least silence_max.
    if (silent_checks_ >= 2) return distrust("the engine hangs: it has not computed anything for too long");
    check_at_ = now.mono + options_.silence_max / 2;
}

std::optional<Instant> WorkerEngine::next_deadline() const {
    if (start_at_) return start_at_;
    // Not started yet: any tick will do.
    if (health_ == Health::starting && !child_) return Instant::min();
    return load_deadline_ ? load_deadline_ : check_at_;
}

std::optional<engine::Event> WorkerEngine::poll() {
    if (events_.empty()) return std::nullopt;
    engine::Event event = std::move(events_.front());
    events_.pop_front();
    return event;
}

Result<ModelFile> WorkerEngine::open_model() {
    pieces_.reset();
    if (!options_.lead || !PieceFiles::is_folder(options_.model_path)) return open_model_file(options_.model_path);
    pieces_.emplace(options_.model_path);
    return pieces_->only_manifest();
}

void WorkerEngine::start() {
    health_ = Health::starting;
    frames_ = engine::pipe::Frames(options_.lead ? engine::pipe::lead_frame_bytes_max : limits::engine_frame_bytes_max);
    last_words_.reset();
    placed_.reset();
    auto model = open_model();
    if (!model) return go_down(model.error().message, true);
    std::optional<ModelFile> draft;
    if (options_.load.drafts.model) {
        auto opened = open_model_file(options_.draft_path);
        if (!opened) return go_down(opened.error().message, true);
        draft = std::move(*opened);
    }
    net::ChildOptions options;
    options.argv = options_.command.words;
    if (options_.lead) {
        options.argv.emplace_back("--lead");
        options.unsent_bytes_max = 2 * engine::pipe::lead_frame_bytes_max;
    }
    if (options_.gpu) {
        const std::vector<std::string> words = gpu_words(*options_.gpu);
        options.argv.insert(options.argv.end(), words.begin(), words.end());
    }
    options.fds = {{model->descriptor(), model_descriptor}};
    if (draft) options.fds.push_back({draft->descriptor(), draft_descriptor});
    options.socket = true;
    options.output = net::ChildOutput::discard;
    options.errors = net::ChildOutput::lines;
    net::ChildEvents events;
    events.on_exit = [this](const net::ChildExit& exit) { on_exit(exit); };
    events.on_line = [this](std::string_view line, bool) { log_.write(LogLevel::debug, "engine", line); };
    events.on_bytes = [this](ByteView bytes) { on_bytes(bytes); };
    events.on_writable = [this] {
        const std::size_t before = unsent_bytes_;
        flush();
        if (before >= WorkerPrefixes::given_bytes_high && wake_) wake_();
    };
    auto child = net::ChildProcess::spawn(loop_, std::move(options), std::move(events));
    if (!child) return go_down("the engine cannot be started: " + child.error().message, false);
    child_ = std::move(*child);
    load_deadline_ = loop_.now().mono + limits::engine_start_timeout;
    engine::pipe::ToWorker first = options_.load;
    if (const auto& lead = options_.lead) {
        first = engine::pipe::Lead{options_.load, lead->type, lead->steps, lead->middle, pieces_.has_value()};
    }
    const auto load = engine::pipe::encode(first);
    ASSERT(load.has_value());
    unsent_bytes_ += load->size();
    unsent_.push_front(*load);  // before jobs that came while the engine started
    flush();
}

void WorkerEngine::send(const engine::pipe::ToWorker& message) {
    auto frame = engine::pipe::encode(message);
    ASSERT(frame.has_value());
    queue(std::move(*frame));
}

void WorkerEngine::queue(Bytes frame) {
    unsent_bytes_ += frame.size();
    unsent_.push_back(std::move(frame));
    flush();
}

void WorkerEngine::flush() {
    if (child_ && child_->running() && unsent_piece_ && child_->send(*unsent_piece_)) unsent_piece_.reset();
    while (child_ && child_->running() && !unsent_.empty() && child_->send(unsent_.front())) {
        unsent_bytes_ -= unsent_.front().size();
        wipe(unsent_.front().data(), unsent_.front().size());
        unsent_.pop_front();
    }
}

void WorkerEngine::on_bytes(ByteView bytes) {
    if (last_words_) return;  // what follows a Fatal has no meaning
    heard_ = true;
    auto frames = frames_.feed(bytes);
    if (!frames) return distrust("the engine sent a malformed frame");
    for (Bytes& frame : *frames) {
        auto message = engine::pipe::decode_from_worker(frame);
        wipe(frame.data(), frame.size());
        if (!message) return distrust("the engine sent a malformed frame: " + message.error().message);
        if (!on_message(std::move(*message))) return distrust("the engine sent a frame out of order");
    }
    if (wake_) wake_();
}

bool WorkerEngine::on_message(engine::pipe::FromWorker message) {
    if (auto* fatal = std::get_if<Fatal>(&message)) {
        last_words_ = std::move(*fatal);
        return true;
    }
    if (auto* ready = std::get_if<engine::Ready>(&message)) return on_ready(std::move(*ready));
    if (auto* loading = std::get_if<engine::Loading>(&message)) {
        if (health_ != Health::starting) return false;
        load_deadline_ = loop_.now().mono + limits::engine_start_timeout;
        put(*loading);
        return true;
    }
    if (const auto* ends = std::get_if<engine::pipe::Ends>(&message)) {
        ends_ = *ends;
        return health_ == Health::starting && options_.lead.has_value();
    }
    if (const auto* placed = std::get_if<engine::pipe::Placed>(&message)) {
        if (health_ != Health::starting || !options_.gpu || placed_) return false;
        placed_ = *placed;
        log_.write(LogLevel::info, "engine",
                   std::to_string(placed->layers) + " of " + std::to_string(placed->all) + " layers are computed by " +
                       options_.gpu->device);
        return true;
    }
    if (const auto* want = std::get_if<engine::pipe::Want>(&message)) return answer(*want);
    if (health_ != Health::ready) return false;
    if (std::holds_alternative<engine::pipe::Working>(message)) return true;
    if (std::holds_alternative<engine::pipe::Cleared>(message)) return breaks_ > 0 && breaks_-- > 0;
    if (auto* forward = std::get_if<engine::Forward>(&message)) return on_work(std::move(*forward));
    if (auto* fill = std::get_if<engine::Fill>(&message)) return on_work(std::move(*fill));
    if (const auto* read = std::get_if<engine::Read>(&message)) return on_work(*read);
    if (const auto* truncate = std::get_if<engine::Truncate>(&message)) return on_work(*truncate);
    if (const std::optional<bool> taken = on_prefix(message)) return *taken;
    // From here each message is about a job. One that is not open has ended here already: nothing to add to it.
    if (auto* started = std::get_if<engine::Started>(&message)) {
        const auto at = open_.find(started->job.value());
        if (at == open_.end()) return true;
        at->second.usage.prompt = started->prompt;
        put(*started);
    } else if (auto* text = std::get_if<engine::Text>(&message)) {
        const auto at = open_.find(text->job.value());
        if (at == open_.end()) return true;
        at->second.usage.completion = text->completion;
        put(std::move(*text));
    } else if (auto* finished = std::get_if<engine::Finished>(&message)) {
        end_job(finished->job, *finished);
    } else if (auto* failed = std::get_if<Failed>(&message)) {
        const JobId job = failed->job;
        end_job(job, std::move(*failed));
    }
    return true;
}

std::optional<bool> WorkerEngine::on_prefix(engine::pipe::FromWorker& message) {
    if (const auto* ask = std::get_if<engine::pipe::PrefixAsk>(&message)) return prefixes_.on_message(*ask);
    if (auto* refused = std::get_if<engine::PrefixRefused>(&message)) return prefixes_.on_message(std::move(*refused));
    if (auto* piece = std::get_if<engine::PrefixPiece>(&message)) return prefixes_.on_message(std::move(*piece));
    if (const auto* gone = std::get_if<engine::PrefixGone>(&message)) return prefixes_.on_message(*gone);
    return std::nullopt;
}

bool WorkerEngine::on_work(Work work) {
    if (!shape_) return false;
    if (breaks_ > 0) return true;  // of what is broken
    if (!std::holds_alternative<engine::Truncate>(work) && ++forwards_ > options_.lead->steps) return false;
    // Of a sequence: guesses that were wrong, a job that ends, what it left is used again or goes.
    if (work_.size() >= options_.lead->steps + 4 * limits::engine_sequences_max) return false;
    work_.push_back(std::move(work));
    return true;
}

// While it loads, and then a row of the embedding for each token.
bool WorkerEngine::answer(const engine::pipe::Want& want) {
    if (!pieces_) return false;
    if (unsent_piece_) return false;
    if (health_ == Health::starting) load_deadline_ = loop_.now().mono + limits::engine_start_timeout;
    auto frame = engine::pipe::encode(
        engine::pipe::ToWorker(engine::pipe::PieceBytes{pieces_->read(want.piece, want.offset, want.bytes)}));
    ASSERT(frame.has_value());
    unsent_piece_ = std::move(*frame);
    flush();
    return true;
}

std::optional<engine::LeadEngine::Work> WorkerEngine::next_work() {
    if (work_.empty()) return std::nullopt;
    Work work = std::move(work_.front());
    work_.pop_front();
    return work;
}

void WorkerEngine::returned(Now, Bytes tensor) {
    if (health_ != Health::ready || forwards_ == 0) return;  // of a worker that is gone
    --forwards_;
    send(engine::pipe::Returned{std::move(tensor)});
}

void WorkerEngine::filled(Now) {
    if (health_ != Health::ready || forwards_ == 0) return;  // of a worker that is gone
    --forwards_;
    send(engine::pipe::Filled{});
}

void WorkerEngine::given(Now, Bytes bytes) {
    if (health_ != Health::ready || forwards_ == 0) return;  // of a worker that is gone
    --forwards_;
    send(engine::pipe::Given{std::move(bytes)});
}

void WorkerEngine::holds(Now, const std::optional<wire::KvShape>& kv) {
    if (health_ == Health::ready) send(engine::pipe::Holds{kv});
}

void WorkerEngine::broken(Now, const std::string& why, engine::BrokenFor how_long) {
    if (health_ != Health::ready) return;
    forwards_ = 0;
    work_.clear();
    ++breaks_;
    send(engine::pipe::Broken{how_long == engine::BrokenFor::good,
                              wire::plain_text(why, engine::pipe::reason_bytes_max)});
}

bool WorkerEngine::on_ready(engine::Ready ready) {
    if (health_ != Health::starting || (options_.lead && ends_.width == 0)) return false;
    if (options_.lead) {
        shape_ = engine::LeadShape{options_.lead->type, ends_.width, ends_.layers, ready.model.context_tokens,
                                   static_cast<std::uint16_t>(ready.model.sequences)};
    }
    health_ = Health::ready;
    prefixes_.set_ready(true);
    load_deadline_.reset();
    crashes_ = 0;
    ready_at_ = loop_.now().mono;
    model_ = ready.model;
    put(std::move(ready));
    watch(loop_.now());
    return true;
}

void WorkerEngine::end_job(JobId job, engine::Event event) {
    prefixes_.on_end(job);
    if (open_.erase(job.value()) > 0) put(std::move(event));
}

// The exit that follows does the rest.
void WorkerEngine::distrust(const std::string& why) {
    if (!last_words_) last_words_ = Fatal{wire::plain_text(why, engine::pipe::reason_bytes_max), false};
    if (child_) child_->kill();
}

void WorkerEngine::on_exit(const net::ChildExit& exit) {
    const bool was_loading = health_ == Health::starting;
    std::string reason = last_words_ ? last_words_->reason : "the engine ended: " + exit.text();
    bool permanent = last_words_ && last_words_->permanent;
    if (options_.gpu && exit.signal == SIGSYS && !last_words_) {
        reason = gpu_forbidden_text();
        permanent = true;
    }
    if (was_loading && !permanent && !last_words_ && exit.signal != 0 && exit.signal != SIGKILL &&
        exit.signal != SIGTERM) {
        if (++crashes_ >= crashes_max) {
            permanent = true;
            reason =
                "the model file makes the engine crash (" + exit.text() + ", " + std::to_string(crashes_) + " times)";
        }
    }
    go_down(reason, permanent);
}

void WorkerEngine::go_down(const std::string& reason, bool permanent) {
    child_.reset();
    load_deadline_.reset();
    check_at_.reset();
    const Instant now = loop_.now().mono;
    if (health_ == Health::ready && now - ready_at_ >= limits::engine_restart_max) delay_ = limits::engine_restart_min;
    health_ = permanent ? Health::dead : Health::down;
    for (Bytes& frame : unsent_) wipe(frame.data(), frame.size());
    unsent_.clear();
    unsent_bytes_ = 0;
    prefixes_.set_ready(false);
    unsent_piece_.reset();
    work_.clear();
    forwards_ = breaks_ = 0;
    ends_ = {};
    for (const auto& [id, open] : std::exchange(open_, {})) {
        fail_job(JobId(id), AskFault::engine_failed, "the engine died: " + reason, open.usage);
    }
    down_reason_ = wire::plain_text(reason, engine::pipe::reason_bytes_max);
    if (!permanent) log_.write(LogLevel::warn, "engine", down_reason_ + "; it is started again");
    put(engine::Down{down_reason_, permanent});
    if (!permanent) {
        start_at_ = now + delay_;
        delay_ = std::min<Duration>(delay_ * 2, limits::engine_restart_max);
    }
    if (wake_) wake_();
}

void WorkerEngine::fail_job(JobId job, AskFault fault, std::string message, Usage usage) {
    put(Failed{job, fault, std::move(message), usage});
}

void WorkerEngine::put(engine::Event event) {
    events_.push_back(std::move(event));
}

}  // namespace shoal::backend
