#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "app/api_bridge.h"
#include "app/commands.h"
#include "app/gpu_option.h"
#include "app/log.h"
#include "app/made_plan.h"
#include "app/network_file.h"
#include "app/node_driver.h"
#include "app/stage_words.h"
#include "backend/engine_files.h"
#include "backend/model_file.h"
#include "backend/stage_workers.h"
#include "backend/worker_engine.h"

namespace shoal::app {
namespace {

// NAME=FILE, or FILE, whose name is then its stem. Where the layers are elsewhere, a folder of pieces does as well.
Result<std::pair<std::string, std::string>> split_model(const std::string& text, bool pieces_do) {
    const std::size_t at = text.find('=');
    std::string name = at == std::string::npos ? "" : text.substr(0, at);
    std::string path = at == std::string::npos ? text : text.substr(at + 1);
    if (name.empty()) name = std::filesystem::path(path).stem().string();
    if (!wire::is_model_name(name)) {
        return fail(Errc::invalid,
                    fmt::format("--model {}: '{}' cannot be a model's name (letters, digits and ._:-, at "
                                "most {}); use NAME=FILE",
                                text, name, wire::model_name_bytes_max));
    }
    if (pieces_do && backend::PieceFiles::is_folder(path)) return std::pair(name, path);
    if (!std::filesystem::is_regular_file(path)) {
        const char* folder = backend::PieceFiles::is_folder(path) ? "pieces serve with --hop only" : "no such file";
        return fail(Errc::not_found, fmt::format("--model {}: {}; give the path of a GGUF file", path, folder));
    }
    return std::pair(name, path);
}

Result<net::Endpoint> parse_endpoint(const std::string& option, const std::string& text) {
    auto at = net::Endpoint::parse(text);
    if (!at) return fail(Errc::invalid, fmt::format("{}: {}", option, at.error().message));
    return at;
}

Result<FamilyId> parse_family(const std::string& text) {
    if (text.empty()) return FamilyId();
    const auto bytes = from_hex(text);
    if (!bytes || bytes->size() != FamilyId::size) {
        return fail(Errc::invalid, "--family must be 64 hexadecimal digits, the same on all your nodes");
    }
    return FamilyId(first_bytes<FamilyId::size>(*bytes));
}

// What is said besides --plan must not be of the plan; what a plan says is as if it had been typed.
Status take_plan(UpOptions& o, const MadePlan& plan) {
    const auto refuse = [](const char* option) {
        return fail(Errc::invalid, fmt::format("{}: the --plan says that; leave it out", option));
    };
    const UpOptions untold;
    if (!o.hops.empty()) return refuse("--hop");
    if (!o.standbys.empty()) return refuse("--standby");
    if (o.activations != untold.activations && o.activations != plan.activations) return refuse("--activations");
    if (o.context != untold.context && o.context != plan.context) return refuse("--context");
    if (o.sequences != untold.sequences && o.sequences != plan.sequences) return refuse("--sequences");
    for (const pipeline::StageNode& hop : plan.hops) o.hops.push_back(stage_text(hop));
    for (const pipeline::StageNode& standby : plan.standbys) o.standbys.push_back(stage_text(standby));
    o.activations = plan.activations;
    o.context = plan.context;
    o.sequences = plan.sequences;
    return ok();
}

Result<pipeline::LeadConfig> lead_config(const UpOptions& o) {
    pipeline::LeadConfig out;
    for (const std::string& text : o.hops) out.hops.push_back(TRY(parse_stage("--hop", text)));
    for (const std::string& text : o.standbys) out.standbys.push_back(TRY(parse_stage("--standby", text)));
    TRY(check_stages(out.hops, out.standbys, o.boomerang));
    if (!out.hops.empty() && o.models.size() != 1) {
        return fail(Errc::invalid, "--hop and --plan say where the layers of one model are: name exactly one --model");
    }
    if (o.boomerang && out.hops.empty()) {
        return fail(Errc::invalid,
                    "--boomerang needs --hop NODE:FIRST-END: who computes the layers between the first and the last");
    }
    if (o.boomerang && (o.client || o.allow_pipelines)) {
        return fail(Errc::invalid,
                    "--boomerang asks its own model only, so that no question leaves this machine in text: leave "
                    "--client and --allow-pipelines out, or start another node with them");
    }
    return out;
}

Status add_stage_role(const UpOptions& o, node::NodeConfig& node) {
    if (o.stage.empty()) {
        return o.stage_leads.empty() ? ok() : Status(fail(Errc::invalid, "--stage-for without --stage FILE"));
    }
    if (!std::filesystem::is_regular_file(o.stage) && !backend::PieceFiles::is_folder(o.stage)) {
        return fail(Errc::not_found,
                    fmt::format("--stage {}: no such file; give the path of a GGUF file, or of a folder "
                                "that 'shoal model split' wrote",
                                o.stage));
    }
    if (o.stage_leads.empty()) {
        return fail(Errc::invalid,
                    "--stage needs --stage-for NODE: hidden states can be turned back into text, so "
                    "layers are computed for nodes that you name only");
    }
    node.roles |= wire::role_stage;
    for (const std::string& text : o.stage_leads) node.stage_leads.insert(TRY(parse_node("--stage-for", text)));
    return ok();
}

Result<DriverConfig> driver_config(const UpOptions& o) {
    DriverConfig out;
    out.state_directory = o.state_directory.empty() ? default_state_directory() : o.state_directory;
    const std::string network = o.network_file.empty() ? out.state_directory + "/network.toml" : o.network_file;
    out.node.genesis = TRY(read_network_file(network));
    if (o.relay) out.node.roles |= wire::role_relay | wire::role_guard;
    if (o.verifier) out.node.roles |= wire::role_verifier;
    // Whose model is for its own programs has no role with it: nobody else is told of it.
    if (!o.models.empty() && !o.boomerang) out.node.roles |= o.hops.empty() ? wire::role_model : wire::role_lead;
    out.node.pipelines = o.allow_pipelines;
    out.node.reuse_prefixes = o.reuse_prefixes;
    TRY(add_stage_role(o, out.node));
    out.node.client = !o.boomerang && (o.client || out.node.roles == 0);
    if (out.node.roles != 0 && o.listen.empty()) {
        return fail(Errc::invalid,
                    "--relay, --model, --stage and --verifier need --listen ADDRESS:PORT, where other nodes reach "
                    "this one (--model with --boomerang does not)");
    }
    if (!o.listen.empty()) {
        if (out.node.roles == 0) return fail(Errc::invalid, "--listen without --relay, --model, --stage or --verifier");
        out.listen = TRY(parse_endpoint("--listen", o.listen));
        if (!out.listen->is_any()) out.dial_from = out.listen->with_port(0);
        if (out.listen->is_any() && o.advertise.empty()) {
            return fail(Errc::invalid, "--listen on every address needs --advertise ADDRESS:PORT, the one others dial");
        }
    }
    if (!o.advertise.empty()) {
        const net::Endpoint at = TRY(parse_endpoint("--advertise", o.advertise));
        out.node.addresses.push_back({at.ip, at.port});
    }
    out.node.family = TRY(parse_family(o.family));
    out.node.pacer = o.pacer == "fast" ? PacerMode::fast : PacerMode::shaped;
    out.node.compare = TRY(Comparison::parse(o.compare));
    if (o.profile == "planetserve") out.node.profile = circuit::profile_planetserve;
    if (o.profile == "lossy") out.node.profile = circuit::profile_lossy;
    out.trace_file = o.trace_file;
    out.tap_file = o.tap_file;
    return out;
}

Result<api::GatewayOptions> gateway_options(const UpOptions& o) {
    api::GatewayOptions out;
    if (!o.api_key_file.empty()) {
        const Bytes text = TRY(store::read_file(o.api_key_file, 4096));
        out.api_key = std::string(as_text(text)).substr(0, as_text(text).find_first_of("\r\n"));
        if (out.api_key.empty()) return fail(Errc::invalid, "--api-key-file: the file's first line is empty");
    }
    const net::Endpoint at = TRY(parse_endpoint("--api-address", o.api_address + ":1"));
    out.loopback_only = at.is_loopback();
    TRY(api::check_options(out));
    return out;
}

// Everything that runs, in the order in which it may be taken down again from the end.
struct Running {
    net::Loop loop;
    std::unique_ptr<Log> log;
    crypto::OsRng rng;
    struct Served {
        std::string name;
        std::string path;
        std::unique_ptr<backend::WorkerEngine> engine;
        bool boomerang = false;
        bool death_reported = false;
    };
    std::vector<Served> served;  // bounded: models_per_node_max
    std::unique_ptr<backend::StageWorkers> stages;
    std::unique_ptr<pipeline::Lead> lead;  // of the only one served
    std::unique_ptr<NodeDriver> driver;
    std::unique_ptr<ApiBridge> api;
    std::vector<std::string> greeting;  // lines of the log once the start has succeeded
    bool started = false;
    bool stopped = false;
};

bool is_dead(const Running& run, const Running::Served& served) {
    return (run.lead ? run.lead->health() : served.engine->health()) == engine::Health::dead;
}

// One line, with what to do.
std::string death_of(const Running& run, const Running::Served& served) {
    if (run.lead && served.engine->health() != engine::Health::dead) {
        return fmt::format("--model {}: {}; give a --hop for every layer, and start again", served.path,
                           run.lead->down_reason());
    }
    if (backend::PieceFiles::is_folder(served.path)) {
        return fmt::format(
            "--model {}: {}; put the pieces that are missing or wrong into the folder anew ('shoal model split' writes "
            "them), and start again",
            served.path, served.engine->down_reason());
    }
    if (served.boomerang) {
        return fmt::format(
            "--model {}: {}; give a sound GGUF file that this engine supports and hops between its ends, "
            "and start again",
            served.path, served.engine->down_reason());
    }
    return fmt::format("--model {}: {}; give a sound GGUF file that this engine supports, and start again", served.path,
                       served.engine->down_reason());
}

void on_engine(Running& run) {
    if (run.driver) run.driver->on_engine();
    if (!run.started) return;  // then the start itself fails
    for (Running::Served& served : run.served) {
        if (!is_dead(run, served) || served.death_reported) continue;
        served.death_reported = true;
        run.log->write(LogLevel::error, "engine", death_of(run, served));
    }
}

// Which layers of this node a GPU may have: those of its one model or of its stage. nullopt: none.
Result<std::optional<backend::GpuChoice>> gpu_choice(const UpOptions& o, const backend::EngineCommand& command,
                                                     Running& run) {
    if (o.gpu != "off" && o.models.size() > 1) {
        return fail(
            Errc::invalid,
            fmt::format("--gpu {}: several --model would divide its memory by chance; start a node for each", o.gpu));
    }
    if (o.gpu != "off" && o.stage.empty() && !o.hops.empty() && !o.boomerang) {
        return fail(Errc::invalid, fmt::format("--gpu {}: with --hop this node computes no layer; give --gpu to the "
                                               "nodes that do",
                                               o.gpu));
    }
    auto found = TRY(find_gpu_choice(o.gpu, o.gpu_device, command));
    if (!found) return std::optional<backend::GpuChoice>();
    for (const backend::GpuDevice& device : found->found.devices) {
        run.log->write(LogLevel::info, "engine", device_text(device));
    }
    return std::optional(found->choice);
}

void make_stages(const UpOptions& o, const backend::EngineCommand& command,
                 const std::optional<backend::GpuChoice>& gpu, Running& run) {
    backend::StageWorkersOptions options;
    options.model_path = o.stage;
    options.command = command;
    options.threads = o.threads;
    options.gpu = gpu;
    const auto wake = run.loop.once_a_turn([&run] { run.driver->on_stages(); });
    run.stages = std::make_unique<backend::StageWorkers>(run.loop, *run.log, options, wake);
}

wire::ActivationType activation_type(const std::string& name) {
    if (name == "f32") return wire::ActivationType::f32;
    return name == "q8_0" ? wire::ActivationType::q8_0 : wire::ActivationType::f16;
}

// "repeats", "skip:FIRST-END", or a GGUF file.
Status add_drafts(const UpOptions& o, backend::WorkerOptions& options) {
    engine::pipe::Drafts& drafts = options.load.drafts;
    for (const std::string& text : o.drafts) {
        if (text == "repeats") {
            drafts.repeats = true;
        } else if (text.starts_with("skip:")) {
            const auto layers = parse_layers(std::string_view(text).substr(5));
            if (!layers || layers->first == 0) {
                return fail(Errc::invalid,
                            fmt::format("--draft {}: must be skip:FIRST-END with FIRST at least 1, where "
                                        "END is one behind the last layer that is skipped",
                                        text));
            }
            drafts.skipped = *layers;
        } else if (!std::filesystem::is_regular_file(text)) {
            return fail(Errc::not_found,
                        fmt::format("--draft {}: no such file; give a GGUF file, repeats or skip:FIRST-END", text));
        } else {
            drafts.model = true;
            options.draft_path = text;
        }
    }
    if (drafts.model && drafts.skipped.end > 0) {
        return fail(Errc::invalid, "--draft: a file or skip:FIRST-END, not both");
    }
    return ok();
}

backend::WorkerOptions::Lead ends_of(const UpOptions& o, const std::vector<pipeline::StageNode>& hops) {
    backend::WorkerOptions::Lead out;
    out.type = activation_type(o.activations);
    // One for each that computes: with layers of its own the lead is one more.
    const std::size_t steps = hops.size() + (o.boomerang ? 1 : 0);
    out.steps = static_cast<std::uint16_t>(std::min<std::size_t>(steps, limits::stage_unsettled_max));
    if (o.boomerang) out.middle = wire::LayerRange{hops.front().layers.first, hops.back().layers.end};
    return out;
}

Status make_engines(const UpOptions& o, const std::vector<pipeline::StageNode>& hops, Running& run) {
    if (o.models.empty() && o.stage.empty()) {
        if (o.gpu == "off" && o.gpu_device.empty()) return ok();
        return fail(Errc::invalid, "--gpu computes layers, and this node has none: give --model or --stage with it");
    }
    if (o.models.size() > limits::models_per_node_max) {
        return fail(Errc::invalid, fmt::format("--model: one node serves at most {}; start another node for the rest",
                                               limits::models_per_node_max));
    }
    const backend::EngineCommand command = TRY(backend::find_engine(backend::own_folder()));
    const auto gpu = TRY(gpu_choice(o, command, run));
    if (!o.stage.empty()) make_stages(o, command, gpu, run);
    for (const std::string& text : o.models) {
        const auto [name, path] = TRY(split_model(text, !hops.empty()));
        backend::WorkerOptions options;
        options.model_path = path;
        options.command = command;
        options.load.context_tokens = o.context;
        options.load.sequences = o.sequences;
        options.load.threads = o.threads;
        TRY(add_drafts(o, options));
        if (!hops.empty()) options.lead = ends_of(o, hops);
        if (hops.empty() || o.boomerang) options.gpu = gpu;
        // From inside the engine's own callbacks: the node reads it at the next turn.
        const auto wake = run.loop.once_a_turn([&run] { on_engine(run); });
        auto engine = std::make_unique<backend::WorkerEngine>(run.loop, *run.log, options, wake);
        run.served.push_back({name, path, std::move(engine), o.boomerang});
    }
    return ok();
}

// Until each model is loaded. The node is at its other roles meanwhile. A file that cannot be served is an error of the
// start; an engine that merely died is started again.
Status wait_for_models(Running& run) {
    const auto is = [](engine::Health health) {
        return [health](const auto& s) { return s.engine->health() == health; };
    };
    const auto settled = [&] {
        return run.stopped || std::any_of(run.served.begin(), run.served.end(), is(engine::Health::dead)) ||
               std::all_of(run.served.begin(), run.served.end(), is(engine::Health::ready));
    };
    const bool terminal = isatty(STDERR_FILENO) != 0;
    const Instant begin = run.loop.now().mono;
    while (!run.loop.run_until(settled, 250ms)) {
        const Duration waited = run.loop.now().mono - begin;
        if (terminal && waited > 1s) fmt::print(stderr, "\r\x1b[2Kloading the model … {:.0f} s", to_seconds(waited));
    }
    if (terminal && run.loop.now().mono - begin > 1s) fmt::print(stderr, "\r\x1b[2K");
    on_engine(run);  // whether the hops fit is known when the model is
    for (const Running::Served& served : run.served) {
        if (is_dead(run, served)) return fail(Errc::invalid, death_of(run, served));
    }
    return ok();
}

// That the plan was made for this node is known once its key is.
Status check_lead(const MadePlan& plan, const NodeId& self) {
    if (plan.lead == self) return ok();
    return fail(Errc::invalid,
                fmt::format("--plan: it is led by {}, and this node is {}", plan.lead.hex(), self.hex()));
}

Status start(UpOptions o, Running& run) {
    run.log = TRY(make_log(o.log_level));
    std::optional<MadePlan> plan;
    if (!o.plan_file.empty()) {
        plan = TRY(read_made_plan(o.plan_file));
        TRY(take_plan(o, *plan));
    }
    DriverConfig config = TRY(driver_config(o));
    const bool asks = config.node.client || o.boomerang;
    const api::GatewayOptions gateway = TRY(gateway_options(o));
    pipeline::LeadConfig lead = TRY(lead_config(o));
    TRY(make_engines(o, lead.hops, run));
    run.driver = TRY(NodeDriver::start(run.loop, std::move(config), *run.log));
    if (plan) {
        TRY(check_lead(*plan, run.driver->node().id()));
        lead.predicted = plan->predicted;
    }
    if (run.stages) run.driver->add_stages(*run.stages);
    if (!lead.hops.empty()) {
        lead.self = run.driver->node().id();
        const auto report = [&run](const std::string& line) { run.log->write(LogLevel::info, "pipeline", line); };
        run.lead = std::make_unique<pipeline::Lead>(std::move(lead), *run.served[0].engine, run.rng, report);
        if (o.boomerang) {
            run.driver->add_own_lead(*run.lead, run.served[0].name);
        } else {
            run.driver->add_lead(*run.lead, run.served[0].name);
        }
    } else {
        for (const Running::Served& served : run.served) run.driver->add_engine(*served.engine, served.name);
    }
    if (!o.listen.empty()) {
        run.greeting.push_back(
            fmt::format("node {} listens on {}", run.driver->node().id().hex(), run.driver->listening().text()));
    }
    if (asks) {
        run.api = std::make_unique<ApiBridge>(run.loop, *run.driver, gateway, run.rng);
        const std::uint16_t port = o.api_port == 0 ? limits::api_port_default : o.api_port;
        const net::Endpoint wanted = TRY(parse_endpoint("--api-address", fmt::format("{}:{}", o.api_address, port)));
        const net::Endpoint at = TRY(run.api->listen(wanted));
        run.greeting.push_back(fmt::format("API at http://{}/v1", at.text()));
    }
    run.loop.on_signals({SIGINT, SIGTERM}, [&run](int) {
        run.stopped = true;
        run.loop.stop();
    });
    run.driver->run();
    TRY(wait_for_models(run));
    run.started = true;
    return ok();
}

}  // namespace

int refuse(const Error& error) {
    fmt::print(stderr, "shoal: {}\n", error.message);
    return 2;
}

int run_up(const UpOptions& options) {
    Running run;
    const Status started = start(options, run);
    if (!started) return refuse(started.error());
    for (const std::string& line : run.greeting) run.log->write(LogLevel::info, "app", line);
    if (!run.stopped) run.loop.run();
    run.log->write(LogLevel::info, "app", "stopped");
    return 0;
}

}  // namespace shoal::app
