#include "engine_worker/pieces.h"

#include <set>

#include "crypto/hash.h"
#include "engine_worker/pieces_command.h"
#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"

namespace shoal::engine_worker {
namespace {

struct Pieced {
    Bytes file;
    Gguf gguf;
    wire::ShardManifest manifest;
};
ReadAt reader(const Bytes& file) {
    return [&file](std::uint64_t offset, ByteSpan out) {
        if (offset > file.size() || out.size() > file.size() - offset) return false;
        std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
        return true;
    };
}
Pieced pieced(const std::string& fixture) {
    Pieced out{fixture_bytes(fixture), {}, {}};
    out.gguf = *read_gguf(reader(out.file), out.file.size(), library_block);
    const auto manifest = make_manifest(out.gguf, reader(out.file), [](double) {});
    EXPECT_TRUE(manifest) << manifest.error().message;
    if (manifest) out.manifest = *manifest;
    return out;
}

TEST(Pieces, AreNamedByTheirHashes) {
    const Pieced p = pieced("spm");
    ASSERT_EQ(p.manifest.pieces.size(), p.gguf.tensors.size());
    for (const wire::Piece& piece : p.manifest.pieces) {
        const ByteView bytes = ByteView(p.file).subspan(piece.offset, piece.bytes);
        EXPECT_EQ(piece.id.bytes(), crypto::blake2b<32>({bytes}));
    }
    EXPECT_EQ(p.manifest.model, *model_id(p.gguf, reader(p.file), [](double) {}));
}

// What a node of one stage needs: the manifest, and the pieces of its blocks.
TEST(Pieces, MakeAStageWithoutTheOthers) {
    const Pieced p = pieced("slow");
    const auto whole = WholeModel::open(p.gguf, reader(p.file), library_block);
    ASSERT_TRUE(whole);
    const auto model = PiecedModel::open(p.manifest, library_block);
    ASSERT_TRUE(model) << model.error().message;
    std::set<wire::PieceId> asked;
    const ReadAt read = model->reader([&](const wire::PieceId& id, std::uint64_t offset, ByteSpan out) {
        asked.insert(id);
        const auto piece = std::find_if(p.manifest.pieces.begin(), p.manifest.pieces.end(),
                                        [&id](const wire::Piece& each) { return each.id == id; });
        return reader(p.file)(piece->offset + offset, out);
    });
    const auto from_pieces = WholeModel::open(model->gguf(), read, library_block);
    ASSERT_TRUE(from_pieces);
    EXPECT_TRUE(asked.empty()) << "opening needs no piece";
    for (const LayerRange range : {LayerRange{0, 3}, {3, 5}, {5, 8}}) {
        asked.clear();
        const auto a = whole->cut(range), b = from_pieces->cut(range);
        ASSERT_TRUE(a && b);
        Bytes from_file(a->bytes()), pieced_together(b->bytes());
        ASSERT_TRUE(a->read(0, from_file) && b->read(0, pieced_together));
        EXPECT_EQ(from_file, pieced_together);
        // Nine tensors a block, the last norm, and the head of the last stage.
        EXPECT_LE(asked.size(), range.count() * 9 + 1 + (range.end == 8 ? 1 : 0));
    }
}

TEST(Pieces, HoldsThoseOfAStageToTheirNames) {
    const Pieced p = pieced("slow");
    const auto model = PiecedModel::open(p.manifest, library_block);
    ASSERT_TRUE(model);
    const wire::Piece* wrong = nullptr;
    const ReadPiece read = [&](const wire::PieceId& id, std::uint64_t offset, ByteSpan out) {
        const auto piece = std::find_if(p.manifest.pieces.begin(), p.manifest.pieces.end(),
                                        [&id](const wire::Piece& each) { return each.id == id; });
        const bool there = reader(p.file)(piece->offset + offset, out);
        if (wrong == &*piece) out.back() ^= 1;
        return there;
    };
    const auto whole = WholeModel::open(p.gguf, reader(p.file), library_block);
    const auto shard = whole->cut_without_head({3, 5});
    ASSERT_TRUE(shard);
    double last = 0;
    EXPECT_TRUE(model->check(shard->extents(), read, [&last](double share) { last = share; }));
    EXPECT_DOUBLE_EQ(last, 1);
    const std::vector<std::size_t> places = model->pieces_of(shard->extents());
    EXPECT_EQ(places.size(), 2 * 9 + 1U);
    // Any of them that is wrong is named, and no other is looked at.
    for (std::size_t i = 0; i < p.manifest.pieces.size(); ++i) {
        wrong = &p.manifest.pieces[i];
        const Status checked = model->check(shard->extents(), read, [](double) {});
        const bool is_of_it = std::find(places.begin(), places.end(), i) != places.end();
        ASSERT_EQ(checked.has_value(), !is_of_it) << i;
        if (!is_of_it) continue;
        EXPECT_NE(checked.error().message.find(wrong->id.hex()), std::string::npos);
    }
}

// What a lead needs: no layer.
TEST(Pieces, OfTheEndsAreEmbeddingNormAndHead) {
    for (const std::string name : {"spm", "slow"}) {
        const Pieced p = pieced(name);
        const auto whole = WholeModel::open(p.gguf, reader(p.file), library_block);
        const auto model = PiecedModel::open(p.manifest, library_block);
        ASSERT_TRUE(whole && model);
        std::set<std::string> names;
        for (const Shard::Extent& end : whole->ends()) {
            for (const GgufTensor& tensor : p.gguf.tensors) {
                if (tensor.offset == end.source && tensor.bytes == end.bytes) names.insert(tensor.name);
            }
        }
        std::set<std::string> expected{"token_embd.weight", "output_norm.weight"};
        if (!whole->shape().tied) expected.insert("output.weight");
        EXPECT_EQ(names, expected) << name;
        EXPECT_EQ(model->pieces_of(whole->ends()).size(), expected.size()) << name;
    }
}

TEST(Pieces, PartsAreWrittenWithCommas) {
    const auto parts = parse_parts("ends,0-4,28-32");
    ASSERT_TRUE(parts);
    EXPECT_TRUE(parts->ends);
    ASSERT_EQ(parts->layers.size(), 2U);
    EXPECT_EQ(parts->layers[1].first, 28U);
    EXPECT_EQ(parts->layers[1].end, 32U);
    EXPECT_FALSE(parse_parts("3-8")->ends);
    std::string many = "0-1";
    for (std::size_t i = 1; i < wire::shard_parts_max; ++i) many += ",0-1";
    EXPECT_TRUE(parse_parts(many));
    for (const std::string& bad : std::vector<std::string>{"", "ends,", ",ends", "end", "3", "3-", "-4", "3-4 ", "head",
                                                           "0-4,,5-6", many + ",0-1"}) {
        EXPECT_FALSE(parse_parts(bad)) << bad;
    }
}

TEST(Pieces, AMissingPieceIsAReadThatFails) {
    const Pieced p = pieced("spm");
    const auto model = PiecedModel::open(p.manifest, library_block);
    ASSERT_TRUE(model);
    const ReadAt read = model->reader([](const wire::PieceId&, std::uint64_t, ByteSpan) { return false; });
    Bytes some(64);
    EXPECT_TRUE(read(0, some));
    EXPECT_FALSE(read(p.manifest.pieces[3].offset, some));
    EXPECT_FALSE(read(p.file.size() + 10, some));
}

// Every statement of the manifest is held against the model's id.
TEST(Pieces, AManifestThatIsNotTheModelsIsRefused) {
    const Pieced p = pieced("spm");
    const auto refused = [](wire::ShardManifest changed) {
        return !wire::check_manifest(changed) || !PiecedModel::open(std::move(changed), library_block);
    };
    wire::ShardManifest changed = p.manifest;
    EXPECT_FALSE(refused(changed));
    changed.model = ModelId(ByteArray<32>{1});
    EXPECT_TRUE(refused(changed));
    changed = p.manifest;
    std::swap(changed.pieces[0].id, changed.pieces[1].id);
    EXPECT_TRUE(refused(changed));
    changed = p.manifest;
    changed.pieces[2].offset += 32;
    EXPECT_TRUE(refused(changed));
    changed = p.manifest;
    changed.pieces[2].bytes -= 1;
    EXPECT_TRUE(refused(changed));
    changed = p.manifest;
    changed.pieces.pop_back();
    EXPECT_TRUE(refused(changed));
    changed = p.manifest;
    changed.pieces.push_back({{}, p.file.size() + 32, 32});
    EXPECT_TRUE(refused(changed));
    changed = p.manifest;
    changed.head.resize(100);
    EXPECT_TRUE(refused(changed));
    for (std::size_t at = 0; at < p.manifest.head.size(); at += 97) {
        if (p.manifest.head[at] == 0) continue;  // padding does not count
        changed = p.manifest;
        changed.head[at] ^= 1;
        EXPECT_TRUE(refused(changed)) << at;
    }
}

}  // namespace
}  // namespace shoal::engine_worker
