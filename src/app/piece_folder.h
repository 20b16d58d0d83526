// A model's pieces in a folder (protocol/shard.md): each a file named by the hash of its bytes, beside one manifest a
// model.
//
// Rules
//   1. A piece appears under its name only when it is whole and its bytes have the name's hash. So what is there need
//      not be written again, and who is stopped half way goes on where he was.
//   2. One writer at a time: the folder is locked.
//   3. Nothing else is left in the folder: what a dead writer left is removed by the next one.
//
// Blocks on the disk. One thread.
#pragma once

#include <functional>
#include <string>

#include "store/files.h"
#include "wire/shard.h"

namespace shoal::app {

// Bytes that were read or written since the last call. False: stop.
using OnBytes = std::function<bool(std::uint64_t bytes)>;

class PieceFolder {
public:
    // Makes it where it is missing, and locks it. Errc::unavailable: another process writes there. Errc::io.
    static Result<PieceFolder> open_to_write(const std::string& path);
    static Result<PieceFolder> open_to_read(const std::string& path);

    // Copies the piece from its place in the file of the descriptor, unless it is there. Errc::unauthenticated: its
    // bytes are others than the manifest says (the file changed). Errc::cancelled: `progress` said so. Errc::io.
    Status put(const wire::Piece& piece, int whole, const OnBytes& progress);
    // The manifest of a model whose pieces are all there.
    Status put_manifest(const wire::ShardManifest& manifest);

    // Reads the piece. Errc::not_found; unauthenticated: its bytes are not those of its name; io.
    Status check(const wire::Piece& piece, const OnBytes& progress) const;

private:
    explicit PieceFolder(std::string path) : path_(std::move(path)) {}
    std::string piece_path(const wire::PieceId& id) const;
    Status copy(const wire::Piece& piece, int whole, int out, const OnBytes& progress) const;
    std::string path_;
    std::optional<store::DirectoryLock> lock_;
};

}  // namespace shoal::app
