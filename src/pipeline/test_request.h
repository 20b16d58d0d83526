// Requests drawn at random from a seed, for tests and benchmarks: volunteers' machines, from a laptop to a server.
#pragma once

#include <algorithm>
#include <cmath>

#include "base/test_rng.h"
#include "pipeline/plan.h"

namespace shoal::pipeline {

struct RequestShape {
    std::size_t nodes = 4;
    std::size_t layers = 6;
    double share = 0.4;        // of the model that a node holds, on average
    std::size_t cut_step = 1;  // 0: every boundary permitted or not, by lot
    double linked = 0.9;       // of all pairs
    Duration rtt_max = 100ms;  // evenly from 0; the cap stays 80 ms
    bool coordinator_serves = true;
};

inline double spread(Rng& rng, double low, double high) {  // evenly in the logarithm
    return low * std::pow(high / low, rng.uniform());
}

inline std::uint64_t ps_per_mib(double bytes_per_second) {
    return static_cast<std::uint64_t>(1048576.0 * 1e12 / bytes_per_second);
}

inline ModelShape random_model(Rng& rng, const RequestShape& shape) {
    ModelDescription d;
    for (std::size_t i = 0; i < shape.layers; ++i) {
        const std::uint64_t bytes = (64 + rng.below(512)) << 20;
        d.layers.push_back({bytes, bytes / (1 + rng.below(2)), 1024 * rng.below(8)});
    }
    d.embedding_bytes = rng.below(256) << 20;
    d.head_bytes = rng.below(256) << 20;
    d.hidden_size = 1024 + static_cast<std::uint32_t>(rng.below(8192));
    d.quantisation = 15;
    for (const std::uint16_t cut : cuts_every(std::max<std::size_t>(shape.cut_step, 1), shape.layers)) {
        if (shape.cut_step > 0 || rng.below(4) > 0) d.cuts.push_back(cut);
    }
    return *ModelShape::make(std::move(d));
}

inline NodeSpeed random_node(Rng& rng, double memory) {
    const double read = spread(rng, 5e9, 200e9);
    const wire::MeasuredRate rate{15, ps_per_mib(read), ps_per_mib(read * spread(rng, 2, 10)),
                                  ps_per_mib(read * spread(rng, 4, 40)), static_cast<std::uint32_t>(rng.below(50'000))};
    const wire::Measurements m{
        static_cast<std::uint64_t>(memory), static_cast<std::uint32_t>(rng.below(1'000'000)), 512, {rate}};
    return *NodeSpeed::make(m, 15);
}

inline PlanRequest random_request(Rng& rng, const RequestShape& shape) {
    PlanRequest out{.model = random_model(rng, shape), .nodes = {}, .links = LinkTable(shape.nodes)};
    const double weights = static_cast<double>(out.model.weight_bytes());
    for (std::size_t i = 0; i < shape.nodes; ++i) {
        out.nodes.emplace_back(random_node(rng, weights * spread(rng, shape.share / 2, shape.share * 2)));
    }
    for (std::size_t from = 0; from < shape.nodes; ++from) {
        for (std::size_t to = 0; to < shape.nodes; ++to) {
            if (from == to || rng.uniform() >= shape.linked) continue;
            const Duration rtt = 1us + rng.between(Duration{}, shape.rtt_max);
            out.links.set(from, to, *LinkSpeed::make(rtt, static_cast<std::uint64_t>(spread(rng, 1e6, 1e9))));
        }
    }
    out.coordinator = rng.below(shape.nodes);
    if (!shape.coordinator_serves) out.nodes[out.coordinator] = std::nullopt;
    out.head = rng.below(2) == 0 ? HeadPlace::coordinator : HeadPlace::last_stage;
    out.workload.context = 512 + static_cast<std::uint32_t>(rng.below(8192));
    out.workload.depth = static_cast<std::uint32_t>(rng.below(512));
    return out;
}

}  // namespace shoal::pipeline
