#include "engine_worker/pieces_command.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
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

}  // namespace

Status write_manifest(int file, int out) {
    const ReadAt read = reader_of(file);
    const std::uint64_t bytes = TRY(bytes_of(file));
    const Gguf gguf = TRY(read_gguf(read, bytes, library_block));
    int shown = -1;
    const wire::ShardManifest manifest = TRY(make_manifest(gguf, read, [&shown](double share) {
        const int hundredths = static_cast<int>(share * 100);
        if (hundredths == shown) return;
        shown = hundredths;
        std::printf("%d\n", hundredths);
        (void)std::fflush(stdout);
    }));
    return write_all(out, wire::encode(manifest));
}

Status check_manifest_file(int file) {
    const std::uint64_t bytes = TRY(bytes_of(file));
    if (bytes > wire::manifest_bytes_max) return fail(Errc::malformed, "too large for a manifest");
    Bytes encoded(bytes);
    if (!reader_of(file)(0, encoded)) return fail(Errc::io, "the manifest cannot be read");
    wire::ShardManifest manifest = TRY(wire::decode_manifest(encoded));
    TRY(PiecedModel::open(std::move(manifest), library_block));
    return ok();
}

}  // namespace shoal::engine_worker
