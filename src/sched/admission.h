// Admission: which requests an engine works on now, which wait, which are turned away.
//
// Rules
//   1. At most `slots` requests run at once: the sequences that the engine decodes together.
//   2. The rest wait in order of arrival, at most limits::sched_queue_max of them and at most limits::sched_wait_max
//      long. Rationale: somebody who waited a minute has asked elsewhere.
//   3. Nothing grows: what does not fit is refused at once, so that its client can go to another node.
//
// It counts; it never sees a token. Pure; one thread. O(1) but for withdraw(), O(queue).
#pragma once

#include <deque>
#include <optional>
#include <set>
#include <vector>

#include "base/ids.h"
#include "base/limits.h"
#include "base/time.h"

namespace shoal::sched {

class Admission {
public:
    enum class Verdict : std::uint8_t { run, wait, refuse };

    // Slots may change when an engine comes back with another number of sequences; running jobs stay.
    void set_slots(std::size_t slots) { slots_ = slots; }

    Verdict submit(Now now, JobId job);
    // A running job has ended. take_next() may then give another.
    void finished(JobId job);
    // A waiting job is not wanted any more; false: it does not wait.
    bool withdraw(JobId job);
    // A waiting job whose turn has come; it runs from now on.
    std::optional<JobId> take_next();
    // Waiting jobs whose time is over; they are gone from the queue.
    std::vector<JobId> take_expired(Now now);
    std::optional<Instant> next_deadline() const;

    std::size_t running() const { return running_.size(); }
    std::size_t waiting() const { return queue_.size(); }
    std::size_t slots() const { return slots_; }

private:
    struct Waiting {
        JobId job;
        Instant until;
    };
    std::size_t slots_ = 0;
    std::set<JobId> running_;    // bounded: slots
    std::deque<Waiting> queue_;  // bounded: sched_queue_max
};

}  // namespace shoal::sched
