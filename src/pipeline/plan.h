// Who runs which layers: from measured machines and links, the plan with the best predicted speed.
//
// What is promised
//   1. Solo first. A model that one node can hold is not split, unless the caller asks for the fastest or the largest
//      plan. Rationale: a stream of text tolerates delay, a split pays it for every token.
//   2. Nobody is overfilled: weights, KV cache of the whole context, embedding and head fit in each node's memory.
//   3. Two neighbours in a plan have a link, measured, of a round trip below the cap; ranges end at permitted cuts; no
//      node is used twice. A node that would make a plan slower is not used.
//   4. Among all such plans the best, exactly, up to plan_exact_nodes_max nodes that can hold a layer; above it the
//      best that a beam search finds, improved by exact searches over parts (search.h; search_test.cc prints the gap).
//   5. What a greedy planner would do can be had beside it (Method::greedy): never better, and often worse by a third.
//   6. With too little to work with, what is missing, layer by layer, and why.
//
// The model: a step (one token for each of `batch` sequences) goes from the coordinator, which looks up the embedding,
// through the stages and back. It takes the sum of
//     stage   overhead + for each layer: overhead + (active weights + KV read) · decode rate + (batch − 1) · weights ·
//             batch rate
//     hop     half a round trip + bytes of the activations / bandwidth
// With more sequences than `batch`, steps overlap; then the slowest node or link sets the pace, until the steps in
// flight run out: tokens/s = min(batch / slowest, sequences / step). Headers of messages (some 100 bytes) are not
// counted.
//
// An attacker who lies in his profile gets a place in plans, or a slow one; nothing here protects against that. All
// numbers are bounded by their types, so no profile makes a sum overflow or the search run longer.
//
// Pure and deterministic. Times: see plan_bench.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "base/limits.h"
#include "base/time.h"
#include "pipeline/model_shape.h"
#include "pipeline/profile.h"
#include "wire/stage.h"

namespace shoal::pipeline {

using NodeIndex = std::size_t;  // into PlanRequest::nodes

enum class Goal : std::uint8_t {
    solo_first,  // the fastest solo node; only when there is none, the split with the shortest step
    latency,     // the shortest step, split or not
    throughput,  // the most tokens/s of all sequences together
};

// How a split is found; rule 1 holds for both.
enum class Method : std::uint8_t {
    best,    // rule 4
    greedy,  // each node filled, always the quickest next (search.h); the goal is not heeded
};

// Where the output head is. A head at the coordinator means that the last stage returns hidden states.
enum class HeadPlace : std::uint8_t { last_stage, coordinator };

struct Workload {
    std::uint32_t context = 4096;  // tokens that each sequence may hold; 1 to context_tokens_max
    std::uint32_t depth = 0;       // tokens that are in the cache when speed is predicted; at most context
    std::uint32_t sequences = 1;   // whose KV cache is kept at once; 1 to engine_sequences_max
    std::uint32_t batch = 1;       // of them in one step; 1 to sequences
    std::uint32_t chunk_tokens = limits::prefill_chunk_tokens;  // of a prompt, in one step
    wire::ActivationType activations = wire::ActivationType::f16;
    std::uint32_t reply_bytes = 64;  // what a last stage with the head returns for each token
};

// Directed links between the nodes of a request; what was not set does not exist.
class LinkTable {
public:
    explicit LinkTable(std::size_t nodes) : nodes_(nodes), links_(nodes * nodes) {}
    std::size_t nodes() const { return nodes_; }
    void set(NodeIndex from, NodeIndex to, LinkSpeed link) { links_.at(from * nodes_ + to) = link; }
    const std::optional<LinkSpeed>& at(NodeIndex from, NodeIndex to) const { return links_.at(from * nodes_ + to); }

private:
    std::size_t nodes_;
    std::vector<std::optional<LinkSpeed>> links_;  // bounded: [from][to]
};

struct PlanRequest {
    ModelShape model;
    Workload workload{};
    std::vector<std::optional<NodeSpeed>> nodes;  // 1 to plan_nodes_max; none: holds no layers, may coordinate
    LinkTable links;
    NodeIndex coordinator = 0;
    bool coordinator_serves = true;  // false: it leads, and holds no layers
    HeadPlace head = HeadPlace::coordinator;
    Goal goal = Goal::solo_first;
    Duration rtt_cap = limits::plan_rtt_cap_default;
    std::size_t standbys = 0;  // wanted for each stage; at most plan_standbys_max
};

struct Stage {
    NodeIndex node = 0;
    wire::LayerRange layers;
    bool head = false;
    std::uint64_t weight_bytes = 0;
    std::uint64_t kv_bytes = 0;
    Duration hop{};                   // from the stage before, or from the coordinator
    Duration step{};                  // its own part of a step
    Duration prefill{};               // its own part of a chunk
    std::vector<NodeIndex> standbys;  // could take its place; the fastest first, no node for two stages
};

struct Plan {
    bool solo = false;  // one node holds everything and leads itself: no hop at all
    std::vector<Stage> stages;
    Duration hop_back{};                  // from the last stage to the coordinator
    std::uint64_t coordinator_bytes = 0;  // embedding, and the head where it is the coordinator's
    Duration coordinator_step{};          // the head, where it is the coordinator's
    Duration step{};                      // one token of each of `batch` sequences
    double tokens_per_second = 0;         // of all sequences together
    double prefill_tokens_per_second = 0;
    std::size_t standbys_missing = 0;  // of those wanted
};

enum class Lack : std::uint8_t {
    memory,       // the nodes together are too small
    links,        // they would do, if they were nearer to each other
    coordinator,  // it has no memory for embedding and head
};

struct MissingLayer {
    std::uint16_t layer = 0;
    std::uint64_t bytes = 0;  // weights and KV cache; with the last layer, the head where it is a stage's
};

// Why there is no plan. `covered` are the stages of the best attempt.
struct Shortfall {
    Lack lack = Lack::memory;
    std::vector<Stage> covered;
    std::vector<MissingLayer> missing;
    std::uint64_t missing_bytes() const;
};

using Outcome = std::variant<Plan, Shortfall>;

// Errc::invalid: a number of the request out of its bounds, or tables that do not match.
Result<Outcome> make_plan(const PlanRequest& request, Method method = Method::best);

}  // namespace shoal::pipeline
