// What both pipes have: frames, and the bodies that are the same.
#include "engine/pipe.h"

#include <algorithm>

#include "base/secret.h"

namespace shoal::engine::pipe {
namespace {

constexpr std::size_t length_bytes = 4;

}  // namespace

std::string_view placed_fault(const Placed& placed) {
    const bool fits = placed.layers >= 1 && placed.layers <= placed.all && placed.all <= limits::model_layers_max;
    return fits ? std::string_view() : "no such number of layers on a GPU";
}

void put_want(Writer& out, const Want& want) {
    out.bytes(want.piece.view());
    out.u64(want.offset);
    out.u32(want.bytes);
}
void put_piece(Writer& out, const PieceBytes& piece) {
    out.bytes_u32(piece.bytes);
}
Want read_want(Reader& in) {
    Want out;
    out.piece = wire::PieceId(in.array<32>());
    out.offset = in.u64();
    out.bytes = in.u32();
    return out;
}
PieceBytes read_piece(Reader& in) {
    return {to_bytes(in.bytes_u32(piece_bytes_max))};
}
std::string_view want_fault(const Want& want) {
    if (want.piece.is_zero()) return "no piece";
    return want.bytes >= 1 && want.bytes <= piece_bytes_max ? std::string_view() : "too many bytes, or none";
}

Bytes frame_of(ByteView kind_and_body) {
    Writer frame(length_bytes + kind_and_body.size());
    frame.bytes_u32(kind_and_body);
    return frame.take();
}

Result<std::vector<Bytes>> Frames::feed(ByteView bytes) {
    std::vector<Bytes> frames;
    while (!bytes.empty()) {
        const bool header = pending_.size() < length_bytes;
        const std::size_t want = header ? length_bytes : length_bytes + load_le<std::uint32_t>(pending_.data());
        const ByteView taken = bytes.first(std::min(bytes.size(), want - pending_.size()));
        append(pending_, taken);
        bytes = bytes.subspan(taken.size());
        if (pending_.size() < want) break;
        if (header) {
            const std::uint32_t length = load_le<std::uint32_t>(pending_.data());
            if (length == 0 || length > most_) {
                return fail(Errc::malformed, "pipe: a frame of an impossible length");
            }
            pending_.reserve(length_bytes + length);
            continue;
        }
        frames.emplace_back(pending_.begin() + length_bytes, pending_.end());
        wipe(pending_.data(), pending_.size());
        pending_.clear();
    }
    return frames;
}

}  // namespace shoal::engine::pipe
