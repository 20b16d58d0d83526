// The worker's two short lives beside serving: make a manifest of a file, or check one (protocol/shard.md). Both read
// strangers' bytes, so both run behind the walls of sandbox.h.
#pragma once

#include "engine_worker/pieces.h"

namespace shoal::engine_worker {

// Writes the manifest of the model on `file` to `out`, and the share that is done to standard output, a line each
// hundredth. With `layers`, a line "piece N" there for each piece that a stage of them needs, N its place in the
// manifest. Errors as read_gguf(), make_manifest(), WholeModel.
Status write_manifest(int file, int out, std::optional<LayerRange> layers);

// The model of the manifest on `file`. Errors as decode_manifest(), PiecedModel::open().
Result<PiecedModel> open_manifest(int file);

// Whether the manifest on `file` is that of the model which it names; with `layers`, lines as above. Errors as
// open_manifest(), WholeModel.
Status check_manifest_file(int file, std::optional<LayerRange> layers);

}  // namespace shoal::engine_worker
