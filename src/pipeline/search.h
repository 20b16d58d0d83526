// The searches behind plan.h: chains of stages with the shortest step. Internal to this room.
//
// A chain is a sequence of stages, each beginning where the one before ends, no node twice, each stage within its
// node's memory and none slower than a cap (Problem::load). Its cost is the sum of its steps and hops. Both searches
// give the cheapest chain that they find to the end of the model and back to the coordinator; without one, the cheapest
// of those that reach farthest. Of equally cheap ones the one with fewer stages.
#pragma once

#include <span>
#include <vector>

#include "pipeline/problem.h"

namespace shoal::pipeline {

struct ChainStage {
    NodeIndex node = 0;
    Boundary begin = 0;
    Boundary end = 0;
    friend bool operator==(const ChainStage&, const ChainStage&) = default;
};
using Chain = std::vector<ChainStage>;

struct Found {
    bool complete = false;
    Chain chain;
    Duration step{};  // with the hop back, if complete
};

// Dynamic programming over (set of used nodes, last node, boundary). Exact: the cost of what follows depends on those
// three alone. n nodes and b boundaries take 2^n · n · (n/4 + 1) · b steps and 8 · 2^n · n · b bytes: 15 million and 32
// MB for 12 nodes and 80 layers. At most 16 nodes (ASSERT), all of problem.workers().
Found search_exact(const Problem& problem, std::span<const NodeIndex> nodes, Duration stage_cap);

// Boundary by boundary, the `width` most promising chains: by cost so far and a lower bound of what remains, each
// worker left doing what it does fastest. At most 64 workers.
Found search_beam(const Problem& problem, Duration stage_cap, std::size_t width);

// Exact for up to plan_exact_nodes_max workers. Above: the beam's chain, then exact searches over its nodes and some of
// the others at a time, as long as they find a better one.
Found search(const Problem& problem, Duration stage_cap);

// What the others are held against. From the coordinator on, whichever node takes the least time a layer, the way to
// it included, takes as many layers as it holds; so does the next from there. Nothing is taken back, so it may end
// nowhere.
// Source: what one does by hand, and how pools grow that are joined node by node: a server of Petals (Borzunov et al.,
// 2023) also holds as many consecutive blocks as fit it, and chooses them when it comes.
Found search_greedy(const Problem& problem);

// The sum of steps and hops, without the hop back. All hops must exist.
Duration chain_step(const Problem& problem, const Chain& chain);

// The lowest boundary at which a stage of `node` may begin so that it ends at `end`, within memory and cap; `end`
// itself if none may.
Boundary earliest_begin(const Problem& problem, NodeIndex node, Boundary end, Duration stage_cap);

}  // namespace shoal::pipeline
