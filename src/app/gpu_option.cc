#include "app/gpu_option.h"

#include <fmt/format.h>

namespace shoal::app {

Result<std::optional<FoundChoice>> find_gpu_choice(const std::string& gpu, const std::string& device,
                                                   const backend::EngineCommand& command) {
    std::optional<backend::GpuChoice> choice = TRY(backend::parse_gpu(gpu));
    if (!choice) {
        if (device.empty()) return std::optional<FoundChoice>();
        return fail(Errc::invalid, fmt::format("--gpu-device {}: needs --gpu auto, or a number of layers", device));
    }
    auto found = backend::find_gpus(command, device);
    if (!found) return fail(found.error().code, fmt::format("--gpu {}: {}", gpu, found.error().message));
    choice->device = found->chosen;
    return std::optional(FoundChoice{std::move(*choice), std::move(*found)});
}

std::string device_text(const backend::GpuDevice& device) {
    if (device.name.empty()) return fmt::format("not used: {}, {}", device.description, device.kind);
    return fmt::format("{}: {}, {}, {} of {} MiB free", device.name, device.description, device.kind,
                       device.free_bytes >> 20, device.total_bytes >> 20);
}

}  // namespace shoal::app
