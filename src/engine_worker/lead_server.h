// `shoal-engine --lead`: the ends of a model, whose layers, or those in the middle, are on other machines
// (protocol/pipe.md).
#pragma once

#include "engine/pipe.h"
#include "engine_worker/channel.h"
#include "engine_worker/offload.h"

namespace shoal::engine_worker {

// Serves until the node is gone. The compute backends are loaded and the walls stand; `file` is the whole model, of
// which embedding, norm and head are read, or a manifest; `draft_file` a model that drafts, where there is to be one.
// `early` came with the first frame. `offload`: where its own layers go.
[[noreturn]] void serve_lead(Channel& channel, int file, int draft_file, const engine::pipe::Lead& lead,
                             const Offload& offload, std::vector<engine::pipe::ToWorker> early);

}  // namespace shoal::engine_worker
