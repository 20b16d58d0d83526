// What the constructions cost on one core, along a prompt's way.
#include <benchmark/benchmark.h>

#include "crypto/aead.h"
#include "crypto/certificate.h"
#include "crypto/hash.h"
#include "crypto/hpke.h"
#include "crypto/lioness.h"
#include "crypto/ntor.h"
#include "crypto/rng.h"
#include "crypto/sida.h"
#include "crypto/stream_seal.h"

namespace shoal::crypto {
namespace {

const NetworkId network(ByteArray<32>{1});
const NodeId node(ByteArray<32>{2});

Bytes random_bytes(std::size_t size) {
    Bytes out(size);
    SeededRng(1).fill(out);
    return out;
}

void peel_one_cell(benchmark::State& state) {
    SeededRng rng(1);
    LayerCipher relay(LayerKeys::from_bytes(rng.array<layer_keys_bytes>()));
    auto cell = rng.array<limits::cell_body_bytes>();
    for (auto _ : state) {
        relay.relay_forward(cell);
        benchmark::DoNotOptimize(cell.data());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(cell.size()));
}
BENCHMARK(peel_one_cell);

void add_one_layer(benchmark::State& state) {
    SeededRng rng(1);
    LayerCipher client(LayerKeys::from_bytes(rng.array<layer_keys_bytes>()));
    auto cell = rng.array<limits::cell_body_bytes>();
    for (auto _ : state) {
        client.client_forward(cell);
        benchmark::DoNotOptimize(cell.data());
    }
}
BENCHMARK(add_one_layer);

void ntor_client_start(benchmark::State& state) {
    SeededRng rng(1);
    const auto onion = KeyPair::generate(rng);
    for (auto _ : state) {
        benchmark::DoNotOptimize(NtorClient::start(NtorProfile::circuit(network), node, onion.public_key, {}, rng));
    }
}
BENCHMARK(ntor_client_start);

void ntor_relay_answer(benchmark::State& state) {
    SeededRng rng(1);
    const auto profile = NtorProfile::circuit(network);
    const auto onion = KeyPair::generate(rng);
    const auto client = NtorClient::start(profile, node, onion.public_key, {}, rng);
    for (auto _ : state) {
        const auto hello = NtorHello::parse(client->hello());
        benchmark::DoNotOptimize(ntor_answer(profile, node, onion, nullptr, *hello, {}, rng));
    }
}
BENCHMARK(ntor_relay_answer);

void ntor_client_finish(benchmark::State& state) {
    SeededRng rng(1);
    const auto profile = NtorProfile::circuit(network);
    const auto onion = KeyPair::generate(rng);
    const auto client = NtorClient::start(profile, node, onion.public_key, {}, rng);
    const auto answer = ntor_answer(profile, node, onion, nullptr, *NtorHello::parse(client->hello()), {}, rng);
    for (auto _ : state) benchmark::DoNotOptimize(client->finish(answer->answer));
}
BENCHMARK(ntor_client_finish);

// Arguments: k, and how many of the fragments that arrive are data fragments (the rest are parity).
void sida_split_and_combine_6_kb(benchmark::State& state) {
    OsRng rng;
    const auto k = static_cast<std::uint8_t>(state.range(0));
    const Bytes prompt = random_bytes(6144);
    const MessageId message(ByteArray<16>{9});
    for (auto _ : state) {
        const auto split = sida_split(prompt, k, 4, message, rng);
        benchmark::DoNotOptimize(sida_combine(split.geometry, std::span(split.fragments).last(k)));
    }
}
BENCHMARK(sida_split_and_combine_6_kb)->Arg(3)->Arg(2);

void sida_split_6_kb(benchmark::State& state) {
    OsRng rng;
    const auto k = static_cast<std::uint8_t>(state.range(0));
    const Bytes prompt = random_bytes(6144);
    for (auto _ : state) benchmark::DoNotOptimize(sida_split(prompt, k, 4, MessageId(), rng));
}
BENCHMARK(sida_split_6_kb)->Arg(3)->Arg(2);

void hpke_sender_setup(benchmark::State& state) {
    SeededRng rng(1);
    const auto receiver = KeyPair::generate(rng);
    for (auto _ : state) benchmark::DoNotOptimize(HpkeSender::setup(receiver.public_key, network.view(), rng));
}
BENCHMARK(hpke_sender_setup);

void hpke_receiver_setup(benchmark::State& state) {
    SeededRng rng(1);
    const auto receiver = KeyPair::generate(rng);
    const auto sender = HpkeSender::setup(receiver.public_key, network.view(), rng);
    for (auto _ : state) benchmark::DoNotOptimize(HpkeReceiver::setup(receiver, sender->encapsulated, network.view()));
}
BENCHMARK(hpke_receiver_setup);

void stream_client_setup(benchmark::State& state) {
    SeededRng rng(1);
    const auto hpke = KeyPair::generate(rng);
    for (auto _ : state) benchmark::DoNotOptimize(StreamSealer::client(network, node, hpke.public_key, rng));
}
BENCHMARK(stream_client_setup);

void stream_server_setup(benchmark::State& state) {
    SeededRng rng(1);
    const auto hpke = KeyPair::generate(rng);
    const auto client = StreamSealer::client(network, node, hpke.public_key, rng);
    for (auto _ : state) benchmark::DoNotOptimize(StreamSealer::server(network, node, hpke, client->encapsulated));
}
BENCHMARK(stream_server_setup);

void stream_seal_and_open_a_record(benchmark::State& state) {
    SeededRng rng(1);
    const auto hpke = KeyPair::generate(rng);
    auto client = StreamSealer::client(network, node, hpke.public_key, rng);
    auto server = StreamSealer::server(network, node, hpke, client->encapsulated);
    const auto record = rng.array<limits::record_bytes>();
    for (auto _ : state) benchmark::DoNotOptimize(server->open(client->sealer.seal(record)));
}
BENCHMARK(stream_seal_and_open_a_record);

void aead_seal(benchmark::State& state) {
    AeadKey key{Key32()};
    const Bytes plain = random_bytes(static_cast<std::size_t>(state.range(0)));
    Bytes out(plain.size() + 16);
    std::uint64_t counter = 0;
    for (auto _ : state) {
        key.seal_into(counter_nonce(counter++), {}, plain, out);
        benchmark::DoNotOptimize(out.data());
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(aead_seal)->Arg(64)->Arg(1354)->Arg(6144)->Arg(65536);

void blake2b_256(benchmark::State& state) {
    const Bytes in = random_bytes(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(blake2b<32>({in}));
}
BENCHMARK(blake2b_256)->Arg(64)->Arg(1024);

void sign_a_body(benchmark::State& state) {
    SeededRng rng(1);
    const auto key = SigningKey::generate(rng);
    const Bytes body = random_bytes(256);
    for (auto _ : state) benchmark::DoNotOptimize(key.sign("SC1-TEST", network, body));
}
BENCHMARK(sign_a_body);

void verify_a_body(benchmark::State& state) {
    SeededRng rng(1);
    const auto key = SigningKey::generate(rng);
    const Bytes body = random_bytes(256);
    const auto signature = key.sign("SC1-TEST", network, body);
    for (auto _ : state) benchmark::DoNotOptimize(verify(key.node_id(), "SC1-TEST", network, body, signature));
}
BENCHMARK(verify_a_body);

void check_a_certificate(benchmark::State& state) {
    SeededRng rng(1);
    const Bytes der = make_certificate(SigningKey::generate(rng), rng);
    for (auto _ : state) benchmark::DoNotOptimize(certificate_identity(der));
}
BENCHMARK(check_a_certificate);

void os_rng(benchmark::State& state) {
    OsRng rng;
    Bytes out(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        rng.fill(out);
        benchmark::DoNotOptimize(out.data());
    }
}
BENCHMARK(os_rng)->Arg(32)->Arg(1392);

}  // namespace
}  // namespace shoal::crypto
