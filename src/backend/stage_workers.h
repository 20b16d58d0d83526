// Stages in processes of their own: one `shoal-engine --stage` for each session that this node computes layers for
// (protocol/stage_pipe.md).
//
// Rules, beside those of engine/stage.h
//   1. A session's process lives as long as the session: layers and cache are of one size for all of it, and a process
//      that dies takes nothing of another session with it. It is not started again: what it held is gone, and the
//      coordinator has standbys.
//   2. The worker may die, lie or send noise at any moment: then its session fails, with the reason.
//   3. A worker that is silent for limits::engine_start_timeout while loading, or for limits::engine_silence_max while
//      it computes, is killed. Once it has been measured it is given silence_steps times what the call should take, and
//      silence_min at least: it says every second that it computes, and between two operations only a part of a call
//      goes by. Time counts in two halves, so that a node that stood still itself blames nobody.
//   4. What it loads must be the model that was asked for; a file is read for nothing else.
//   5. What it computed has the shape of what it was asked, and is numbers: else it is lost here, by its own name, and
//      the next hop never sees it.
//
// Thread: the loop's. `wake` is called when poll() has something that was not there before, from inside: it must not
// call this object.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "backend/engine_files.h"
#include "backend/gpu.h"
#include "base/log.h"
#include "engine/stage.h"
#include "engine/stage_pipe.h"
#include "net/child.h"
#include "net/loop.h"

namespace shoal::backend {

struct StageWorkersOptions {
    std::string model_path;  // a file, or a folder of pieces
    EngineCommand command;
    std::uint16_t threads = 0;
    engine::pipe::KvType kv = engine::pipe::KvType::f16;
    std::optional<GpuChoice> gpu = std::nullopt;
    Duration silence_min = std::chrono::seconds(5);  // rule 3
};

class StageWorkers final : public engine::RankEngine {
public:
    static constexpr int silence_steps = 20;  // a busy machine, a long history

    // `loop` and `log` must outlive it.
    StageWorkers(net::Loop& loop, Log& log, StageWorkersOptions options, std::function<void()> wake);
    ~StageWorkers() override;

    void open(Now now, engine::StageHandle handle, const engine::StageShape& shape) override;
    void compute(Now now, engine::StageHandle handle, const wire::StageRows& rows) override;
    void truncate(Now now, engine::StageHandle handle, std::uint16_t sequence, std::uint32_t length) override;
    void fill(Now now, engine::StageHandle handle, const wire::StageKvRows& rows) override;
    void read(Now now, engine::StageHandle handle, const wire::StageReadOf& of) override;
    void close(Now now, engine::StageHandle handle) override;
    std::optional<engine::StageEvent> poll() override;
    void reduce(Now now, engine::StageHandle handle, wire::ReducePart part) override;
    std::optional<Part> poll_part() override;

    // Of the running workers, for tests and for people.
    std::vector<int> pids() const;

private:
    struct Worker;

    Status start(Worker& worker, const engine::StageShape& shape);
    void on_bytes(Worker& worker, ByteView bytes);
    // False: the message cannot come now, so the worker is broken.
    bool on_message(Worker& worker, engine::stage_pipe::FromStage message);
    bool answer(Worker& worker, const engine::pipe::Want& want);
    bool on_computed(Worker& worker, engine::stage_pipe::Computed computed);
    bool on_given(Worker& worker, engine::stage_pipe::Given given);
    void send(Worker& worker, const engine::stage_pipe::ToStage& message);
    void flush(Worker& worker);
    // Rule 3: from now on something is owed.
    void watch(Worker& worker, Duration silence_max, bool second_half = false);
    void watch_computing(Worker& worker);
    void give_up(Worker& worker, wire::StageFaultCode code, const std::string& text);
    void put(engine::StageEvent event);

    net::Loop& loop_;
    Log& log_;
    StageWorkersOptions options_;
    std::function<void()> wake_;
    std::map<engine::StageHandle, std::unique_ptr<Worker>> workers_;  // bounded: stage_sessions_max, by the host
    std::deque<engine::StageEvent> events_;  // bounded: one for each operation under way, drained by the owner
    std::deque<Part> parts_;                 // bounded: an engine waits for an answer to each but the first
};

}  // namespace shoal::backend
