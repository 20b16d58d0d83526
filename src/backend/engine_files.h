// Where shoal-engine and its libraries are: beside this program, in the build tree and in the archive alike.
//
// The program: $SHOAL_ENGINE, else <folder of this program>/shoal-engine, else <folder>/../lib/shoal/shoal-engine.
// Its libraries: $SHOAL_ENGINE_LIBS, else engine-libs in the same two folders. Where that folder holds a loader, the
// engine is started by it: these libraries may want a newer C library than the system's. No such folder: the system has
// libllama itself, and the program is started as it is.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace shoal::backend {

// The words that start the engine, without the model.
struct EngineCommand {
    std::vector<std::string> words;
};

// `folder`: where this program lies; own_folder() gives it. Errc::not_found: no shoal-engine in any of the places.
Result<EngineCommand> find_engine(const std::string& folder);
std::string own_folder();

}  // namespace shoal::backend
