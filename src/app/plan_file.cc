#include "app/plan_file.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>
#include <utility>

#include "app/stage_words.h"
#include "app/toml_reader.h"
#include "store/files.h"
#include "wire/descriptor.h"
#include "wire/text.h"

namespace shoal::app {
namespace {

using pipeline::LinkSpeed;
using pipeline::NodeIndex;
using pipeline::NodeSpeed;
using pipeline::PlanRequest;
template <typename T>
using Words = std::span<const std::pair<const char*, T>>;

// Numbers of ggml's file types.
constexpr std::pair<const char*, std::uint8_t> quantisations[] = {
    {"F32", 0},     {"F16", 1},     {"Q4_0", 2},    {"Q4_1", 3},    {"Q8_0", 7},    {"Q5_0", 8},
    {"Q5_1", 9},    {"Q2_K", 10},   {"Q3_K_S", 11}, {"Q3_K_M", 12}, {"Q3_K_L", 13}, {"Q4_K_S", 14},
    {"Q4_K_M", 15}, {"Q5_K_S", 16}, {"Q5_K_M", 17}, {"Q6_K", 18},   {"BF16", 32},
};

constexpr std::pair<const char*, wire::ActivationType> activation_words[] = {
    {"f32", wire::ActivationType::f32}, {"f16", wire::ActivationType::f16}, {"q8_0", wire::ActivationType::q8_0}};
constexpr std::pair<const char*, pipeline::HeadPlace> head_words[] = {{"coordinator", pipeline::HeadPlace::coordinator},
                                                                      {"last-stage", pipeline::HeadPlace::last_stage}};

template <typename T>
Result<T> word(TomlReader& in, const char* key, const char* fallback, std::type_identity_t<Words<T>> words) {
    const std::string found =
        TRY(in.text(key, fallback == nullptr ? std::nullopt : std::optional<std::string>(fallback)));
    std::string known;
    for (const auto& [name, value] : words) {
        if (found == name) return value;
        known += (known.empty() ? "" : ", ") + std::string(name);
    }
    return in.bad(key, "must be one of " + known);
}

// A whole number that fits in T; whether it makes sense is the request's to say.
template <typename T>
Result<T> narrow(TomlReader& in, const char* key, std::optional<T> fallback) {
    const std::uint64_t value = TRY(in.whole(key, fallback));
    if (!std::in_range<T>(value)) return in.bad(key, "too large");
    return static_cast<T>(value);
}

Result<std::uint64_t> rate(TomlReader& in, const char* key, std::optional<double> fallback = std::nullopt) {
    const double gb_per_s = TRY(in.number(key, fallback));
    const double ps_per_mib = 1'048'576'000 / gb_per_s;  // 2^20 bytes at 10^9 bytes a second, in 10^-12 s
    if (!(ps_per_mib >= limits::rate_ps_per_mib_min && ps_per_mib <= limits::rate_ps_per_mib_max)) {
        return in.bad(key, "must be between 0.105 and 10485760");
    }
    return static_cast<std::uint64_t>(ps_per_mib);
}

Result<std::uint32_t> nanoseconds(TomlReader& in, const char* key, Duration max) {
    const double us = TRY(in.number(key, 0));
    if (us * 1000 > static_cast<double>(max.count())) return in.bad(key, "too long");
    return static_cast<std::uint32_t>(us * 1000);
}

Result<pipeline::ModelShape> read_model(const toml::table& table, std::string& name) {
    TomlReader in(table, "[model]");
    name = TRY(in.text("name"));
    if (name.empty() || name.size() > 128 || !wire::is_plain_text(name))
        return in.bad("name", "1 to 128 plain characters");
    const std::uint64_t layers = TRY(in.whole("layers"));
    if (layers < 1 || layers > limits::model_layers_max) return in.bad("layers", "must be 1 to 512");
    pipeline::ModelDescription d;
    const auto weights = TRY(in.each("layer_bytes", layers));
    const auto active = in.has("active_bytes") ? TRY(in.each("active_bytes", layers)) : weights;
    const auto kv = TRY(in.each("kv_bytes_per_token", layers));
    for (std::size_t i = 0; i < layers; ++i) d.layers.push_back({weights[i], active[i], kv[i]});
    d.embedding_bytes = TRY(in.whole("embedding_bytes"));
    d.tied_head = TRY(in.flag("tied_head", false));
    d.head_bytes = TRY(in.whole("head_bytes", d.tied_head ? std::optional(d.embedding_bytes) : std::nullopt));
    d.hidden_size = TRY(narrow<std::uint32_t>(in, "hidden_size", std::nullopt));
    d.quantisation = TRY(word<std::uint8_t>(in, "quantisation", nullptr, quantisations));
    if (in.has("cuts")) {
        for (const std::uint64_t cut : TRY(in.wholes("cuts"))) {
            if (cut >= layers) return in.bad("cuts", "each must lie between two layers");
            d.cuts.push_back(static_cast<std::uint16_t>(cut));
        }
    } else {
        const std::uint64_t step = TRY(in.whole("cut_every", 1));
        if (step < 1) return in.bad("cut_every", "must be 1 or more");
        d.cuts = pipeline::cuts_every(step, layers);
    }
    TRY(in.finish());
    return pipeline::ModelShape::make(std::move(d));
}

Result<pipeline::Workload> read_workload(const toml::table& table) {
    TomlReader in(table, "[workload]");
    pipeline::Workload w;
    w.context = TRY(narrow<std::uint32_t>(in, "context", w.context));
    w.depth = TRY(narrow<std::uint32_t>(in, "depth", w.depth));
    w.sequences = TRY(narrow<std::uint32_t>(in, "sequences", w.sequences));
    w.batch = TRY(narrow<std::uint32_t>(in, "batch", w.batch));
    w.chunk_tokens = TRY(narrow<std::uint32_t>(in, "chunk_tokens", w.chunk_tokens));
    w.reply_bytes = TRY(narrow<std::uint32_t>(in, "reply_bytes", w.reply_bytes));
    w.activations = TRY(word<wire::ActivationType>(in, "activations", "f16", activation_words));
    TRY(in.finish());
    return w;
}

Result<wire::MeasuredRate> read_rate(const toml::table& table) {
    TomlReader in(table, "[[node.rate]]");
    wire::MeasuredRate r;
    r.quantisation = TRY(word<std::uint8_t>(in, "quantisation", nullptr, quantisations));
    r.decode_ps_per_mib = TRY(rate(in, "decode_gb_per_s"));
    r.prefill_ps_per_mib = TRY(rate(in, "prefill_gb_per_s"));
    // A further sequence costs arithmetic, as a further token of a prompt does.
    r.batch_ps_per_mib = in.has("batch_gb_per_s") ? TRY(rate(in, "batch_gb_per_s")) : r.prefill_ps_per_mib;
    r.layer_overhead_ns = TRY(nanoseconds(in, "layer_overhead_us", limits::layer_overhead_max));
    TRY(in.finish());
    return r;
}

// What the file says of one machine.
struct FileNode {
    std::string name;
    std::optional<NodeId> id;
    std::optional<NodeSpeed> speed;
    std::optional<wire::Profile> profile;  // if it is a signed one
};

// What all nodes need: where their profiles are and how they are believed.
struct Context {
    std::filesystem::path folder;
    std::optional<NetworkId> network;
    Now now;
    std::uint8_t quantisation = 0;
};

Result<wire::Profile> read_profile(const std::string& file, const Context& context) {
    if (!context.network) {
        return fail(Errc::invalid, file + ": a signed profile: name the network whose node signed it with --network");
    }
    const std::string path = (context.folder / file).string();
    const Bytes bytes = TRY(store::read_file(path, limits::profile_bytes_max));
    const auto page = wire::decode_signed_profile(bytes);
    if (!page) return fail(page.error().code, path + ": " + page.error().message);
    auto profile = pipeline::verify_profile(*page, *context.network, context.now);
    if (!profile) return fail(profile.error().code, path + ": " + profile.error().message);
    return profile;
}

Result<FileNode> read_node(const toml::table& table, const Context& context) {
    TomlReader in(table, "[[node]]");
    FileNode out;
    out.name = TRY(in.text("name"));
    if (!wire::is_model_name(out.name)) return in.bad("name", "1 to 64 of A-Z a-z 0-9 . _ : -");
    if (in.has("id")) {
        const std::string id = TRY(in.text("id"));
        out.id = TRY(parse_node("id", id));
    }
    if (in.has("profile")) {
        const std::string profile = TRY(in.text("profile"));
        out.profile = TRY(read_profile(profile, context));
        TRY(in.finish());
        if (out.id && *out.id != out.profile->node) return in.bad("id", "the profile is of another node");
        out.id = out.profile->node;
        out.speed = TRY(NodeSpeed::make(out.profile->measured, context.quantisation));
        return out;
    }
    wire::Measurements m;
    m.memory_bytes = TRY(in.whole("memory_bytes", 0));
    m.stage_overhead_ns = TRY(nanoseconds(in, "stage_overhead_us", limits::stage_overhead_max));
    m.chunk_tokens = limits::prefill_chunk_tokens;
    for (const toml::table* entry : TRY(in.tables("rate"))) m.rates.push_back(TRY(read_rate(*entry)));
    std::ranges::sort(m.rates, {}, &wire::MeasuredRate::quantisation);
    TRY(in.finish());
    if (m.memory_bytes == 0 && m.rates.empty()) return out;  // it may lead, and holds nothing
    auto speed = NodeSpeed::make(m, context.quantisation);
    if (!speed) return fail(speed.error().code, "node " + out.name + ": " + speed.error().message);
    out.speed = *speed;
    return out;
}

Result<NodeIndex> index_of(const std::vector<FileNode>& nodes, const std::string& name) {
    const auto at = std::ranges::find(nodes, name, &FileNode::name);
    if (at == nodes.end()) return fail(Errc::invalid, "no [[node]] has the name '" + name + "'");
    return static_cast<NodeIndex>(at - nodes.begin());
}

// `between`: each with each, both ways. `from`, `to`: one way.
Status read_link(const toml::table& table, const std::vector<FileNode>& nodes, pipeline::LinkTable& links) {
    TomlReader in(table, "[[link]]");
    const double rtt_ms = TRY(in.number("rtt_ms"));
    const double mbit_per_s = TRY(in.number("mbit_per_s"));
    if (rtt_ms > 10'000) return in.bad("rtt_ms", "must be at most 10000");
    const auto link = LinkSpeed::make(from_seconds(rtt_ms / 1000), static_cast<std::uint64_t>(mbit_per_s * 125'000));
    if (!link) return in.bad("rtt_ms", link.error().message);
    const bool mesh = in.has("between");
    auto from = TRY(in.texts(mesh ? "between" : "from"));
    auto to = mesh ? from : TRY(in.texts("to"));
    TRY(in.finish());
    if (from.empty() || to.empty())
        return in.bad("between", "name at least two nodes, or one in 'from' and one in 'to'");
    for (const std::string& a : from) {
        for (const std::string& b : to) {
            const NodeIndex here = TRY(index_of(nodes, a));
            const NodeIndex there = TRY(index_of(nodes, b));
            if (here != there) links.set(here, there, *link);
        }
    }
    return ok();
}

Status read_wishes(const toml::table& table, const std::vector<FileNode>& nodes, PlanRequest& out) {
    TomlReader in(table, "[plan]");
    const std::string coordinator = TRY(in.text("coordinator", nodes.front().name));
    out.coordinator = TRY(index_of(nodes, coordinator));
    out.coordinator_serves = TRY(in.flag("coordinator_serves", true));
    out.goal = TRY(word<pipeline::Goal>(in, "goal", "solo-first", goal_words));
    out.head = TRY(word<pipeline::HeadPlace>(in, "head", "coordinator", head_words));
    const double cap_ms = TRY(in.number("rtt_cap_ms", to_seconds(out.rtt_cap) * 1000));
    if (cap_ms > 10'000) return in.bad("rtt_cap_ms", "must be at most 10000");
    out.rtt_cap = from_seconds(cap_ms / 1000);
    out.standbys = TRY(in.whole("standbys", 0));
    return in.finish();
}

const toml::table& table_or_empty(const toml::table* table) {
    static const toml::table empty;
    return table == nullptr ? empty : *table;
}

Result<PlanFile> read_all(const toml::table& table, Context context) {
    TomlReader in(table, "the file");
    for (const char* section : {"model", "workload", "plan"}) {
        if (in.has(section) && !table[section].is_table()) return in.bad(section, "must be a table");
    }
    if (!in.has("model")) return fail(Errc::malformed, "no [model] table");
    std::string name;
    pipeline::ModelShape model = TRY(read_model(*table["model"].as_table(), name));
    context.quantisation = model.quantisation();
    std::vector<FileNode> nodes;
    for (const toml::table* entry : TRY(in.tables("node"))) {
        FileNode node = TRY(read_node(*entry, context));
        if (index_of(nodes, node.name)) return fail(Errc::invalid, "two [[node]] have the name '" + node.name + "'");
        const auto same = [&](const FileNode& other) { return node.id && other.id == node.id; };
        if (std::ranges::any_of(nodes, same)) return fail(Errc::invalid, "two [[node]] have the id of " + node.name);
        nodes.push_back(std::move(node));
    }
    if (nodes.empty() || nodes.size() > limits::plan_nodes_max) return fail(Errc::invalid, "1 to 64 [[node]]");
    PlanRequest request{.model = std::move(model), .nodes = {}, .links = pipeline::LinkTable(nodes.size())};
    for (NodeIndex a = 0; a < nodes.size(); ++a) {
        request.nodes.push_back(nodes[a].speed);
        for (NodeIndex b = 0; b < nodes.size(); ++b) {
            if (a == b || !nodes[a].profile || !nodes[b].profile) continue;
            if (const auto link = pipeline::link_between(*nodes[a].profile, *nodes[b].profile)) {
                request.links.set(a, b, *link);
            }
        }
    }
    for (const toml::table* entry : TRY(in.tables("link"))) TRY(read_link(*entry, nodes, request.links));
    request.workload = TRY(read_workload(table_or_empty(table["workload"].as_table())));
    TRY(read_wishes(table_or_empty(table["plan"].as_table()), nodes, request));
    for (const auto& [key, node] : table) {
        if (key != "model" && key != "workload" && key != "plan" && key != "node" && key != "link") {
            return fail(Errc::unsupported,
                        fmt::format("line {}: {} is not known", node.source().begin.line, key.str()));
        }
    }
    PlanFile out{std::move(name), {}, {}, std::move(request)};
    for (const FileNode& node : nodes) {
        out.nodes.push_back(node.name);
        out.ids.push_back(node.id);
    }
    return out;
}

}  // namespace

std::string quantisation_name(std::uint8_t type) {
    for (const auto& [name, number] : quantisations) {
        if (number == type) return name;
    }
    return fmt::format("type {}", type);
}

Result<PlanFile> read_plan_file(const std::string& path, const std::optional<NetworkId>& network, Now now) {
    const toml::table table = TRY(read_toml(path));
    auto out = read_all(table, {std::filesystem::path(path).parent_path(), network, now});
    if (!out) return fail(out.error().code, path + ": " + out.error().message);
    return out;
}

}  // namespace shoal::app
