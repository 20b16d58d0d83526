// For this room's tests: a real shoal-engine at the other end of a real socket pair.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/pipe.h"

namespace shoal::engine_worker {

// What became of one job.
struct Reply {
    std::string text;
    std::uint32_t prompt = 0;
    std::size_t pieces = 0;
    std::optional<engine::Finished> finished;
    std::optional<engine::Failed> failed;
};

class TestWorker {
public:
    // Starts it on a file; nothing is sent yet.
    explicit TestWorker(const std::string& path, std::vector<std::string> arguments = {});
    ~TestWorker();
    TestWorker(const TestWorker&) = delete;
    TestWorker& operator=(const TestWorker&) = delete;

    void send(const engine::pipe::ToWorker& message);
    void send_raw(ByteView bytes);
    // The next message; nullopt when the worker is gone. Waits as long as the worker lives.
    std::optional<engine::pipe::FromWorker> next();
    // Load, then everything up to Ready or Fatal. nullopt: it died without a word.
    std::optional<engine::pipe::FromWorker> load(const engine::pipe::Load& options);
    // Reads until each of these jobs has ended, or the worker has.
    std::map<std::uint64_t, Reply> collect(std::vector<std::uint64_t> jobs);
    // Waits for its end: the exit code, or minus the signal.
    int wait();
    void kill(int signal);
    int pid() const { return pid_; }

private:
    int pid_ = -1;
    int socket_ = -1;
    engine::pipe::Frames frames_;
    std::vector<Bytes> arrived_;
};

engine::Job job_of(std::uint64_t id, std::string text, std::uint32_t tokens = 16);
// Runs shoal-engine with these arguments and waits: the exit code, or minus the signal.
int run_engine(std::vector<std::string> arguments);

}  // namespace shoal::engine_worker
