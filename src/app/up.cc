#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <filesystem>

#include "app/api_bridge.h"
#include "app/commands.h"
#include "app/log.h"
#include "app/network_file.h"
#include "app/node_driver.h"
#include "backend/engine_files.h"
#include "backend/stage_workers.h"
#include "backend/worker_engine.h"

namespace shoal::app {
namespace {

// NAME=FILE, or FILE, whose name is then its stem.
Result<std::pair<std::string, std::string>> split_model(const std::string& text) {
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
    if (!std::filesystem::is_regular_file(path)) {
        return fail(Errc::not_found, fmt::format("--model {}: no such file; give the path of a GGUF file", path));
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

Result<NodeId> parse_node(const std::string& option, const std::string& text) {
    const auto bytes = from_hex(text);
    if (!bytes || bytes->size() != NodeId::size) {
        return fail(Errc::invalid, fmt::format("{} {}: a node is named by the 64 hexadecimal digits that 'shoal keys' "
                                               "prints there",
                                               option, text));
    }
    return NodeId(first_bytes<NodeId::size>(*bytes));
}

// NODE+NODE+…: one node, or the ranks of a group.
Result<std::vector<NodeId>> parse_nodes(const std::string& option, const std::string& text) {
    std::vector<NodeId> out;
    for (std::size_t from = 0; from <= text.size();) {
        const std::size_t plus = std::min(text.find('+', from), text.size());
        const NodeId node = TRY(parse_node(option, text.substr(from, plus - from)));
        if (std::find(out.begin(), out.end(), node) != out.end()) {
            return fail(Errc::invalid, fmt::format("{}: {} is named twice in one hop", option, node.hex()));
        }
        out.push_back(node);
        from = plus + 1;
    }
    if (out.size() <= limits::group_ranks_max) return out;
    return fail(Errc::invalid, fmt::format("{}: at most {} nodes share a hop", option, limits::group_ranks_max));
}

// NODE:FIRST-END, layers FIRST to END - 1; or NODE+NODE:FIRST-END, whose nodes divide them.
Result<pipeline::StageNode> parse_hop(const std::string& option, const std::string& text) {
    const std::size_t colon = text.find(':'), dash = text.find('-');
    const auto number = [&](std::size_t from, std::size_t to) -> std::optional<std::uint16_t> {
        std::uint16_t out = 0;
        const char* end = text.data() + std::min(to, text.size());
        const auto [stop, error] = std::from_chars(text.data() + from, end, out);
        return error == std::errc() && stop == end ? std::optional(out) : std::nullopt;
    };
    const bool shaped = colon != std::string::npos && dash != std::string::npos && colon < dash;
    const auto first = shaped ? number(colon + 1, dash) : std::nullopt;
    const auto end = shaped ? number(dash + 1, text.size()) : std::nullopt;
    if (!first || !end || *first >= *end || *end > limits::model_layers_max) {
        return fail(Errc::invalid, fmt::format("{} {}: must be NODE:FIRST-END, or NODE+NODE:FIRST-END for a group, "
                                               "where END is one behind the last layer",
                                               option, text));
    }
    std::vector<NodeId> nodes = TRY(parse_nodes(option, text.substr(0, colon)));
    pipeline::StageNode out{nodes.front(), {*first, *end}};
    if (nodes.size() > 1) out.ranks = std::move(nodes);
    return out;
}

Status check_hops(const std::vector<pipeline::StageNode>& hops, const std::vector<pipeline::StageNode>& standbys) {
    if (hops.size() > limits::stage_hops_max) {
        return fail(Errc::invalid, fmt::format("--hop: at most {}", limits::stage_hops_max));
    }
    std::uint16_t next = 0;
    for (const pipeline::StageNode& hop : hops) {
        if (hop.layers.first != next) {
            return fail(Errc::invalid,
                        fmt::format("--hop {}:{}-{}: the hops before end with layer {}, so it must begin "
                                    "with {}",
                                    hop.node.hex(), hop.layers.first, hop.layers.end, next, next));
        }
        next = hop.layers.end;
    }
    for (const pipeline::StageNode& standby : standbys) {
        const auto same = [&](const pipeline::StageNode& hop) { return hop.layers == standby.layers; };
        if (std::none_of(hops.begin(), hops.end(), same)) {
            return fail(Errc::invalid, fmt::format("--standby {}:{}-{}: no --hop has these layers", standby.node.hex(),
                                                   standby.layers.first, standby.layers.end));
        }
    }
    return ok();
}

Result<pipeline::LeadConfig> lead_config(const UpOptions& o) {
    pipeline::LeadConfig out;
    for (const std::string& text : o.hops) out.hops.push_back(TRY(parse_hop("--hop", text)));
    for (const std::string& text : o.standbys) out.standbys.push_back(TRY(parse_hop("--standby", text)));
    TRY(check_hops(out.hops, out.standbys));
    if (!out.hops.empty() && o.models.size() != 1) {
        return fail(Errc::invalid, "--hop says where the layers of one model are: name exactly one --model");
    }
    return out;
}

Status add_stage_role(const UpOptions& o, node::NodeConfig& node) {
    if (o.stage.empty()) {
        return o.stage_leads.empty() ? ok() : Status(fail(Errc::invalid, "--stage-for without --stage FILE"));
    }
    if (!std::filesystem::is_regular_file(o.stage)) {
        return fail(Errc::not_found, fmt::format("--stage {}: no such file; give the path of a GGUF file", o.stage));
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
    if (!o.models.empty()) out.node.roles |= o.hops.empty() ? wire::role_model : wire::role_lead;
    out.node.pipelines = o.allow_pipelines;
    TRY(add_stage_role(o, out.node));
    out.node.client = o.client || out.node.roles == 0;
    if (out.node.roles != 0 && o.listen.empty()) {
        return fail(Errc::invalid,
                    "--relay, --model, --stage and --verifier need --listen ADDRESS:PORT, where other nodes reach "
                    "this one");
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

// One line, with what to do.
std::string death_of(const Running::Served& served) {
    return fmt::format("--model {}: {}; give a sound GGUF file that this engine supports, and start again", served.path,
                       served.engine->down_reason());
}

void on_engine(Running& run) {
    if (run.driver) run.driver->on_engine();
    if (!run.started) return;  // then the start itself fails
    for (Running::Served& served : run.served) {
        if (served.engine->health() != engine::Health::dead || served.death_reported) continue;
        served.death_reported = true;
        run.log->write(LogLevel::error, "engine", death_of(served));
    }
}

void make_stages(const UpOptions& o, const backend::EngineCommand& command, Running& run) {
    backend::StageWorkersOptions options;
    options.model_path = o.stage;
    options.command = command;
    options.threads = o.threads;
    const auto wake = [&run] { run.loop.post([&run] { run.driver->on_stages(); }); };
    run.stages = std::make_unique<backend::StageWorkers>(run.loop, *run.log, options, wake);
}

wire::ActivationType activation_type(const std::string& name) {
    if (name == "f32") return wire::ActivationType::f32;
    return name == "q8_0" ? wire::ActivationType::q8_0 : wire::ActivationType::f16;
}

Status make_engines(const UpOptions& o, Running& run) {
    if (o.models.empty() && o.stage.empty()) return ok();
    if (o.models.size() > limits::models_per_node_max) {
        return fail(Errc::invalid, fmt::format("--model: one node serves at most {}; start another node for the rest",
                                               limits::models_per_node_max));
    }
    const backend::EngineCommand command = TRY(backend::find_engine(backend::own_folder()));
    if (!o.stage.empty()) make_stages(o, command, run);
    for (const std::string& text : o.models) {
        const auto [name, path] = TRY(split_model(text));
        backend::WorkerOptions options;
        options.model_path = path;
        options.command = command;
        options.load.context_tokens = o.context;
        options.load.sequences = o.sequences;
        options.load.threads = o.threads;
        if (!o.hops.empty()) {
            const auto steps =
                static_cast<std::uint16_t>(std::min<std::size_t>(o.hops.size(), limits::stage_unsettled_max));
            options.lead = backend::WorkerOptions::Lead{activation_type(o.activations), steps};
        }
        // From inside the engine's own callbacks: the node reads it at the next turn.
        const auto wake = [&run] { run.loop.post([&run] { on_engine(run); }); };
        run.served.push_back({name, path, std::make_unique<backend::WorkerEngine>(run.loop, *run.log, options, wake)});
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
    for (const Running::Served& served : run.served) {
        if (served.engine->health() == engine::Health::dead) return fail(Errc::invalid, death_of(served));
    }
    return ok();
}

Status start(const UpOptions& o, Running& run) {
    run.log = TRY(make_log(o.log_level));
    DriverConfig config = TRY(driver_config(o));
    const bool client = config.node.client;
    const api::GatewayOptions gateway = TRY(gateway_options(o));
    TRY(make_engines(o, run));
    pipeline::LeadConfig lead = TRY(lead_config(o));
    run.driver = TRY(NodeDriver::start(run.loop, std::move(config), *run.log));
    if (run.stages) run.driver->add_stages(*run.stages);
    if (!lead.hops.empty()) {
        lead.self = run.driver->node().id();
        const auto report = [&run](const std::string& line) { run.log->write(LogLevel::info, "pipeline", line); };
        run.lead = std::make_unique<pipeline::Lead>(std::move(lead), *run.served[0].engine, run.rng, report);
        run.driver->add_lead(*run.lead, run.served[0].name);
    } else {
        for (const Running::Served& served : run.served) run.driver->add_engine(*served.engine, served.name);
    }
    if (!o.listen.empty()) {
        run.greeting.push_back(
            fmt::format("node {} listens on {}", run.driver->node().id().hex(), run.driver->listening().text()));
    }
    if (client) {
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
