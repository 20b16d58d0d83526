#include "app/piece_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "crypto/hash.h"

namespace shoal::app {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t chunk_bytes = 1 << 20;
constexpr const char* unfinished = "/pieces/.unfinished";

class OpenFile {
public:
    OpenFile(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644)) {}
    ~OpenFile() {
        if (fd_ >= 0) close(fd_);
    }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;
    int get() const { return fd_; }

private:
    int fd_;
};

Error cannot(const std::string& path, const char* what) {
    return fail(Errc::io, path + " cannot be " + what + ": " + std::strerror(errno));
}

bool read_all(int file, std::uint64_t offset, ByteSpan out) {
    for (std::size_t done = 0; done < out.size();) {
        const ssize_t count = pread(file, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        done += static_cast<std::size_t>(count);
    }
    return true;
}

bool write_all(int file, ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t count = write(file, bytes.data(), bytes.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return true;
}

Error stopped() {
    return fail(Errc::cancelled, "stopped; the same command goes on from here");
}

}  // namespace

Result<PieceFolder> PieceFolder::open_to_write(const std::string& path) {
    PieceFolder out(path);
    TRY(store::ensure_directory(path, 0755));
    TRY(store::ensure_directory(path + "/pieces", 0755));
    out.lock_ = TRY(store::lock_directory(path));
    TRY(store::remove_file(path + unfinished));
    // A manifest that a killed writer did not finish (store::write_file_atomic).
    std::vector<std::string> left;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
        if (entry.path().stem().extension() == ".manifest") left.push_back(entry.path().string());
    }
    for (const std::string& each : left) TRY(store::remove_file(each));
    return out;
}

Result<PieceFolder> PieceFolder::open_to_read(const std::string& path) {
    std::error_code error;
    if (!fs::is_directory(path + "/pieces", error)) {
        return fail(Errc::not_found,
                    path + " is no folder of pieces: make one with shoal model split FILE --out " + path);
    }
    return PieceFolder(path);
}

std::string PieceFolder::piece_path(const wire::PieceId& id) const {
    return path_ + "/pieces/" + id.hex();
}

Status PieceFolder::copy(const wire::Piece& piece, int whole, int out, const OnBytes& progress) const {
    crypto::Blake2b256 hash;
    Bytes chunk(std::min<std::uint64_t>(chunk_bytes, piece.bytes));
    for (std::uint64_t done = 0; done < piece.bytes;) {
        chunk.resize(std::min<std::uint64_t>(chunk.size(), piece.bytes - done));
        if (!read_all(whole, piece.offset + done, chunk)) return fail(Errc::io, "the model cannot be read to its end");
        if (!write_all(out, chunk)) return cannot(path_ + unfinished, "written");
        hash.update(chunk);
        done += chunk.size();
        if (!progress(chunk.size())) return stopped();
    }
    if (hash.digest() != piece.id.bytes()) {
        return fail(Errc::unauthenticated, "the model's file changed while it was read: start again");
    }
    if (fdatasync(out) != 0) return cannot(path_ + unfinished, "written");
    return ok();
}

Status PieceFolder::put(const wire::Piece& piece, int whole, const OnBytes& progress) {
    ASSERT(lock_.has_value());
    const std::string path = piece_path(piece.id);
    struct stat there {};
    if (stat(path.c_str(), &there) == 0 && S_ISREG(there.st_mode) &&
        static_cast<std::uint64_t>(there.st_size) == piece.bytes) {
        return progress(piece.bytes) ? ok() : Status(stopped());
    }
    const std::string part = path_ + unfinished;
    const OpenFile out(part, O_WRONLY | O_CREAT | O_TRUNC);
    if (out.get() < 0) return cannot(part, "made");
    Status copied = copy(piece, whole, out.get(), progress);
    if (copied && rename(part.c_str(), path.c_str()) != 0) copied = cannot(path, "made");
    if (!copied) (void)store::remove_file(part);
    return copied;
}

Status PieceFolder::put_manifest(const wire::ShardManifest& manifest) {
    ASSERT(lock_.has_value());
    // Whoever sees the manifest finds its pieces, also when the power fails in between.
    const OpenFile pieces(path_ + "/pieces", O_RDONLY | O_DIRECTORY);
    if (pieces.get() < 0 || fsync(pieces.get()) != 0) return cannot(path_ + "/pieces", "written");
    return store::write_file_atomic(path_ + "/" + manifest.model.hex() + ".manifest", wire::encode(manifest), 0644);
}

Status PieceFolder::check(const wire::Piece& piece, const OnBytes& progress) const {
    const std::string path = piece_path(piece.id);
    const OpenFile file(path, O_RDONLY);
    struct stat status {};
    if (file.get() < 0 && errno == ENOENT) return fail(Errc::not_found, path + " is missing");
    if (file.get() < 0 || fstat(file.get(), &status) != 0) return cannot(path, "read");
    const Error wrong = fail(Errc::unauthenticated, path + " has other bytes than its name says: remove it");
    if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != piece.bytes) return wrong;
    crypto::Blake2b256 hash;
    Bytes chunk(std::min<std::uint64_t>(chunk_bytes, piece.bytes));
    for (std::uint64_t done = 0; done < piece.bytes; done += chunk.size()) {
        chunk.resize(std::min<std::uint64_t>(chunk.size(), piece.bytes - done));
        if (!read_all(file.get(), done, chunk)) return cannot(path, "read");
        hash.update(chunk);
        if (!progress(chunk.size())) return stopped();
    }
    if (hash.digest() != piece.id.bytes()) return wrong;
    return ok();
}

}  // namespace shoal::app
