// What a worker says of itself to its node.
#pragma once

#include "base/result.h"
#include "engine/pipe.h"
#include "engine_worker/channel.h"

namespace shoal::engine_worker {

void say(Channel& channel, const engine::pipe::FromWorker& message);
// Placed, where layers are on a GPU.
void say_placed(Channel& channel, std::uint32_t layers, std::uint32_t all);
// Fatal, with the reason, and the end of the process. Errc::malformed and Errc::unsupported are the file's fault.
[[noreturn]] void give_up(Channel& channel, const Error& error);

}  // namespace shoal::engine_worker
