// What it costs to believe a directory, at the size of a large network.
#include <benchmark/benchmark.h>

#include "directory/test_network.h"
#include "directory/view.h"

namespace shoal::directory {
namespace {

void verify_snapshot(benchmark::State& state) {
    const TestNetwork net({1}, static_cast<std::size_t>(state.range(0)));
    const wire::SignedSnapshot snapshot = net.signed_snapshot();
    for (auto _ : state) {
        auto view = View::verify(net.genesis, snapshot, net.now);
        benchmark::DoNotOptimize(view);
    }
    state.counters["bytes"] = static_cast<double>(snapshot.body.size());
}
BENCHMARK(verify_snapshot)->Arg(100)->Arg(1000)->Arg(10'000)->Unit(benchmark::kMillisecond);

// The unfavourable case: a full committee of forged signatures, each of which hashes the body.
void refuse_forged_committee(benchmark::State& state) {
    const TestNetwork net(std::vector<std::uint32_t>(31, 1), 10'000);
    wire::SignedSnapshot snapshot = net.sign(net.snapshot(), {0});
    for (std::uint8_t i = 1; i < 31; ++i) snapshot.signatures.push_back({i, snapshot.signatures[0].signature});
    for (auto _ : state) {
        auto view = View::verify(net.genesis, snapshot, net.now);
        benchmark::DoNotOptimize(view);
    }
}
BENCHMARK(refuse_forged_committee)->Unit(benchmark::kMillisecond);

void find_node(benchmark::State& state) {
    const TestNetwork net({1}, 10'000);
    const auto view = View::verify(net.genesis, net.signed_snapshot(), net.now);
    std::size_t i = 0;
    for (auto _ : state) benchmark::DoNotOptimize(view->find(net.nodes[i++ % net.nodes.size()].node_id()));
}
BENCHMARK(find_node);

}  // namespace
}  // namespace shoal::directory
