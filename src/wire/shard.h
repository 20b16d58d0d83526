// What a model consists of when it is kept in pieces: its header, and where each tensor's bytes belong. Format:
// protocol/shard.md.
//
// A manifest is checked against its ModelId by whoever can read the header (engine_worker/pieces.h): the id is made of
// the header and the pieces' hashes, so no tensor is needed for it. Here only its shape is checked.
#pragma once

#include <vector>

#include "base/codec.h"
#include "base/ids.h"

namespace shoal::wire {

using PieceId = ByteId<struct PieceIdTag, 32>;  // BLAKE2b-256 of its bytes

inline constexpr std::size_t manifest_head_bytes_max = 256 * 1024 * 1024;  // 250,000 tokens are 12 MB
inline constexpr std::size_t manifest_pieces_max = 65'536;
// Ranges of layers that are asked for at once.
inline constexpr std::size_t shard_parts_max = 64;
// Of an encoded manifest.
inline constexpr std::size_t manifest_bytes_max = manifest_head_bytes_max + 48 * manifest_pieces_max + 64;

struct Piece {
    PieceId id;
    std::uint64_t offset = 0;  // in the whole file
    std::uint64_t bytes = 0;   // at least 1
    friend bool operator==(const Piece&, const Piece&) = default;
};

struct ShardManifest {
    ModelId model;
    Bytes head;                 // the file up to its first tensor
    std::vector<Piece> pieces;  // in the order of their places; the first begins at or behind the end of the head
    friend bool operator==(const ShardManifest&, const ShardManifest&) = default;
};

// Errc::invalid: no head, no pieces or too many, pieces out of order or on top of each other.
Status check_manifest(const ShardManifest& manifest);

// `manifest` has been checked.
Bytes encode(const ShardManifest& manifest);
// Errc::malformed, Errc::unsupported (another version), Errc::invalid.
Result<ShardManifest> decode_manifest(ByteView bytes);

}  // namespace shoal::wire
