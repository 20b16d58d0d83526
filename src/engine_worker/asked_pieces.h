// A model in pieces that are elsewhere: its manifest is here, and of the pieces only the bytes that are asked for come
// over the pipe (protocol/pipe.md, stage_pipe.md). So a process needs those of its own part, and holds none.
//
// One thread.
#pragma once

#include <memory>

#include "engine/pipe.h"
#include "engine_worker/model.h"
#include "engine_worker/pieces.h"

namespace shoal::engine_worker {

class AskedPieces {
public:
    // What the node answers with; empty: the piece is not there, or shorter.
    using Ask = std::function<Bytes(const engine::pipe::Want&)>;

    // `manifest` is an open descriptor. Errors as of open_manifest().
    static Result<std::unique_ptr<AskedPieces>> open(int manifest, Ask ask);
    AskedPieces(const AskedPieces&) = delete;
    AskedPieces& operator=(const AskedPieces&) = delete;

    // The whole model, of which only what was checked may be read. This must outlive it. Errors as of WholeModel.
    Result<OpenedModel> model() const;
    // Holds the pieces that these extents lie in to their names. Errors as of PiecedModel::check().
    Status check(std::span<const Shard::Extent> extents, const std::function<void(double)>& progress) const;

private:
    AskedPieces(PiecedModel pieces, Ask ask);
    bool read(const wire::PieceId& piece, std::uint64_t offset, ByteSpan out) const;

    PiecedModel pieces_;
    Ask ask_;
};

}  // namespace shoal::engine_worker
