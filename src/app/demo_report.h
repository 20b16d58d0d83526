// What the demo tells of its processes, from their traces.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace shoal::app {

struct TraceSummary {
    std::size_t peers = 0;
    std::uint64_t cells_in = 0;
    std::uint64_t cells_out = 0;
    std::uint64_t streams = 0;  // STREAM_OPEN cells
};

// Of a --trace file; what is missing counts as nothing seen.
TraceSummary read_trace(const std::string& path);
// One line for people, by role and by what was seen.
std::string what_it_knows(const std::string& role, const TraceSummary& seen);

// A port that is free on 127.1.0.1 to 127.<networks>.0.1. Errc::unavailable.
Result<std::uint16_t> find_free_port(unsigned networks);
// Errc::invalid: another program listens on this port of 127.0.0.1, and what to do.
Status check_api_port(std::uint16_t port);

}  // namespace shoal::app
