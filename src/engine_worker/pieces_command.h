// The worker's two short lives beside serving: make a manifest of a file, or check one (protocol/shard.md). Both read
// strangers' bytes, so both run behind the walls of sandbox.h.
#pragma once

#include "base/result.h"

namespace shoal::engine_worker {

// Writes the manifest of the model on `file` to `out`, and the share that is done to standard output, a line each
// hundredth. Errors as read_gguf(), make_manifest().
Status write_manifest(int file, int out);

// Whether the manifest on `file` is that of the model which it names. Errors as decode_manifest(), PiecedModel::open().
Status check_manifest_file(int file);

}  // namespace shoal::engine_worker
