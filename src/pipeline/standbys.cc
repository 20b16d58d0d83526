#include "pipeline/standbys.h"

#include <algorithm>

namespace shoal::pipeline {
namespace {

struct Candidate {
    Duration more{};  // the stage and its two hops, with this node in its place
    NodeIndex node = 0;
};

// Bipartite matching by augmenting paths (Kuhn): a stage takes the first candidate that is free or whose holder finds
// another. Places filled earlier stay filled.
class Matching {
public:
    Matching(const std::vector<std::vector<Candidate>>& candidates, std::size_t nodes)
        : candidates_(candidates), holder_(nodes, none), visited_(nodes) {}

    bool fill(std::size_t stage) {
        visited_.assign(visited_.size(), false);
        return augment(stage);
    }
    bool holds(std::size_t stage, NodeIndex node) const { return holder_[node] == stage; }

private:
    static constexpr std::size_t none = SIZE_MAX;
    bool augment(std::size_t stage) {
        for (const Candidate& c : candidates_[stage]) {
            if (visited_[c.node] || holder_[c.node] == stage) continue;
            visited_[c.node] = true;
            if (holder_[c.node] != none && !augment(holder_[c.node])) continue;
            holder_[c.node] = stage;
            return true;
        }
        return false;
    }
    const std::vector<std::vector<Candidate>>& candidates_;
    std::vector<std::size_t> holder_;  // bounded: nodes
    std::vector<bool> visited_;        // bounded: nodes
};

std::vector<Candidate> candidates_for(const Problem& problem, const Chain& chain, std::size_t i) {
    const ChainStage& stage = chain[i];
    std::vector<Candidate> out;
    for (const NodeIndex node : problem.workers()) {
        if (std::ranges::find(chain, node, &ChainStage::node) != chain.end()) continue;
        if (!problem.fits(node, stage.begin, stage.end)) continue;
        const auto& in = problem.hop(i == 0 ? problem.coordinator() : chain[i - 1].node, node);
        const auto& on = i + 1 == chain.size() ? problem.hop_back(node) : problem.hop(node, chain[i + 1].node);
        if (!in || !on) continue;
        out.push_back({in->decode + problem.step(node, stage.begin, stage.end) + on->decode, node});
    }
    std::ranges::sort(out, {}, [](const Candidate& c) { return std::pair(c.more, c.node); });
    return out;
}

}  // namespace

std::vector<std::vector<NodeIndex>> find_standbys(const Problem& problem, const Chain& chain, std::size_t wanted) {
    std::vector<std::vector<Candidate>> candidates;
    for (std::size_t i = 0; i < chain.size(); ++i) candidates.push_back(candidates_for(problem, chain, i));
    Matching matching(candidates, problem.nodes());
    for (std::size_t round = 0; round < wanted; ++round) {
        for (std::size_t i = 0; i < chain.size(); ++i) matching.fill(i);
    }
    std::vector<std::vector<NodeIndex>> out(chain.size());
    for (std::size_t i = 0; i < chain.size(); ++i) {
        for (const Candidate& c : candidates[i]) {
            if (matching.holds(i, c.node)) out[i].push_back(c.node);
        }
    }
    return out;
}

}  // namespace shoal::pipeline
