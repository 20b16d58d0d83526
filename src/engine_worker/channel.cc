#include "engine_worker/channel.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace shoal::engine_worker {
namespace {

constexpr int exit_bad_frame = 3;

[[noreturn]] void end_process(int code) {
    std::fflush(stderr);
    _exit(code);  // no destructors: the library's threads may be in the middle of something
}

bool readable(int descriptor, int wait_ms) {
    pollfd entry{descriptor, POLLIN, 0};
    const int count = poll(&entry, 1, wait_ms);
    return count > 0;
}

}  // namespace

void Channel::end_at_bad_frame() {
    end_process(exit_bad_frame);
}

std::vector<Bytes> Channel::receive_frames(Duration wait) {
    using std::chrono::milliseconds;
    const int wait_ms = wait == forever ? -1 : static_cast<int>(std::chrono::duration_cast<milliseconds>(wait).count());
    std::vector<Bytes> out;
    while (readable(descriptor_, out.empty() ? wait_ms : 0)) {
        std::uint8_t buffer[64 * 1024];
        const ssize_t count = read(descriptor_, buffer, sizeof buffer);
        if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (count <= 0) end_process(0);  // the node is gone
        auto frames = frames_.feed(ByteView(buffer, static_cast<std::size_t>(count)));
        wipe(buffer, static_cast<std::size_t>(count));
        if (!frames) end_at_bad_frame();
        for (Bytes& frame : *frames) out.push_back(std::move(frame));
    }
    return out;
}

void Channel::flush() {
    std::size_t done = 0;
    while (done < unsent_.size()) {
        const ssize_t count = write(descriptor_, unsent_.data() + done, unsent_.size() - done);
        if (count > 0) {
            done += static_cast<std::size_t>(count);
        } else if (errno == EAGAIN) {
            pollfd entry{descriptor_, POLLOUT, 0};
            (void)poll(&entry, 1, -1);
        } else if (errno != EINTR) {
            end_process(0);  // the node is gone
        }
    }
    wipe(unsent_.data(), unsent_.size());
    unsent_.clear();
}

}  // namespace shoal::engine_worker
