#include "base/pacer.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/assert.h"
#include "base/test_rng.h"

namespace shoal {
namespace {

constexpr Instant start = Instant(1000s);

struct Sent {
    Instant at;
    std::size_t data = 0;
    std::size_t padding = 0;
    std::size_t count() const { return data + padding; }
};

// When cells become ready, and how many.
using Arrivals = std::map<Instant, std::size_t>;

// Runs a pacer as a driver does, in virtual time: a poll at each arrival and at each deadline.
class Drive {
public:
    explicit Drive(Pacer& pacer) : pacer_(pacer) {}

    const std::vector<Sent>& run(const Arrivals& arrivals, Instant until) {
        auto next = arrivals.begin();
        for (;;) {
            Instant at = until;
            if (next != arrivals.end()) at = std::min(at, next->first);
            if (const auto deadline = pacer_.next_deadline(waiting_)) at = std::min(at, std::max(*deadline, now_));
            now_ = std::max(now_, at);
            if (now_ >= until) return sent_;
            while (next != arrivals.end() && next->first <= now_) waiting_ += (next++)->second;
            poll(now_);
        }
    }
    void poll(Instant now) {
        const auto departure = pacer_.poll(now, waiting_);
        ASSERT(departure.data <= waiting_);
        waiting_ -= departure.data;
        if (departure.data + departure.padding > 0) sent_.push_back({now, departure.data, departure.padding});
        rates_.push_back({now, pacer_.current_class()});
    }
    void arrive(std::size_t cells) { waiting_ += cells; }
    std::size_t waiting() const { return waiting_; }
    const std::vector<Sent>& sent() const { return sent_; }
    // Instants at which the class was seen to have changed.
    std::vector<Instant> class_changes() const {
        std::vector<Instant> out;
        for (std::size_t i = 1; i < rates_.size(); ++i) {
            if (rates_[i].second != rates_[i - 1].second) out.push_back(rates_[i].first);
        }
        return out;
    }

private:
    Pacer& pacer_;
    Instant now_ = start;
    std::size_t waiting_ = 0;
    std::vector<Sent> sent_;
    std::vector<std::pair<Instant, PacerClass>> rates_;
};

Arrivals arrivals_between(Instant from, Instant to, std::size_t times_max, std::size_t cells_max) {
    Arrivals out;
    const auto span = std::chrono::duration_cast<std::chrono::microseconds>(to - from).count();
    const auto times = *rc::gen::inRange<std::size_t>(0, times_max + 1);
    for (std::size_t i = 0; i < times; ++i) {
        const auto offset = std::chrono::microseconds(*rc::gen::inRange<std::int64_t>(0, span));
        out[from + offset] += *rc::gen::inRange<std::size_t>(1, cells_max + 1);
    }
    return out;
}

PacerClass any_class() {
    return *rc::gen::element(PacerClass::five, PacerClass::ten, PacerClass::twenty);
}

// ---- fast --------------------------------------------------------------------------------------------------------

RC_GTEST_PROP(FastPacer, HoldsNothingLongerThanTenMillisecondsAndNeverPads, (std::uint64_t seed)) {
    TestRng rng(seed);
    Pacer pacer(PacerMode::fast, PacerClass::ten, rng);
    const Arrivals arrivals = arrivals_between(start, start + 200ms, 40, 5);
    Drive drive(pacer);
    const auto& sent = drive.run(arrivals, start + 1s);
    std::size_t data = 0;
    for (std::size_t i = 0; i < sent.size(); ++i) {
        RC_ASSERT(sent[i].padding == 0U);
        if (i > 0) RC_ASSERT(sent[i].at - sent[i - 1].at >= Pacer::fast_flush);
        data += sent[i].data;
    }
    // Each arrival is followed by a departure, of all that waits, within the flush.
    for (const auto& [at, cells] : arrivals) {
        const auto left = std::find_if(sent.begin(), sent.end(), [&](const Sent& s) { return s.at >= at; });
        RC_ASSERT(left != sent.end());
        RC_ASSERT(left->at - at <= Pacer::fast_flush);
    }
    std::size_t arrived = 0;
    for (const auto& [at, cells] : arrivals) arrived += cells;
    RC_ASSERT(data == arrived);
}

TEST(FastPacer, IsSilentWithoutData) {
    TestRng rng(1);
    Pacer pacer(PacerMode::fast, PacerClass::ten, rng);
    EXPECT_FALSE(pacer.next_deadline(0));
    EXPECT_EQ(pacer.poll(start, 0).data, 0U);
    EXPECT_FALSE(pacer.running());
}

TEST(FastPacer, AClockThatStepsBackHoldsNothing) {
    TestRng rng(1);
    Pacer pacer(PacerMode::fast, PacerClass::ten, rng);
    EXPECT_EQ(pacer.poll(start, 1).data, 1U);
    EXPECT_EQ(pacer.poll(start - 1h, 1).data, 1U);
    EXPECT_EQ(pacer.poll(start - 1h + 1ms, 1).data, 0U);
    EXPECT_EQ(pacer.poll(start - 1h + 10ms, 1).data, 1U);
}

// ---- shaped ------------------------------------------------------------------------------------------------------

RC_GTEST_PROP(ShapedPacer, EveryTickOfATrainCarriesTheCellsOfItsClass, (std::uint64_t seed)) {
    TestRng rng(seed);
    Pacer pacer(PacerMode::shaped, any_class(), rng);
    Drive drive(pacer);
    Arrivals arrivals = arrivals_between(start, start + 30s, 60, 30);
    arrivals[start] += 1;
    const auto& sent = drive.run(arrivals, start + 200s);
    RC_ASSERT(!sent.empty());
    for (std::size_t i = 0; i < sent.size(); ++i) {
        RC_ASSERT(sent[i].count() == 1 || sent[i].count() == 2 || sent[i].count() == 4);
        if (i == 0) continue;
        const Duration gap = sent[i].at - sent[i - 1].at;
        // One interval inside a train; a whole number of them, and more than the shortest tail, between two.
        RC_ASSERT(gap % Pacer::tick == Duration::zero());
        RC_ASSERT(gap >= Pacer::tick);
    }
}

RC_GTEST_PROP(ShapedPacer, InsideATrainTheSequenceDoesNotTellWhenDataCame, (std::uint64_t seed)) {
    // Two drivers whose first cell comes at the same instant; after that, everything differs. Up to the first instant
    // at which the class may change (5 s), an observer must see the same.
    const PacerClass rate = any_class();
    std::vector<Sent> seen[2];
    for (auto& one : seen) {
        TestRng rng(seed);
        Pacer pacer(PacerMode::shaped, rate, rng);
        Drive drive(pacer);
        Arrivals arrivals = arrivals_between(start + 1us, start + 5s, 30, 20);
        arrivals[start] = 1;
        one = drive.run(arrivals, start + 5s);
    }
    // Where the first train of each ends: data that comes after its tail starts another, and that shows.
    const auto tail = [](const std::vector<Sent>& s) {
        std::size_t last = 0;
        while (last + 1 < s.size() && s[last + 1].at - s[last].at <= Pacer::tick) ++last;
        return s[last].at;
    };
    const Instant both = std::min(tail(seen[0]), tail(seen[1]));
    for (std::size_t i = 0; i < std::min(seen[0].size(), seen[1].size()); ++i) {
        if (seen[0][i].at > both) break;
        RC_ASSERT(seen[0][i].at == seen[1][i].at);
        RC_ASSERT(seen[0][i].count() == seen[1][i].count());
    }
    // And as long as data keeps both trains running, they run to the same tick.
    RC_ASSERT(both >= start + 3s);
}

RC_GTEST_PROP(ShapedPacer, PadsForThreeToThirtySecondsAfterTheLastData, (std::uint64_t seed)) {
    TestRng rng(seed);
    Pacer pacer(PacerMode::shaped, any_class(), rng);
    Drive drive(pacer);
    Arrivals arrivals = arrivals_between(start, start + 5s, 20, 5);
    arrivals[start] += 1;
    const auto& sent = drive.run(arrivals, start + 100s);
    const auto last_data = std::find_if(sent.rbegin(), sent.rend(), [](const Sent& s) { return s.data > 0; });
    RC_ASSERT(last_data != sent.rend());
    const Duration tail = sent.back().at - last_data->at;
    RC_ASSERT(tail >= Pacer::tail_min);
    RC_ASSERT(tail <= Pacer::tail_max);
    RC_ASSERT(!pacer.running());
    RC_ASSERT(drive.waiting() == 0U);
    RC_ASSERT(!pacer.next_deadline(0).has_value());
}

TEST(ShapedPacer, TailsVaryAndReachBothClips) {
    std::map<Duration, int> tails;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        TestRng rng(seed);
        Pacer pacer(PacerMode::shaped, PacerClass::ten, rng);
        Drive drive(pacer);
        const auto& sent = drive.run({{start, 1}}, start + 100s);
        ++tails[sent.back().at - sent.front().at];
    }
    // P(Exp(10) < 3) = 0.26, P(Exp(10) > 30) = 0.05.
    EXPECT_GT(tails[Pacer::tail_min], 40);
    EXPECT_GT(tails[Pacer::tail_max], 2);
    EXPECT_GT(tails.size(), 50U);
}

RC_GTEST_PROP(ShapedPacer, TheClassChangesAtMostEveryFiveSecondsAndIsReconsideredWithinFifteen, (std::uint64_t seed)) {
    TestRng rng(seed);
    Pacer pacer(PacerMode::shaped, PacerClass::five, rng);
    Drive drive(pacer);
    Arrivals arrivals = {{start, 600}, {start + 70s, 1}, {start + 80s, 1}, {start + 90s, 1}};
    drive.run(arrivals, start + 120s);
    const auto changes = drive.class_changes();
    RC_ASSERT(changes.size() >= 2U);  // five to ten to twenty under load
    Instant before = start;
    for (std::size_t i = 0; i < changes.size(); ++i) {
        RC_ASSERT(changes[i] - before >= Pacer::class_hold_min - Pacer::tick);
        if (i < 2) RC_ASSERT(changes[i] - before <= Pacer::class_hold_max + 2 * Pacer::tick);
        before = changes[i];
    }
}

TEST(ShapedPacer, TheClassFallsAgainWhenNothingWaits) {
    TestRng rng(5);
    Pacer pacer(PacerMode::shaped, PacerClass::twenty, rng);
    Drive drive(pacer);
    Arrivals arrivals;
    for (int s = 0; s < 60; ++s) arrivals[start + std::chrono::seconds(s)] = 1;
    drive.run(arrivals, start + 60s);
    EXPECT_EQ(pacer.current_class(), PacerClass::five);
}

TEST(ShapedPacer, PhasesOfDifferentPacersDiffer) {
    std::map<Duration, int> phases;
    TestRng rng(9);
    for (int i = 0; i < 50; ++i) {
        Pacer pacer(PacerMode::shaped, PacerClass::ten, rng);
        (void)pacer.poll(start, 1);
        ++phases[*pacer.next_deadline(1) - start];
    }
    EXPECT_GE(phases.size(), 49U);
}

// ---- clocks that misbehave ---------------------------------------------------------------------------------------

RC_GTEST_PROP(ShapedPacer, AForwardJumpMakesNoBurst, (std::uint64_t seed)) {
    TestRng rng(seed);
    Pacer pacer(PacerMode::shaped, any_class(), rng);
    Drive drive(pacer);
    drive.run({{start, 500}}, start + 1s);
    const auto jump = std::chrono::milliseconds(*rc::gen::inRange(1, 10'000'000));
    const std::size_t before = drive.sent().size();
    const std::size_t waited = drive.waiting();
    drive.poll(start + 1s + jump);
    RC_ASSERT(drive.sent().size() <= before + 1);
    RC_ASSERT(waited - drive.waiting() <= 4U);
    drive.poll(start + 1s + jump);  // nothing more at the same instant
    RC_ASSERT(drive.sent().size() <= before + 1);
    if (pacer.running()) RC_ASSERT(*pacer.next_deadline(1) - (start + 1s + jump) <= Pacer::tick);
}

RC_GTEST_PROP(ShapedPacer, ABackwardStepMakesNeitherABurstNorAStall, (std::uint64_t seed)) {
    TestRng rng(seed);
    Pacer pacer(PacerMode::shaped, any_class(), rng);
    Drive drive(pacer);
    drive.run({{start, 500}}, start + 1s);
    const Instant stepped = start + 1s - std::chrono::milliseconds(*rc::gen::inRange(1, 10'000'000));
    const std::size_t before = drive.sent().size();
    drive.poll(stepped);
    RC_ASSERT(drive.sent().size() <= before + 1);
    RC_ASSERT(pacer.running());
    RC_ASSERT(*pacer.next_deadline(1) - stepped <= Pacer::tick);
    // From there the train goes on at its rate.
    std::size_t cells = 0;
    for (Instant now = stepped; now < stepped + 2s; now += 1ms) {
        const std::size_t at = drive.sent().size();
        drive.poll(now);
        if (drive.sent().size() > at) cells += drive.sent().back().count();
    }
    const auto rate = static_cast<std::size_t>(pacer.current_class());
    RC_ASSERT(cells >= 2 * rate - rate / 5);
    RC_ASSERT(cells <= 2 * rate + rate / 5);
}

}  // namespace
}  // namespace shoal
