#include "engine_worker/shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace shoal::engine_worker {
namespace {

constexpr std::size_t chunk_bytes = 1 << 20;

Error cannot(const char* what) {
    return fail(Errc::io, std::string("the shard cannot be ") + what + ": " + std::strerror(errno));
}

Status write_at(int out, std::uint64_t offset, ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t count = pwrite(out, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return cannot("written");
        offset += static_cast<std::uint64_t>(count);
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return ok();
}

// Bytes that the kernel copied by itself: fewer than asked for where it cannot between these two files.
std::uint64_t copy_in_kernel(int whole, std::uint64_t source, int out, std::uint64_t at, std::uint64_t bytes) {
    std::uint64_t done = 0;
    while (done < bytes) {
        off64_t from = static_cast<off64_t>(source + done);
        off64_t to = static_cast<off64_t>(at + done);
        const ssize_t count = copy_file_range(whole, &from, out, &to, bytes - done, 0);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        done += static_cast<std::uint64_t>(count);
    }
    return done;
}

}  // namespace

Status write_shard(const Shard& shard, int whole, int out) {
    // What is not written is a hole: padding, and tensors of zeros.
    if (ftruncate(out, static_cast<off_t>(shard.bytes())) != 0) return cannot("made as large as it must be");
    TRY(write_at(out, 0, shard.header()));
    Bytes chunk;
    for (const Shard::Extent& extent : shard.extents()) {
        if (!extent.source) continue;
        const bool together = extent.piece == 0;
        std::uint64_t done = together ? copy_in_kernel(whole, *extent.source, out, extent.at, extent.bytes) : 0;
        while (done < extent.bytes) {
            chunk.resize(std::min<std::uint64_t>(chunk_bytes, extent.bytes - done));
            if (!shard.read(extent.at + done, chunk)) return fail(Errc::io, "the model file cannot be read to its end");
            TRY(write_at(out, extent.at + done, chunk));
            done += chunk.size();
        }
    }
    return ok();
}

}  // namespace shoal::engine_worker
