// `shoal-engine --stage`: computes a range of layers for the node that started it (protocol/stage_pipe.md).
#pragma once

#include "engine/stage_pipe.h"
#include "engine_worker/channel.h"
#include "engine_worker/offload.h"
#include "engine_worker/shard.h"

namespace shoal::engine_worker {

// Serves until the node is gone. The compute backends are loaded and the walls stand; `file` is the whole model, or a
// manifest. `offload`: where its layers go.
[[noreturn]] void serve_stage(Channel& channel, int file, const engine::stage_pipe::Load& load, const Offload& offload);

}  // namespace shoal::engine_worker
