#include <fmt/format.h>
#include <csignal>

#include <filesystem>

#include "app/api_bridge.h"
#include "app/commands.h"
#include "app/log.h"
#include "app/network_file.h"
#include "app/node_driver.h"
#include "backend/engine_files.h"
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

Result<DriverConfig> driver_config(const UpOptions& o) {
    DriverConfig out;
    out.state_directory = o.state_directory.empty() ? default_state_directory() : o.state_directory;
    const std::string network = o.network_file.empty() ? out.state_directory + "/network.toml" : o.network_file;
    out.node.genesis = TRY(read_network_file(network));
    if (o.relay) out.node.roles |= wire::role_relay | wire::role_guard;
    if (o.verifier) out.node.roles |= wire::role_verifier;
    if (!o.models.empty()) out.node.roles |= wire::role_model;
    out.node.client = o.client || out.node.roles == 0;
    if (out.node.roles != 0 && o.listen.empty()) {
        return fail(Errc::invalid,
                    "--relay, --model and --verifier need --listen ADDRESS:PORT, where other nodes reach "
                    "this one");
    }
    if (!o.listen.empty()) {
        if (out.node.roles == 0) return fail(Errc::invalid, "--listen without --relay, --model or --verifier");
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
    std::vector<std::unique_ptr<backend::WorkerEngine>> engines;
    std::unique_ptr<NodeDriver> driver;
    std::unique_ptr<ApiBridge> api;
};

Status start_engines(const UpOptions& o, Running& run, std::vector<std::string>& names) {
    if (o.models.empty()) return ok();
    const backend::EngineCommand command = TRY(backend::find_engine(backend::own_folder()));
    for (const std::string& text : o.models) {
        const auto [name, path] = TRY(split_model(text));
        backend::WorkerOptions options;
        options.model_path = path;
        options.command = command;
        options.load.context_tokens = o.context;
        options.load.sequences = o.sequences;
        options.load.threads = o.threads;
        run.engines.push_back(std::make_unique<backend::WorkerEngine>(run.loop, *run.log, options, [&run] {
            // From inside the engine's own callbacks: the node reads it at the next turn.
            run.loop.post([&run] {
                if (run.driver) run.driver->on_engine();
            });
        }));
        names.push_back(name);
    }
    return ok();
}

Status start(const UpOptions& o, Running& run) {
    run.log = TRY(make_log(o.log_level));
    DriverConfig config = TRY(driver_config(o));
    const bool client = config.node.client;
    const api::GatewayOptions gateway = TRY(gateway_options(o));
    std::vector<std::string> names;
    TRY(start_engines(o, run, names));
    run.driver = TRY(NodeDriver::start(run.loop, std::move(config), *run.log));
    for (std::size_t i = 0; i < run.engines.size(); ++i) run.driver->add_engine(*run.engines[i], names[i]);
    const std::string id = run.driver->node().id().hex();
    if (!o.listen.empty()) {
        run.log->write(LogLevel::info, "app", fmt::format("node {} listens on {}", id, run.driver->listening().text()));
    }
    if (client) {
        run.api = std::make_unique<ApiBridge>(run.loop, *run.driver, gateway, run.rng);
        const std::uint16_t port = o.api_port == 0 ? limits::api_port_default : o.api_port;
        const net::Endpoint wanted = TRY(parse_endpoint("--api-address", fmt::format("{}:{}", o.api_address, port)));
        const net::Endpoint at = TRY(run.api->listen(wanted));
        run.log->write(LogLevel::info, "app", fmt::format("API at http://{}/v1", at.text()));
    }
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
    run.loop.on_signals({SIGINT, SIGTERM}, [&](int) { run.loop.stop(); });
    run.driver->run();
    run.loop.run();
    run.log->write(LogLevel::info, "app", "stopped");
    return 0;
}

}  // namespace shoal::app
