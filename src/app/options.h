// What the command line, the environment and the configuration file say. Flags win over the environment, that over the
// file, that over the defaults. docs/configuration.md is checked against this by a test.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace CLI {
class App;
}

namespace shoal::app {

struct UpOptions {
    std::string state_directory;  // default: $XDG_STATE_HOME/shoal or ~/.local/state/shoal
    std::string network_file;     // default: <state>/network.toml
    bool relay = false;
    bool verifier = false;
    bool client = false;                // the default when no other role is named
    std::vector<std::string> models;    // FILE or NAME=FILE
    std::vector<std::string> hops;      // NODE:FIRST-END, whose layers are the model's
    std::vector<std::string> standbys;  // likewise
    std::string plan_file;              // instead of both, and of what a plan says besides
    bool boomerang = false;
    std::string activations = "f16";
    std::vector<std::string> drafts;  // "repeats", "skip:FIRST-END", or FILE
    bool allow_pipelines = false;
    bool reuse_prefixes = false;
    std::string stage;                     // FILE
    std::vector<std::string> stage_leads;  // node ids
    std::string listen;                    // address:port of links
    std::string advertise;                 // what the descriptor says, if not that
    std::string family;
    std::uint16_t api_port = 0;
    std::string api_address = "127.0.0.1";
    std::string api_key_file;
    std::string pacer = "shaped";
    std::string profile = "default";
    std::string compare = "1/1";
    std::uint32_t context = 0;
    std::uint16_t sequences = 16;
    std::uint16_t threads = 0;
    std::string gpu = "off";  // "auto", or a number of layers
    std::string gpu_device;
    std::string trace_file;
    std::string tap_file;
    std::string log_level = "info";
};

struct DemoOptions {
    bool once = false;
    std::uint16_t api_port = 0;
    std::string model;
    std::string question = "What is the capital of France?";
    std::uint16_t relays = 16;
    std::uint16_t model_nodes = 2;
    std::string pacer = "fast";
    std::string directory;  // default: a temporary one, removed at the end
};

struct AskOptions {
    std::string text;  // "-": standard input
    std::string model;
    std::string api = "127.0.0.1:8642";
    std::string api_key_file;
    std::string system;
    std::optional<double> temperature;
    std::optional<std::int64_t> seed;
    std::uint32_t max_tokens = 0;
    std::string compare;  // none: as the node is configured
};

struct GenesisOptions {
    std::string directory;
    std::string name = "shoal";
    std::string verifier_address;
};

struct StatusOptions {
    std::string api = "127.0.0.1:8642";
    std::string api_key_file;
};

struct PlanOptions {
    std::string file;
    std::string network_file;  // whose nodes signed the profiles that the file names
    std::string out;           // file of the plan, for `up`; none: it is only printed
    std::string goal;          // instead of the file's
    bool greedy = false;
    std::uint32_t sequences = 0;  // instead of the file's
};

struct BenchOptions {
    std::string model;               // none: of the profile that is there only the links are measured anew
    std::vector<std::string> peers;  // node ids
    std::string from;                // local address of dials
    std::size_t rounds = 10;
    std::string state_directory;
    std::string network_file;
    std::string out;               // default: <state>/profile
    std::uint64_t memory_mib = 0;  // default: half of the machine's
    std::uint16_t threads = 0;
    std::string gpu = "off";
    std::string gpu_device;
};

struct KeysOptions {
    std::string state_directory;
};

struct Options {
    UpOptions up;
    DemoOptions demo;
    AskOptions ask;
    GenesisOptions genesis;
    StatusOptions status;
    KeysOptions keys;
    PlanOptions plan;
    BenchOptions bench;
};

// Declares every command. `options` outlives `app`.
void declare_options(CLI::App& app, Options& options);
// The [up] table of the file named by --config or SHOAL_CONFIG becomes the defaults of `up`. Errc::not_found,
// Errc::malformed (place and reason), Errc::unsupported (a key that is no option, by name).
Status apply_config_file(CLI::App& app, int argc, const char* const* argv);
std::string default_state_directory();

}  // namespace shoal::app
