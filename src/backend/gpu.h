// Whether there is a GPU for `--gpu`, asked of shoal-engine before a node starts: drivers are loaded by that
// short-lived process and never by this one, and not at all unless somebody asks.
//
// What it says is a stranger's word (drivers run in it): lines are bounded and parsed, and it has a minute.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backend/engine_files.h"

namespace shoal::backend {

// What `--gpu` says.
struct GpuChoice {
    std::optional<std::uint16_t> layers;  // none: as many as fit
    std::string device;                   // by its name; empty: the one with the most free memory
    friend bool operator==(const GpuChoice&, const GpuChoice&) = default;
};

// "off" (nullopt), "auto", or 1 to limits::model_layers_max. Errc::invalid.
Result<std::optional<GpuChoice>> parse_gpu(const std::string& text);

struct GpuDevice {
    std::string name;  // "Vulkan0"; empty: a device that is not used
    std::string kind;  // "discrete GPU"
    std::string description;
    std::uint64_t free_bytes = 0;
    std::uint64_t total_bytes = 0;
};
struct FoundGpus {
    std::vector<GpuDevice> devices;  // at most 16
    std::string chosen;              // the name of one of them
};

// Errc::not_found: none that can be used, or none of this name; one line that says what was looked for, what was found
// and what to do. Blocks for as long as the drivers take.
Result<FoundGpus> find_gpus(const EngineCommand& command, const std::string& device);

// The lines of `shoal-engine --find-gpu`. Errc::malformed.
Result<FoundGpus> parse_found_gpus(const std::vector<std::string>& lines);

// The engine's words for that choice.
std::vector<std::string> gpu_words(const GpuChoice& choice);

// What to say when such an engine is ended by the sandbox.
std::string gpu_forbidden_text();

}  // namespace shoal::backend
