#include "engine/stage_pipe.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/test_rng.h"

namespace shoal::engine::stage_pipe {
namespace {

using Json = nlohmann::json;

Json vectors() {
    std::ifstream file(std::string(SHOAL_SOURCE_DIR) + "/protocol/vectors/stage_pipe.json");
    EXPECT_TRUE(file.good());
    return Json::parse(file);
}

// The one frame of a vector, without its length.
Bytes frame_of(const Json& entry) {
    pipe::Frames cutter(frame_bytes_max);
    const auto frames = cutter.feed(from_hex(entry["hex"].get<std::string>()).value());
    EXPECT_TRUE(frames.has_value() && frames->size() == 1 && cutter.at_boundary()) << entry["name"];
    return frames->front();
}

const char* kind_of(const ToStage& message) {
    constexpr const char* names[] = {"load", "compute", "truncate", "reduce", "piece", "fill", "read"};
    const auto* load = std::get_if<Load>(&message);
    return load != nullptr && load->ranks > 1 ? "load_rank" : names[message.index()];
}
const char* kind_of(const FromStage& message) {
    constexpr const char* names[] = {"loading", "loaded", "computed", "failed", "working",
                                     "reduced", "want",   "placed",   "given"};
    return names[message.index()];
}

// The fields by the names of the page.
struct ToJson {
    Json operator()(const Load& m) const {
        Json out = {{"first", m.layers.first},
                    {"end", m.layers.end},
                    {"type", static_cast<int>(m.type)},
                    {"width", m.width},
                    {"context", m.context},
                    {"sequences", m.sequences},
                    {"threads", m.threads},
                    {"cache", static_cast<int>(m.kv)},
                    {"pieces", m.pieces ? 1 : 0}};
        if (m.ranks > 1) {
            out["rank"] = m.rank;
            out["ranks"] = m.ranks;
        }
        return out;
    }
    Json operator()(const wire::ReducePart& m) const {
        return {{"reduction", m.reduction}, {"step", m.step}, {"data", to_hex(m.data)}};
    }
    Json operator()(const Compute& m) const {
        Json parts = Json::array();
        for (const wire::StagePart& part : m.rows.parts) parts.push_back({part.sequence, part.position, part.rows});
        return {{"parts", parts}, {"tensor", to_hex(m.rows.tensor)}};
    }
    Json operator()(const Truncate& m) const { return {{"sequence", m.sequence}, {"length", m.length}}; }
    Json operator()(const Loading& m) const { return {{"share", m.share}}; }
    Json operator()(const Fill& m) const {
        return {{"sequence", m.rows.sequence},
                {"position", m.rows.position},
                {"rows", m.rows.rows},
                {"tensor", to_hex(m.rows.tensor)}};
    }
    Json operator()(const Read& m) const {
        return {{"sequence", m.of.sequence}, {"tokens", m.of.tokens},     {"what", static_cast<int>(m.of.what)},
                {"layer", m.of.layer},       {"position", m.of.position}, {"rows", m.of.rows}};
    }
    Json operator()(const Given& m) const { return {{"bytes", to_hex(m.bytes)}}; }
    Json operator()(const Loaded& m) const {
        Json kv = Json::array();
        if (m.kv) {
            kv = {m.kv->turned_keys, m.kv->turned_values};
            for (const wire::KvLayer& each : m.kv->layers) {
                kv.push_back({static_cast<int>(each.keys.type), each.keys.bytes, static_cast<int>(each.values.type),
                              each.values.bytes});
            }
        }
        return {{"model_id", m.model.hex()}, {"kv", kv}};
    }
    Json operator()(const Computed& m) const { return {{"busy_us", m.busy_us}, {"tensor", to_hex(m.tensor)}}; }
    Json operator()(const Failed& m) const { return {{"code", static_cast<int>(m.code)}, {"text", m.text}}; }
    Json operator()(const pipe::PieceBytes& m) const { return {{"bytes", to_hex(m.bytes)}}; }
    Json operator()(const pipe::Want& m) const {
        return {{"piece", m.piece.hex()}, {"offset", m.offset}, {"bytes", m.bytes}};
    }
    Json operator()(const pipe::Placed& m) const { return {{"layers", m.layers}, {"all", m.all}}; }
    Json operator()(const pipe::Working&) const { return Json::object(); }
};

template <typename Message>
void check_good(const Json& entry, const Bytes& frame, Result<Message> (*decode)(ByteView)) {
    const auto message = decode(frame);
    ASSERT_TRUE(message.has_value()) << entry["name"] << ": " << message.error().message;
    EXPECT_EQ(kind_of(*message), entry["kind"].get<std::string>()) << entry["name"];
    EXPECT_EQ(std::visit(ToJson{}, *message), entry["fields"]) << entry["name"];
    EXPECT_EQ(to_hex(encode(*message)), entry["hex"].get<std::string>()) << entry["name"];
    for (std::size_t bytes = 0; bytes < frame.size(); ++bytes) {
        EXPECT_FALSE(decode(ByteView(frame).first(bytes)).has_value()) << entry["name"] << " cut to " << bytes;
    }
    Bytes longer = frame;
    longer.push_back(0);
    EXPECT_FALSE(decode(longer).has_value()) << entry["name"] << " with a byte more";
}

TEST(StagePipe, ReadsAndWritesEachVector) {
    int seen = 0;
    for (const auto& entry : vectors()) {
        if (entry.contains("error")) continue;
        const Bytes frame = frame_of(entry);
        if (entry["type"] == "to_stage") {
            check_good<ToStage>(entry, frame, decode_to_stage);
        } else {
            check_good<FromStage>(entry, frame, decode_from_stage);
        }
        ++seen;
    }
    EXPECT_GT(seen, 20);
}

TEST(StagePipe, RefusesEachBadVector) {
    int seen = 0;
    for (const auto& entry : vectors()) {
        if (!entry.contains("error")) continue;
        const Bytes frame = frame_of(entry);
        const bool accepted =
            entry["type"] == "to_stage" ? decode_to_stage(frame).has_value() : decode_from_stage(frame).has_value();
        EXPECT_FALSE(accepted) << entry["name"];
        ++seen;
    }
    EXPECT_GT(seen, 60);
}

// What the other side would refuse, is our own bug.
TEST(StagePipe, NeverEncodesWhatWouldBeRefused) {
    Load load{{0, 1}, wire::ActivationType::f16, 64, 128, 1, 0, pipe::KvType::f16};
    EXPECT_EQ(encode(ToStage(load)).size(), 4U + 20U);
    load.width = 33;
    EXPECT_DEATH(encode(ToStage(load)), "load_fault");
    EXPECT_DEATH(encode(ToStage(Compute{})), "stage_rows_fault");
    EXPECT_DEATH(encode(ToStage(Fill{})), "fill_fault");
    EXPECT_DEATH(encode(ToStage(Read{})), "read_of_fault");
    EXPECT_DEATH(encode(FromStage(Given{})), "given_fault");
    EXPECT_DEATH(encode(FromStage(Loaded{ModelId(ByteArray<32>{1}), wire::KvShape{}})), "kv_shape_fault");
    EXPECT_DEATH(encode(ToStage(wire::ReducePart{})), "reduce_part_fault");
    EXPECT_DEATH(encode(ToStage(Truncate{limits::stage_sequences_max, 0})), "truncate_fault");
    EXPECT_DEATH(encode(ToStage(pipe::PieceBytes{Bytes(pipe::piece_bytes_max + 1)})), "piece_bytes_max");
    EXPECT_DEATH(encode(FromStage(pipe::Want{})), "want_fault");
    EXPECT_DEATH(encode(FromStage(pipe::Placed{5, 4})), "placed_fault");
    EXPECT_DEATH(encode(FromStage(Loading{-0.0F})), "loading_fault");
    EXPECT_DEATH(encode(FromStage(Loading{NAN})), "loading_fault");
    EXPECT_DEATH(encode(FromStage(Loaded{})), "is_zero");
    EXPECT_DEATH(encode(FromStage(Computed{0, Bytes(33)})), "computed_fault");
    EXPECT_DEATH(encode(FromStage(Failed{wire::StageFaultCode::busy, ""})), "failed_fault");
    EXPECT_DEATH(encode(FromStage(Failed{wire::StageFaultCode::engine, "two\nlines"})), "failed_fault");
}

template <typename Message>
std::optional<Message> through_a_pipe(const Message& message, Result<Message> (*decode)(ByteView)) {
    pipe::Frames cutter(frame_bytes_max);
    const auto frames = cutter.feed(encode(message));
    if (!frames || frames->size() != 1) return std::nullopt;
    auto back = decode(frames->front());
    return back ? std::optional(std::move(*back)) : std::nullopt;
}

// No more than this fits into a frame, and this does.
TEST(StagePipe, CarriesTheLargestTensor) {
    Compute compute;
    for (std::uint16_t i = 0; i < limits::stage_sequences_max; ++i) compute.rows.parts.push_back({i, i, 1});
    compute.rows.tensor = Bytes(limits::stage_tensor_bytes_max, 7);
    const auto rows = through_a_pipe<ToStage>(compute, decode_to_stage);
    ASSERT_TRUE(rows.has_value());
    EXPECT_TRUE(std::get<Compute>(*rows).rows.parts == compute.rows.parts);
    EXPECT_TRUE(std::get<Compute>(*rows).rows.tensor == compute.rows.tensor);
    const auto result = through_a_pipe<FromStage>(Computed{5, compute.rows.tensor}, decode_from_stage);
    ASSERT_TRUE(result.has_value());
    EXPECT_TRUE(std::get<Computed>(*result).tensor == compute.rows.tensor);
}

TEST(StagePipe, RefusesATensorThatIsOneByteTooLarge) {
    const Bytes tensor(limits::stage_tensor_bytes_max + 1);
    Writer computed;
    computed.u8(18);
    computed.u32(0);
    computed.bytes_u32(tensor);
    EXPECT_FALSE(decode_from_stage(computed.view()).has_value());
    Writer compute;
    compute.u8(2);
    wire::put_stage_rows(compute, {{{0, 0, 1}}, tensor});
    EXPECT_FALSE(decode_to_stage(compute.view()).has_value());
}

TEST(StagePipe, RefusesAnImpossibleLengthBeforeTheBytesCome) {
    static_assert(frame_bytes_max == 33'562'624);  // as the page has it
    for (std::uint32_t length : {std::uint32_t{0}, std::uint32_t{frame_bytes_max} + 1, UINT32_MAX}) {
        pipe::Frames frames(frame_bytes_max);
        std::uint8_t raw[4];
        store_le<std::uint32_t>(raw, length);
        EXPECT_FALSE(frames.feed(raw).has_value()) << length;
    }
}

// ---- any message ---------------------------------------------------------------------------------------------------

template <typename Number>
Number between(TestRng& rng, std::uint64_t least, std::uint64_t most) {
    return static_cast<Number>(least + rng.below(most - least + 1));
}

Load any_load(TestRng& rng) {
    Load m;
    m.layers.first = between<std::uint16_t>(rng, 0, limits::model_layers_max - 1);
    m.layers.end = between<std::uint16_t>(rng, m.layers.first + 1U, limits::model_layers_max);
    m.type = static_cast<wire::ActivationType>(rng.below(wire::activation_type_max + 1));
    m.width = 32 * between<std::uint32_t>(rng, 1, limits::stage_width_max / 32);
    m.context = between<std::uint32_t>(rng, 1, limits::context_tokens_max);
    m.sequences = between<std::uint16_t>(rng, 1, limits::stage_sequences_max);
    m.threads = between<std::uint16_t>(rng, 0, pipe::threads_max);
    m.kv = static_cast<pipe::KvType>(rng.below(2));
    if (m.width > limits::group_width_max || rng.below(2) == 0) return m;
    m.ranks = between<std::uint8_t>(rng, 2, limits::group_ranks_max);
    m.rank = between<std::uint8_t>(rng, 0, m.ranks - 1U);
    return m;
}

wire::ReducePart any_part(TestRng& rng) {
    return {between<std::uint64_t>(rng, 1, UINT32_MAX), between<std::uint8_t>(rng, 0, 13),
            rng.bytes(4 + 4 * rng.below(100))};
}

Compute any_compute(TestRng& rng) {
    Compute m;
    std::size_t rows = 0;
    std::uint16_t sequence = between<std::uint16_t>(rng, 0, 50);
    for (std::size_t left = 1 + rng.below(4); left > 0; --left) {
        const auto here = between<std::uint16_t>(rng, 1, 20);
        m.rows.parts.push_back({sequence, between<std::uint32_t>(rng, 0, limits::context_tokens_max - here), here});
        sequence = static_cast<std::uint16_t>(sequence + between<std::uint16_t>(rng, 1, 50));
        rows += here;
    }
    m.rows.tensor = rng.bytes(rows * wire::activation_row_bytes(wire::ActivationType::f16, 32));
    return m;
}

ToStage any_to_stage(TestRng& rng) {
    switch (rng.below(6)) {
        case 4: return Read{{7, 100, wire::StageReadWhat::keys, between<std::uint16_t>(rng, 0, 511), 50, 50}};
        case 0: return any_load(rng);
        case 3: return Fill{{between<std::uint16_t>(rng, 0, limits::stage_sequences_max - 1), 7, 3, rng.bytes(3 * 40)}};
        case 2: return any_part(rng);
        case 1: return any_compute(rng);
        default:
            return Truncate{between<std::uint16_t>(rng, 0, limits::stage_sequences_max - 1),
                            between<std::uint32_t>(rng, 0, limits::context_tokens_max - 1)};
    }
}

Failed any_failed(TestRng& rng) {
    constexpr wire::StageFaultCode codes[] = {wire::StageFaultCode::refused, wire::StageFaultCode::protocol,
                                              wire::StageFaultCode::engine, wire::StageFaultCode::not_finite};
    Failed m{codes[rng.below(std::size(codes))], {}};
    for (std::size_t left = rng.below(limits::stage_fault_bytes_max + 1); left > 0; --left) {
        m.text.push_back(between<char>(rng, ' ', '~'));
    }
    return m;
}

FromStage any_from_stage(TestRng& rng) {
    switch (rng.below(7)) {
        case 5: return Given{rng.bytes(1 + rng.below(3000))};
        case 4: return any_part(rng);
        case 0: return Loading{static_cast<float>(rng.uniform())};
        case 1:
            if (rng.below(2) == 0) return Loaded{rng.id<ModelId>()};
            return Loaded{rng.id<ModelId>(), wire::KvShape{{{{wire::KvRowType::q8_0, 34}, {}}}, 1, 2}};
        case 2: return Computed{between<std::uint32_t>(rng, 0, UINT32_MAX), rng.bytes(34 + rng.below(3000))};
        case 3: return any_failed(rng);
        default: return pipe::Working{};
    }
}

RC_GTEST_PROP(StagePipe, EveryMessageComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    const ToStage to = any_to_stage(rng);
    const auto to_back = through_a_pipe<ToStage>(to, decode_to_stage);
    RC_ASSERT(to_back.has_value() && to_back->index() == to.index());
    RC_ASSERT(std::visit(ToJson{}, *to_back) == std::visit(ToJson{}, to));
    const FromStage from = any_from_stage(rng);
    const auto from_back = through_a_pipe<FromStage>(from, decode_from_stage);
    RC_ASSERT(from_back.has_value() && from_back->index() == from.index());
    RC_ASSERT(std::visit(ToJson{}, *from_back) == std::visit(ToJson{}, from));
}

}  // namespace
}  // namespace shoal::engine::stage_pipe
