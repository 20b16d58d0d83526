// The file that `shoal plan` reads: a model, machines and the links between them. Format: docs/planning.md.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "pipeline/plan.h"

namespace shoal::app {

// What the file and the command line call the goals.
inline constexpr std::pair<const char*, pipeline::Goal> goal_words[] = {
    {"solo-first", pipeline::Goal::solo_first},
    {"latency", pipeline::Goal::latency},
    {"throughput", pipeline::Goal::throughput},
};

struct PlanFile {
    std::string model;                       // its name
    std::vector<std::string> nodes;          // their names, in the order of the request
    std::vector<std::optional<NodeId>> ids;  // of their profiles, or as the file says; each once
    pipeline::PlanRequest request;
};

// ggml's name of a file type; "type N" for one that this list does not have.
std::string quantisation_name(std::uint8_t type);

// Signed profiles that the file names are taken as they are at `now`, and only with the network whose nodes signed
// them. Errc::not_found, Errc::malformed, Errc::invalid, Errc::unsupported (a key that is not known),
// Errc::unauthenticated, Errc::expired: the place and what is wrong.
Result<PlanFile> read_plan_file(const std::string& path, const std::optional<NetworkId>& network, Now now);

}  // namespace shoal::app
