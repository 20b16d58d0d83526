// What can compute: the processor, and GPUs by ggml's Vulkan back end.
//
// Rules
//   1. load_backends() loads the processor's back end and no other, also where others lie beside it. Rationale: loading
//      a driver runs its code, and that of whatever hooks into it, before the walls; who did not ask for a GPU has
//      nothing of it.
//   2. A GPU is what Vulkan calls one. A renderer in software is the processor, slower: it is named and refused.
//   3. Drivers are told to write no cache and load no layers: neither would work behind the walls.
//
// Before the sandbox. One thread.
#pragma once

#include <string>
#include <vector>

#include "engine_worker/offload.h"
#include "engine_worker/vulkan_devices.h"

namespace shoal::engine_worker {

// Loads the processor's back end from `folder`, of the variants there the best for this processor; empty: where the
// library lies. Errc::not_found: no variant for this processor there.
Status load_backends(const std::string& folder);

struct Device {
    ggml_backend_dev_t handle = nullptr;  // nullptr: ggml does not use it
    std::string name;                     // as ggml numbers them: "Vulkan0"; empty without a handle
    std::string description;              // of the driver; plain text
    DeviceKind kind = DeviceKind::other;
    std::uint64_t free_bytes = 0;
    std::uint64_t total_bytes = 0;
};

// What a search found. `missing`: what it failed at, in words that follow "looked for a GPU, but "; then there is no
// device.
struct DeviceSearch {
    std::vector<Device> devices;
    std::string missing;
};

// `software`: a renderer in software is used too, by itself. For tests on machines without a GPU; no option leads here.
enum class Software : bool { refused = false, taken = true };
DeviceSearch find_devices(const std::string& folder, Software software = Software::refused);

// The GPU of that name; without one the GPU with the most free memory. Errc::unsupported: none, with what was looked
// for, what was found and what to do, in a line that follows "--gpu auto: ".
Result<Device> choose_gpu(const DeviceSearch& search, const std::string& name, Software software = Software::refused);

// Finds, chooses and opens it for the life of this process: afterwards the driver opens no more files, or it does not
// work behind the walls. Errors as of choose_gpu.
Result<Offload> open_gpu(const std::string& folder, const std::string& name, std::optional<std::uint32_t> layers,
                         Software software = Software::refused);

}  // namespace shoal::engine_worker
