#include "app/made_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/stage_words.h"
#include "app/toml_reader.h"
#include "wire/text.h"

namespace shoal::app {
namespace {

using pipeline::NodeIndex;
using pipeline::StageNode;

constexpr const char* activation_names[] = {"f32", "f16", "q8_0"};

// A node of the plan has to be called by its id: a name means nothing to the others.
Result<NodeId> id_of(const PlanFile& file, NodeIndex node) {
    if (file.ids[node]) return *file.ids[node];
    return fail(
        Errc::unsupported,
        fmt::format("node {} has no id: give its profile, or the id that 'shoal keys' prints there", file.nodes[node]));
}

// A basic string of TOML, of text without control characters.
std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + "\"";
}

std::string list(const char* key, const std::vector<StageNode>& stages) {
    std::string out = fmt::format("{} = [", key);
    for (const StageNode& stage : stages) out += fmt::format("\n    \"{}\",", stage_text(stage));
    return out + (stages.empty() ? "]\n" : "\n]\n");
}

Result<std::vector<StageNode>> read_stages(TomlReader& in, const char* key, std::size_t most) {
    std::vector<StageNode> out;
    const std::vector<std::string> texts = TRY(in.texts(key));
    if (texts.size() > most) return in.bad(key, fmt::format("at most {}", most));
    out.reserve(texts.size());
    for (const std::string& text : texts) out.push_back(TRY(parse_stage(key, text)));
    return out;
}

// A whole number from `low` to `high`.
template <typename T>
Result<T> within(TomlReader& in, const char* key, std::uint64_t low, std::uint64_t high) {
    const std::uint64_t value = TRY(in.whole(key));
    if (value < low || value > high) return in.bad(key, fmt::format("must be {} to {}", low, high));
    return static_cast<T>(value);
}

Result<MadePlan> read_all(const toml::table& table) {
    TomlReader in(table, "the plan");
    MadePlan out;
    out.model = TRY(in.text("model"));
    const std::string lead = TRY(in.text("lead"));
    out.lead = TRY(parse_node("lead", lead));
    out.layers = TRY(within<std::uint16_t>(in, "layers", 1, limits::model_layers_max));
    out.activations = TRY(in.text("activations"));
    if (std::ranges::find(activation_names, out.activations) == std::end(activation_names)) {
        return in.bad("activations", "must be f32, f16 or q8_0");
    }
    out.context = TRY(within<std::uint32_t>(in, "context", 1, limits::context_tokens_max));
    out.sequences = TRY(within<std::uint16_t>(in, "sequences", 1, limits::engine_sequences_max));
    out.predicted.sequences = out.sequences;
    out.predicted.batch = TRY(within<std::uint32_t>(in, "batch", 1, out.sequences));
    const double step_ms = TRY(in.number("predicted_step_ms"));
    if (step_ms > 1e9) return in.bad("predicted_step_ms", "too long");
    out.predicted.step = from_seconds(step_ms / 1000);
    out.predicted.tokens_per_second = TRY(in.number("predicted_tokens_per_second"));
    out.hops = TRY(read_stages(in, "hops", limits::stage_hops_max));
    out.standbys = TRY(read_stages(in, "standbys", limits::plan_nodes_max));
    TRY(in.finish());
    TRY(check_stages(out.hops, out.standbys, false));
    if (out.hops.empty() || out.hops.back().layers.end != out.layers) {
        return in.bad("hops", fmt::format("must reach the last of {} layers", out.layers));
    }
    return out;
}

}  // namespace

Result<MadePlan> make_runnable(const PlanFile& file, const pipeline::Plan& plan) {
    const pipeline::PlanRequest& request = file.request;
    if (plan.solo) {
        return fail(Errc::unsupported, fmt::format("node {} holds all of it: start it there with --model, without a "
                                                   "plan",
                                                   file.nodes[plan.stages.front().node]));
    }
    if (request.head != pipeline::HeadPlace::coordinator) {
        return fail(Errc::unsupported, "'shoal up' has the head at the lead: say head = \"coordinator\" in [plan]");
    }
    MadePlan out;
    out.model = file.model;
    out.lead = TRY(id_of(file, request.coordinator));
    out.layers = static_cast<std::uint16_t>(request.model.layers().size());
    out.activations = activation_names[static_cast<std::size_t>(request.workload.activations)];
    out.context = request.workload.context;
    out.sequences = static_cast<std::uint16_t>(request.workload.sequences);
    out.predicted = {plan.step, request.workload.batch, plan.tokens_per_second, request.workload.sequences};
    for (const pipeline::Stage& stage : plan.stages) {
        if (stage.node == request.coordinator) {
            return fail(Errc::unsupported,
                        fmt::format("node {} leads, and a lead computes no layers: say coordinator_serves = false in "
                                    "[plan]",
                                    file.nodes[stage.node]));
        }
        out.hops.push_back({TRY(id_of(file, stage.node)), stage.layers});
        for (const NodeIndex standby : stage.standbys) {
            if (standby == request.coordinator) continue;
            out.standbys.push_back({TRY(id_of(file, standby)), stage.layers});
        }
    }
    return out;
}

std::string write_made_plan(const MadePlan& plan) {
    std::string out =
        "# Made by 'shoal plan'. On the node that leads: shoal up --model FILE --plan THIS --listen ADDRESS:PORT\n";
    out += fmt::format("model = {}\nlead = \"{}\"\nlayers = {}\nactivations = \"{}\"\n", quoted(plan.model),
                       plan.lead.hex(), plan.layers, plan.activations);
    out +=
        fmt::format("context = {}\nsequences = {}\nbatch = {}\n", plan.context, plan.sequences, plan.predicted.batch);
    out += fmt::format("predicted_step_ms = {:.6f}\npredicted_tokens_per_second = {:.6f}\n",
                       to_seconds(plan.predicted.step) * 1000, plan.predicted.tokens_per_second);
    return out + list("hops", plan.hops) + list("standbys", plan.standbys);
}

Result<MadePlan> read_made_plan(const std::string& path) {
    const toml::table table = TRY(read_toml(path));
    auto out = read_all(table);
    if (!out) return fail(out.error().code, path + ": " + out.error().message);
    return out;
}

}  // namespace shoal::app
