// Cells through real sockets and TLS on loopback, per second of processor time of the whole process (both ends are in
// it, so a relay, which is one end twice, costs half of what is printed).
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include "base/limits.h"
#include "crypto/rng.h"
#include "crypto/sign.h"
#include "net/loop.h"
#include "net/transport.h"

namespace shoal::net {
namespace {

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

LocalIdentity identity(std::uint64_t seed) {
    crypto::SeededRng rng(seed);
    const auto key = crypto::SigningKey::generate(rng);
    return LocalIdentity::make(key, rng).value();
}

// Sends back whole cells as they come, as a relay hands them on.
struct Echo final : TransportEvents {
    void on_link_up(LinkId, const NodeId&, const Endpoint&, bool) override {}
    void on_link_bytes(LinkId link, ByteView bytes) override {
        append(waiting, bytes);
        push(link);
    }
    void on_link_writable(LinkId link) override { push(link); }
    void on_link_down(LinkId, const Error&) override {}
    void push(LinkId link) {
        std::size_t done = 0;
        while (waiting.size() - done >= limits::cell_bytes &&
               transport->send(link, ByteView(waiting).subspan(done, limits::cell_bytes))) {
            done += limits::cell_bytes;
        }
        waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(done));
    }
    Transport* transport = nullptr;
    Bytes waiting;
};

// Keeps a window of cells on the way and counts what comes back.
struct Source final : TransportEvents {
    void on_link_up(LinkId link, const NodeId&, const Endpoint&, bool) override { push(link); }
    void on_link_bytes(LinkId link, ByteView bytes) override {
        returned += bytes.size();
        push(link);
    }
    void on_link_writable(LinkId link) override { push(link); }
    void on_link_down(LinkId, const Error&) override { failed = true; }
    void push(LinkId link) {
        while (sent + limits::cell_bytes <= goal && sent - returned < window && transport->send(link, cell)) {
            sent += limits::cell_bytes;
        }
    }
    Transport* transport = nullptr;
    Bytes cell = Bytes(limits::cell_bytes, 0x5A);
    std::size_t window = 0;
    std::size_t goal = 0;
    std::size_t sent = 0;
    std::size_t returned = 0;
    bool failed = false;
};

// Argument: cells on the way at once.
void echo_cells(benchmark::State& state) {
    constexpr std::size_t cells_a_round = 20'000;
    Loop loop;
    Echo echo;
    Source source;
    Transport server(loop, echo);
    Transport client(loop, source);
    echo.transport = &server;
    source.transport = &client;
    source.window = static_cast<std::size_t>(state.range(0)) * limits::cell_bytes;
    const LocalIdentity id = identity(1);
    const LinkId link = client.next_id();
    client.dial(link, server.listen(Endpoint::v4(127, 0, 0, 1, 0), id).value(), id.id(), identity(2));
    loop.run_until([&] { return client.channel_binding(link).has_value(); }, 10s);

    const double before = cpu_seconds();
    double cells = 0;
    for (auto round : state) {
        source.goal += cells_a_round * limits::cell_bytes;
        loop.post([&] { source.push(link); });
        if (!loop.run_until([&] { return source.returned == source.goal || source.failed; }, 60s) || source.failed) {
            state.SkipWithError("the echo stopped");
            break;
        }
        cells += cells_a_round;
    }
    const double spent = cpu_seconds() - before;
    // Each cell crosses two links' worth of ends: four seals or opens and four socket calls' worth of bytes; a relay
    // receives it once and sends it once, which is half of that.
    state.counters["echoed_cells_per_cpu_s"] = cells / spent;
    state.counters["relayed_cells_per_cpu_s"] = 2 * cells / spent;
}
BENCHMARK(echo_cells)->Arg(1)->Arg(8)->Arg(64)->Arg(512)->Unit(benchmark::kMillisecond)->UseRealTime();

void handshake(benchmark::State& state) {
    Loop loop;
    Echo echo;
    Echo dialler;
    Transport server(loop, echo);
    Transport client(loop, dialler);
    const LocalIdentity id = identity(1);
    const LocalIdentity own = identity(2);
    const Endpoint there = server.listen(Endpoint::v4(127, 0, 0, 1, 0), id).value();
    for (auto round : state) {
        const LinkId link = client.next_id();
        client.dial(link, there, id.id(), own);
        loop.run_until([&] { return client.channel_binding(link).has_value(); }, 10s);
        client.close(link);
        loop.run_until([&] { return client.link_count() == 0 && server.link_count() == 0; }, 10s);
    }
}
BENCHMARK(handshake)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace shoal::net
