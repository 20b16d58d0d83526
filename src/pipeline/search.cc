#include "pipeline/search.h"

#include <algorithm>

#include "base/limits.h"

namespace shoal::pipeline {
namespace {

// Chains a boundary: as many as keep the beam's work, about width · workers · boundaries² / 4, near 16 million steps.
std::size_t beam_width(const Problem& problem) {
    const std::size_t unit = problem.workers().size() * (problem.last() + 1) * (problem.last() + 1) / 4 + 1;
    return std::clamp<std::size_t>(16'000'000 / unit, 16, 512);
}

bool improves(const Found& a, const Found& b) {
    if (a.complete != b.complete) return a.complete;
    if (!a.complete && !a.chain.empty() && !b.chain.empty() && a.chain.back().end != b.chain.back().end) {
        return a.chain.back().end > b.chain.back().end;
    }
    return a.chain.size() > 0 && (b.chain.empty() || a.step < b.step);
}

// The nodes of the chain, and of the others the `group`-th handful that fills an exact search.
std::vector<NodeIndex> neighbourhood(const Problem& problem, const Chain& chain, std::size_t group) {
    std::vector<NodeIndex> out;
    for (const ChainStage& stage : chain) out.push_back(stage.node);
    std::vector<NodeIndex> others;
    for (const NodeIndex node : problem.workers()) {
        if (std::ranges::find(out, node) == out.end()) others.push_back(node);
    }
    const std::size_t room = limits::plan_exact_nodes_max - out.size();
    const std::size_t from = std::min(group * room, others.size());
    const std::size_t to = std::min(from + room, others.size());
    out.insert(out.end(), others.begin() + static_cast<std::ptrdiff_t>(from),
               others.begin() + static_cast<std::ptrdiff_t>(to));
    return from == to ? std::vector<NodeIndex>{} : out;
}

}  // namespace

Boundary earliest_begin(const Problem& problem, NodeIndex node, Boundary end, Duration stage_cap) {
    Boundary begin = end;
    while (begin > 0 && problem.fits(node, begin - 1, end) && problem.load(node, begin - 1, end) <= stage_cap) --begin;
    return begin;
}

Duration chain_step(const Problem& problem, const Chain& chain) {
    Duration sum{};
    NodeIndex at = problem.coordinator();
    for (const ChainStage& stage : chain) {
        sum += problem.hop(at, stage.node)->decode + problem.step(stage.node, stage.begin, stage.end);
        at = stage.node;
    }
    return sum;
}

Found search(const Problem& problem, Duration stage_cap) {
    if (problem.workers().size() <= limits::plan_exact_nodes_max) {
        return search_exact(problem, problem.workers(), stage_cap);
    }
    Found best = search_beam(problem, stage_cap, beam_width(problem));
    // A bound on the rounds, though each must shorten the step: an exact search of twelve nodes takes some 20 ms.
    std::size_t group = 0;
    for (std::size_t round = 0; round < 16; ++round) {
        if (best.chain.size() >= limits::plan_exact_nodes_max) break;
        const std::vector<NodeIndex> nodes = neighbourhood(problem, best.chain, group);
        if (nodes.empty()) break;
        const Found found = search_exact(problem, nodes, stage_cap);
        if (improves(found, best)) {
            best = found;
            group = 0;
        } else {
            ++group;
        }
    }
    return best;
}

}  // namespace shoal::pipeline
