// For this room's tests: the real shoal-engine with the fixture models, and workers in shell.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/worker_engine.h"
#include "net/loop.h"

namespace shoal::backend {

// Long enough for the slowest machine; no test waits for it to pass.
inline constexpr Duration patience = 120s;

// "mini" is the bundled model, the others have random weights: where two of their tokens are nearly as likely, how many
// rows are computed together may turn the choice.
inline std::string fixture(const std::string& name) {
    if (name == "mini") return std::string(SHOAL_SOURCE_DIR) + "/models/shoal-mini.gguf";
    const char* folder = std::getenv("SHOAL_FIXTURES");
    return (folder == nullptr ? own_folder() + "/fixtures" : std::string(folder)) + "/" + name + ".gguf";
}

inline engine::Job job_of(std::uint64_t id, std::string text, std::uint32_t tokens = 8) {
    engine::Job job;
    job.id = JobId(id);
    job.request.messages.push_back({Role::user, Plaintext(std::move(text))});
    job.request.sampling.temperature = 0;
    job.request.completion_tokens_max = tokens;
    return job;
}

inline WorkerOptions small_engine(std::string model, EngineCommand command) {
    WorkerOptions options;
    options.model_path = std::move(model);
    options.load.context_tokens = 2048;
    options.load.sequences = 4;
    options.load.threads = 1;
    options.command = std::move(command);
    return options;
}

// The engine on a loop, ticked as the node ticks it.
struct Rig {
    NullLog log;
    net::Loop loop;
    std::vector<engine::Event> events;
    std::function<void()> on_drained;
    std::unique_ptr<WorkerEngine> engine;
    net::Timer timer;

    explicit Rig(WorkerOptions options) {
        engine = std::make_unique<WorkerEngine>(loop, log, std::move(options), [this] { drain(); });
        tick();
    }
    Rig(std::string model, EngineCommand command, Duration silence_max = limits::engine_silence_max)
        : Rig(with_silence(small_engine(std::move(model), std::move(command)), silence_max)) {}

    static WorkerOptions with_silence(WorkerOptions options, Duration silence_max) {
        options.silence_max = silence_max;
        return options;
    }
    void tick() {
        engine->on_tick(loop.now());
        drain();
    }
    // Each event may have changed when the engine wants to be called again.
    void drain() {
        while (auto event = engine->poll()) events.push_back(std::move(*event));
        const auto at = engine->next_deadline();
        timer = at ? loop.at(*at, [this] { tick(); }) : net::Timer();
        if (on_drained) on_drained();
    }
    void submit(engine::Job job) {
        engine->submit(loop.now(), std::move(job));
        drain();
    }
    // Runs until `done`; restarts and time-outs are ticked on the way.
    template <typename Done>
    bool until(Done done) {
        return loop.run_until(done, patience);
    }
    template <typename Kind>
    std::vector<const Kind*> all() const {
        std::vector<const Kind*> out;
        for (const engine::Event& event : events) {
            if (const auto* one = std::get_if<Kind>(&event)) out.push_back(one);
        }
        return out;
    }
    template <typename Kind>
    const Kind* of(std::uint64_t job) const {
        for (const Kind* each : all<Kind>()) {
            if (each->job == JobId(job)) return each;
        }
        return nullptr;
    }
    bool ended(std::uint64_t job) const {
        return of<engine::Finished>(job) != nullptr || of<engine::Failed>(job) != nullptr;
    }
    std::string text_of(std::uint64_t job) const {
        std::string out;
        for (const engine::Text* each : all<engine::Text>()) {
            if (each->job == JobId(job)) out += each->text.expose();
        }
        return out;
    }
    bool until_ready() {
        return until([this] {
                   return engine->health() == engine::Health::ready || engine->health() == engine::Health::dead;
               }) &&
               engine->health() == engine::Health::ready;
    }
};

inline EngineCommand shell(const std::string& script) {
    return {{"/bin/sh", "-c", script}};
}

// For printf of a POSIX shell.
inline std::string octal_of(ByteView bytes) {
    std::string out;
    for (const std::uint8_t byte : bytes) {
        const auto digit = [byte](int shift) { return static_cast<char>('0' + (byte >> shift & 7)); };
        out += {'\\', digit(6), digit(3), digit(0)};
    }
    return out;
}

class WithEngine : public testing::Test {
protected:
    void SetUp() override {
        const auto found = find_engine(own_folder());
        if (!found) GTEST_SKIP() << found.error().message;
        command = *found;
    }
    EngineCommand command;
};

}  // namespace shoal::backend
