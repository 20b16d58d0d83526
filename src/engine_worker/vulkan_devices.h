// What Vulkan itself says of its devices: which of them are software.
//
// ggml does not tell a software renderer from a GPU once it uses one, and does not name those that it passes over. So
// the loader is asked directly, by five functions of its stable interface; no header of Vulkan is needed.
//
// Runs code of every driver that is installed: before the sandbox, and only for who asked for a GPU.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace shoal::engine_worker {

enum class DeviceKind : std::uint8_t { other = 0, integrated = 1, discrete = 2, virtual_gpu = 3, software = 4 };

const char* kind_name(DeviceKind kind);
// A GPU, in hardware or shared by a virtual machine's host. What Vulkan calls a processor is a renderer in software.
bool is_gpu(DeviceKind kind);

struct VulkanDevice {
    std::string name;  // plain text
    DeviceKind kind = DeviceKind::other;
};

// Errc::not_found: no Vulkan loader, or no driver, in words that follow "looked for a GPU, but ".
Result<std::vector<VulkanDevice>> vulkan_devices();

}  // namespace shoal::engine_worker
