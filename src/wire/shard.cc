#include "wire/shard.h"

namespace shoal::wire {
namespace {

constexpr std::string_view magic = "SC1M";
constexpr std::uint8_t version = 1;

}  // namespace

Status check_manifest(const ShardManifest& manifest) {
    if (manifest.head.empty() || manifest.head.size() > manifest_head_bytes_max) {
        return fail(Errc::invalid, "manifest: the header has an impossible length");
    }
    if (manifest.pieces.empty() || manifest.pieces.size() > manifest_pieces_max) {
        return fail(Errc::invalid, "manifest: an impossible number of pieces");
    }
    std::uint64_t end = manifest.head.size();
    for (const Piece& piece : manifest.pieces) {
        if (piece.bytes == 0 || piece.offset < end || __builtin_add_overflow(piece.offset, piece.bytes, &end)) {
            return fail(Errc::invalid, "manifest: a piece at an impossible place");
        }
    }
    return ok();
}

Bytes encode(const ShardManifest& manifest) {
    ASSERT(check_manifest(manifest).has_value());
    Writer out;
    out.bytes(as_bytes(magic));
    out.u8(version);
    out.bytes(manifest.model.view());
    out.bytes_u32(manifest.head);
    out.u32(static_cast<std::uint32_t>(manifest.pieces.size()));
    for (const Piece& piece : manifest.pieces) {
        out.bytes(piece.id.view());
        out.u64(piece.offset);
        out.u64(piece.bytes);
    }
    return out.take();
}

Result<ShardManifest> decode_manifest(ByteView bytes) {
    Reader in(bytes);
    if (as_text(in.bytes(magic.size())) != magic) return fail(Errc::malformed, "manifest: not one");
    if (const std::uint8_t written = in.u8(); !in.failed() && written != version) {
        return fail(Errc::unsupported, "manifest: version " + std::to_string(written) + " is not known");
    }
    ShardManifest out;
    out.model = ModelId(in.array<32>());
    out.head = to_bytes(in.bytes_u32(manifest_head_bytes_max));
    const std::uint32_t count = in.u32();
    // Each has 48 bytes, so what is left bounds the loop.
    for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
        Piece piece;
        piece.id = PieceId(in.array<32>());
        piece.offset = in.u64();
        piece.bytes = in.u64();
        if (!in.failed()) out.pieces.push_back(piece);
    }
    TRY(in.finish("manifest"));
    TRY(check_manifest(out));
    return out;
}

}  // namespace shoal::wire
