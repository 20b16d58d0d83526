#include "engine_worker/pieces_command.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "engine_worker/model.h"
#include "engine_worker/pieces.h"

namespace shoal::engine_worker {
namespace {

Result<std::uint64_t> bytes_of(int file) {
    struct stat status {};
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) return fail(Errc::malformed, "not a file");
    return static_cast<std::uint64_t>(status.st_size);
}

Status write_all(int out, ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t count = write(out, bytes.data(), bytes.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return fail(Errc::io, std::string("the manifest cannot be handed over: ") + strerror(errno));
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return ok();
}

// "FIRST-END".
std::optional<LayerRange> parse_layers(std::string_view text) {
    LayerRange out;
    const char* end = text.data() + text.size();
    const auto first = std::from_chars(text.data(), end, out.first);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') return std::nullopt;
    const auto last = std::from_chars(first.ptr + 1, end, out.end);
    return last.ec == std::errc() && last.ptr == end ? std::optional(out) : std::nullopt;
}

Status print_pieces_of(const PiecedModel& model, const Parts& parts) {
    // No piece is read: what a part is made of stands in the head.
    const ReadAt head = model.reader([](const wire::PieceId&, std::uint64_t, ByteSpan) { return false; });
    const WholeModel whole = TRY(WholeModel::open(model.gguf(), head, library_block));
    std::vector<Shard::Extent> extents;
    if (parts.ends) extents = whole.ends();
    for (const LayerRange layers : parts.layers) {
        const Shard shard = TRY(whole.cut_without_head(layers));
        extents.insert(extents.end(), shard.extents().begin(), shard.extents().end());
    }
    for (const std::size_t place : model.pieces_of(extents)) std::printf("piece %zu\n", place);
    (void)std::fflush(stdout);
    return ok();
}

}  // namespace

std::optional<Parts> parse_parts(std::string_view text) {
    Parts out;
    for (std::size_t from = 0; from <= text.size();) {
        const std::size_t comma = std::min(text.find(',', from), text.size());
        const std::string_view word = text.substr(from, comma - from);
        if (word == "ends") {
            out.ends = true;
        } else {
            const auto layers = parse_layers(word);
            if (!layers || out.layers.size() == wire::shard_parts_max) return std::nullopt;
            out.layers.push_back(*layers);
        }
        from = comma + 1;
    }
    return out;
}

Status write_manifest(int file, int out, const std::optional<Parts>& parts) {
    const ReadAt read = reader_of(file);
    const std::uint64_t bytes = TRY(bytes_of(file));
    const Gguf gguf = TRY(read_gguf(read, bytes, library_block));
    int shown = -1;
    wire::ShardManifest manifest = TRY(make_manifest(gguf, read, [&shown](double share) {
        const int hundredths = static_cast<int>(share * 100);
        if (hundredths == shown) return;
        shown = hundredths;
        std::printf("%d\n", hundredths);
        (void)std::fflush(stdout);
    }));
    TRY(write_all(out, wire::encode(manifest)));
    if (!parts) return ok();
    const PiecedModel model = TRY(PiecedModel::open(std::move(manifest), library_block));
    return print_pieces_of(model, *parts);
}

Result<PiecedModel> open_manifest(int file) {
    const std::uint64_t bytes = TRY(bytes_of(file));
    if (bytes > wire::manifest_bytes_max) return fail(Errc::malformed, "too large for a manifest");
    Bytes encoded(bytes);
    if (!reader_of(file)(0, encoded)) return fail(Errc::io, "the manifest cannot be read");
    wire::ShardManifest manifest = TRY(wire::decode_manifest(encoded));
    return PiecedModel::open(std::move(manifest), library_block);
}

Status check_manifest_file(int file, const std::optional<Parts>& parts) {
    const PiecedModel model = TRY(open_manifest(file));
    return parts ? print_pieces_of(model, *parts) : ok();
}

}  // namespace shoal::engine_worker
