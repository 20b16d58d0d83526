#include "store/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace shoal::store {

namespace {

constexpr std::size_t key_file_bytes = 2 * 32 + 1;  // 64 digits and a newline

class FileDescriptor {
public:
    explicit FileDescriptor(int fd) : fd_(fd) {}
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    ~FileDescriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    // close() is where some file systems report that nothing was written.
    bool close() { return ::close(release()) == 0; }

private:
    int fd_;
};

// Removes what was half written, unless it was renamed.
class TemporaryFile {
public:
    explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() {
        if (!path_.empty()) ::unlink(path_.c_str());
    }
    TemporaryFile(TemporaryFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
    void keep() { path_.clear(); }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

const char* what_to_do(int error) {
    switch (error) {
        case EACCES:
        case EPERM: return "; give this user access or name another place";
        case ENOSPC:
        case EDQUOT: return "; free some space";
        case EROFS: return "; name a place that can be written";
        case ENOENT: return "; create the directory or check the path";
        case ENOTDIR: return "; a part of the path is a file";
        case EMFILE:
        case ENFILE: return "; raise the limit of open files (ulimit -n)";
        default: return "";
    }
}

// From errno.
Error io_error(const std::string& what, const std::string& path) {
    const int error = errno;
    return fail(Errc::io, "cannot " + what + " " + path + ": " + std::strerror(error) + what_to_do(error));
}

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.find_last_of('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

int open_retrying(const std::string& path, int flags, unsigned mode = 0) {
    int fd = -1;
    do {
        fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

bool write_all(int fd, ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t put = ::write(fd, bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return true;
}

// At most `bytes_max` + 1 bytes: one more than allowed tells that there is more.
Result<Bytes> read_up_to(int fd, std::size_t bytes_max, const std::string& path) {
    Bytes out;
    ByteArray<16 * 1024> buffer;
    while (out.size() <= bytes_max) {
        const std::size_t want = std::min(buffer.size(), bytes_max + 1 - out.size());
        const ssize_t got = ::read(fd, buffer.data(), want);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return io_error("read", path);
        if (got == 0) break;
        append(out, ByteView(buffer).first(static_cast<std::size_t>(got)));
    }
    wipe(buffer.data(), buffer.size());  // it may have been a key
    return out;
}

Status sync_directory(const std::string& path) {
    const FileDescriptor directory(open_retrying(path, O_RDONLY | O_DIRECTORY));
    if (!directory.is_open() || ::fsync(directory.get()) != 0) return io_error("sync", path);
    return ok();
}

// Whole and on the disk, beside `path`.
Result<TemporaryFile> write_temporary(const std::string& path, ByteView bytes, unsigned mode) {
    std::string temporary = path + ".XXXXXX";
    FileDescriptor file(::mkostemp(temporary.data(), O_CLOEXEC));
    if (!file.is_open()) return io_error("write", path);
    TemporaryFile out(temporary);
    if (!write_all(file.get(), bytes) || ::fchmod(file.get(), mode) != 0 || ::fsync(file.get()) != 0 || !file.close()) {
        return io_error("write", path);
    }
    return out;
}

}  // namespace

Result<Bytes> read_file(const std::string& path, std::size_t bytes_max) {
    // O_NONBLOCK: opening a pipe would otherwise wait for its writer.
    const FileDescriptor file(open_retrying(path, O_RDONLY | O_NONBLOCK));
    if (!file.is_open() && errno == ENOENT) return fail(Errc::not_found, "there is no file " + path);
    if (!file.is_open()) return io_error("read", path);
    struct stat about {};
    if (::fstat(file.get(), &about) != 0) return io_error("read", path);
    if (!S_ISREG(about.st_mode)) return fail(Errc::io, "cannot read " + path + ": it is no file; name a file");
    Bytes out = TRY(read_up_to(file.get(), bytes_max, path));
    if (out.size() > bytes_max) {
        return fail(Errc::exhausted,
                    path + " is longer than " + std::to_string(bytes_max) + " bytes; it is not what is wanted here");
    }
    return out;
}

Status write_file_atomic(const std::string& path, ByteView bytes, unsigned mode) {
    // In the same directory: a rename across file systems would be a copy.
    TemporaryFile written = TRY(write_temporary(path, bytes, mode));
    if (::rename(written.path().c_str(), path.c_str()) != 0) return io_error("write", path);
    written.keep();
    return sync_directory(parent_of(path));
}

Status ensure_directory(const std::string& path, unsigned mode) {
    struct stat about {};
    if (::stat(path.c_str(), &about) == 0) {
        if (!S_ISDIR(about.st_mode)) {
            return fail(Errc::io, path + " is a file; name a directory or move the file away");
        }
        if (::access(path.c_str(), R_OK | W_OK | X_OK) != 0) return io_error("write to", path);
        return ok();
    }
    if (errno != ENOENT || path.empty()) return io_error("use the directory", path);
    const std::string parent = parent_of(path);
    if (parent != path) TRY(ensure_directory(parent, mode));
    // Another process may have been faster; then it is there, and is checked.
    if (::mkdir(path.c_str(), mode) == 0) return sync_directory(parent);
    if (errno == EEXIST) return ensure_directory(path, mode);
    return io_error("create the directory", path);
}

bool file_exists(const std::string& path) {
    return ::access(path.c_str(), F_OK) == 0;
}

Status remove_file(const std::string& path) {
    if (::unlink(path.c_str()) != 0) {
        if (errno == ENOENT) return ok();
        return io_error("remove", path);
    }
    return sync_directory(parent_of(path));
}

// ---- keys --------------------------------------------------------------------------------------------------------

Status make_key(const std::string& path, const Key32& key) {
    std::string text = to_hex(key.expose()) + "\n";
    const auto written = write_temporary(path, as_bytes(text), 0600);
    wipe(text.data(), text.size());
    if (!written) return written.error();
    // A link, and no rename: of two that make it at once the first one's stays.
    if (::link(written->path().c_str(), path.c_str()) != 0 && errno != EEXIST) return io_error("write", path);
    return sync_directory(parent_of(path));
}

Result<Key32> read_key(const std::string& path) {
    Bytes text = TRY(read_file(path, key_file_bytes));
    const auto wiped = [&text](auto result) -> Result<Key32> {
        wipe(text.data(), text.size());
        return result;
    };
    struct stat about {};
    if (::stat(path.c_str(), &about) != 0) return wiped(io_error("read", path));
    if ((about.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return wiped(
            fail(Errc::unauthenticated, "the key " + path +
                                            " can be read by others and may be known; run chmod 600 on it if it is "
                                            "not, or delete it to have a new one"));
    }
    const bool whole = text.size() == key_file_bytes && text.back() == '\n';
    auto bytes = whole ? from_hex(as_text(ByteView(text).first(key_file_bytes - 1))) : std::nullopt;
    if (!bytes) {
        return wiped(fail(Errc::malformed, path +
                                               " is no key: 64 hexadecimal digits and a newline were expected; restore "
                                               "it, or delete it to have a new one"));
    }
    Key32 key(first_bytes<32>(*bytes));
    wipe(bytes->data(), bytes->size());
    return wiped(std::move(key));
}

// ---- the lock ----------------------------------------------------------------------------------------------------

DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
}

DirectoryLock::~DirectoryLock() {
    // The file stays: removing it would let a third process lock a new one while a second waits on the old.
    if (fd_ >= 0) ::close(fd_);
}

Result<DirectoryLock> lock_directory(const std::string& path) {
    const std::string name = path + "/lock";
    // A directory that came from elsewhere may hold anything under this name, and it is written over.
    FileDescriptor file(open_retrying(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600));
    struct stat about {};
    if (!file.is_open() || ::fstat(file.get(), &about) != 0) return io_error("lock", path);
    const bool is_file = S_ISREG(about.st_mode);
    if (!is_file) return fail(Errc::io, "cannot lock " + path + ": " + name + " is no file; remove it");
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return io_error("lock", path);
        constexpr std::size_t pid_digits_max = 20;
        const Result<Bytes> holder = read_up_to(file.get(), pid_digits_max, name);
        std::string pid = holder ? std::string(as_text(*holder)) : "";
        pid.erase(pid.find_last_not_of('\n') + 1);
        return fail(Errc::unavailable, path + " is in use by process " + (pid.empty() ? "(unknown)" : pid) +
                                           "; stop it or name another directory");
    }
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(file.get(), 0) != 0 || !write_all(file.get(), as_bytes(pid))) return io_error("lock", path);
    return DirectoryLock(file.release());
}

}  // namespace shoal::store
