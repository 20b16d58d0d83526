// What a worker says of itself to its node.
#pragma once

#include <chrono>
#include <functional>

#include "base/result.h"
#include "engine/pipe.h"
#include "engine_worker/channel.h"

namespace shoal::engine_worker {

// How far loading is: says it at each hundredth, and now and then where that takes long, as a sign of life.
class LoadingShare {
public:
    explicit LoadingShare(std::function<void(const engine::Loading&)> say) : say_(std::move(say)) {}
    void operator()(double share);

private:
    std::function<void(const engine::Loading&)> say_;
    double shown_ = -1;
    std::chrono::steady_clock::time_point said_;
};

void say(Channel& channel, const engine::pipe::FromWorker& message);
// Placed, where layers are on a GPU.
void say_placed(Channel& channel, std::uint32_t layers, std::uint32_t all);
// Fatal, with the reason, and the end of the process. Errc::malformed and Errc::unsupported are the file's fault.
[[noreturn]] void give_up(Channel& channel, const Error& error);

}  // namespace shoal::engine_worker
