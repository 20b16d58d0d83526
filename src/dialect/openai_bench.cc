// What the gateway adds to a question and to each token of its reply.
#include <benchmark/benchmark.h>

#include "base/limits.h"
#include "dialect/openai.h"
#include "dialect/openai_client.h"
#include "dialect/openai_reply.h"

namespace {

using namespace shoal;
using namespace shoal::dialect;

void parse_request(benchmark::State& state) {
    ChatRequest request;
    request.messages.push_back({Role::user, Plaintext(std::string(static_cast<std::size_t>(state.range(0)), 'x'))});
    const std::string body = write_chat_request("mini", request, {});
    for (auto _ : state) benchmark::DoNotOptimize(parse_chat_request(body));
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(body.size()));
}
BENCHMARK(parse_request)->Arg(64)->Arg(6 * 1024)->Arg(limits::chat_body_bytes_max);

// The worst that a body of the allowed size can cost before it is refused.
void refuse_hostile_body(benchmark::State& state) {
    std::string body = "{\"stop\":[";
    while (body.size() + 16 < limits::http_body_bytes_max) body += "{\"a\":[]},";
    for (auto _ : state) benchmark::DoNotOptimize(parse_chat_request(body));
}
BENCHMARK(refuse_hostile_body);

void write_delta(benchmark::State& state) {
    const ReplyHead head{.id = "chatcmpl-0123456789abcdefghijklmn",
                         .created = from_unix_seconds(1'700'000'000),
                         .model = "shoal-mini",
                         .fingerprint = "0a0b0c0d"};
    const Plaintext token(" capital");
    for (auto _ : state) benchmark::DoNotOptimize(sse_delta(head, token));
}
BENCHMARK(write_delta);

}  // namespace
