// The drafters that a node asks for (protocol/pipe.md, drafts).
#pragma once

#include "engine_worker/draft_model.h"
#include "engine_worker/model.h"
#include "engine_worker/speculation.h"

namespace shoal::engine_worker {

// `file` is the model's descriptor, `draft_file` that of the model that drafts, read only where there is to be one;
// both must stay open. Call load_backends() before. Errc::unsupported: a recurrent model, which cannot take a guess
// back. Errors of DraftModel.
Result<Speculation> load_drafters(const engine::pipe::Drafts& drafts, const Model& model, int file, int draft_file);

}  // namespace shoal::engine_worker
