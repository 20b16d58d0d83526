#include "engine_worker/pieces.h"

#include <algorithm>
#include <set>

#include "crypto/hash.h"

namespace shoal::engine_worker {
namespace {

// Places of gguf.tensors in the order of their data.
std::vector<std::size_t> by_place(const Gguf& gguf) {
    std::vector<std::size_t> out(gguf.tensors.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = i;
    std::sort(out.begin(), out.end(),
              [&gguf](std::size_t a, std::size_t b) { return gguf.tensors[a].offset < gguf.tensors[b].offset; });
    return out;
}

constexpr std::uint64_t chunk_bytes = 1 << 20;  // hashed at once

Error wrong_manifest() {
    return fail(Errc::unauthenticated, "the manifest is not that of the model which it names: take it from elsewhere");
}

}  // namespace

Result<wire::ShardManifest> make_manifest(const Gguf& gguf, const ReadAt& read,
                                          const std::function<void(double)>& progress) {
    const std::vector<std::size_t> order = by_place(gguf);
    wire::ShardManifest out;
    const std::uint64_t head_bytes = gguf.tensors[order.front()].offset;
    if (head_bytes > wire::manifest_head_bytes_max) {
        return fail(Errc::unsupported, "the file's header is too large for a manifest");
    }
    out.head.resize(head_bytes);
    if (!read(0, out.head)) return fail(Errc::io, "the model file cannot be read");
    for (std::size_t i : order) out.pieces.push_back({{}, gguf.tensors[i].offset, gguf.tensors[i].bytes});
    if (!wire::check_manifest(out)) {
        return fail(Errc::malformed, "tensors of the file lie on top of each other");
    }
    const TensorHashes hashes = TRY(tensor_hashes(gguf, read, progress));
    for (std::size_t k = 0; k < order.size(); ++k) out.pieces[k].id = wire::PieceId(hashes[order[k]]);
    out.model = model_id(gguf, hashes);
    return out;
}

Result<PiecedModel> PiecedModel::open(wire::ShardManifest manifest, const BlockOf& block_of) {
    TRY(wire::check_manifest(manifest));
    PiecedModel out;
    out.manifest_ = std::move(manifest);
    const ReadAt read = [&out](std::uint64_t offset, ByteSpan to) { return out.read({}, offset, to); };
    out.gguf_ = TRY(read_gguf(read, out.file_bytes(), block_of));
    const std::vector<std::size_t> order = by_place(out.gguf_);
    if (order.size() != out.manifest_.pieces.size()) return wrong_manifest();
    TensorHashes hashes(order.size());
    for (std::size_t k = 0; k < order.size(); ++k) {
        const GgufTensor& tensor = out.gguf_.tensors[order[k]];
        const wire::Piece& piece = out.manifest_.pieces[k];
        if (tensor.offset != piece.offset || tensor.bytes != piece.bytes) return wrong_manifest();
        hashes[order[k]] = piece.id.bytes();
    }
    if (model_id(out.gguf_, hashes) != out.manifest_.model) return wrong_manifest();
    return out;
}

std::uint64_t PiecedModel::file_bytes() const {
    return manifest_.pieces.back().offset + manifest_.pieces.back().bytes;
}

// Head, pieces, and zeros between them; without `read_piece`, no pieces.
bool PiecedModel::read(const ReadPiece& read_piece, std::uint64_t offset, ByteSpan out) const {
    if (offset > file_bytes() || out.size() > file_bytes() - offset) return false;
    std::fill(out.begin(), out.end(), std::uint8_t{0});
    const std::uint64_t end = offset + out.size();
    if (offset < manifest_.head.size()) {
        const std::size_t count = std::min<std::uint64_t>(out.size(), manifest_.head.size() - offset);
        std::copy_n(manifest_.head.begin() + static_cast<std::ptrdiff_t>(offset), count, out.begin());
    }
    const std::vector<wire::Piece>& pieces = manifest_.pieces;
    auto piece = std::upper_bound(pieces.begin(), pieces.end(), offset,
                                  [](std::uint64_t at, const wire::Piece& p) { return at < p.offset + p.bytes; });
    for (; piece != pieces.end() && piece->offset < end; ++piece) {
        const std::uint64_t from = std::max(offset, piece->offset);
        const std::uint64_t to = std::min(end, piece->offset + piece->bytes);
        // The header's reader fills its buffer beyond the header: those bytes are never looked at.
        if (!read_piece) continue;
        if (!read_piece(piece->id, from - piece->offset, out.subspan(from - offset, to - from))) return false;
    }
    return true;
}

std::vector<std::size_t> PiecedModel::pieces_of(std::span<const Shard::Extent> extents) const {
    std::set<std::size_t> out;
    for (const Shard::Extent& extent : extents) {
        if (!extent.source) continue;
        // A piece is a tensor; an extent is one, or a rank's part of one.
        const auto at = std::upper_bound(manifest_.pieces.begin(), manifest_.pieces.end(), *extent.source,
                                         [](std::uint64_t o, const wire::Piece& p) { return o < p.offset + p.bytes; });
        ASSERT(at != manifest_.pieces.end() && at->offset <= *extent.source);
        out.insert(static_cast<std::size_t>(at - manifest_.pieces.begin()));
    }
    return {out.begin(), out.end()};
}

Status PiecedModel::check(std::span<const Shard::Extent> extents, const ReadPiece& read_piece,
                          const std::function<void(double)>& progress) const {
    std::uint64_t all = 0, done = 0;
    const std::vector<std::size_t> wanted = pieces_of(extents);
    for (const std::size_t i : wanted) all += manifest_.pieces[i].bytes;
    Bytes chunk;
    for (const std::size_t i : wanted) {
        const wire::Piece& piece = manifest_.pieces[i];
        crypto::Blake2b256 hash;
        for (std::uint64_t at = 0; at < piece.bytes; at += chunk.size()) {
            chunk.resize(static_cast<std::size_t>(std::min(chunk_bytes, piece.bytes - at)));
            if (!read_piece(piece.id, at, chunk)) {
                return fail(Errc::not_found,
                            "the piece " + piece.id.hex() + " is missing, or shorter than it should be");
            }
            hash.update(chunk);
            progress(static_cast<double>(done += chunk.size()) / static_cast<double>(all));
        }
        if (hash.digest() != piece.id.bytes()) {
            return fail(Errc::unauthenticated, "the piece " + piece.id.hex() + " has other bytes than its name says");
        }
    }
    return ok();
}

ReadAt PiecedModel::reader(ReadPiece read_piece) const {
    ASSERT(read_piece != nullptr);
    return [this, read_piece = std::move(read_piece)](std::uint64_t offset, ByteSpan out) {
        return read(read_piece, offset, out);
    };
}

}  // namespace shoal::engine_worker
