#include "wire/stage.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "base/test_rng.h"
#include "wire/vectors_test.h"

namespace shoal::wire {
namespace {

Json rows_to_json(const StageRows& rows) {
    Json parts = Json::array();
    for (const StagePart& part : rows.parts) parts.push_back({part.sequence, part.position, part.rows});
    return {{"parts", parts}, {"tensor", to_hex(rows.tensor)}};
}

StageRows rows_from_json(const Json& f) {
    StageRows rows;
    for (const Json& part : f["parts"]) rows.parts.push_back({part[0], part[1], part[2]});
    rows.tensor = unhex(f["tensor"]);
    return rows;
}

struct ToJson {
    Json operator()(const StageOpen& m) const {
        Json out = {{"kind", m.ranks.empty() ? 1 : 32}, {"session", m.session.hex()}, {"model", m.model.hex()},
                    {"first", m.layers.first},          {"end", m.layers.end},        {"hop", m.hop},
                    {"activations", number(m.type)},    {"width", m.width},           {"context", m.context},
                    {"sequences", m.sequences},         {"next", m.next.hex()}};
        if (m.ranks.empty()) return out;
        out["rank"] = m.rank;
        for (const NodeId& node : m.ranks) out["ranks"].push_back(node.hex());
        return out;
    }
    Json operator()(const StageOpened& m) const {
        Json out = {{"kind", 2}};
        if (!m.kv) return out;
        Json layers = Json::array();
        for (const KvLayer& each : m.kv->layers) {
            layers.push_back({number(each.keys.type), each.keys.bytes, number(each.values.type), each.values.bytes});
        }
        out["kv"] = {{"turned", {m.kv->turned_keys, m.kv->turned_values}}, {"layers", layers}};
        return out;
    }
    static Json kv_rows(const StageKvRows& m) {
        return {{"sequence", m.sequence}, {"position", m.position}, {"rows", m.rows}, {"tensor", to_hex(m.tensor)}};
    }
    Json operator()(const StageFill& m) const {
        return {{"kind", 12}, {"number", m.number}, {"settled", m.settled}, {"rows", kv_rows(m.rows)}};
    }
    Json operator()(const StageRead& m) const {
        return {{"kind", 14},
                {"number", m.number},
                {"settled", m.settled},
                {"sequence", m.of.sequence},
                {"tokens", m.of.tokens},
                {"what", number(m.of.what)},
                {"layer", m.of.layer},
                {"position", m.of.position},
                {"rows", m.of.rows},
                {"bytes", to_hex(m.bytes)}};
    }
    Json operator()(const StageRefill& m) const { return {{"kind", 13}, {"rows", kv_rows(m.rows)}}; }
    Json operator()(const StageJoin& m) const { return {{"kind", 3}, {"session", m.session.hex()}, {"hop", m.hop}}; }
    Json operator()(const StageJoined& m) const { return {{"kind", 4}, {"fresh", m.fresh}, {"received", m.received}}; }
    Json operator()(const StageStep& m) const {
        return {{"kind", 5}, {"number", m.number}, {"settled", m.settled}, {"rows", rows_to_json(m.rows)}};
    }
    Json operator()(const StageTruncate& m) const {
        return {
            {"kind", 6}, {"number", m.number}, {"settled", m.settled}, {"sequence", m.sequence}, {"length", m.length}};
    }
    Json operator()(const StageReplay& m) const {
        return {{"kind", 7}, {"settled", m.settled}, {"final", m.final}, {"rows", rows_to_json(m.rows)}};
    }
    Json operator()(const StageReroute& m) const { return {{"kind", 8}, {"next", m.next.hex()}}; }
    Json operator()(const StageDone& m) const { return {{"kind", 9}, {"number", m.number}}; }
    Json operator()(const StageAlive&) const { return {{"kind", 10}}; }
    Json operator()(const StageFault& m) const { return {{"kind", 11}, {"code", number(m.code)}, {"text", m.text}}; }
    Json operator()(const GroupJoin& m) const {
        return {{"kind", 33}, {"session", m.session.hex()}, {"hop", m.hop}, {"rank", m.rank}};
    }
    Json operator()(const GroupProbe& m) const { return {{"kind", 34}, {"number", m.number}}; }
    Json operator()(const GroupEcho& m) const { return {{"kind", 35}, {"number", m.number}}; }
    Json operator()(const GroupCompute& m) const {
        return {{"kind", 36}, {"number", m.number}, {"rows", rows_to_json(m.rows)}};
    }
    Json operator()(const GroupTruncate& m) const {
        return {{"kind", 37}, {"sequence", m.sequence}, {"length", m.length}};
    }
    Json operator()(const ReducePart& m) const {
        return {{"kind", 38}, {"reduction", m.reduction}, {"step", m.step}, {"data", to_hex(m.data)}};
    }
    Json operator()(const GroupAgree& m) const {
        return {{"kind", 39}, {"number", m.number}, {"digest", to_hex(m.digest)}};
    }
    Json operator()(const GroupAlive&) const { return {{"kind", 40}}; }
};

StageOpen open_from_json(const Json& f) {
    StageOpen out{.session = unhex_id<StageSessionId>(f["session"]),
                  .model = unhex_id<ModelId>(f["model"]),
                  .layers = {f["first"], f["end"]},
                  .hop = f["hop"],
                  .type = unnumber<ActivationType>(f["activations"]),
                  .width = f["width"],
                  .context = f["context"],
                  .sequences = f["sequences"],
                  .next = unhex_id<NodeId>(f["next"])};
    if (!f.contains("ranks")) return out;
    out.rank = f["rank"];
    for (const Json& node : f["ranks"]) out.ranks.push_back(unhex_id<NodeId>(node));
    return out;
}

StageOpened opened_from_json(const Json& f) {
    if (!f.contains("kv")) return {};
    const Json& kv = f["kv"];
    KvShape shape{{}, kv["turned"][0], kv["turned"][1]};
    for (const Json& each : kv["layers"]) {
        shape.layers.push_back({{unnumber<KvRowType>(each[0]), each[1]}, {unnumber<KvRowType>(each[2]), each[3]}});
    }
    return {std::move(shape)};
}

StageKvRows kv_rows_from_json(const Json& f) {
    return {f["sequence"], f["position"], f["rows"], unhex(f["tensor"])};
}

StageMessage from_json(const Json& f) {
    switch (f["kind"].get<int>()) {
        case 1:
        case 32: return open_from_json(f);
        case 2: return opened_from_json(f);
        case 3: return StageJoin{unhex_id<StageSessionId>(f["session"]), f["hop"]};
        case 4: return StageJoined{f["fresh"], f["received"]};
        case 5: return StageStep{f["number"], f["settled"], rows_from_json(f["rows"])};
        case 6: return StageTruncate{f["number"], f["settled"], f["sequence"], f["length"]};
        case 7: return StageReplay{f["settled"], f["final"], rows_from_json(f["rows"])};
        case 8: return StageReroute{unhex_id<NodeId>(f["next"])};
        case 9: return StageDone{f["number"]};
        case 10: return StageAlive{};
        case 12: return StageFill{f["number"], f["settled"], kv_rows_from_json(f["rows"])};
        case 13: return StageRefill{kv_rows_from_json(f["rows"])};
        case 14:
            return StageRead{
                f["number"],
                f["settled"],
                {f["sequence"], f["tokens"], unnumber<StageReadWhat>(f["what"]), f["layer"], f["position"], f["rows"]},
                unhex(f["bytes"])};
        case 33: return GroupJoin{unhex_id<StageSessionId>(f["session"]), f["hop"], f["rank"]};
        case 34: return GroupProbe{f["number"]};
        case 35: return GroupEcho{f["number"]};
        case 36: return GroupCompute{f["number"], rows_from_json(f["rows"])};
        case 37: return GroupTruncate{f["sequence"], f["length"]};
        case 38: return ReducePart{f["reduction"], f["step"], unhex(f["data"])};
        case 39: return GroupAgree{f["number"], first_bytes<32>(unhex(f["digest"]))};
        case 40: return GroupAlive{};
        default: return StageFault{unnumber<StageFaultCode>(f["code"]), f["text"]};
    }
}

TEST(Stage, TheVectorsHoldBothWays) {
    const auto decode = [](ByteView in) -> Result<Json> { return std::visit(ToJson{}, TRY(decode_stage_message(in))); };
    const auto encode = [](const Json& f) { return encode_stage_message(from_json(f)); };
    check_vectors("stage", {{"stage", {decode, encode}}});
    check_vectors("stage_group", {{"stage_group", {decode, encode}}});
}

StageRows arbitrary_rows(TestRng& rng) {
    StageRows rows;
    std::size_t count = 0;
    std::uint16_t sequence = 0;
    for (std::size_t i = 1 + rng.below(4); i > 0; --i) {
        const auto here = static_cast<std::uint16_t>(1 + rng.below(100));
        rows.parts.push_back(
            {sequence, static_cast<std::uint32_t>(rng.below(limits::context_tokens_max - here)), here});
        sequence = static_cast<std::uint16_t>(sequence + 1 + rng.below(50));
        count += here;
    }
    rows.tensor = rng.bytes(count * activation_row_bytes(ActivationType::q8_0, 64));
    return rows;
}

RC_GTEST_PROP(Stage, EveryOperationComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    const std::uint64_t number = 2 + rng.below(1'000'000);
    const std::uint64_t unsettled = 1 + rng.below(std::min(number, limits::stage_unsettled_max));
    StageMessage message = StageStep{number, number - unsettled, arbitrary_rows(rng)};
    const auto count = static_cast<std::uint16_t>(1 + rng.below(100));
    const StageKvRows kv{static_cast<std::uint16_t>(rng.below(limits::stage_sequences_max)),
                         static_cast<std::uint32_t>(rng.below(limits::context_tokens_max - count)), count,
                         rng.bytes(count * rng.below(40))};
    const auto what = static_cast<StageReadWhat>(rng.below(3));
    StageReadOf of{kv.sequence, kv.position + count, what};
    if (what != StageReadWhat::hashes) {
        of.layer = static_cast<std::uint16_t>(rng.below(limits::model_layers_max));
        of.position = kv.position;
        of.rows = count;
    }
    switch (rng.below(5)) {
        case 3: message = StageRead{number, number - unsettled, of, rng.bytes(of.rows * rng.below(40))}; break;
        case 0: message = StageReplay{rng.u64(), rng.below(2) == 0, arbitrary_rows(rng)}; break;
        case 1: message = StageFill{number, number - unsettled, kv}; break;
        case 2: message = StageRefill{kv}; break;
        default: break;
    }
    const auto back = decode_stage_message(encode_stage_message(message));
    RC_ASSERT(back.has_value());
    RC_ASSERT(std::visit(ToJson{}, *back) == std::visit(ToJson{}, message));
}

TEST(Stage, ARowCostsWhatItsTypeSays) {
    EXPECT_EQ(activation_row_bytes(ActivationType::f32, 4096), 16384U);
    EXPECT_EQ(activation_row_bytes(ActivationType::f16, 4096), 8192U);
    // 3.76 times less than f32.
    EXPECT_EQ(activation_row_bytes(ActivationType::q8_0, 4096), 4352U);
}

}  // namespace
}  // namespace shoal::wire
