// What a plan costs, at the size of a large model: 80 layers that may be cut anywhere.
#include <benchmark/benchmark.h>

#include "pipeline/test_request.h"

namespace shoal::pipeline {
namespace {

void plan_80_layers(benchmark::State& state) {
    TestRng rng(1);
    RequestShape shape{.nodes = static_cast<std::size_t>(state.range(0)), .layers = 80, .share = 0.25};
    PlanRequest request = random_request(rng, shape);
    request.goal = static_cast<Goal>(state.range(1));
    request.workload.sequences = 8;
    std::size_t stages = 0;
    for (auto _ : state) {
        const auto outcome = make_plan(request);
        if (const auto* plan = std::get_if<Plan>(&*outcome)) stages = plan->stages.size();
    }
    state.counters["stages"] = static_cast<double>(stages);
}
BENCHMARK(plan_80_layers)
    ->ArgNames({"nodes", "goal"})
    ->Args({8, 0})
    ->Args({12, 0})
    ->Args({13, 0})
    ->Args({24, 0})
    ->Args({64, 0})
    ->Args({8, 2})
    ->Args({12, 2})
    ->Args({24, 2})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace shoal::pipeline
