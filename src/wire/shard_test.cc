#include "wire/shard.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "base/test_rng.h"
#include "wire/vectors_test.h"

namespace shoal::wire {
namespace {

Json manifest_json(const ShardManifest& m) {
    Json pieces = Json::array();
    for (const Piece& p : m.pieces) pieces.push_back({{"id", p.id.hex()}, {"offset", p.offset}, {"bytes", p.bytes}});
    return {{"model", m.model.hex()}, {"head", to_hex(m.head)}, {"pieces", pieces}};
}

ShardManifest manifest_from(const Json& f) {
    ShardManifest m;
    m.model = unhex_id<ModelId>(f["model"]);
    m.head = unhex(f["head"]);
    for (const Json& p : f["pieces"]) m.pieces.push_back({unhex_id<PieceId>(p["id"]), p["offset"], p["bytes"]});
    return m;
}

TEST(Manifest, TheVectorsHoldBothWays) {
    check_vectors("shard", {{"manifest", codec_of(decode_manifest, manifest_json, manifest_from)}});
}

RC_GTEST_PROP(Manifest, EveryManifestComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    ShardManifest m;
    m.model = rng.id<ModelId>();
    m.head.resize(1 + rng.below(300), 7);
    std::uint64_t at = m.head.size();
    for (std::size_t i = 1 + rng.below(20); i > 0; --i) {
        m.pieces.push_back({rng.id<PieceId>(), at + rng.below(64), 1 + rng.below(1ULL << 40)});
        at = m.pieces.back().offset + m.pieces.back().bytes;
    }
    const Bytes bytes = encode(m);
    const auto back = decode_manifest(bytes);
    RC_ASSERT(back.has_value());
    RC_ASSERT(*back == m);
}

TEST(Manifest, OneThatNobodyWouldTakeIsNeverWritten) {
    EXPECT_DEATH(encode(ShardManifest{}), "check_manifest");
}

}  // namespace
}  // namespace shoal::wire
