// A model in pieces: made from a whole file, and read as if it were one. Format: protocol/shard.md.
//
// What has the shape of a manifest may still say anything; PiecedModel::open() shows that it is the model's.
// Pure: files and pieces are functions.
#pragma once

#include "engine_worker/gguf.h"
#include "engine_worker/shard.h"
#include "wire/shard.h"

namespace shoal::engine_worker {

// Reads all of the file. Errc::malformed: tensors that share bytes. Errc::unsupported: a header too large. Errc::io.
Result<wire::ShardManifest> make_manifest(const Gguf& gguf, const ReadAt& read,
                                          const std::function<void(double)>& progress);

// Fills `out` from `offset` of the piece; false when it is not here.
using ReadPiece = std::function<bool(const wire::PieceId& piece, std::uint64_t offset, ByteSpan out)>;

class PiecedModel {
public:
    // Reads no piece. Errc::unauthenticated: the manifest is not that of its model. Otherwise as read_gguf().
    static Result<PiecedModel> open(wire::ShardManifest manifest, const BlockOf& block_of);

    const Gguf& gguf() const { return gguf_; }
    const wire::ShardManifest& manifest() const { return manifest_; }
    // The whole file, of which only the pieces that are asked for need be here. This must outlive it. The pieces are
    // taken as they are: hash them when they arrive.
    ReadAt reader(ReadPiece read_piece) const;
    // Reads the pieces that a stage's extents lie in, and holds each to its name; `progress` gets 0 to 1.
    // Errc::not_found, Errc::unauthenticated: naming the piece.
    Status check(std::span<const Shard::Extent> extents, const ReadPiece& read_piece,
                 const std::function<void(double)>& progress) const;
    // Places in the manifest of these pieces, ascending.
    std::vector<std::size_t> pieces_of(std::span<const Shard::Extent> extents) const;

private:
    PiecedModel() = default;
    std::uint64_t file_bytes() const;
    bool read(const ReadPiece& read_piece, std::uint64_t offset, ByteSpan out) const;
    wire::ShardManifest manifest_;
    Gguf gguf_;
};

}  // namespace shoal::engine_worker
