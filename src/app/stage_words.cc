#include "app/stage_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace shoal::app {
namespace {

// NODE+NODE+…: one node, or the ranks of a group.
Result<std::vector<NodeId>> parse_nodes(const std::string& what, const std::string& text) {
    std::vector<NodeId> out;
    for (std::size_t from = 0; from <= text.size();) {
        const std::size_t plus = std::min(text.find('+', from), text.size());
        const NodeId node = TRY(parse_node(what, text.substr(from, plus - from)));
        if (std::find(out.begin(), out.end(), node) != out.end()) {
            return fail(Errc::invalid, fmt::format("{}: {} is named twice in one hop", what, node.hex()));
        }
        out.push_back(node);
        from = plus + 1;
    }
    if (out.size() <= limits::group_ranks_max) return out;
    return fail(Errc::invalid, fmt::format("{}: at most {} nodes share a hop", what, limits::group_ranks_max));
}

}  // namespace

Result<NodeId> parse_node(const std::string& what, const std::string& text) {
    const auto bytes = from_hex(text);
    if (!bytes || bytes->size() != NodeId::size || NodeId(first_bytes<NodeId::size>(*bytes)).is_zero()) {
        return fail(Errc::invalid, fmt::format("{} {}: a node is named by the 64 hexadecimal digits that 'shoal keys' "
                                               "prints there",
                                               what, text));
    }
    return NodeId(first_bytes<NodeId::size>(*bytes));
}

std::optional<wire::LayerRange> parse_layers(std::string_view text) {
    const auto number = [](std::string_view digits) -> std::optional<std::uint16_t> {
        std::uint16_t out = 0;
        const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
        return error == std::errc() && stop == digits.data() + digits.size() ? std::optional(out) : std::nullopt;
    };
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    const auto first = number(text.substr(0, dash)), end = number(text.substr(dash + 1));
    if (!first || !end || *first >= *end || *end > limits::model_layers_max) return std::nullopt;
    return wire::LayerRange{*first, *end};
}

Result<pipeline::StageNode> parse_stage(const std::string& what, const std::string& text) {
    const std::size_t colon = text.find(':');
    const auto layers =
        colon == std::string::npos ? std::nullopt : parse_layers(std::string_view(text).substr(colon + 1));
    if (!layers) {
        return fail(Errc::invalid, fmt::format("{} {}: must be NODE:FIRST-END, or NODE+NODE:FIRST-END for a group, "
                                               "where END is one behind the last layer",
                                               what, text));
    }
    std::vector<NodeId> nodes = TRY(parse_nodes(what, text.substr(0, colon)));
    pipeline::StageNode out{nodes.front(), *layers};
    if (nodes.size() > 1) out.ranks = std::move(nodes);
    return out;
}

Status check_stages(const std::vector<pipeline::StageNode>& hops, const std::vector<pipeline::StageNode>& standbys,
                    bool boomerang) {
    if (hops.size() > limits::stage_hops_max) {
        return fail(Errc::invalid, fmt::format("at most {} hops", limits::stage_hops_max));
    }
    if (boomerang && !hops.empty() && hops.front().layers.first == 0) {
        return fail(Errc::invalid, fmt::format("--hop {}: with --boomerang the first layers stay here, at least layer "
                                               "0: let the hops begin with 1 or later",
                                               stage_text(hops.front())));
    }
    if (boomerang && !hops.empty() && hops.back().layers.end == limits::model_layers_max) {
        return fail(Errc::invalid, fmt::format("--hop {}: with --boomerang the last layers stay here, and no model has "
                                               "more than {}",
                                               stage_text(hops.back()), limits::model_layers_max));
    }
    std::uint16_t next = boomerang && !hops.empty() ? hops.front().layers.first : std::uint16_t{0};
    for (const pipeline::StageNode& hop : hops) {
        if (hop.layers.first != next) {
            return fail(Errc::invalid,
                        fmt::format("hop {}: the hops before end with layer {}, so it must begin with {}",
                                    stage_text(hop), next, next));
        }
        next = hop.layers.end;
    }
    for (const pipeline::StageNode& standby : standbys) {
        const auto same = [&](const pipeline::StageNode& hop) { return hop.layers == standby.layers; };
        if (std::none_of(hops.begin(), hops.end(), same)) {
            return fail(Errc::invalid, fmt::format("standby {}: no hop has these layers", stage_text(standby)));
        }
    }
    return ok();
}

std::string stage_text(const pipeline::StageNode& stage) {
    std::string nodes = stage.node.hex();
    for (std::size_t rank = 1; rank < stage.ranks.size(); ++rank) nodes += "+" + stage.ranks[rank].hex();
    return fmt::format("{}:{}-{}", nodes, stage.layers.first, stage.layers.end);
}

}  // namespace shoal::app
