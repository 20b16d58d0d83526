// An engine in a process of its own: starts shoal-engine, speaks protocol/pipe.md with it, starts it again.
//
// Rules, beside those of engine.h
//   1. The worker may die, lie or send noise at any moment: then every job of it ends with engine_failed, Down says
//      why, and a new one is started after limits::engine_restart_min, doubling up to limits::engine_restart_max. The
//      delay falls back once a worker has served for engine_restart_max.
//   2. A model that cannot be served (the worker says so, the file is not there, or crashes_max workers in a row died
//      of a signal while reading it) makes the engine dead: trying again would only burn the machine.
//      SIGKILL does not count: that is how the system ends what takes too much memory.
//   3. A worker that is silent for limits::engine_start_timeout while loading is killed.
//   4. A ready worker that has jobs and says nothing for limits::engine_silence_max is killed: it says that it computes
//      every second. Time counts only between two calls of on_tick(), so that a node that stood still itself blames
//      nobody.
//      A lead that waits for rows has nothing to say, and is not judged.
//   5. A worker with a GPU that the sandbox ends makes the engine dead: its driver will do the same again.
//   6. Jobs wait while the model is loaded; they are refused while the engine is down, so that the scheduler can hand
//      them to another node.
//   7. The lead of a model in pieces gets what it asks of them, an answer at a time: one that asks again before the
//      last has left is broken.
//
//      starting --Ready--> ready --exit--> down --delay--> starting;   any --permanent--> dead
//
// A death that is not for good is logged here, with the restart; one for good is the owner's to report.
//
// Thread: the loop's. `wake` is called when poll() has something that was not there before, or next_deadline() has
// changed; it may call this object.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "backend/engine_files.h"
#include "backend/gpu.h"
#include "backend/model_file.h"
#include "backend/worker_prefixes.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/pipe.h"
#include "net/child.h"

namespace shoal::backend {

struct WorkerOptions {
    std::string model_path;  // of a lead: or a folder of pieces
    engine::pipe::Load load;
    std::string draft_path;  // where load.drafts.model
    // Only the ends of the model: the layers are elsewhere (engine/lead.h), or those of the middle.
    struct Lead {
        wire::ActivationType type = wire::ActivationType::f16;
        std::uint16_t steps = 1;
        std::optional<wire::LayerRange> middle = std::nullopt;
    };
    std::optional<Lead> lead = std::nullopt;
    std::optional<GpuChoice> gpu = std::nullopt;
    EngineCommand command;
    Duration silence_max = limits::engine_silence_max;  // rule 4
};

class WorkerEngine final : public engine::LeadEngine {
public:
    static constexpr unsigned crashes_max = 3;

    // Nothing is started before the first on_tick(). `loop` and `log` must outlive it.
    WorkerEngine(net::Loop& loop, Log& log, WorkerOptions options, std::function<void()> wake);
    ~WorkerEngine() override;

    void submit(Now now, engine::Job job) override;
    void cancel(Now now, JobId job) override;
    void on_tick(Now now) override;
    std::optional<Instant> next_deadline() const override;
    std::optional<engine::Event> poll() override;
    engine::Health health() const override { return health_; }
    const engine::ModelInfo* model() const override { return model_ ? &*model_ : nullptr; }
    const engine::LeadShape* shape() const override { return shape_ ? &*shape_ : nullptr; }
    std::optional<Work> next_work() override;
    void returned(Now now, Bytes tensor) override;
    void filled(Now now) override;
    void given(Now now, Bytes bytes) override;
    void holds(Now now, const std::optional<wire::KvShape>& kv) override;
    void broken(Now now, const std::string& why, engine::BrokenFor how_long) override;
    engine::Prefixes* prefixes() override { return &prefixes_; }

    // Layers that a GPU computes, and all that this engine does; nullptr: none.
    const engine::pipe::Placed* placed() const { return placed_ ? &*placed_ : nullptr; }
    // Of the last death, empty before the first. One line.
    const std::string& down_reason() const { return down_reason_; }
    // Of the running worker, for tests and for people; 0: there is none.
    int pid() const;

private:
    // A job that has not ended, and what is known of its use.
    struct Open {
        Usage usage;
        bool cancelled = false;
    };

    void start();
    Result<ModelFile> open_model();
    void on_bytes(ByteView bytes);
    void on_exit(const net::ChildExit& exit);
    // False: the message cannot come now, so the worker is broken.
    bool on_message(engine::pipe::FromWorker message);
    bool on_ready(engine::Ready ready);
    bool on_work(Work work);
    // nullopt: it is about something else, and stays as it is.
    std::optional<bool> on_prefix(engine::pipe::FromWorker& message);
    bool answer(const engine::pipe::Want& want);
    void end_job(JobId job, engine::Event event);
    void distrust(const std::string& why);
    void go_down(const std::string& reason, bool permanent);
    // Rule 4: begins where a ready worker has jobs.
    void watch(Now now);
    void check_silence(Now now);
    void fail_job(JobId job, AskFault fault, std::string message, Usage usage);
    void put(engine::Event event);
    void send(const engine::pipe::ToWorker& message);
    void queue(Bytes frame);
    void flush();

    net::Loop& loop_;
    Log& log_;
    WorkerOptions options_;
    std::function<void()> wake_;
    engine::Health health_ = engine::Health::starting;
    std::optional<engine::ModelInfo> model_;
    std::unique_ptr<net::ChildProcess> child_;
    engine::pipe::Frames frames_;
    std::optional<engine::pipe::Fatal> last_words_;
    std::string down_reason_;
    std::map<std::uint64_t, Open> open_;  // at most engine_jobs_queued_max and engine_sequences_max together
    // At most two for each open job, one for each step, and Load; of prefixes, what they say of it.
    std::deque<Bytes> unsent_;
    std::size_t unsent_bytes_ = 0;
    WorkerPrefixes prefixes_;
    std::optional<PieceFiles> pieces_;   // where the model is in pieces
    std::optional<Bytes> unsent_piece_;  // goes before all others: the worker waits for it
    std::optional<engine::LeadShape> shape_;
    std::optional<engine::pipe::Placed> placed_;
    engine::pipe::Ends ends_;           // said by a lead that loads; of width 0 before
    std::deque<Work> work_;             // at most `steps` Forwards, and four Truncates for each sequence
    std::size_t forwards_ = 0;          // that have not returned
    std::size_t breaks_ = 0;            // that the worker has not answered
    std::deque<engine::Event> events_;  // drained by the owner each turn; a worker sends at most what jobs ask
    std::optional<Instant> start_at_;
    std::optional<Instant> load_deadline_;
    std::optional<Instant> check_at_;  // while a ready worker has jobs
    bool heard_ = false;               // since the last check
    unsigned silent_checks_ = 0;
    Instant ready_at_{};
    Duration delay_ = limits::engine_restart_min;
    unsigned crashes_ = 0;  // in a row, while loading
};

}  // namespace shoal::backend
