#include "engine_worker/asked_pieces.h"

#include <algorithm>

#include "engine_worker/pieces_command.h"

namespace shoal::engine_worker {

AskedPieces::AskedPieces(PiecedModel pieces, Ask ask) : pieces_(std::move(pieces)), ask_(std::move(ask)) {}

Result<std::unique_ptr<AskedPieces>> AskedPieces::open(int manifest, Ask ask) {
    PiecedModel pieces = TRY(open_manifest(manifest));
    return std::unique_ptr<AskedPieces>(new AskedPieces(std::move(pieces), std::move(ask)));
}

Result<OpenedModel> AskedPieces::model() const {
    ReadAt whole = pieces_.reader(
        [this](const wire::PieceId& piece, std::uint64_t offset, ByteSpan out) { return read(piece, offset, out); });
    WholeModel model = TRY(WholeModel::open(pieces_.gguf(), std::move(whole), library_block));
    return OpenedModel{std::move(model), pieces_.manifest().model};
}

Status AskedPieces::check(std::span<const Shard::Extent> extents, const std::function<void(double)>& progress) const {
    const ReadPiece ask = [this](const wire::PieceId& piece, std::uint64_t offset, ByteSpan out) {
        return read(piece, offset, out);
    };
    return pieces_.check(extents, ask, progress);
}

bool AskedPieces::read(const wire::PieceId& piece, std::uint64_t offset, ByteSpan out) const {
    for (std::size_t done = 0; done < out.size();) {
        const std::size_t count = std::min<std::size_t>(out.size() - done, engine::pipe::piece_bytes_max);
        const Bytes came = ask_({piece, offset + done, static_cast<std::uint32_t>(count)});
        if (came.size() != count) return false;
        std::copy(came.begin(), came.end(), out.begin() + static_cast<std::ptrdiff_t>(done));
        done += count;
    }
    return true;
}

}  // namespace shoal::engine_worker
