// A question as cloves: what it costs, and how many bytes it puts on the wire.
#include <benchmark/benchmark.h>

#include "crypto/rng.h"
#include "prompt/cloves.h"

namespace {

using namespace shoal;
using namespace shoal::prompt;

// A request of about 6 KB as (k, n) = (arguments). `wire_bytes`: the cells of all its records, on one link.
void make_cloves_of_6_kb(benchmark::State& state) {
    crypto::SeededRng rng(1);
    wire::Request request;
    request.unpaid = true;
    request.id = rng.id<RequestId>();
    request.expires = from_unix_seconds(1'800'000'000);
    request.reply_key = Key32(rng.array<32>());
    request.body = Plaintext(std::string(6 * 1024, 'x'));
    const auto k = static_cast<std::uint8_t>(state.range(0));
    const auto n = static_cast<std::uint8_t>(state.range(1));
    std::size_t records = 0;
    std::size_t bucket = 0;
    for (auto _ : state) {
        const auto cloves = make_cloves(request, k, n, rng);
        ASSERT(cloves.has_value());
        records = 0;
        for (const auto& clove : cloves->records) records += clove.size();
        bucket = cloves->bucket.cells;
    }
    state.counters["wire_bytes"] = static_cast<double>(records * limits::cell_bytes);
    state.counters["bucket_cells"] = static_cast<double>(bucket);
    state.counters["request_bytes"] = static_cast<double>(request.body.size());
}
BENCHMARK(make_cloves_of_6_kb)->Args({3, 4})->Args({2, 4});

}  // namespace
