#include "sched/admission.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <deque>

namespace shoal::sched {
namespace {

Now at(std::int64_t seconds) {
    return {Instant(std::chrono::seconds(seconds)), {}};
}

TEST(Admission, RunsUpToItsSlotsAndLetsTheRestWaitInOrder) {
    Admission a;
    a.set_slots(2);
    EXPECT_EQ(a.submit(at(0), JobId(1)), Admission::Verdict::run);
    EXPECT_EQ(a.submit(at(0), JobId(2)), Admission::Verdict::run);
    EXPECT_EQ(a.submit(at(0), JobId(3)), Admission::Verdict::wait);
    EXPECT_EQ(a.submit(at(0), JobId(4)), Admission::Verdict::wait);
    EXPECT_EQ(a.take_next(), std::nullopt);
    a.finished(JobId(1));
    EXPECT_EQ(a.take_next(), JobId(3));
    EXPECT_EQ(a.take_next(), std::nullopt);
}

TEST(Admission, RefusesWhatDoesNotFitItsQueue) {
    Admission a;
    for (std::uint64_t i = 0; i < limits::sched_queue_max; ++i) {
        EXPECT_EQ(a.submit(at(0), JobId(i)), Admission::Verdict::wait);
    }
    EXPECT_EQ(a.submit(at(0), JobId(9999)), Admission::Verdict::refuse);
    EXPECT_EQ(a.waiting(), limits::sched_queue_max);
}

TEST(Admission, SendsAwayWhoWaitedTooLong) {
    Admission a;
    (void)a.submit(at(0), JobId(1));
    (void)a.submit(at(30), JobId(2));
    EXPECT_TRUE(a.take_expired(at(59)).empty());
    EXPECT_EQ(a.take_expired(at(60)), std::vector{JobId(1)});
    EXPECT_EQ(a.waiting(), 1U);
}

// The model: a list of waiting and a set of running jobs, kept naively.
RC_GTEST_PROP(AdmissionProperties, AgreesWithANaiveTwin, ()) {
    Admission a;
    std::deque<std::uint64_t> waiting;
    std::set<std::uint64_t> running;
    const auto slots = *rc::gen::inRange<std::size_t>(0, 5);
    a.set_slots(slots);
    const auto steps = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 4));
    std::uint64_t next = 1;
    for (const int step : steps) {
        if (step == 0) {
            const auto verdict = a.submit(at(0), JobId(next));
            if (waiting.empty() && running.size() < slots) {
                RC_ASSERT(verdict == Admission::Verdict::run);
                running.insert(next);
            } else {
                RC_ASSERT(verdict == Admission::Verdict::wait);
                waiting.push_back(next);
            }
            ++next;
        } else if (step == 1 && !running.empty()) {
            a.finished(JobId(*running.begin()));
            running.erase(running.begin());
        } else if (step == 2) {
            const auto taken = a.take_next();
            const bool can = !waiting.empty() && running.size() < slots;
            RC_ASSERT(taken.has_value() == can);
            if (!can) continue;
            RC_ASSERT(taken->value() == waiting.front());
            running.insert(waiting.front());
            waiting.pop_front();
        } else if (step == 3 && !waiting.empty()) {
            RC_ASSERT(a.withdraw(JobId(waiting.back())));
            waiting.pop_back();
        }
        RC_ASSERT(a.running() == running.size());
        RC_ASSERT(a.waiting() == waiting.size());
    }
}

}  // namespace
}  // namespace shoal::sched
