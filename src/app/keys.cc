#include <fmt/format.h>

#include "app/commands.h"
#include "app/new_network.h"

namespace shoal::app {

int run_keys(const KeysOptions& options) {
    const std::string directory = options.state_directory.empty() ? default_state_directory() : options.state_directory;
    const auto id = open_or_make_identity(directory);
    if (!id) return refuse(id.error());
    fmt::print("{}\n", id->hex());
    return 0;
}

int run_genesis(const GenesisOptions& options) {
    const auto made = make_network(options.directory, options.name, options.verifier_address);
    if (!made) return refuse(made.error());
    fmt::print("network {}\n  {}\n  give this file to everyone who joins\n", made->genesis.network().hex(), made->file);
    fmt::print("verifier {}\n  start it with: shoal up --verifier --state {} --network {} --listen {}\n",
               made->genesis.verifiers.front().id.hex(), made->state_directory, made->file, options.verifier_address);
    return 0;
}

}  // namespace shoal::app
