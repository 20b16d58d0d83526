// The greedy search of search.h.
#include <algorithm>

#include "pipeline/search.h"

namespace shoal::pipeline {
namespace {

// The farthest that a stage of `node` from `begin` on may reach; `begin`: not one layer fits.
Boundary farthest_end(const Problem& problem, NodeIndex node, Boundary begin) {
    Boundary end = problem.last();
    while (end > begin && !problem.fits(node, begin, end)) --end;
    return end;
}

}  // namespace

Found search_greedy(const Problem& problem) {
    Found out;
    std::vector<NodeIndex> left = problem.workers();
    NodeIndex at = problem.coordinator();
    Boundary begin = 0;
    while (begin < problem.last()) {
        std::optional<ChainStage> best;
        double best_ns_per_layer = 0;
        for (const NodeIndex node : left) {
            const auto& hop = problem.hop(at, node);
            const Boundary end = farthest_end(problem, node, begin);
            if (!hop || end == begin) continue;
            const Duration takes = hop->decode + problem.step(node, begin, end);
            const double ns_per_layer =
                static_cast<double>(takes.count()) / (problem.layer_at(end) - problem.layer_at(begin));
            if (best && ns_per_layer >= best_ns_per_layer) continue;
            best = ChainStage{node, begin, end};
            best_ns_per_layer = ns_per_layer;
        }
        if (!best) break;
        out.chain.push_back(*best);
        at = best->node;
        begin = best->end;
        std::erase(left, at);
    }
    out.step = chain_step(problem, out.chain);
    const auto& back = problem.hop_back(at);
    out.complete = !out.chain.empty() && begin == problem.last() && back;
    if (out.complete) out.step += back->decode;
    return out;
}

}  // namespace shoal::pipeline
