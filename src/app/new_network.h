// A network of one's own: the verifier's key and the network.toml that names it.
#pragma once

#include <string>

#include "base/result.h"
#include "directory/genesis.h"

namespace shoal::app {

// The node id of the key in a state directory; both are made when missing. Errors of store/files.h.
Result<NodeId> open_or_make_identity(const std::string& directory);

struct NewNetwork {
    directory::Genesis genesis;
    std::string file;             // network.toml
    std::string state_directory;  // of the verifier
};
// Makes `directory`, its network.toml and the verifier's state. Errc::invalid: there is one already, or a bad address.
Result<NewNetwork> make_network(const std::string& directory, const std::string& name, const std::string& address);

}  // namespace shoal::app
