#include "pipeline/plan.h"

#include <algorithm>

#include "pipeline/search.h"
#include "pipeline/standbys.h"

namespace shoal::pipeline {
namespace {

// What sets the pace when steps overlap.
Duration slowest(const Problem& problem, const Chain& chain) {
    Duration out = problem.coordinator_step();
    NodeIndex at = problem.coordinator();
    for (const ChainStage& s : chain) {
        out = std::max({out, problem.load(s.node, s.begin, s.end), problem.hop(at, s.node)->decode_transfer});
        at = s.node;
    }
    return std::max(out, problem.hop_back(at)->decode_transfer);
}

double pace(const Workload& w, Duration step, Duration slowest) {
    return std::min(w.batch / to_seconds(slowest), w.sequences / to_seconds(step));
}
double pace(const Problem& problem, const Found& found) {
    return pace(problem.workload(), found.step + problem.coordinator_step(), slowest(problem, found.chain));
}

Stage stage_of(const Problem& problem, const ChainStage& s, NodeIndex before) {
    Stage out;
    out.node = s.node;
    out.layers = {problem.layer_at(s.begin), problem.layer_at(s.end)};
    out.head = problem.head_on_stage() && s.end == problem.last();
    out.weight_bytes = problem.weight_bytes(s.begin, s.end);
    out.kv_bytes = problem.kv_bytes(s.begin, s.end);
    out.step = problem.step(s.node, s.begin, s.end);
    out.prefill = problem.prefill(s.node, s.begin, s.end);
    if (const auto& hop = problem.hop(before, s.node)) out.hop = hop->decode;
    return out;
}

std::vector<Stage> stages_of(const Problem& problem, const Chain& chain) {
    std::vector<Stage> out;
    NodeIndex before = problem.coordinator();
    for (const ChainStage& s : chain) {
        out.push_back(stage_of(problem, s, before));
        before = s.node;
    }
    return out;
}

// Chunks overlap as steps do.
double prefill_pace(const Problem& problem, const Chain& chain) {
    Duration slowest{};
    NodeIndex at = problem.coordinator();
    for (const ChainStage& s : chain) {
        slowest =
            std::max({slowest, problem.prefill(s.node, s.begin, s.end), problem.hop(at, s.node)->prefill_transfer});
        at = s.node;
    }
    return problem.workload().chunk_tokens / to_seconds(slowest);
}

Plan split_plan(const Problem& problem, const Found& found, std::size_t standbys) {
    Plan out;
    out.stages = stages_of(problem, found.chain);
    out.hop_back = problem.hop_back(found.chain.back().node)->decode;
    out.coordinator_bytes = problem.coordinator_bytes();
    out.coordinator_step = problem.coordinator_step();
    out.step = found.step + out.coordinator_step;
    out.tokens_per_second = pace(problem, found);
    out.prefill_tokens_per_second = prefill_pace(problem, found.chain);
    const auto standing_by = find_standbys(problem, found.chain, standbys);
    for (std::size_t i = 0; i < out.stages.size(); ++i) {
        out.stages[i].standbys = standing_by[i];
        out.standbys_missing += standbys - standing_by[i].size();
    }
    return out;
}

Plan solo_plan(const Problem& problem, NodeIndex node, std::size_t standbys) {
    Plan out;
    out.solo = true;
    Stage stage;
    stage.node = node;
    stage.layers = {0, problem.layer_at(problem.last())};
    stage.head = true;
    stage.weight_bytes = problem.solo_weight_bytes();
    stage.kv_bytes = problem.kv_bytes(0, problem.last());
    stage.step = problem.solo_step(node);
    stage.prefill = problem.prefill(node, 0, problem.last());
    std::vector<NodeIndex> others;
    for (NodeIndex other = 0; other < problem.nodes(); ++other) {
        if (other != node && problem.solo_fits(other)) others.push_back(other);
    }
    std::ranges::sort(others, {}, [&](NodeIndex other) { return std::pair(problem.solo_step(other), other); });
    if (others.size() > standbys) others.resize(standbys);
    stage.standbys = others;
    out.standbys_missing = standbys - others.size();
    out.step = stage.step;
    out.tokens_per_second = pace(problem.workload(), stage.step, stage.step);
    out.prefill_tokens_per_second = problem.workload().chunk_tokens / to_seconds(stage.prefill);
    out.stages.push_back(std::move(stage));
    return out;
}

std::optional<NodeIndex> fastest_solo(const Problem& problem) {
    std::optional<NodeIndex> out;
    for (NodeIndex node = 0; node < problem.nodes(); ++node) {
        if (!problem.solo_fits(node)) continue;
        if (!out || problem.solo_step(node) < problem.solo_step(*out)) out = node;
    }
    return out;
}

// The most tokens a second. With a cap t on every stage and link the shortest step T(t) only falls as t grows, and the
// pace is the lesser of batch / t and sequences / T(t): one falls and the other rises, so the best cap is where they
// cross, and halving finds it. `shortest` is the plan without a cap.
Found most_throughput(const Problem& problem, Found shortest) {
    const Workload& w = problem.workload();
    Found best = std::move(shortest);
    Duration low{};  // too small: no chain, or one whose steps in flight run out before the slowest stage is busy
    Duration high = slowest(problem, best.chain);
    // Exactly with the exact search; a beam's noise is far above the last thousandth.
    const bool exact = problem.workers().size() <= limits::plan_exact_nodes_max;
    while (high - low > (exact ? Duration(1) : high / 256)) {
        const Duration middle = low + (high - low) / 2;
        Found found = search(problem, middle);
        if (!found.complete) {
            low = middle;
            continue;
        }
        const Duration real = slowest(problem, found.chain);
        const bool stage_bound =
            w.batch / to_seconds(real) <= w.sequences / to_seconds(found.step + problem.coordinator_step());
        if (pace(problem, found) > pace(problem, best)) best = std::move(found);
        if (stage_bound) {
            high = std::min(middle, real);
        } else {
            low = middle;
        }
    }
    return best;
}

Shortfall shortfall(const Problem& problem, const Found& found) {
    Shortfall out;
    if (!problem.coordinator_fits()) {
        out.lack = Lack::coordinator;
        return out;
    }
    out.lack = search(problem.without_links(), Duration::max()).complete ? Lack::links : Lack::memory;
    out.covered = stages_of(problem, found.chain);
    for (Boundary b = found.chain.empty() ? 0 : found.chain.back().end; b < problem.last(); ++b) {
        const std::uint16_t layers = problem.layer_at(b + 1) - problem.layer_at(b);
        const std::uint64_t bytes = problem.weight_bytes(b, b + 1) + problem.kv_bytes(b, b + 1);
        for (std::uint16_t i = 0; i < layers; ++i) {
            // Of layers that cannot be parted each is named; what they need is shared out.
            const std::uint64_t share = bytes / layers + (i < bytes % layers ? 1 : 0);
            out.missing.push_back({static_cast<std::uint16_t>(problem.layer_at(b) + i), share});
        }
    }
    return out;
}

}  // namespace

std::uint64_t Shortfall::missing_bytes() const {
    std::uint64_t sum = 0;
    for (const MissingLayer& layer : missing) sum += layer.bytes;
    return sum;
}

Result<Outcome> make_plan(const PlanRequest& request, Method method) {
    const Problem problem = TRY(Problem::make(request));
    const std::optional<NodeIndex> solo = fastest_solo(problem);
    if (solo && request.goal == Goal::solo_first) return Outcome(solo_plan(problem, *solo, request.standbys));
    Found split;
    if (problem.coordinator_fits()) {
        split = method == Method::best ? search(problem, Duration::max()) : search_greedy(problem);
    }
    if (!split.complete) {
        if (solo) return Outcome(solo_plan(problem, *solo, request.standbys));
        return Outcome(shortfall(problem, split));
    }
    if (request.goal == Goal::throughput && method == Method::best) split = most_throughput(problem, std::move(split));
    if (solo) {
        Plan alone = solo_plan(problem, *solo, request.standbys);
        const Duration step = split.step + problem.coordinator_step();
        const bool better =
            request.goal == Goal::throughput ? alone.tokens_per_second >= pace(problem, split) : alone.step <= step;
        if (better) return Outcome(std::move(alone));
    }
    return Outcome(split_plan(problem, split, request.standbys));
}

}  // namespace shoal::pipeline
