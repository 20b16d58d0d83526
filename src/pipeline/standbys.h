// Who could take over a stage. Internal to this room.
#pragma once

#include "pipeline/search.h"

namespace shoal::pipeline {

// For each stage of a complete chain up to `wanted` workers that are not in it, can hold the stage and are near enough
// to its neighbours; the one that costs the least more comes first. No node stands by for two stages: it could not hold
// both. As many places are filled as can be, a first standby everywhere before a second anywhere.
std::vector<std::vector<NodeIndex>> find_standbys(const Problem& problem, const Chain& chain, std::size_t wanted);

}  // namespace shoal::pipeline
