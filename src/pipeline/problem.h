// A plan request, checked and turned into tables: what each stage and hop would take and occupy. Internal to this room.
//
// Boundaries are numbered: 0 is the front of the model, last() its end, those between are the permitted cuts. A stage
// is a node and two boundaries.
#pragma once

#include <span>

#include "pipeline/plan.h"

namespace shoal::pipeline {

using Boundary = std::size_t;

struct Hop {
    Duration decode{};            // a step's activations, delay and transfer
    Duration decode_transfer{};   // of it, the time that the link is occupied
    Duration prefill_transfer{};  // a chunk's
};

class Problem {
public:
    // Errc::invalid, as make_plan.
    static Result<Problem> make(const PlanRequest& request);
    // The same, with every node next to every other.
    Problem without_links() const;

    std::size_t nodes() const { return speeds_.size(); }
    NodeIndex coordinator() const { return coordinator_; }
    Boundary last() const { return layer_at_.size() - 1; }
    std::uint16_t layer_at(Boundary b) const { return layer_at_[b]; }
    const Workload& workload() const { return workload_; }
    bool head_on_stage() const { return head_ == HeadPlace::last_stage; }

    // Nodes that can hold something, in the order of the request.
    const std::vector<NodeIndex>& workers() const { return workers_; }
    // What is left for layers: of the coordinator's memory, after embedding and head.
    std::uint64_t room(NodeIndex node) const { return room_[node]; }
    bool coordinator_fits() const { return coordinator_fits_; }
    std::uint64_t coordinator_bytes() const { return coordinator_bytes_; }
    Duration coordinator_step() const { return coordinator_step_; }

    std::uint64_t weight_bytes(Boundary a, Boundary b) const;
    std::uint64_t kv_bytes(Boundary a, Boundary b) const { return kv_[b] - kv_[a]; }
    bool fits(NodeIndex node, Boundary a, Boundary b) const {
        return weight_bytes(a, b) + kv_bytes(a, b) <= room_[node];
    }
    // A stage of a worker, in a step. It is offset(b) − prefix(a): what a search adds up.
    Duration step(NodeIndex node, Boundary a, Boundary b) const { return offset(node, b) - prefix(node, a); }
    // What its node does in a step: a coordinator that serves has the head to compute besides.
    Duration load(NodeIndex node, Boundary a, Boundary b) const {
        return step(node, a, b) + (node == coordinator_ ? coordinator_step_ : Duration{});
    }
    Duration prefix(NodeIndex node, Boundary a) const { return decode_[node][a]; }
    Duration offset(NodeIndex node, Boundary b) const {
        return speeds_[node]->stage_overhead() + decode_[node][b] + (b == last() ? head_step_[node] : Duration{});
    }
    // A stage, in a chunk of the prompt.
    Duration prefill(NodeIndex node, Boundary a, Boundary b) const {
        return speeds_[node]->stage_overhead() + prefill_[node][b] - prefill_[node][a];
    }

    // None: no link, or too far. From a node to itself: no time.
    const std::optional<Hop>& hop(NodeIndex from, NodeIndex to) const { return hops_[from * nodes() + to]; }
    const std::optional<Hop>& hop_back(NodeIndex from) const { return backs_[from]; }

    bool solo_fits(NodeIndex node) const {
        return speeds_[node] && (coordinator_serves_ || node != coordinator_) &&
               solo_bytes() <= speeds_[node]->memory_bytes();
    }
    std::uint64_t solo_bytes() const { return solo_weight_bytes_ + kv_.back(); }
    std::uint64_t solo_weight_bytes() const { return solo_weight_bytes_; }
    Duration solo_step(NodeIndex node) const;

private:
    Problem() = default;
    void fill_layers(const PlanRequest& request);
    void fill_node(const PlanRequest& request, NodeIndex node);
    void fill_hops(const PlanRequest& request);

    Workload workload_;
    NodeIndex coordinator_ = 0;
    bool coordinator_serves_ = true;
    HeadPlace head_ = HeadPlace::coordinator;
    std::vector<std::optional<NodeSpeed>> speeds_;  // bounded: nodes
    std::vector<NodeIndex> workers_;                // bounded: nodes
    std::vector<std::uint16_t> layer_at_;           // bounded: boundaries
    std::vector<std::uint64_t> weights_;            // bounded: boundaries; of all layers before it
    std::vector<std::uint64_t> kv_;                 // bounded: boundaries; likewise
    std::uint64_t head_bytes_ = 0;
    std::uint64_t solo_weight_bytes_ = 0;
    std::uint64_t coordinator_bytes_ = 0;
    bool coordinator_fits_ = true;
    Duration coordinator_step_{};
    std::vector<std::uint64_t> room_;             // bounded: nodes
    std::vector<std::vector<Duration>> decode_;   // bounded: [node][boundary], of all layers before it
    std::vector<std::vector<Duration>> prefill_;  // bounded: likewise
    std::vector<Duration> head_step_;             // bounded: nodes; of the last stage
    std::vector<Duration> solo_head_;             // bounded: nodes; wherever it is
    std::vector<std::optional<Hop>> hops_;        // bounded: [from][to]
    std::vector<std::optional<Hop>> backs_;       // bounded: nodes
};

}  // namespace shoal::pipeline
