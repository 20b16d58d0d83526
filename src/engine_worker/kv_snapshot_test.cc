#include "engine_worker/kv_snapshot.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/test_rng.h"

namespace shoal::engine_worker {
namespace {

nlohmann::json vectors() {
    std::ifstream file(std::string(SHOAL_SOURCE_DIR) + "/protocol/vectors/prefix_snapshot.json");
    EXPECT_TRUE(file.good());
    return nlohmann::json::parse(file);
}

struct Vector {
    explicit Vector(const nlohmann::json& entry)
        : name(entry["name"]),
          tokens(entry["tokens"]),
          digest(first_bytes<32>(from_hex(entry["digest"].get<std::string>()).value())),
          bytes(from_hex(entry["hex"].get<std::string>()).value()) {
        for (const auto& layer : entry["shape"]["layers"]) {
            shape.layers.push_back(
                {{KvRowType(layer[0].get<int>()), layer[1]}, {KvRowType(layer[2].get<int>()), layer[3]}});
        }
        shape.turned_keys = entry["shape"]["turned"][0];
        shape.turned_values = entry["shape"]["turned"][1];
    }
    std::string name;
    KvShape shape;
    std::uint32_t tokens;
    SnapshotDigest digest;
    Bytes bytes;
};

// Rows of numbered bytes, as the vectors have them.
KvCopy numbered(const KvShape& shape, std::uint32_t tokens) {
    KvCopy out = KvCopy::blank(shape, tokens);
    std::size_t at = 0;
    for (std::size_t layer = 0; layer < shape.layers.size(); ++layer) {
        for (const KvSide side : {KvSide::keys, KvSide::values}) {
            for (std::uint8_t& byte : out.rows_to_fill(layer, side)) byte = static_cast<std::uint8_t>(at++ % 251);
        }
    }
    return out;
}

SnapshotHead head_of(KvCopy copy, std::uint32_t tokens, std::size_t step = 1 << 20) {
    SnapshotHashing hashing(SnapshotRows(std::move(copy), tokens));
    while (!hashing.work(step)) {
    }
    return hashing.head();
}

Bytes sent(SnapshotOutlet outlet, std::size_t most) {
    Bytes out;
    while (!outlet.ended()) {
        const Bytes piece = outlet.next(most);
        EXPECT_TRUE(!piece.empty() && piece.size() <= most);
        append(out, piece);
    }
    return out;
}

Status feed(SnapshotIntake& intake, ByteView bytes, std::size_t most) {
    while (!bytes.empty()) {
        const ByteView part = bytes.first(std::min(most, bytes.size()));
        TRY(intake.feed(part));
        bytes = bytes.subspan(part.size());
    }
    return ok();
}

TEST(KvSnapshot, WritesEachVector) {
    for (const auto& entry : vectors()) {
        if (entry.contains("error")) continue;
        const Vector vector(entry);
        for (const std::size_t most : {std::size_t{1}, std::size_t{7}, std::size_t{100}, std::size_t{1} << 20}) {
            const SnapshotHead head = head_of(numbered(vector.shape, vector.tokens), vector.tokens, most);
            EXPECT_EQ(head.digest(), vector.digest) << vector.name;
            SnapshotOutlet outlet(head.bytes, SnapshotRows(numbered(vector.shape, vector.tokens), vector.tokens));
            EXPECT_EQ(sent(std::move(outlet), most), vector.bytes) << vector.name << " in pieces of " << most;
        }
        EXPECT_EQ(snapshot_bytes(vector.shape, vector.tokens), vector.bytes.size());
    }
}

TEST(KvSnapshot, TakesEachVectorHoweverItIsCut) {
    for (const auto& entry : vectors()) {
        if (entry.contains("error")) continue;
        const Vector vector(entry);
        for (const std::size_t most : {std::size_t{1}, std::size_t{7}, std::size_t{100}, std::size_t{1} << 20}) {
            SnapshotIntake intake(vector.shape, vector.tokens, vector.digest);
            ASSERT_TRUE(feed(intake, vector.bytes, most).has_value()) << vector.name;
            ASSERT_TRUE(intake.complete());
            const KvCopy ours = numbered(vector.shape, vector.tokens);
            EXPECT_EQ(to_bytes(intake.take().blob()), to_bytes(ours.blob())) << vector.name;
        }
    }
}

TEST(KvSnapshot, RefusesEachBadVector) {
    int seen = 0;
    for (const auto& entry : vectors()) {
        if (!entry.contains("error")) continue;
        const Vector vector(entry);
        SnapshotIntake intake(vector.shape, vector.tokens, vector.digest);
        const Status fed = feed(intake, vector.bytes, 64);
        EXPECT_FALSE(fed.has_value() && intake.complete()) << vector.name;
        if (!fed) {
            EXPECT_EQ(fed.error().code, Errc::invalid);
            EXPECT_FALSE(intake.feed(ByteArray<1>{}).has_value()) << vector.name << ": goes on after a refusal";
        }
        ++seen;
    }
    EXPECT_GT(seen, 25);
}

TEST(KvSnapshot, RefusesEachFlippedBit) {
    const KvShape shape{{{{KvRowType::f16, 4}, {KvRowType::f16, 2}}, {{KvRowType::q8_0, 34}, {KvRowType::f16, 2}}}};
    const SnapshotHead head = head_of(numbered(shape, 3), 3);
    const Bytes good = sent(SnapshotOutlet(head.bytes, SnapshotRows(numbered(shape, 3), 3)), 1000);
    for (std::size_t at = 0; at < good.size(); ++at) {
        Bytes bad = good;
        bad[at] ^= static_cast<std::uint8_t>(1 << at % 8);
        SnapshotIntake intake(shape, 3, head.digest());
        EXPECT_FALSE(intake.feed(bad).has_value()) << at;
        EXPECT_FALSE(intake.complete());
    }
    for (std::size_t size = 0; size < good.size(); ++size) {
        SnapshotIntake intake(shape, 3, head.digest());
        EXPECT_TRUE(intake.feed(ByteView(good).first(size)).has_value());
        EXPECT_FALSE(intake.complete()) << size;
    }
}

// A layer's bytes are held to its own hash before the next one begins: what is wrong early is refused early.
TEST(KvSnapshot, RefusesALayerAtItsLastByte) {
    const KvShape shape{{{{KvRowType::f16, 4}, {KvRowType::f16, 4}}, {{KvRowType::f16, 4}, {KvRowType::f16, 4}}}};
    const SnapshotHead head = head_of(numbered(shape, 16), 16);
    Bytes bad = sent(SnapshotOutlet(head.bytes, SnapshotRows(numbered(shape, 16), 16)), 1000);
    bad[head.bytes.size()] ^= 1;
    SnapshotIntake intake(shape, 16, head.digest());
    EXPECT_TRUE(intake.feed(ByteView(bad).first(head.bytes.size() + 127)).has_value());
    EXPECT_FALSE(intake.feed(ByteView(bad).subspan(head.bytes.size() + 127, 1)).has_value());
}

TEST(KvSnapshot, NamesABeginningWhateverFollows) {
    const KvShape shape{{{{KvRowType::f16, 6}, {KvRowType::f16, 2}}, {{KvRowType::f16, 2}, {KvRowType::f16, 2}}}};
    // The same first 16 rows, in a sequence of 16 and in one of 40.
    const auto row_of = [](std::size_t layer, KvSide side, std::size_t byte) {
        return static_cast<std::uint8_t>(byte * 7 + layer * 3 + (side == KvSide::keys ? 0 : 1));
    };
    const auto filled = [&](std::uint32_t tokens) {
        KvCopy out = KvCopy::blank(shape, tokens);
        for (std::size_t layer = 0; layer < 2; ++layer) {
            for (const KvSide side : {KvSide::keys, KvSide::values}) {
                std::size_t byte = 0;
                for (std::uint8_t& each : out.rows_to_fill(layer, side)) each = row_of(layer, side, byte++);
            }
        }
        return out;
    };
    EXPECT_EQ(head_of(filled(16), 16).digest(), head_of(filled(40), 16).digest());
    EXPECT_NE(head_of(filled(40), 32).digest(), head_of(filled(40), 16).digest());
}

// ---- the library's bytes -------------------------------------------------------------------------------------------

constexpr std::size_t cells_at = 16;

const KvShape two_layers{{{{KvRowType::f16, 4}, {KvRowType::f16, 6}}, {{KvRowType::q8_0, 34}, {KvRowType::f16, 2}}}};

TEST(KvCopy, ReadsWhatItWrites) {
    const KvCopy ours = numbered(two_layers, 5);
    const Result<KvCopy> read = KvCopy::read(to_bytes(ours.blob()));
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_EQ(read->shape(), two_layers);
    EXPECT_EQ(read->tokens(), 5U);
    for (std::size_t layer = 0; layer < 2; ++layer) {
        for (const KvSide side : {KvSide::keys, KvSide::values}) {
            EXPECT_EQ(to_bytes(read->rows(layer, side, 0)), to_bytes(ours.rows(layer, side, 0)));
        }
    }
}

TEST(KvCopy, GivesRowsInTheOrderOfPositions) {
    const KvCopy ours = numbered(two_layers, 4);
    Bytes blob = to_bytes(ours.blob());
    // Cells 0 to 3 hold the positions 2, 3, 0, 1.
    for (const std::uint32_t cell : {0U, 1U, 2U, 3U})
        store_le<std::uint32_t>(&blob[cells_at + 12 * cell], (cell + 2) % 4);
    const Result<KvCopy> read = KvCopy::read(blob);
    ASSERT_TRUE(read.has_value());
    for (std::uint32_t position = 0; position < 4; ++position) {
        const ByteView rows = read->rows(1, KvSide::keys, position);
        EXPECT_EQ(rows.size(), 34U * (position % 2 == 0 ? 2 : 1));
        const ByteView cell = ours.rows(1, KvSide::keys, (position + 2) % 4).first(34);
        EXPECT_EQ(to_bytes(rows.first(34)), to_bytes(cell));
    }
}

TEST(KvCopy, RefusesMemoryOfAnotherForm) {
    const Bytes good = to_bytes(numbered(two_layers, 4).blob());
    ASSERT_TRUE(KvCopy::read(good).has_value());
    const std::size_t behind_cells = cells_at + 4 * 12;
    const struct {
        const char* what;
        std::size_t at;
        std::uint32_t value;
    } cases[] = {
        {"another magic", 0, 1},
        {"two streams", 8, 2},
        {"no cells", 12, 0},
        {"more cells than there are bytes", 12, 1 << 20},
        {"a position twice", cells_at + 12, 0},
        {"a position too far", cells_at + 36, 4},
        {"a negative position", cells_at, UINT32_MAX},
        {"a cell of two sequences", cells_at + 4, 2},
        {"transposed values", behind_cells, 1},
        {"no layers", behind_cells + 4, 0},
        {"too many layers", behind_cells + 4, 1 << 20},
        {"another type", behind_cells + 16, 2},
        {"rows of no bytes", behind_cells + 20, 0},
        {"rows of half a number", behind_cells + 20, 3},
        {"rows without end", behind_cells + 24, 1},
    };
    for (const auto& each : cases) {
        Bytes bad = good;
        store_le<std::uint32_t>(&bad[each.at], each.value);
        EXPECT_FALSE(KvCopy::read(std::move(bad)).has_value()) << each.what;
    }
    for (std::size_t size = 0; size < good.size(); ++size) {
        const auto cut = KvCopy::read(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)));
        EXPECT_FALSE(cut && cut->shape() == two_layers) << size;
        EXPECT_FALSE(cut && cut->shape().layers[0].values.bytes > 0) << size;
    }
    Bytes longer = good;
    longer.resize(good.size() + good.size());  // a second cache follows
    EXPECT_FALSE(KvCopy::read(std::move(longer)).has_value());
}

}  // namespace
}  // namespace shoal::engine_worker
