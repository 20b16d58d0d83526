// From options to a running process: fork, what the child does before its program starts, and the report back.
//
// For child.cc.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <utility>

#include "net/child.h"

namespace shoal::net {

// Closes with its owner.
class FileDescriptor {
public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) : fd_(fd) {}
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~FileDescriptor() { reset(); }
    int get() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    void reset() {
        if (is_open()) ::close(release());
    }

private:
    int fd_ = -1;
};

struct StartedChild {
    pid_t pid = -1;
    FileDescriptor pidfd;
    FileDescriptor socket;  // open where asked for
    FileDescriptor output;  // the reading ends
    FileDescriptor errors;
};

// Returns when the program runs or could not be started.
Result<StartedChild> start_child(const ChildOptions& options);

}  // namespace shoal::net
