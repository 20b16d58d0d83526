#include "pipeline/problem.h"

#include <algorithm>
#include <string>

namespace shoal::pipeline {
namespace {

Error no(const char* why) {
    return fail(Errc::invalid, std::string("plan: ") + why);
}

Status check_workload(const Workload& w) {
    if (w.context < 1 || w.context > limits::context_tokens_max) return no("context out of range");
    if (w.depth > w.context) return no("more tokens in the cache than the context holds");
    if (w.sequences < 1 || w.sequences > limits::engine_sequences_max) return no("1 to 64 sequences");
    if (w.batch < 1 || w.batch > w.sequences) return no("a step takes 1 to all sequences");
    if (w.chunk_tokens < 1 || w.chunk_tokens > limits::prefill_chunk_tokens) return no("chunk out of range");
    if (w.reply_bytes > limits::engine_frame_bytes_max) return no("reply out of range");
    return ok();
}

// Blocks of 32 values in q8_0, the last one filled up.
std::uint64_t row_bytes(wire::ActivationType type, std::uint32_t hidden_size) {
    return wire::activation_row_bytes(type, (hidden_size + 31) / 32 * 32);
}

}  // namespace

Result<Problem> Problem::make(const PlanRequest& request) {
    TRY(check_workload(request.workload));
    const std::size_t nodes = request.nodes.size();
    if (nodes < 1 || nodes > limits::plan_nodes_max) return no("1 to 64 nodes");
    if (request.links.nodes() != nodes) return no("the table of links is of other nodes");
    if (request.coordinator >= nodes) return no("no such coordinator");
    if (request.rtt_cap < Duration{}) return no("a round trip below zero");
    if (request.standbys > limits::plan_standbys_max) return no("more than 4 standbys");
    Problem out;
    out.workload_ = request.workload;
    out.coordinator_ = request.coordinator;
    out.coordinator_serves_ = request.coordinator_serves;
    out.head_ = request.head;
    out.speeds_ = request.nodes;
    out.fill_layers(request);
    for (NodeIndex node = 0; node < nodes; ++node) out.fill_node(request, node);
    out.fill_hops(request);
    return out;
}

void Problem::fill_layers(const PlanRequest& request) {
    const ModelShape& model = request.model;
    layer_at_ = {0};
    layer_at_.insert(layer_at_.end(), model.cuts().begin(), model.cuts().end());
    layer_at_.push_back(static_cast<std::uint16_t>(model.layers().size()));
    for (const std::uint16_t end : layer_at_) {
        const std::size_t from = weights_.empty() ? 0 : layer_at_[weights_.size() - 1];
        std::uint64_t weights = weights_.empty() ? 0 : weights_.back();
        std::uint64_t kv = kv_.empty() ? 0 : kv_.back();
        for (std::size_t i = from; i < end; ++i) {
            weights += model.layers()[i].weight_bytes;
            kv += model.layers()[i].kv_bytes_per_token * workload_.context * workload_.sequences;
        }
        weights_.push_back(weights);
        kv_.push_back(kv);
    }
    solo_weight_bytes_ = model.weight_bytes();
    head_bytes_ = head_on_stage() ? model.head_bytes() : 0;
    coordinator_bytes_ = head_on_stage() ? model.embedding_bytes() : model.ends_bytes();
}

void Problem::fill_node(const PlanRequest& request, NodeIndex node) {
    decode_.emplace_back(layer_at_.size());
    prefill_.emplace_back(layer_at_.size());
    head_step_.emplace_back();
    solo_head_.emplace_back();
    room_.push_back(0);
    const auto& speed = speeds_[node];
    if (!speed) return;
    room_[node] = speed->memory_bytes();
    const std::uint64_t head = request.model.head_bytes();
    if (head > 0) solo_head_[node] = speed->decode(head, 0, workload_.batch);
    if (head_on_stage()) head_step_[node] = solo_head_[node];
    if (node == coordinator_) {
        coordinator_fits_ = coordinator_bytes_ <= room_[node];
        room_[node] = coordinator_serves_ ? room_[node] - std::min(room_[node], coordinator_bytes_) : 0;
        if (!head_on_stage()) coordinator_step_ = solo_head_[node];
    }
    if (room_[node] > 0) workers_.push_back(node);
    for (Boundary b = 1; b < layer_at_.size(); ++b) {
        decode_[node][b] = decode_[node][b - 1];
        prefill_[node][b] = prefill_[node][b - 1];
        for (std::size_t i = layer_at_[b - 1]; i < layer_at_[b]; ++i) {
            const LayerShape& layer = request.model.layers()[i];
            const std::uint64_t kv_read = layer.kv_bytes_per_token * workload_.depth * workload_.batch;
            decode_[node][b] += speed->decode(layer.active_bytes, kv_read, workload_.batch);
            prefill_[node][b] += speed->prefill(layer.active_bytes, workload_.chunk_tokens);
        }
    }
}

void Problem::fill_hops(const PlanRequest& request) {
    const std::uint64_t row = row_bytes(workload_.activations, request.model.hidden_size());
    const auto make = [&](NodeIndex from, NodeIndex to, std::uint64_t step, std::uint64_t chunk) -> std::optional<Hop> {
        if (from == to) return Hop{};
        const auto& link = request.links.at(from, to);
        if (!link || link->round_trip() > request.rtt_cap) return std::nullopt;
        const Duration transfer = link->transfer(step);
        return Hop{link->delay() + transfer, transfer, link->transfer(chunk)};
    };
    const std::uint64_t batch = workload_.batch;
    for (NodeIndex from = 0; from < nodes(); ++from) {
        for (NodeIndex to = 0; to < nodes(); ++to) {
            hops_.push_back(make(from, to, batch * row, workload_.chunk_tokens * row));
        }
        // Of a prompt only the last token's state is wanted.
        const std::uint64_t reply = head_on_stage() ? workload_.reply_bytes : row;
        backs_.push_back(make(from, coordinator_, batch * reply, reply));
    }
}

Problem Problem::without_links() const {
    Problem out = *this;
    std::ranges::fill(out.hops_, Hop{});
    std::ranges::fill(out.backs_, Hop{});
    return out;
}

std::uint64_t Problem::weight_bytes(Boundary a, Boundary b) const {
    return weights_[b] - weights_[a] + (b == last() ? head_bytes_ : 0);
}

Duration Problem::solo_step(NodeIndex node) const {
    ASSERT(speeds_[node].has_value());
    return speeds_[node]->stage_overhead() + decode_[node].back() + solo_head_[node];
}

}  // namespace shoal::pipeline
