// What a step costs a stage besides its layers: measured on this machine with two stages of one model, a short one and
// a long one, through the door that hops use (engine/stage.h), worker process and pipe included.
//
// A step takes the way to the worker and back, and what the worker says it was busy: fixed + n · layer. Both stages are
// measured in turn, a row at a time. Of the work the least counts, since whatever else the machine does only lengthens
// it; of the way the middle one, since it is waking up that takes it, which is as quick as the machine at that moment.
// The line through both points meets no layers at `fixed`; where the short stage fits a cache and the long one does not
// it would meet below zero, and counts as zero. The links of a stage are not in it: their ends are in the round trips
// that `shoal bench --peer` measures.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/stage_workers.h"
#include "net/loop.h"

namespace shoal::app {

struct StageFigures {
    Duration overhead{};  // of a step, at least 1 µs
    Duration layer{};     // each layer of it; zero where the model has too few to tell
};

class StageGauge {
public:
    // `loop` and `log` must outlive it.
    StageGauge(net::Loop& loop, Log& log, const std::string& model_path, std::uint16_t threads,
               backend::EngineCommand command);

    // Errc::unsupported: the model cannot be cut into stages, and why. Errc::unavailable: the engine failed.
    Result<StageFigures> measure();

private:
    struct Stage {
        engine::StageHandle handle;
        std::uint16_t layers = 0;
        std::uint32_t position = 0;
        std::vector<Duration> ways;       // of each step, besides what the worker says; bounded: rounds
        Duration busy = Duration::max();  // what it says, at least
    };

    // The model's name and width and how many layers it has, from a worker that loads its ends alone.
    Result<engine::StageShape> shape();
    // The layers 0 to `layers` - 1. Errc::unsupported: it may not be cut there.
    Result<Stage> open(engine::StageShape shape, std::uint16_t layers);
    Status run(Stage& stage, const engine::StageShape& shape);
    // The next event of this stage.
    Result<engine::StageEvent> wait(engine::StageHandle handle);

    net::Loop& loop_;
    Log& log_;
    std::string model_path_;
    std::uint16_t threads_;
    backend::EngineCommand command_;
    backend::StageWorkers workers_;
    std::uint64_t last_handle_ = 0;
};

}  // namespace shoal::app
