// Files of a node's state directory: read whole, written atomically, locked against a second process.
//
// Rules
//   1. A reader sees the old content or the new one, never a part: written beside, synced, renamed, directory synced.
//      It holds over a crash and a power cut.
//   2. What is written is readable by its owner alone unless said otherwise; keys always are.
//   3. Every error is one line that names the path and says what to do.
//
// Blocks on the disk: small files at start-up, or from a worker thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "base/secret.h"

namespace shoal::store {

// not_found: no such file. exhausted: longer than `bytes_max`. io: anything else, a directory or a pipe included.
Result<Bytes> read_file(const std::string& path, std::size_t bytes_max);

// Replaces or creates. io: the old content is still there.
Status write_file_atomic(const std::string& path, ByteView bytes, unsigned mode = 0600);

// Creates it, parents too, or checks that what is there is a directory that can be written. A directory that is made
// gets `mode`; one that was there keeps its own.
Status ensure_directory(const std::string& path, unsigned mode = 0700);

bool file_exists(const std::string& path);
// Gone afterwards, also when it was not there.
Status remove_file(const std::string& path);

// A key of 32 bytes as 64 hexadecimal digits and a newline, mode 0600. Reading refuses (unauthenticated) a file that
// others can read, since the key may be known already, and (malformed) one that is not exactly a key. A key that is
// there already stays: read after making.
Status make_key(const std::string& path, const Key32& key);
Result<Key32> read_key(const std::string& path);

// Held as long as this lives; the system releases it when the process dies, however it dies.
class DirectoryLock {
public:
    DirectoryLock(DirectoryLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
    DirectoryLock& operator=(DirectoryLock&& other) noexcept;
    ~DirectoryLock();

private:
    friend Result<DirectoryLock> lock_directory(const std::string& path);
    explicit DirectoryLock(int fd) : fd_(fd) {}
    int fd_ = -1;
};

// Takes `path`/lock. unavailable: another process holds it; the message names its pid.
Result<DirectoryLock> lock_directory(const std::string& path);

}  // namespace shoal::store
