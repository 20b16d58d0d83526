// A small network for tests: keys, a genesis, descriptors and snapshots that any of its verifiers has signed.
#pragma once

#include <algorithm>
#include <vector>

#include "crypto/rng.h"
#include "directory/genesis.h"
#include "directory/sign.h"

namespace shoal::directory {

struct TestNetwork {
    crypto::SeededRng rng{7};
    std::vector<crypto::SigningKey> verifiers;
    std::vector<crypto::SigningKey> nodes;  // ascending by id
    Genesis genesis;
    Now now{Instant(1000s), UnixTime(1'800'000'000s)};

    explicit TestNetwork(std::vector<std::uint32_t> weights = {1}, std::size_t node_count = 4) {
        genesis.name = "test";
        genesis.created = now.wall - 24h;
        for (const std::uint32_t weight : weights) {
            verifiers.push_back(crypto::SigningKey::generate(rng));
            genesis.verifiers.push_back({verifiers.back().node_id(), weight});
        }
        for (std::size_t i = 0; i < node_count; ++i) nodes.push_back(crypto::SigningKey::generate(rng));
        std::ranges::sort(nodes, {}, &crypto::SigningKey::node_id);
    }

    void pass(Duration time) {
        now.mono += time;
        now.wall += std::chrono::duration_cast<std::chrono::seconds>(time);
    }

    // A relay and guard in a /16 of its own.
    wire::Descriptor descriptor(std::size_t node, std::uint64_t sequence = 1) const {
        wire::Descriptor d;
        d.node = nodes[node].node_id();
        d.onion_key.fill(static_cast<std::uint8_t>(node + 1));
        d.hpke_key.fill(static_cast<std::uint8_t>(node + 101));
        d.roles = wire::role_relay | wire::role_guard;
        wire::Address address;
        address.ip = {0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0xFF,
                      0xFF,
                      127,
                      static_cast<std::uint8_t>(1 + node % 250),
                      static_cast<std::uint8_t>(node / 250),
                      1};
        address.port = 9000;
        d.addresses = {address};
        d.sequence = sequence;
        d.valid_after = now.wall;
        d.valid_until = now.wall + 24h;
        return d;
    }
    wire::Descriptor model_node(std::size_t node, std::vector<wire::OfferedModel> models) const {
        wire::Descriptor d = descriptor(node);
        d.roles = wire::role_model;
        std::ranges::sort(models, {}, &wire::OfferedModel::model);
        d.models = std::move(models);
        return d;
    }
    wire::SignedDescriptor sign(std::size_t node, wire::Descriptor d) const {
        return sign_descriptor(nodes[node], genesis.network(), std::move(d));
    }

    wire::Snapshot snapshot(std::uint64_t epoch = 1) const {
        wire::Snapshot s;
        s.network = genesis.network();
        s.epoch = Epoch(epoch);
        s.valid_after = now.wall;
        s.fresh_until = now.wall + 1h;
        s.valid_until = now.wall + 3h;
        for (std::size_t i = 0; i < nodes.size(); ++i) s.entries.push_back({descriptor(i), 1, 500});
        return s;
    }
    wire::SignedSnapshot sign(wire::Snapshot s, const std::vector<std::uint8_t>& signers) const {
        wire::SignedSnapshot out;
        out.body = wire::encode_snapshot_body(s);
        for (const std::uint8_t i : signers) {
            out.signatures.push_back(sign_snapshot(verifiers[i], genesis.network(), i, out.body));
        }
        out.snapshot = std::move(s);
        return out;
    }
    wire::SignedSnapshot signed_snapshot(std::uint64_t epoch = 1) const { return sign(snapshot(epoch), {0}); }
};

}  // namespace shoal::directory
