// `shoal bench`: the profile of this machine and its links, measured and signed.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "app/commands.h"
#include "app/engine_gauge.h"
#include "app/gpu_option.h"
#include "app/log.h"
#include "app/machine_load.h"
#include "app/network_file.h"
#include "app/new_network.h"
#include "app/peer_gauge.h"
#include "app/plan_file.h"
#include "app/stage_gauge.h"
#include "app/stage_words.h"
#include "crypto/rng.h"
#include "engine/prompt_steps.h"
#include "store/files.h"

namespace shoal::app {
namespace {

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

// Above this many busy processors a measurement is one of what others leave.
constexpr double busy_max = 0.1;
constexpr Duration load_window = 1s;

// What all of it needs.
struct Bench {
    const BenchOptions& options;
    std::string state;
    std::string file;  // of the profile
    directory::Genesis genesis;
    crypto::SigningKey key;
    net::Loop loop = {};
    crypto::OsRng rng = {};
    std::unique_ptr<Log> log = nullptr;
    backend::EngineCommand command = {};  // with --model
    std::optional<FoundChoice> gpu = {};  // with --gpu
    double busiest = 0;                   // processors that others used

    void look_around() { busiest = std::max(busiest, busy_processors(loop, load_window).value_or(0)); }
};

void progress(const std::string& text) {
    if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\x1b[2K{}", text);
}

wire::Measurements measurements(const BenchOptions& options, std::uint8_t quantisation, std::uint64_t bytes,
                                const EngineFigures& figures, const StageFigures& stage) {
    wire::Measurements out;
    out.memory_bytes = options.memory_mib > 0 ? options.memory_mib * mib : default_memory();
    out.stage_overhead_ns = static_cast<std::uint32_t>(stage.overhead.count());
    out.chunk_tokens = engine::prompt_tokens_only;
    const Duration more = (figures.batch_step - figures.step) / static_cast<std::int64_t>(EngineGauge::batch - 1);
    out.rates.push_back({quantisation, ps_per_mib(figures.step, bytes), ps_per_mib(more, bytes),
                         ps_per_mib(figures.prompt_token, bytes), 0});
    return out;
}

void print_figures(const BenchOptions& options, std::uint64_t bytes, const EngineFigures& f, const StageFigures& stage,
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
    fmt::print("stage_overhead_us = {:.1f}  # beside {:.1f} for each layer\n", to_seconds(stage.overhead) * 1e6,
               to_seconds(stage.layer) * 1e6);
    fmt::print("memory_bytes = {}\n", m.memory_bytes);
    fmt::print("# best of {} rounds, the next to it within {:.0f} %\n", f.rounds, 100 * f.uncertainty);
}

Result<std::vector<NodeId>> parse_peers(const Bench& bench) {
    std::vector<NodeId> out;
    if (bench.options.peers.size() > limits::profile_links_max) {
        return fail(Errc::invalid, fmt::format("--peer: a profile has at most {} links", limits::profile_links_max));
    }
    for (const std::string& text : bench.options.peers) {
        const NodeId peer = TRY(parse_node("--peer", text));
        if (peer == bench.key.node_id()) return fail(Errc::invalid, "--peer " + text + ": that is this node itself");
        if (std::ranges::find(out, peer) != out.end()) return fail(Errc::invalid, "--peer " + text + ": named twice");
        out.push_back(peer);
    }
    return out;
}

// What the figures are of, before they are measured.
void print_devices(const std::optional<FoundChoice>& gpu) {
    if (!gpu) return fmt::print("# computed by the processor\n");
    for (const backend::GpuDevice& device : gpu->found.devices) fmt::print("# {}\n", device_text(device));
}

// The machine, on the model.
Result<wire::Measurements> measure_machine(Bench& bench) {
    const BenchOptions& options = bench.options;
    std::error_code error;
    const std::uint64_t bytes = std::filesystem::file_size(options.model, error);
    if (error || bytes == 0)
        return fail(Errc::not_found, "--model " + options.model + ": give the path of a GGUF file");
    const backend::EngineCommand& command = bench.command;
    const std::optional<FoundChoice>& gpu = bench.gpu;
    bench.look_around();
    std::optional<EngineFigures> figures;
    std::uint8_t quantisation = 0;
    {
        EngineGauge gauge(bench.loop, *bench.log, bench.rng, options.model, options.threads, command,
                          gpu ? std::optional(gpu->choice) : std::nullopt);
        const auto model = gauge.load();
        if (!model) return fail(model.error().code, "--model " + options.model + ": " + model.error().message);
        quantisation = model->quantisation;
        print_devices(gpu);
        if (const engine::pipe::Placed* placed = gauge.placed()) {
            fmt::print("# {} of {} layers on {}\n", placed->layers, placed->all, gpu->choice.device);
        }
        figures = TRY(gauge.measure(options.rounds, [&](std::size_t round) {
            progress(fmt::format("round {}, at most {} …", round + 1, options.rounds));
        }));
    }
    progress("a stage …");
    StageGauge gauge(bench.loop, *bench.log, options.model, options.threads, command);
    const auto stage = gauge.measure();
    progress("");
    // It may serve whole, then.
    if (!stage) fmt::print(stderr, "shoal: no stage could be measured: {}\n", stage.error().message);
    const StageFigures cost = stage ? *stage : StageFigures{};
    bench.look_around();
    const wire::Measurements out = measurements(options, quantisation, bytes, *figures, cost);
    print_figures(options, bytes, *figures, cost, out);
    return out;
}

// The profile that is there, whose links are measured anew.
Result<wire::Profile> known_profile(const Bench& bench) {
    const auto again = [&](const Error& error) {
        return fail(error.code,
                    fmt::format("{}: {}; measure the machine first, with --model", bench.file, error.message));
    };
    const auto bytes = store::read_file(bench.file, limits::profile_bytes_max);
    if (!bytes) return again(bytes.error());
    const auto page = wire::decode_signed_profile(*bytes);
    if (!page) return again(page.error());
    auto profile = pipeline::verify_profile(*page, bench.genesis.network(), bench.loop.now());
    if (!profile) return again(profile.error());
    if (profile->node != bench.key.node_id()) {
        return again({Errc::invalid, "it is the profile of another node"});
    }
    return profile;
}

// Into the profile. False: some could not be measured; which and why is said.
Result<bool> measure_peers(Bench& bench, std::vector<NodeId> peers, wire::Profile& profile) {
    profile.links.clear();
    if (peers.empty()) return true;
    PeerGaugeOptions options{bench.genesis, std::move(peers), {}};
    if (!bench.options.from.empty()) {
        const auto from = net::Endpoint::parse(bench.options.from + ":1");
        if (!from) return fail(Errc::invalid, "--from: " + from.error().message);
        options.from = *from;
    }
    const std::size_t all = options.peers.size();
    const auto outcomes = TRY(measure_links(bench.loop, *bench.log, bench.rng, options, [&](std::size_t index) {
        progress(fmt::format("link {} of {} …", index + 1, all));
    }));
    progress("");
    for (const PeerOutcome& outcome : outcomes) {
        if (!outcome.link) {
            fmt::print(stderr, "shoal: the link to {} is not measured: {}\n", outcome.peer.hex(),
                       outcome.link.error().message);
            continue;
        }
        const wire::MeasuredLink& link = *outcome.link;
        fmt::print("link to {}: rtt_ms = {:.3f}, mbit_per_s = {:.1f}\n", link.peer.hex(), link.rtt_us / 1e3,
                   static_cast<double>(link.bytes_per_second) / 125'000);
        profile.links.push_back(link);
    }
    std::ranges::sort(profile.links, {}, &wire::MeasuredLink::peer);
    return profile.links.size() == all;
}

Result<bool> run(const BenchOptions& options) {
    if (options.model.empty() && options.peers.empty()) {
        return fail(Errc::invalid, "give --model FILE to measure this machine, --peer NODE to measure links, or both");
    }
    if (options.model.empty() && options.gpu != "off") {
        return fail(Errc::invalid, "--gpu: give the model that it is to be measured with, --model FILE");
    }
    const std::string state = options.state_directory.empty() ? default_state_directory() : options.state_directory;
    auto genesis =
        TRY(read_network_file(options.network_file.empty() ? state + "/network.toml" : options.network_file));
    // Before anything is written: what is refused leaves nothing behind.
    std::optional<FoundChoice> gpu;
    backend::EngineCommand command;
    if (!options.model.empty()) {
        command = TRY(backend::find_engine(backend::own_folder()));
        gpu = TRY(find_gpu_choice(options.gpu, options.gpu_device, command));
    }
    TRY(open_or_make_identity(state));
    const Key32 seed = TRY(store::read_key(state + "/identity.key"));
    Bench bench{options, state, options.out.empty() ? state + "/profile" : options.out, std::move(genesis),
                crypto::SigningKey::from_seed(seed)};
    bench.command = std::move(command);
    bench.gpu = std::move(gpu);
    bench.log = TRY(make_log("error"));
    std::vector<NodeId> peers = TRY(parse_peers(bench));
    wire::Profile profile;
    if (options.model.empty()) profile = TRY(known_profile(bench));
    const bool complete = TRY(measure_peers(bench, std::move(peers), profile));
    if (!options.model.empty()) {
        profile.measured = TRY(measure_machine(bench));
        profile.node = bench.key.node_id();
        profile.valid_until =
            bench.loop.now().wall + std::chrono::duration_cast<std::chrono::seconds>(limits::profile_age_max);
    }
    profile.valid_after = bench.loop.now().wall;
    TRY(wire::check_profile(profile));
    const auto signed_profile = pipeline::sign_profile(bench.key, bench.genesis.network(), profile);
    TRY(store::write_file_atomic(bench.file, wire::encode(signed_profile), 0644));
    const auto hours = std::chrono::duration_cast<std::chrono::hours>(profile.valid_until - profile.valid_after);
    fmt::print("profile of node {} for {} hours: {}\n", profile.node.brief(), hours.count(), bench.file);
    if (bench.busiest > busy_max) {
        fmt::print(
            stderr,
            "shoal: other programs kept {:.1f} processors busy: the figures are of what they leave; measure again "
            "when the machine is as idle as it will be\n",
            bench.busiest);
    }
    return complete;
}

}  // namespace

int run_bench(const BenchOptions& options) {
    const auto complete = run(options);
    if (!complete) return refuse(complete.error());
    return *complete ? 0 : 1;
}

}  // namespace shoal::app
