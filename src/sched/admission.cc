#include "sched/admission.h"

#include <algorithm>

#include "base/assert.h"

namespace shoal::sched {

Admission::Verdict Admission::submit(Now now, JobId job) {
    if (queue_.empty() && running_.size() < slots_) {
        const bool fresh = running_.insert(job).second;
        ASSERT(fresh);
        return Verdict::run;
    }
    if (queue_.size() >= limits::sched_queue_max) return Verdict::refuse;
    queue_.push_back({job, now.mono + limits::sched_wait_max});
    return Verdict::wait;
}

void Admission::finished(JobId job) {
    const std::size_t gone = running_.erase(job);
    ASSERT(gone == 1);
}

bool Admission::withdraw(JobId job) {
    return std::erase_if(queue_, [&](const Waiting& w) { return w.job == job; }) > 0;
}

std::optional<JobId> Admission::take_next() {
    if (queue_.empty() || running_.size() >= slots_) return std::nullopt;
    const JobId next = queue_.front().job;
    queue_.pop_front();
    running_.insert(next);
    return next;
}

std::vector<JobId> Admission::take_expired(Now now) {
    std::vector<JobId> out;
    // In order of arrival, all with the same patience: the oldest are in front.
    while (!queue_.empty() && queue_.front().until <= now.mono) {
        out.push_back(queue_.front().job);
        queue_.pop_front();
    }
    return out;
}

std::optional<Instant> Admission::next_deadline() const {
    if (queue_.empty()) return std::nullopt;
    return queue_.front().until;
}

}  // namespace shoal::sched
