// The plan that `shoal plan --out` writes and `shoal up --plan` starts with: who runs which layers, and how fast that
// should be. Format: docs/planning.md.
#pragma once

#include <string>
#include <vector>

#include "app/plan_file.h"
#include "base/ids.h"
#include "base/result.h"
#include "pipeline/coordinator.h"
#include "pipeline/meter.h"

namespace shoal::app {

struct MadePlan {
    std::string model;  // its name, for people
    NodeId lead;
    std::uint16_t layers = 0;
    std::string activations;  // f32, f16 or q8_0
    std::uint32_t context = 0;
    std::uint16_t sequences = 0;
    pipeline::Prediction predicted;
    std::vector<pipeline::StageNode> hops;      // joined from layer 0 to the last; 1 to stage_hops_max
    std::vector<pipeline::StageNode> standbys;  // each with the layers of a hop; at most as many as plan_nodes_max
};

// Errc::unsupported: a plan that `shoal up` cannot run as it is, with what to change in the file that it was made from.
Result<MadePlan> make_runnable(const PlanFile& file, const pipeline::Plan& plan);
// As text of the format; read_made_plan reads it back to the same.
std::string write_made_plan(const MadePlan& plan);
// The file may be anything. Errc::not_found, Errc::malformed, Errc::invalid, Errc::unsupported: the place and what is
// wrong.
Result<MadePlan> read_made_plan(const std::string& path);

}  // namespace shoal::app
