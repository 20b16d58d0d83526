// Log lines of a process: to stderr, with time and level.
#pragma once

#include <memory>
#include <string>

#include "base/log.h"
#include "base/result.h"

namespace shoal::app {

// `level`: debug, info, warn or error; anything else is Errc::invalid.
Result<std::unique_ptr<Log>> make_log(const std::string& level);

}  // namespace shoal::app
