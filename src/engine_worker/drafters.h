// The drafters that a node asks for (protocol/pipe.md, drafts).
#pragma once

#include "engine_worker/draft_model.h"
#include "engine_worker/model.h"
#include "engine_worker/speculation.h"

namespace shoal::engine_worker {

// `header` and `read` are the model's; `draft_file` is the descriptor of the model that drafts, read only where there
// is to be one. What is read must stay as it is. Call load_backends() before. Errc::unsupported: a recurrent model,
// which cannot take a guess back. Errors of DraftModel.
Result<Speculation> load_drafters(const engine::pipe::Drafts& drafts, const Model& model, Gguf header,
                                  const ReadAt& read, int draft_file, const std::function<void(double)>& progress);

}  // namespace shoal::engine_worker
