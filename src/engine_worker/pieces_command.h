// The worker's two short lives beside serving: make a manifest of a file, or check one (protocol/shard.md). Both read
// strangers' bytes, so both run behind the walls of sandbox.h.
#pragma once

#include "engine_worker/pieces.h"
#include "wire/shard.h"

namespace shoal::engine_worker {

// Parts of a model that a node is to have: what a lead reads of no layer, and ranges of layers.
struct Parts {
    bool ends = false;
    std::vector<LayerRange> layers;  // at most wire::shard_parts_max
};
// "ends", "FIRST-END", or several of them with commas between. nullopt: it is written otherwise.
std::optional<Parts> parse_parts(std::string_view text);

// Writes the manifest of the model on `file` to `out`, and the share that is done to standard output, a line each
// hundredth. With `parts`, a line "piece N" there for each piece that they need, N its place in the manifest. Errors as
// read_gguf(), make_manifest(), WholeModel.
Status write_manifest(int file, int out, const std::optional<Parts>& parts);

// The model of the manifest on `file`. Errors as decode_manifest(), PiecedModel::open().
Result<PiecedModel> open_manifest(int file);

// Whether the manifest on `file` is that of the model which it names; with `parts`, lines as above. Errors as
// open_manifest(), WholeModel.
Status check_manifest_file(int file, const std::optional<Parts>& parts);

}  // namespace shoal::engine_worker
