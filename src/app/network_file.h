// network.toml: the trust anchor of a network, as a file. See docs/configuration.md.
#pragma once

#include <string>

#include "base/result.h"
#include "directory/genesis.h"

namespace shoal::app {

// Errc::not_found: no such file, and how to get one. Errc::malformed, Errc::invalid: the place and what is wrong.
Result<directory::Genesis> read_network_file(const std::string& path);
Status write_network_file(const std::string& path, const directory::Genesis& genesis);

}  // namespace shoal::app
