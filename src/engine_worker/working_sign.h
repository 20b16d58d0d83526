// Says that the worker computes, at most once in limits::engine_working_interval: a step of a long prompt takes longer
// on some machines, and the node must know it from a worker that hangs.
#pragma once

#include <chrono>

#include "engine_worker/channel.h"

namespace shoal::engine_worker {

class WorkingSign {
public:
    // `frame` is what is said.
    WorkingSign(Channel& channel, Bytes frame) : channel_(channel), frame_(std::move(frame)) {}

    void beat() {
        const Instant now = clock_now();
        if (now - last_ < limits::engine_working_interval) return;
        last_ = now;
        channel_.send(frame_);
        channel_.flush();
    }
    // For the library, which asks between two operations of a step whether it should give up.
    static bool beat_and_go_on(void* sign) {
        static_cast<WorkingSign*>(sign)->beat();
        return false;
    }

private:
    static Instant clock_now() { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }

    Channel& channel_;
    Bytes frame_;
    Instant last_ = clock_now();
};

}  // namespace shoal::engine_worker
