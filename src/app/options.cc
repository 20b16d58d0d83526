#include "app/options.h"

#include <fmt/format.h>
#include <toml++/toml.h>
#include <CLI/CLI.hpp>
#include <cstdlib>

#include "base/comparison.h"
#include "base/limits.h"
#include "engine/pipe.h"
#include "store/files.h"

namespace shoal::app {
namespace {

// For CLI11: what is wrong, or nothing.
std::string is_comparison(const std::string& text) {
    const auto read = Comparison::parse(text);
    return read ? "" : read.error().message;
}

void declare_gpu(CLI::App& command, std::string& gpu, std::string& device) {
    command
        .add_option("--gpu", gpu,
                    "layers that a GPU computes: off, auto (as many as its free memory takes) or a number; the "
                    "processor computes the others")
        ->capture_default_str();
    command.add_option("--gpu-device", device,
                       "which GPU, by the name that --gpu logs; default: the one with the most free memory");
}

void declare_engine(CLI::App& up, UpOptions& o) {
    up.add_option("--context", o.context, "tokens that one question may hold; default: the model's, at most 4096")
        ->check(CLI::Range(std::uint32_t{0}, limits::context_tokens_max));
    up.add_option("--sequences", o.sequences, "questions decoded at once")
        ->capture_default_str()
        ->check(CLI::Range(std::size_t{1}, limits::engine_sequences_max));
    up.add_option("--threads", o.threads, "threads of the engine; default: the machine's, less one")
        ->check(CLI::Range(0, static_cast<int>(engine::pipe::threads_max)));
    declare_gpu(up, o.gpu, o.gpu_device);
}

void declare_up(CLI::App& app, UpOptions& o) {
    CLI::App* up = app.add_subcommand("up", "run a node: a client with its local API unless roles are named");
    up->add_option("--config", "TOML file with an [up] table of these options")->envname("SHOAL_CONFIG");
    up->add_option("--state", o.state_directory, "folder of keys and caches (one node each)")->envname("SHOAL_STATE");
    up->add_option("--network", o.network_file, "network.toml; default: the one in the state folder")
        ->envname("SHOAL_NETWORK");
    up->add_flag("--client", o.client, "role: ask, over the local API (the default role)");
    up->add_flag("--relay", o.relay, "role: carry circuits; needs --listen");
    up->add_flag("--verifier", o.verifier, "role: sign the directory; needs --listen and the key of network.toml");
    up->add_option("--model", o.models, "role: serve this GGUF or, with --hop, its pieces: [NAME=]PATH; needs --listen")
        ->envname("SHOAL_MODEL");
    up->add_option("--hop", o.hops,
                   "another node computes these layers of the --model, as NODE:FIRST-END; one for each hop, in order. "
                   "NODE+NODE:FIRST-END: nodes of one local network that divide them among themselves");
    up->add_option("--standby", o.standbys, "takes the place of the hop with the same layers when that is lost");
    up->add_option("--plan", o.plan_file,
                   "hops, standbys, activations, context and sequences as 'shoal plan --out' wrote them");
    up->add_flag("--boomerang", o.boomerang,
                 "the hops leave the first and last layers here, and only this machine's programs ask the model");
    up->add_option("--activations", o.activations, "how hidden states travel between hops: f32, f16 or q8_0")
        ->capture_default_str()
        ->check(CLI::IsMember({"f32", "f16", "q8_0"}));
    up->add_option(
        "--draft", o.drafts,
        "guess tokens ahead, and keep what is right: repeats (of the conversation), skip:FIRST-END (the model "
        "without these layers) or a small GGUF file of the same vocabulary; answers stay the same");
    up->add_option("--stage", o.stage,
                   "role: compute layers of this GGUF file, or of its pieces in this folder, for the nodes of "
                   "--stage-for; needs --listen");
    up->add_option("--stage-for", o.stage_leads, "node that may have layers computed here (its 'shoal keys')");
    up->add_option("--listen", o.listen, "address:port for links of other nodes")->envname("SHOAL_LISTEN");
    up->add_option("--advertise", o.advertise, "address:port that others dial, if not that of --listen");
    up->add_option("--family", o.family, "64 hexadecimal digits that all nodes of one operator share");
    up->add_flag("--allow-pipelines", o.allow_pipelines,
                 "ask models over stages too: every stage sees hidden states, which can be turned back into text");
    up->add_flag("--reuse-prefixes", o.reuse_prefixes,
                 "let model nodes keep what they computed of a conversation, or get it from the node that did");
    up->add_option("--api-port", o.api_port, fmt::format("port of the local API; default {}", limits::api_port_default))
        ->envname("SHOAL_API_PORT");
    up->add_option("--api-address", o.api_address, "address of the local API")
        ->capture_default_str()
        ->envname("SHOAL_API_ADDRESS");
    up->add_option("--api-key-file", o.api_key_file, "file whose first line programs must send as bearer key");
    up->add_option("--pacer", o.pacer, "sending clock: fast or shaped")
        ->capture_default_str()
        ->check(CLI::IsMember({"fast", "shaped"}))
        ->envname("SHOAL_PACER");
    up->add_option("--profile", o.profile, "cloves: default (4,2), planetserve (4,3) or lossy (6,2)")
        ->capture_default_str()
        ->check(CLI::IsMember({"default", "planetserve", "lossy"}));
    up->add_option("--compare", o.compare,
                   "K/M: ask M nodes at once and take the reply that K of them give; each of the M reads the question")
        ->capture_default_str()
        ->check(is_comparison);
    declare_engine(*up, o);
    up->add_option("--trace", o.trace_file, "write what this node sees (peer, command, size, time) to a file");
#ifdef SHOAL_TAP
    up->add_option("--tap", o.tap_file, "write every frame to a file (test builds only)");
#endif
    up->add_option("--log-level", o.log_level, "debug, info, warn or error")
        ->capture_default_str()
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->envname("SHOAL_LOG_LEVEL");
}

void declare_demo(CLI::App& app, DemoOptions& o) {
    CLI::App* demo = app.add_subcommand("demo", "a whole network of real processes on this machine, and one question");
    demo->add_flag("--once", o.once, "end after the answer");
    demo->add_option("--port", o.api_port, fmt::format("port of the API; default {}", limits::api_port_default));
    demo->add_option("--model", o.model, "GGUF file; default: the bundled shoal-mini");
    demo->add_option("--question", o.question, "what to ask")->capture_default_str();
    demo->add_option("--relays", o.relays, "relays to start")->capture_default_str()->check(CLI::Range(10, 60));
    demo->add_option("--model-nodes", o.model_nodes, "model nodes to start")
        ->capture_default_str()
        ->check(CLI::Range(1, 8));
    demo->add_option("--pacer", o.pacer, "sending clock of the client: fast or shaped")
        ->capture_default_str()
        ->check(CLI::IsMember({"fast", "shaped"}));
    demo->add_option("--dir", o.directory, "folder for state and traces, kept; default: a temporary one");
}

void declare_ask(CLI::App& app, AskOptions& o) {
    CLI::App* ask = app.add_subcommand("ask", "ask one question through the local node");
    ask->add_option("text", o.text, "the question; - reads standard input")->required();
    ask->add_option("--model", o.model, "model name; default: the first that the network offers");
    ask->add_option("--api", o.api, "address:port of the local API")->capture_default_str()->envname("SHOAL_API");
    ask->add_option("--api-key-file", o.api_key_file, "file with the bearer key");
    ask->add_option("--system", o.system, "system message");
    ask->add_option("--temperature", o.temperature, "0 (greedy) to 2")->check(CLI::Range(0.0, 2.0));
    ask->add_option("--seed", o.seed, "makes the sampling repeatable");
    ask->add_option("--compare", o.compare, "K/M, instead of the node's: ask M nodes, take the reply that K give")
        ->check(is_comparison);
    ask->add_option("--max-tokens", o.max_tokens, "tokens of the answer at most");
}

void declare_plan(CLI::App& app, PlanOptions& o) {
    CLI::App* plan = app.add_subcommand("plan", "who would run which layers of a large model, and how fast");
    plan->add_option("file", o.file, "TOML file: the model, the nodes and the links between them")->required();
    plan->add_option("--network", o.network_file,
                     "network.toml of the network whose nodes signed the profiles that the file names");
    plan->add_option("--out", o.out, "write the plan to this file, for 'shoal up --plan' on the node that leads");
    plan->add_option("--goal", o.goal, "instead of the file's: solo-first, latency or throughput")
        ->check(CLI::IsMember({"solo-first", "latency", "throughput"}));
    plan->add_flag("--greedy", o.greedy, "the plan that a greedy planner makes, to hold the best one against");
    plan->add_option("--sequences", o.sequences, "instead of the file's: questions under way at once")
        ->check(CLI::Range(std::size_t{1}, limits::engine_sequences_max));
}

void declare_bench(CLI::App& app, BenchOptions& o) {
    CLI::App* bench = app.add_subcommand("bench", "measure this machine and its links, and sign its profile");
    bench->add_option("--model", o.model, "GGUF file to measure with; without it --peer renews the links of a profile")
        ->envname("SHOAL_MODEL");
    bench->add_option("--peer", o.peers, "NODE: a node that is up, the link to which is measured; repeat for others");
    bench->add_option("--from", o.from, "local address of these links, where the machine has several");
    bench->add_option("--state", o.state_directory, "folder of keys and caches")->envname("SHOAL_STATE");
    bench->add_option("--network", o.network_file, "network.toml; default: the one in the state folder")
        ->envname("SHOAL_NETWORK");
    bench->add_option("--rounds", o.rounds, "of measuring, at most; from the fifth on only until two agree")
        ->capture_default_str()
        ->check(CLI::Range(1, 100));
    bench->add_option("--out", o.out, "file of the profile; default: profile in the state folder");
    bench->add_option("--memory", o.memory_mib, "MiB to offer for weights and KV cache; default: half of the machine's")
        ->check(CLI::Range(std::uint64_t{1}, limits::node_memory_bytes_max >> 20));
    bench->add_option("--threads", o.threads, "threads of the engine; default: the machine's, less one")
        ->check(CLI::Range(0, static_cast<int>(engine::pipe::threads_max)));
    declare_gpu(*bench, o.gpu, o.gpu_device);
}

std::string config_path(int argc, const char* const* argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--config" && i + 1 < argc) return argv[i + 1];
        if (word.starts_with("--config=")) return word.substr(9);
    }
    const char* from_environment = std::getenv("SHOAL_CONFIG");
    return from_environment == nullptr ? "" : from_environment;
}

Result<std::vector<std::string>> values_of(const toml::node& node, const std::string& where) {
    std::vector<std::string> out;
    const auto add = [&](const toml::node& item) {
        if (const auto text = item.value_exact<std::string>()) {
            out.push_back(*text);
        } else if (const auto number = item.value_exact<std::int64_t>()) {
            out.push_back(std::to_string(*number));
        } else if (const auto flag = item.value_exact<bool>()) {
            out.push_back(*flag ? "true" : "false");
        } else {
            return false;
        }
        return true;
    };
    bool fine = true;
    if (const toml::array* list = node.as_array()) {
        for (const toml::node& item : *list) fine = fine && add(item);
    } else {
        fine = add(node);
    }
    if (!fine) return fail(Errc::malformed, where + " must be text, a whole number, true or false, or a list of text");
    return out;
}

Status set_default(CLI::Option& option, const toml::node& node, const std::string& where) {
    const std::vector<std::string> values = TRY(values_of(node, where));
    if (option.get_expected_max() == 0) {  // a flag
        const auto on = node.value_exact<bool>();
        if (!on) return fail(Errc::invalid, where + " must be true or false");
        if (*on) option.default_val(true);
        return ok();
    }
    if (node.is_boolean()) return fail(Errc::invalid, where + " must be text or a number, not true or false");
    if (node.is_array() && option.get_expected_max() == 1) return fail(Errc::invalid, where + " must be one value");
    try {
        if (node.is_array()) {
            option.default_val(values);
        } else {
            option.default_val(values.front());
        }
    } catch (const CLI::Error& e) {
        return fail(Errc::invalid, where + ": " + e.what());
    }
    return ok();
}

}  // namespace

std::string default_state_directory() {
    if (const char* xdg = std::getenv("XDG_STATE_HOME"); xdg != nullptr && *xdg != 0)
        return std::string(xdg) + "/shoal";
    const char* home = std::getenv("HOME");
    return std::string(home == nullptr ? "." : home) + "/.local/state/shoal";
}

void declare_options(CLI::App& app, Options& options) {
    app.require_subcommand(1);
    declare_up(app, options.up);
    declare_demo(app, options.demo);
    declare_ask(app, options.ask);
    CLI::App* status = app.add_subcommand("status", "whether the local node is ready, and for what");
    status->add_option("--api", options.status.api, "address:port of the local API")
        ->capture_default_str()
        ->envname("SHOAL_API");
    status->add_option("--api-key-file", options.status.api_key_file, "file with the bearer key");
    CLI::App* keys = app.add_subcommand("keys", "the node's public id; makes its keys when there are none");
    keys->add_option("--state", options.keys.state_directory, "folder of keys and caches")->envname("SHOAL_STATE");
    CLI::App* genesis =
        app.add_subcommand("genesis", "make a network of your own: its network.toml and verifier's key");
    genesis->add_option("--dir", options.genesis.directory, "folder to make them in")->required();
    genesis->add_option("--name", options.genesis.name, "name of the network")->capture_default_str();
    genesis->add_option("--verifier-address", options.genesis.verifier_address, "address:port of the verifier")
        ->required();
    declare_plan(app, options.plan);
    declare_bench(app, options.bench);
}

Status apply_config_file(CLI::App& app, int argc, const char* const* argv) {
    const std::string path = config_path(argc, argv);
    if (path.empty()) return ok();
    auto bytes = store::read_file(path, 256 * 1024);
    if (!bytes) return fail(bytes.error().code, "configuration: " + bytes.error().message);
    toml::table table;
    try {
        table = toml::parse(as_text(*bytes), path);
    } catch (const toml::parse_error& e) {
        return fail(Errc::malformed,
                    fmt::format("configuration: {}:{}: {}", path, e.source().begin.line, e.description()));
    }
    for (const auto& [key, node] : table) {
        if (key != "up") {
            return fail(Errc::unsupported,
                        fmt::format("configuration: {}:{}: {} is not known; everything stands in [up]", path,
                                    node.source().begin.line, key.str()));
        }
    }
    const toml::table* up = table["up"].as_table();
    if (up == nullptr) return fail(Errc::malformed, fmt::format("configuration: {}: no [up] table", path));
    for (const auto& [key, node] : *up) {
        const std::string name(key.str());
        const std::string where = fmt::format("configuration: {}:{}: {}", path, node.source().begin.line, name);
        CLI::Option* option = app.get_subcommand("up")->get_option_no_throw("--" + name);
        if (option == nullptr || name == "config" || name == "help") {
            return fail(Errc::unsupported, where + " is no option of 'shoal up' (see 'shoal up --help')");
        }
        TRY(set_default(*option, node, where));
    }
    return ok();
}

}  // namespace shoal::app
