#include "backend/stage_workers.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "backend/model_file.h"
#include "engine/finite.h"
#include "wire/text.h"

namespace shoal::backend {

namespace pipe = engine::stage_pipe;
using wire::StageFaultCode;

struct StageWorkers::Worker {
    struct Owed {
        std::size_t bytes = 0;
        std::int64_t rows = 0;  // 0: what is read
    };
    engine::StageHandle handle;
    ModelId model;  // that was asked for, and how many of its layers
    std::uint16_t first = 0;
    std::size_t layers = 0;
    bool group = false;
    std::optional<wire::KvShape> kv;
    wire::ActivationType type = wire::ActivationType::f16;
    std::unique_ptr<net::ChildProcess> child;
    engine::pipe::Frames frames{pipe::frame_bytes_max};
    std::deque<Bytes> unsent;      // bounded: what the host lets wait, stage_queued_max
    std::deque<Owed> computing;    // bounded: as unsent; answers that are owed
    Duration slowest_row{};        // of all calls so far
    std::int64_t parts_ahead = 0;  // that it sent, beyond those that it was sent: at most one
    net::Timer silence;
    std::optional<PieceFiles> pieces;  // where the model is in pieces
    bool load_sent = false;
    bool placed = false;
    bool loaded = false;
    bool over = false;  // its Failed was put
};

StageWorkers::StageWorkers(net::Loop& loop, Log& log, StageWorkersOptions options, std::function<void()> wake)
    : loop_(loop), log_(log), options_(std::move(options)), wake_(std::move(wake)) {}

StageWorkers::~StageWorkers() = default;

void StageWorkers::open(Now, engine::StageHandle handle, const engine::StageShape& shape) {
    auto worker = std::make_unique<Worker>();
    worker->handle = handle;
    worker->model = shape.model;
    worker->first = shape.layers.first;
    worker->layers = shape.layers.end - std::size_t{shape.layers.first};
    worker->group = shape.group.has_value();
    worker->type = shape.type;
    Worker& opened = *workers_.emplace(handle, std::move(worker)).first->second;
    if (const Status started = start(opened, shape); !started) {
        const bool has_not = opened.pieces && started.error().code == Errc::not_found;
        give_up(opened, has_not ? StageFaultCode::refused : StageFaultCode::engine, started.error().message);
    }
}

Status StageWorkers::start(Worker& worker, const engine::StageShape& shape) {
    if (PieceFiles::is_folder(options_.model_path)) worker.pieces.emplace(options_.model_path);
    const ModelFile model =
        TRY(worker.pieces ? worker.pieces->manifest(shape.model) : open_model_file(options_.model_path));
    net::ChildOptions options;
    options.argv = options_.command.words;
    options.argv.emplace_back("--stage");
    if (options_.gpu) {
        const std::vector<std::string> words = gpu_words(*options_.gpu);
        options.argv.insert(options.argv.end(), words.begin(), words.end());
    }
    options.fds = {{model.descriptor(), model_descriptor}};
    options.socket = true;
    options.output = net::ChildOutput::discard;
    options.errors = net::ChildOutput::lines;
    options.unsent_bytes_max = 2 * pipe::frame_bytes_max;
    net::ChildEvents events;
    events.on_exit = [this, &worker](const net::ChildExit& exit) {
        const bool forbidden = options_.gpu && exit.signal == SIGSYS;
        give_up(worker, StageFaultCode::engine, forbidden ? gpu_forbidden_text() : "the engine ended: " + exit.text());
    };
    events.on_line = [this](std::string_view line, bool) { log_.write(LogLevel::debug, "stage", line); };
    events.on_bytes = [this, &worker](ByteView bytes) { on_bytes(worker, bytes); };
    events.on_writable = [this, &worker] { flush(worker); };
    worker.child = TRY(net::ChildProcess::spawn(loop_, std::move(options), std::move(events)));
    watch(worker, limits::engine_start_timeout);
    pipe::Load load{shape.layers,    shape.type,       shape.width, shape.context,
                    shape.sequences, options_.threads, options_.kv, worker.pieces.has_value()};
    if (shape.group) {
        load.rank = shape.group->rank;
        load.ranks = static_cast<std::uint8_t>(shape.group->ranks.size());
    }
    send(worker, load);
    return ok();
}

void StageWorkers::watch(Worker& worker, Duration silence_max, bool second_half) {
    worker.silence = loop_.after(silence_max / 2, [this, &worker, silence_max, second_half] {
        if (!second_half) return watch(worker, silence_max, true);
        give_up(worker, StageFaultCode::engine, "the engine hangs: nothing was heard of it for too long");
    });
}

void StageWorkers::watch_computing(Worker& worker) {
    Duration patience = limits::engine_silence_max;
    if (worker.slowest_row > Duration::zero()) {
        const Duration call = worker.slowest_row * std::max<std::int64_t>(worker.computing.front().rows, 1);
        patience = std::clamp<Duration>(silence_steps * call, options_.silence_min, limits::engine_silence_max);
    }
    watch(worker, patience);
}

void StageWorkers::compute(Now, engine::StageHandle handle, const wire::StageRows& rows) {
    const auto at = workers_.find(handle);
    if (at == workers_.end() || at->second->over) return;
    Worker& worker = *at->second;
    std::int64_t count = 0;
    for (const wire::StagePart& part : rows.parts) count += part.rows;
    worker.computing.push_back({rows.tensor.size(), count});
    if (worker.loaded && worker.computing.size() == 1) watch_computing(worker);
    send(worker, pipe::Compute{rows});
}

void StageWorkers::truncate(Now, engine::StageHandle handle, std::uint16_t sequence, std::uint32_t length) {
    const auto at = workers_.find(handle);
    if (at != workers_.end() && !at->second->over) send(*at->second, pipe::Truncate{sequence, length});
}

void StageWorkers::fill(Now, engine::StageHandle handle, const wire::StageKvRows& rows) {
    const auto at = workers_.find(handle);
    if (at != workers_.end() && !at->second->over) send(*at->second, pipe::Fill{rows});
}

void StageWorkers::read(Now, engine::StageHandle handle, const wire::StageReadOf& of) {
    const auto at = workers_.find(handle);
    if (at == workers_.end() || at->second->over) return;
    Worker& worker = *at->second;
    ASSERT(worker.kv);  // the host asks for nothing before Ready
    wire::StageReadOf own = of;
    if (of.what != wire::StageReadWhat::hashes) own.layer = static_cast<std::uint16_t>(of.layer - worker.first);
    worker.computing.push_back({wire::read_bytes(own, *worker.kv), 0});
    if (worker.computing.size() == 1) watch_computing(worker);
    send(worker, pipe::Read{own});
}

void StageWorkers::reduce(Now, engine::StageHandle handle, wire::ReducePart part) {
    const auto at = workers_.find(handle);
    if (at == workers_.end() || at->second->over) return;
    --at->second->parts_ahead;
    send(*at->second, std::move(part));
}

std::optional<engine::RankEngine::Part> StageWorkers::poll_part() {
    if (parts_.empty()) return std::nullopt;
    Part part = std::move(parts_.front());
    parts_.pop_front();
    return part;
}

void StageWorkers::close(Now, engine::StageHandle handle) {
    workers_.erase(handle);
    std::erase_if(events_, [&](const engine::StageEvent& event) {
        return std::visit([&](const auto& each) { return each.handle == handle; }, event);
    });
    std::erase_if(parts_, [&](const Part& part) { return part.handle == handle; });
}

void StageWorkers::send(Worker& worker, const pipe::ToStage& message) {
    worker.unsent.push_back(pipe::encode(message));
    flush(worker);
}

// What comes behind the load waits until it is done.
void StageWorkers::flush(Worker& worker) {
    while (worker.child && !worker.unsent.empty() && (worker.loaded || !worker.load_sent) &&
           worker.child->send(worker.unsent.front())) {
        worker.unsent.pop_front();
        worker.load_sent = true;
    }
}

void StageWorkers::on_bytes(Worker& worker, ByteView bytes) {
    if (worker.over) return;
    auto frames = worker.frames.feed(bytes);
    if (!frames) return give_up(worker, StageFaultCode::engine, "the engine sent a malformed frame");
    for (const Bytes& frame : *frames) {
        auto message = pipe::decode_from_stage(frame);
        if (!message) {
            return give_up(worker, StageFaultCode::engine,
                           "the engine sent a malformed frame: " + message.error().message);
        }
        if (!on_message(worker, std::move(*message))) {
            return give_up(worker, StageFaultCode::engine, "the engine sent a frame out of order");
        }
        if (worker.over) return;
    }
    if (!worker.loaded) return watch(worker, limits::engine_start_timeout);
    if (worker.computing.empty()) return worker.silence.cancel();
    watch_computing(worker);
}

bool StageWorkers::on_message(Worker& worker, pipe::FromStage message) {
    if (const auto* failed = std::get_if<pipe::Failed>(&message)) {
        give_up(worker, failed->code, failed->text);
        return true;
    }
    if (std::holds_alternative<engine::Loading>(message)) return !worker.loaded;
    if (const auto* want = std::get_if<engine::pipe::Want>(&message)) return answer(worker, *want);
    if (const auto* loaded = std::get_if<pipe::Loaded>(&message)) {
        if (worker.loaded) return false;
        worker.loaded = true;
        if (loaded->kv && (worker.group || loaded->kv->layers.size() != worker.layers)) return false;
        worker.kv = loaded->kv;
        if (loaded->model == worker.model) {
            put(engine::StageReady{worker.handle, loaded->kv});
            flush(worker);
        } else {
            give_up(worker, StageFaultCode::refused, "this node holds another model");
        }
        return true;
    }
    if (std::holds_alternative<engine::pipe::Working>(message)) return worker.loaded;
    if (const auto* placed = std::get_if<engine::pipe::Placed>(&message)) {
        if (worker.loaded || !options_.gpu || std::exchange(worker.placed, true)) return false;
        log_.write(LogLevel::info, "stage",
                   std::to_string(placed->layers) + " of " + std::to_string(placed->all) + " layers are computed by " +
                       options_.gpu->device);
        return true;
    }
    if (auto* part = std::get_if<wire::ReducePart>(&message)) {
        if (worker.computing.empty() || ++worker.parts_ahead > 1) return false;
        parts_.push_back({worker.handle, std::move(*part)});
        if (wake_) wake_();
        return true;
    }
    if (auto* given = std::get_if<pipe::Given>(&message)) return on_given(worker, std::move(*given));
    return on_computed(worker, std::get<pipe::Computed>(std::move(message)));
}

bool StageWorkers::on_given(Worker& worker, pipe::Given given) {
    if (worker.computing.empty() || worker.computing.front().rows != 0) return false;
    const Worker::Owed owed = worker.computing.front();
    worker.computing.pop_front();
    if (given.bytes.size() != owed.bytes) return false;
    put(engine::StageGiven{worker.handle, std::move(given.bytes)});
    return true;
}

bool StageWorkers::on_computed(Worker& worker, pipe::Computed computed) {
    if (worker.computing.empty() || worker.computing.front().rows == 0) return false;
    const Worker::Owed owed = worker.computing.front();
    worker.computing.pop_front();
    if (computed.tensor.size() != owed.bytes) {
        give_up(worker, StageFaultCode::engine, "the engine computed rows of another shape");
    } else if (!engine::all_finite(worker.type, computed.tensor)) {
        give_up(worker, StageFaultCode::not_finite, "the engine computed numbers that are none");
    } else {
        const Duration busy = std::chrono::microseconds(computed.busy_us);
        worker.slowest_row = std::max(worker.slowest_row, busy / owed.rows);
        put(engine::StageComputed{worker.handle, std::move(computed.tensor), busy});
    }
    return true;
}

// Before what waits for the layers: the worker asks for one thing at a time, and waits for it.
bool StageWorkers::answer(Worker& worker, const engine::pipe::Want& want) {
    if (worker.loaded || !worker.pieces) return false;
    const Bytes frame =
        pipe::encode(pipe::ToStage(engine::pipe::PieceBytes{worker.pieces->read(want.piece, want.offset, want.bytes)}));
    return worker.child->send(frame);
}

// The first reason counts: what follows it is the process that ends.
void StageWorkers::give_up(Worker& worker, StageFaultCode code, const std::string& text) {
    if (worker.over) return;
    worker.over = true;
    worker.silence.cancel();
    worker.unsent.clear();
    if (worker.child) worker.child->kill();
    put(engine::StageFailed{worker.handle, code, wire::plain_text(text, limits::stage_fault_bytes_max)});
}

void StageWorkers::put(engine::StageEvent event) {
    events_.push_back(std::move(event));
    if (wake_) wake_();
}

std::optional<engine::StageEvent> StageWorkers::poll() {
    if (events_.empty()) return std::nullopt;
    engine::StageEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
}

std::vector<int> StageWorkers::pids() const {
    std::vector<int> out;
    for (const auto& [handle, worker] : workers_) {
        if (worker->child && worker->child->running()) out.push_back(worker->child->pid());
    }
    return out;
}

}  // namespace shoal::backend
