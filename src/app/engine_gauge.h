// How fast this machine runs a model: what `shoal bench` measures, through the engine's door as questions do.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "backend/worker_engine.h"
#include "base/rng.h"
#include "net/loop.h"

namespace shoal::app {

// Times of one model.
struct EngineFigures {
    Duration step{};          // one token of one sequence
    Duration batch_step{};    // one token of each of EngineGauge::batch sequences
    Duration prompt_token{};  // each token of a prompt
    // How far the least sure of the three lies above what was measured next to it: .03 is 3 %.
    double uncertainty = 0;
    std::size_t rounds = 0;
};

class EngineGauge {
public:
    static constexpr std::size_t batch = 8;
    static constexpr std::size_t rounds_min = 5;
    static constexpr double certain = 0.03;

    // `loop`, `log` and `rng` must outlive it.
    EngineGauge(net::Loop& loop, Log& log, Rng& rng, const std::string& model_path, std::uint16_t threads,
                backend::EngineCommand command);

    // Errc::invalid: the engine cannot serve this file, and why.
    Result<engine::ModelInfo> load();
    // Each figure is the best of all rounds. Rationale: whatever else the machine does meanwhile only slows a round
    // down, so the best is what comes out alike the next time. From rounds_min on they go on until a second one has
    // come as near to the best as `certain`, to `rounds` at most. Rationale: a best that no other round comes near was
    // hit by chance, or the machine was never left alone. Errc::unavailable: the model ends its answers at once, or the
    // engine failed.
    Result<EngineFigures> measure(std::size_t rounds, const std::function<void(std::size_t round)>& on_round);

private:
    // Of jobs that ran together: from when all had begun to answer until the first ended.
    struct Window {
        Duration time{};
        std::uint64_t tokens = 0;
        Duration first_token{};  // of the first to answer, since it was submitted
        std::uint32_t prompt_tokens = 0;
    };
    struct Group;
    Result<Window> run(std::size_t jobs, std::size_t words, std::uint32_t tokens);
    // run(), as often as needed for `steps` steps of `jobs` sequences: a model may end its answer at any token.
    Result<Duration> step_time(std::size_t jobs, std::uint64_t steps);
    // Of a short prompt, or a long one, since it was submitted.
    struct Prompt {
        Duration first_token{};
        std::uint32_t tokens = 0;
    };
    Result<Prompt> prompt_time(std::size_t words);
    std::string random_words(std::size_t count);
    void wait(const std::function<bool()>& done);

    net::Loop& loop_;
    Rng& rng_;
    std::unique_ptr<backend::WorkerEngine> engine_;
    std::uint64_t last_job_ = 0;
};

}  // namespace shoal::app
