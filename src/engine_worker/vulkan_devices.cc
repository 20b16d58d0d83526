#include "engine_worker/vulkan_devices.h"

#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "wire/text.h"

namespace shoal::engine_worker {
namespace {

constexpr const char* loader = "libvulkan.so.1";
constexpr std::uint32_t devices_max = 16;
constexpr std::size_t name_bytes_max = 256;  // VK_MAX_PHYSICAL_DEVICE_NAME_SIZE

// The structures of the interface (Vulkan 1.0), as they lie in memory.
struct ApplicationInfo {
    std::int32_t type = 0;
    const void* next = nullptr;
    const char* application = "shoal-engine";
    std::uint32_t application_version = 1;
    const char* engine = nullptr;
    std::uint32_t engine_version = 0;
    std::uint32_t api_version = 1U << 22 | 2U << 12;  // 1.2, which ggml wants
};
struct InstanceCreateInfo {
    std::int32_t type = 1;
    const void* next = nullptr;
    std::uint32_t flags = 0;
    const ApplicationInfo* application = nullptr;
    std::uint32_t layer_count = 0;
    const char* const* layers = nullptr;
    std::uint32_t extension_count = 0;
    const char* const* extensions = nullptr;
};
struct DeviceProperties {
    std::uint32_t api_version = 0;
    std::uint32_t driver_version = 0;
    std::uint32_t vendor = 0;
    std::uint32_t device = 0;
    std::uint32_t kind = 0;
    char name[name_bytes_max] = {};
    alignas(8) std::uint8_t rest[4096] = {};  // of which the interface fills some 550 bytes
};
static_assert(offsetof(DeviceProperties, name) == 20);

using Instance = void*;
using PhysicalDevice = void*;
using CreateInstance = std::int32_t (*)(const InstanceCreateInfo*, const void*, Instance*);
using DestroyInstance = void (*)(Instance, const void*);
using EnumerateDevices = std::int32_t (*)(Instance, std::uint32_t*, PhysicalDevice*);
using GetProperties = void (*)(PhysicalDevice, DeviceProperties*);

template <typename Function>
Function find(void* library, const char* name) {
    return reinterpret_cast<Function>(dlsym(library, name));
}

std::vector<VulkanDevice> list(Instance instance, EnumerateDevices enumerate, GetProperties properties_of) {
    std::array<PhysicalDevice, devices_max> found{};
    std::uint32_t count = devices_max;
    std::vector<VulkanDevice> out;
    if (enumerate(instance, &count, found.data()) < 0) return out;
    for (std::uint32_t i = 0; i < count && i < devices_max; ++i) {
        DeviceProperties properties;
        properties_of(found[i], &properties);
        const std::string_view name(properties.name, strnlen(properties.name, name_bytes_max));
        const bool known = properties.kind <= static_cast<std::uint32_t>(DeviceKind::software);
        out.push_back({wire::plain_text(name, name_bytes_max),
                       known ? static_cast<DeviceKind>(properties.kind) : DeviceKind::other});
    }
    return out;
}

}  // namespace

const char* kind_name(DeviceKind kind) {
    switch (kind) {
        case DeviceKind::integrated: return "integrated GPU";
        case DeviceKind::discrete: return "discrete GPU";
        case DeviceKind::virtual_gpu: return "virtual GPU";
        case DeviceKind::software: return "software renderer";
        case DeviceKind::other: break;
    }
    return "unknown device";
}

bool is_gpu(DeviceKind kind) {
    return kind == DeviceKind::integrated || kind == DeviceKind::discrete || kind == DeviceKind::virtual_gpu;
}

Result<std::vector<VulkanDevice>> vulkan_devices() {
    // Never closed: ggml's back end uses it next.
    void* library = dlopen(loader, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        return fail(Errc::not_found, std::string("Vulkan's loader (") + loader + ") is not installed");
    }
    const auto create = find<CreateInstance>(library, "vkCreateInstance");
    const auto destroy = find<DestroyInstance>(library, "vkDestroyInstance");
    const auto enumerate = find<EnumerateDevices>(library, "vkEnumeratePhysicalDevices");
    const auto properties = find<GetProperties>(library, "vkGetPhysicalDeviceProperties");
    if (create == nullptr || destroy == nullptr || enumerate == nullptr || properties == nullptr) {
        return fail(Errc::not_found, std::string("Vulkan's loader (") + loader + ") lacks what it should have");
    }
    const ApplicationInfo application;
    InstanceCreateInfo info;
    info.application = &application;
    Instance instance = nullptr;
    if (const std::int32_t error = create(&info, nullptr, &instance); error != 0 || instance == nullptr) {
        return fail(Errc::not_found, "no Vulkan driver is installed (error " + std::to_string(error) + ")");
    }
    std::vector<VulkanDevice> out = list(instance, enumerate, properties);
    destroy(instance, nullptr);
    if (out.empty()) return fail(Errc::not_found, "no Vulkan driver knows a device of this machine");
    return out;
}

}  // namespace shoal::engine_worker
