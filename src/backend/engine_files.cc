#include "backend/engine_files.h"

#include <cstdlib>
#include <filesystem>

namespace shoal::backend {
namespace {

namespace fs = std::filesystem;

constexpr const char* loaders[] = {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"};
constexpr const char* backends_folder = "ggml/backends0";

bool present(const fs::path& path) {
    std::error_code ignored;
    return fs::exists(path, ignored);
}

// The first that exists of: what the variable says, and `name` in the two folders.
fs::path find(const char* variable, const fs::path& folder, const char* name) {
    if (const char* chosen = std::getenv(variable); chosen != nullptr && *chosen != '\0') return chosen;
    for (const fs::path& at : {folder / name, folder / ".." / "lib" / "shoal" / name}) {
        if (present(at)) return at;
    }
    return {};
}

}  // namespace

Result<EngineCommand> find_engine(const std::string& folder) {
    const fs::path program = find("SHOAL_ENGINE", folder, "shoal-engine");
    if (program.empty() || !present(program)) {
        return fail(Errc::not_found, "shoal-engine is not beside this program (" + folder +
                                         "): build it (./run does), or name it by SHOAL_ENGINE");
    }
    const fs::path libraries = find("SHOAL_ENGINE_LIBS", folder, "engine-libs");
    EngineCommand command;
    if (!libraries.empty()) {
        for (const char* loader : loaders) {
            if (!present(libraries / loader)) continue;
            command.words = {(libraries / loader).string(), "--library-path", libraries.string()};
        }
    }
    command.words.push_back(program.string());
    if (!libraries.empty() && present(libraries / backends_folder)) {
        command.words.insert(command.words.end(), {"--backends", (libraries / backends_folder).string()});
    }
    return command;
}

std::string own_folder() {
    std::error_code failed;
    const fs::path self = fs::read_symlink("/proc/self/exe", failed);
    return failed ? "." : self.parent_path().string();
}

}  // namespace shoal::backend
