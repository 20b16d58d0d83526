// `--gpu` and `--gpu-device`: from words to a device that is there, or a refusal in one line.
#pragma once

#include <optional>
#include <string>

#include "backend/gpu.h"

namespace shoal::app {

struct FoundChoice {
    backend::GpuChoice choice;  // with the device's name
    backend::FoundGpus found;
};

// nullopt: "off". Asks the engine, so it takes as long as this machine's drivers do. Errc::invalid: words that say
// nothing; Errc::not_found: no such GPU, with what was looked for and found. There is no falling back to the processor:
// who asks for a GPU is told that there is none, and not left with a node that is ten times slower than it should be.
Result<std::optional<FoundChoice>> find_gpu_choice(const std::string& gpu, const std::string& device,
                                                   const backend::EngineCommand& command);

// "Vulkan0: NAME, discrete GPU, 7900 of 8192 MiB free".
std::string device_text(const backend::GpuDevice& device);

}  // namespace shoal::app
