// `shoal plan`: who would run which layers, and how fast.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "app/commands.h"
#include "app/made_plan.h"
#include "app/network_file.h"
#include "app/plan_file.h"
#include "net/loop.h"
#include "store/files.h"

namespace shoal::app {
namespace {

using namespace pipeline;

std::string bytes_text(std::uint64_t bytes) {
    const double n = static_cast<double>(bytes);
    if (n >= 1e9) return fmt::format("{:.2f} GB", n / 1e9);
    return n >= 1e6 ? fmt::format("{:.1f} MB", n / 1e6) : fmt::format("{:.1f} kB", n / 1e3);
}

std::string time_text(Duration time) {
    return fmt::format("{:.2f} ms", to_seconds(time) * 1000);
}

std::string layers_text(const wire::LayerRange& range) {
    return fmt::format("{}-{}", range.first, range.end - 1);
}

std::string count(std::size_t n, const char* one) {
    return fmt::format("{} {}{}", n, one, n == 1 ? "" : "s");
}

void print_model(const PlanFile& file) {
    const PlanRequest& r = file.request;
    const Workload& w = r.workload;
    const char* types[] = {"f32", "f16", "q8_0"};
    fmt::print("{}: {}, {}\n", file.model, count(r.model.layers().size(), "layer"), bytes_text(r.model.weight_bytes()));
    fmt::print("{} of {} tokens, {} in a step, {} tokens in the cache; activations in {}\n\n",
               count(w.sequences, "sequence"), w.context, w.batch, w.depth,
               types[static_cast<std::size_t>(w.activations)]);
}

void print_stages(const PlanFile& file, const std::vector<Stage>& stages) {
    fmt::print("{:<20} {:>9} {:>10} {:>10} {:>10} {:>11} {:>11}  {}\n", "node", "layers", "weights", "KV cache",
               "memory", "hop to it", "its part", "standbys");
    for (const Stage& s : stages) {
        std::string standbys;
        for (const NodeIndex node : s.standbys) standbys += (standbys.empty() ? "" : " ") + file.nodes[node];
        fmt::print("{:<20} {:>9} {:>10} {:>10} {:>10} {:>11} {:>11}  {}\n", file.nodes[s.node], layers_text(s.layers),
                   bytes_text(s.weight_bytes), bytes_text(s.kv_bytes),
                   bytes_text(file.request.nodes[s.node]->memory_bytes()), time_text(s.hop), time_text(s.step),
                   standbys.empty() ? "-" : standbys);
    }
}

void print_unused(const PlanFile& file, const Plan& plan) {
    std::string unused;
    for (NodeIndex node = 0; node < file.nodes.size(); ++node) {
        bool used = !plan.solo && node == file.request.coordinator;
        for (const Stage& s : plan.stages) {
            used = used || s.node == node || std::ranges::find(s.standbys, node) != s.standbys.end();
        }
        if (!used) unused += " " + file.nodes[node];
    }
    if (!unused.empty()) fmt::print("not used:{}\n", unused);
}

// For `shoal up --plan`.
int write_plan(const std::string& path, const PlanFile& file, const Plan& plan) {
    const auto made = make_runnable(file, plan);
    if (!made) return refuse(fail(made.error().code, path + " is not written: " + made.error().message));
    const Status written = store::write_file_atomic(path, as_bytes(write_made_plan(*made)), 0644);
    if (!written) return refuse(written.error());
    fmt::print("written to {}\n", path);
    return 0;
}

void print_plan(const PlanFile& file, const Plan& plan) {
    print_stages(file, plan.stages);
    if (!plan.solo) {
        fmt::print("{:<20} {:>9} {:>10} {:>10} {:>10} {:>11} {:>11}\n", file.nodes[file.request.coordinator], "leads",
                   bytes_text(plan.coordinator_bytes), "", "", time_text(plan.hop_back),
                   time_text(plan.coordinator_step));
    }
    fmt::print("\n{}\n", plan.solo ? "one node holds it all: no split" : count(plan.stages.size(), "stage"));
    fmt::print("predicted: {} a step, {:.2f} tokens/s in all, {:.2f} tokens/s a sequence\n", time_text(plan.step),
               plan.tokens_per_second, plan.tokens_per_second / file.request.workload.sequences);
    fmt::print("predicted: prompts {:.1f} tokens/s in chunks of {}\n", plan.prefill_tokens_per_second,
               file.request.workload.chunk_tokens);
    if (plan.standbys_missing > 0) fmt::print("missing: {}\n", count(plan.standbys_missing, "standby place"));
    print_unused(file, plan);
}

// What the plan is held against.
void print_greedy(const PlanFile& file) {
    const auto outcome = make_plan(file.request, Method::greedy);
    const Plan* plan = outcome ? std::get_if<Plan>(&*outcome) : nullptr;
    if (plan == nullptr) return fmt::print("greedily: no plan\n");
    std::string nodes;
    for (const Stage& s : plan->stages) nodes += (nodes.empty() ? "" : " ") + file.nodes[s.node];
    fmt::print("greedily: {} a step, {:.2f} tokens/s in all, over {}\n", time_text(plan->step), plan->tokens_per_second,
               nodes);
}

const char* advice(Lack lack) {
    switch (lack) {
        case Lack::memory: return "the nodes are too small together: add nodes or memory, or shorten the context";
        case Lack::links: return "the nodes would do, if they were nearer: add links, or raise rtt_cap_ms";
        case Lack::coordinator: return "the coordinator cannot hold embedding and head: name another one in [plan]";
    }
    return "";
}

int print_shortfall(const PlanFile& file, const Shortfall& shortfall) {
    if (!shortfall.covered.empty()) print_stages(file, shortfall.covered);
    if (!shortfall.missing.empty()) {
        fmt::print("\n{} without a node, {}:\n", count(shortfall.missing.size(), "layer"),
                   bytes_text(shortfall.missing_bytes()));
        for (const MissingLayer& m : shortfall.missing)
            fmt::print("  layer {:>3} {:>12}\n", m.layer, bytes_text(m.bytes));
    }
    std::fflush(stdout);
    fmt::print(stderr, "shoal: no plan: {}\n", advice(shortfall.lack));
    return 1;
}

}  // namespace

int run_plan(const PlanOptions& options) {
    std::optional<NetworkId> network;
    if (!options.network_file.empty()) {
        const auto genesis = read_network_file(options.network_file);
        if (!genesis) return refuse(genesis.error());
        network = genesis->network();
    }
    const net::Loop clock;
    auto file = read_plan_file(options.file, network, clock.now());
    if (!file) return refuse(file.error());
    for (const auto& [name, goal] : goal_words) {
        if (options.goal == name) file->request.goal = goal;
    }
    if (options.sequences > 0) file->request.workload.sequences = options.sequences;
    const auto outcome = make_plan(file->request, options.greedy ? Method::greedy : Method::best);
    if (!outcome) return refuse(fail(outcome.error().code, options.file + ": " + outcome.error().message));
    print_model(*file);
    const Plan* plan = std::get_if<Plan>(&*outcome);
    if (plan == nullptr) return print_shortfall(*file, std::get<Shortfall>(*outcome));
    print_plan(*file, *plan);
    if (!options.greedy && !plan->solo) print_greedy(*file);
    std::fflush(stdout);
    return options.out.empty() ? 0 : write_plan(options.out, *file, *plan);
}

}  // namespace shoal::app
