// How nodes and their layers are written, on the command line and in a plan.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "pipeline/coordinator.h"

namespace shoal::app {

// 64 hexadecimal digits, as `shoal keys` prints them. `what` begins the error, in this and the next.
Result<NodeId> parse_node(const std::string& what, const std::string& text);
// FIRST-END, layers FIRST to END - 1. nullopt: it is written otherwise, or no range.
std::optional<wire::LayerRange> parse_layers(std::string_view text);
// NODE:FIRST-END; or NODE+NODE:FIRST-END, whose nodes divide the layers.
Result<pipeline::StageNode> parse_stage(const std::string& what, const std::string& text);
std::string stage_text(const pipeline::StageNode& stage);
// The hops follow on from layer 0, or with `boomerang` from a later one and not to the last that there can be; and each
// standby has the layers of a hop.
Status check_stages(const std::vector<pipeline::StageNode>& hops, const std::vector<pipeline::StageNode>& standbys,
                    bool boomerang);

}  // namespace shoal::app
