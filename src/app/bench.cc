// `shoal bench`: this machine's profile, measured and signed.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "app/commands.h"
#include "app/engine_gauge.h"
#include "app/gpu_option.h"
#include "app/log.h"
#include "app/network_file.h"
#include "app/new_network.h"
#include "app/plan_file.h"
#include "crypto/rng.h"
#include "engine/prompt_steps.h"
#include "store/files.h"

namespace shoal::app {
namespace {

// What a step costs a stage besides its layers: half a dozen passes through two processes. Not measured here, since no
// stage runs yet when a node measures itself; the larger of two figures on a slow machine.
constexpr std::uint32_t stage_overhead_ns = 190'000;

constexpr std::uint64_t mib = 1 << 20;

std::uint64_t ps_per_mib(Duration time, std::uint64_t bytes) {
    const double ps = 1000.0 * static_cast<double>(time.count()) * mib / static_cast<double>(bytes);
    return static_cast<std::uint64_t>(
        std::clamp(ps, double{limits::rate_ps_per_mib_min}, double{limits::rate_ps_per_mib_max}));
}

// Half of what the machine has: its owner works on it too.
std::uint64_t default_memory() {
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page = sysconf(_SC_PAGE_SIZE);
    return pages > 0 && page > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page) / 2
                                 : 1024 * mib;
}

wire::Measurements measurements(const BenchOptions& options, std::uint8_t quantisation, std::uint64_t bytes,
                                const EngineFigures& figures) {
    wire::Measurements out;
    out.memory_bytes = options.memory_mib > 0 ? options.memory_mib * mib : default_memory();
    out.stage_overhead_ns = stage_overhead_ns;
    out.chunk_tokens = engine::prompt_tokens_only;
    const Duration more = (figures.batch_step - figures.step) / static_cast<std::int64_t>(EngineGauge::batch - 1);
    out.rates.push_back({quantisation, ps_per_mib(figures.step, bytes), ps_per_mib(more, bytes),
                         ps_per_mib(figures.prompt_token, bytes), 0});
    return out;
}

void print_figures(const BenchOptions& options, std::uint64_t bytes, const EngineFigures& f,
                   const wire::Measurements& m) {
    const auto gb_per_s = [](std::uint64_t ps) { return 1'048'576'000 / static_cast<double>(ps); };
    const wire::MeasuredRate& r = m.rates.front();
    fmt::print("{}: {}, {:.2f} GB\n", options.model, quantisation_name(r.quantisation),
               static_cast<double>(bytes) / 1e9);
    fmt::print("decode_gb_per_s = {:.1f}  # {:.1f} tokens/s\n", gb_per_s(r.decode_ps_per_mib), 1 / to_seconds(f.step));
    fmt::print("batch_gb_per_s = {:.1f}  # {:.1f} tokens/s in all with {} sequences\n", gb_per_s(r.batch_ps_per_mib),
               EngineGauge::batch / to_seconds(f.batch_step), EngineGauge::batch);
    fmt::print("prefill_gb_per_s = {:.1f}  # prompts {:.1f} tokens/s\n", gb_per_s(r.prefill_ps_per_mib),
               1 / to_seconds(f.prompt_token));
    fmt::print("memory_bytes = {}\n", m.memory_bytes);
}

// What the figures are of, before they are measured.
void print_devices(const std::optional<FoundChoice>& gpu) {
    if (!gpu) return fmt::print("# computed by the processor\n");
    for (const backend::GpuDevice& device : gpu->found.devices) fmt::print("# {}\n", device_text(device));
}

Status bench(const BenchOptions& options) {
    const std::string state = options.state_directory.empty() ? default_state_directory() : options.state_directory;
    const std::string file = options.out.empty() ? state + "/profile" : options.out;
    const auto genesis =
        TRY(read_network_file(options.network_file.empty() ? state + "/network.toml" : options.network_file));
    std::error_code error;
    const std::uint64_t bytes = std::filesystem::file_size(options.model, error);
    if (error || bytes == 0)
        return fail(Errc::not_found, "--model " + options.model + ": give the path of a GGUF file");
    const backend::EngineCommand command = TRY(backend::find_engine(backend::own_folder()));
    const auto gpu = TRY(find_gpu_choice(options.gpu, options.gpu_device, command));
    TRY(open_or_make_identity(state));
    const Key32 seed = TRY(store::read_key(state + "/identity.key"));
    const auto key = crypto::SigningKey::from_seed(seed);

    net::Loop loop;
    crypto::OsRng rng;
    const auto log = TRY(make_log("error"));
    EngineGauge gauge(loop, *log, rng, options.model, options.threads, command,
                      gpu ? std::optional(gpu->choice) : std::nullopt);
    const auto model = gauge.load();
    if (!model) return fail(model.error().code, "--model " + options.model + ": " + model.error().message);
    print_devices(gpu);
    if (const engine::pipe::Placed* placed = gauge.placed()) {
        fmt::print("# {} of {} layers on {}\n", placed->layers, placed->all, gpu->choice.device);
    }
    const bool terminal = isatty(STDERR_FILENO) != 0;
    const auto figures = TRY(gauge.measure([&](std::size_t round) {
        if (terminal) fmt::print(stderr, "\r\x1b[2Kround {} of {} …", round + 1, EngineGauge::rounds);
    }));
    if (terminal) fmt::print(stderr, "\r\x1b[2K");

    wire::Profile profile;
    profile.node = key.node_id();
    profile.valid_after = loop.now().wall;
    profile.valid_until =
        profile.valid_after + std::chrono::duration_cast<std::chrono::seconds>(limits::profile_age_max);
    profile.measured = measurements(options, model->quantisation, bytes, figures);
    TRY(wire::check_profile(profile));
    TRY(store::write_file_atomic(file, wire::encode(pipeline::sign_profile(key, genesis.network(), profile)), 0644));
    print_figures(options, bytes, figures, profile.measured);
    fmt::print("profile of node {} for a week: {}\n", key.node_id().brief(), file);
    return ok();
}

}  // namespace

int run_bench(const BenchOptions& options) {
    const Status done = bench(options);
    return done ? 0 : refuse(done.error());
}

}  // namespace shoal::app
