// `shoal model split` and `shoal model verify`: a model in pieces (protocol/shard.md).
//
// The model's file is a stranger's, so this process does not look into it: the sandboxed worker says which ranges are
// tensors, and they are copied and hashed here.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace shoal::app {

struct ModelOptions {
    std::string layers;     // "FIRST-END", "ends", or several with commas; empty: all
    std::string file;       // split
    std::string out;        // split: folder
    std::string directory;  // verify
};

// `options` outlives `app`.
void declare_model(CLI::App& app, ModelOptions& options);
// `shoal model …` was given. The exit code, as of commands.h; 1: stopped, or a piece is not what it should be.
int run_model(const CLI::App& app, const ModelOptions& options);

}  // namespace shoal::app
