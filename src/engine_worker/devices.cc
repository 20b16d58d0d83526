#include "engine_worker/devices.h"

#include <dlfcn.h>
#include <ggml-backend.h>
#include <ggml-cpp.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>

#include "engine_worker/model.h"
#include "wire/text.h"

namespace shoal::engine_worker {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view variant_prefix = "libggml-cpu-";
constexpr const char* only_variant = "libggml-cpu.so";
constexpr const char* vulkan_backend = "libggml-vulkan.so";
constexpr const char* backends_folder = "ggml/backends0";
constexpr std::size_t name_bytes_max = 64;
constexpr std::size_t description_bytes_max = 128;

// Beside the library itself, where no other folder is named.
fs::path folder_of(const std::string& folder) {
    if (!folder.empty()) return folder;
    Dl_info info{};
    if (dladdr(reinterpret_cast<void*>(&ggml_backend_load), &info) == 0 || info.dli_fname == nullptr) return {};
    return fs::path(info.dli_fname).parent_path() / backends_folder;
}

// What a variant says of itself on this processor; 0: it cannot run here.
int score(const fs::path& variant) {
    void* library = dlopen(variant.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return 0;
    const auto ask = reinterpret_cast<int (*)()>(dlsym(library, "ggml_backend_score"));
    const int out = ask == nullptr ? 0 : ask();
    dlclose(library);
    return out;
}

fs::path best_variant(const fs::path& folder) {
    fs::path best;
    int best_score = 0;
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
        const std::string name = entry.path().filename();
        if (!name.starts_with(variant_prefix) || !name.ends_with(".so")) continue;
        const int here = score(entry.path());
        if (here <= best_score) continue;
        best_score = here;
        best = entry.path();
    }
    return best.empty() ? folder / only_variant : best;
}

// Rule 3. The first is a switch of ggml's by which a renderer in software would count as a GPU.
void set_drivers_straight(Software software) {
    unsetenv("GGML_VK_VISIBLE_DEVICES");
    if (software == Software::taken) setenv("GGML_VK_VISIBLE_DEVICES", "0", 1);
    setenv("MESA_SHADER_CACHE_DISABLE", "true", 1);
    setenv("__GL_SHADER_DISK_CACHE", "0", 1);
    setenv("VK_LOADER_LAYERS_DISABLE", "~implicit~", 1);
}

DeviceKind kind_of(const std::vector<VulkanDevice>& known, const std::string& description) {
    const auto at = std::find_if(known.begin(), known.end(),
                                 [&](const VulkanDevice& device) { return device.name == description; });
    return at == known.end() ? DeviceKind::other : at->kind;
}

Device describe(ggml_backend_dev_t handle, const std::vector<VulkanDevice>& known) {
    Device out;
    out.handle = handle;
    out.name = wire::plain_text(ggml_backend_dev_name(handle), name_bytes_max);
    const std::string description = ggml_backend_dev_description(handle);
    out.kind = kind_of(known, wire::plain_text(description, 256));
    out.description = wire::plain_text(description, description_bytes_max);
    std::size_t free_bytes = 0, total_bytes = 0;
    ggml_backend_dev_memory(handle, &free_bytes, &total_bytes);
    out.free_bytes = free_bytes;
    out.total_bytes = total_bytes;
    return out;
}

std::string names_of(const std::vector<Device>& devices, bool gpus) {
    std::string out;
    for (const Device& device : devices) {
        if (is_gpu(device.kind) != gpus) continue;
        out += (out.empty() ? "" : ", ") +
               (device.name.empty() ? device.description : device.name + " (" + device.description + ")");
        if (!gpus) out += std::string(", a ") + kind_name(device.kind);
    }
    return out;
}

Error no_gpu(const std::string& found) {
    return fail(Errc::unsupported,
                "looked for a GPU, but " + found + "; or leave --gpu out to compute on the processor");
}

// A first product: the driver starts its threads and maps what it needs while it still may.
Status try_device(ggml_backend_t backend) {
    constexpr std::int64_t side = 64;
    const ggml_context_ptr context(ggml_init({8 * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true}));
    ggml_tensor* a = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, side, side);
    ggml_tensor* b = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, side, side);
    ggml_tensor* product = ggml_mul_mat(context.get(), a, b);
    ggml_cgraph* graph = ggml_new_graph(context.get());
    ggml_build_forward_expand(graph, product);
    const ggml_backend_buffer_ptr memory(ggml_backend_alloc_ctx_tensors(context.get(), backend));
    if (!memory) return fail(Errc::unsupported, "the GPU gives no memory");
    const std::vector<float> ones(side * side, 1.0F);
    ggml_backend_tensor_set(a, ones.data(), 0, ones.size() * sizeof(float));
    ggml_backend_tensor_set(b, ones.data(), 0, ones.size() * sizeof(float));
    float first = 0;
    const bool done = ggml_backend_graph_compute(backend, graph) == GGML_STATUS_SUCCESS;
    ggml_backend_tensor_get(product, &first, 0, sizeof first);
    if (done && first == static_cast<float>(side)) return ok();
    return fail(Errc::unsupported, "the GPU computes a first product wrongly: its driver does not suit this engine");
}

}  // namespace

Status load_backends(const std::string& folder) {
    forget_library_error();
    watch_library();
    const fs::path from = folder_of(folder);
    const ggml_backend_reg_t loaded = ggml_backend_load(best_variant(from).c_str());
    // A library that was built with its back ends inside, or keeps them elsewhere.
    if (loaded == nullptr && folder.empty()) ggml_backend_load_all();
    llama_backend_init();
    forget_library_error();
    if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr) {
        return fail(Errc::not_found,
                    "no compute backend for this processor in " + (folder.empty() ? "its folder" : folder));
    }
    return ok();
}

DeviceSearch find_devices(const std::string& folder, Software software) {
    DeviceSearch out;
    const fs::path backend = folder_of(folder) / vulkan_backend;
    std::error_code ignored;
    if (!fs::exists(backend, ignored)) {
        out.missing = std::string("ggml's Vulkan back end (") + vulkan_backend +
                      ") is not installed: tools/setup/llama.sh brings it, or your system's libggml0-backend-vulkan";
        return out;
    }
    set_drivers_straight(software);
    const auto known = vulkan_devices();
    if (!known) {
        out.missing = known.error().message + ": install the Vulkan driver of your GPU";
        return out;
    }
    const ggml_backend_reg_t vulkan = ggml_backend_load(backend.c_str());
    if (vulkan == nullptr) {
        out.missing = std::string("ggml's Vulkan back end (") + vulkan_backend + ") cannot be loaded: " +
                      (last_library_error().empty() ? "it finds no device of its liking" : last_library_error());
        return out;
    }
    std::vector<std::string> used;
    for (std::size_t i = 0; i < ggml_backend_reg_dev_count(vulkan); ++i) {
        out.devices.push_back(describe(ggml_backend_reg_dev_get(vulkan, i), *known));
        used.push_back(out.devices.back().description);
    }
    for (const VulkanDevice& device : *known) {
        const std::string description = wire::plain_text(device.name, description_bytes_max);
        if (std::find(used.begin(), used.end(), description) != used.end()) continue;
        out.devices.push_back({nullptr, "", description, device.kind, 0, 0});
    }
    return out;
}

Result<Device> choose_gpu(const DeviceSearch& search, const std::string& name, Software software) {
    if (!search.missing.empty()) return no_gpu(search.missing);
    const Device* best = nullptr;
    for (const Device& device : search.devices) {
        const bool counts = is_gpu(device.kind) || software == Software::taken;
        if (device.handle == nullptr || !counts || (!name.empty() && device.name != name)) continue;
        if (best == nullptr || device.free_bytes > best->free_bytes) best = &device;
    }
    if (best != nullptr) return *best;
    const std::string gpus = names_of(search.devices, true), others = names_of(search.devices, false);
    if (!name.empty() && !gpus.empty()) return no_gpu("none is called " + name + ": choose one of " + gpus);
    if (!gpus.empty()) return no_gpu("the Vulkan back end does not use " + gpus + ": its driver lacks what it needs");
    return no_gpu("found only " + others + ", which is no GPU: install the Vulkan driver of your GPU");
}

Result<Offload> open_gpu(const std::string& folder, const std::string& name, std::optional<std::uint32_t> layers,
                         Software software) {
    const Device chosen = TRY(choose_gpu(find_devices(folder, software), name, software));
    // Never freed: so the driver keeps what it opened, and nothing runs behind the end of main().
    static ggml_backend_t opened = nullptr;
    std::string why;
    try {  // the back end throws where a driver refuses
        if (opened == nullptr) opened = ggml_backend_dev_init(chosen.handle, nullptr);
        if (opened != nullptr) TRY(try_device(opened));
    } catch (const std::exception& error) {
        why = error.what();
        opened = nullptr;
    }
    if (opened != nullptr) return Offload{chosen.handle, chosen.name, layers, chosen.free_bytes};
    if (why.empty()) why = last_library_error();
    return no_gpu(chosen.name + " (" + chosen.description + ") cannot be used" +
                  (why.empty() ? "" : ": " + wire::plain_text(why, 200)));
}

}  // namespace shoal::engine_worker
