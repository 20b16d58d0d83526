#include "engine/ring.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>
#include <deque>

#include "base/test_rng.h"

namespace shoal::engine {
namespace {

using Values = std::vector<std::vector<float>>;  // of each rank

float any_float(TestRng& rng) {
    return static_cast<float>((rng.uniform() - 0.5) * (rng.below(2) == 0 ? 1 : 1e6));
}

Values random_values(TestRng& rng, std::size_t ranks, std::size_t size) {
    Values out(ranks, std::vector<float>(size));
    for (auto& values : out) {
        for (float& x : values) x = any_float(rng);
    }
    return out;
}

// Ranks that reach the reduction at any time, and channels that keep the order of each neighbour.
class Circle {
public:
    explicit Circle(std::size_t ranks) : sent(ranks), ways_(ranks), parts_(ranks) {
        for (std::size_t rank = 0; rank < ranks; ++rank) rings_.emplace_back(rank, ranks);
    }
    // The sum is in `values` then. The order in which ranks get on is drawn.
    void reduce(Values& values, TestRng& rng) {
        std::vector<bool> began(rings_.size());
        for (;;) {
            std::vector<std::size_t> can;
            for (std::size_t rank = 0; rank < rings_.size(); ++rank) {
                if (!began[rank] || (!rings_[rank].done() && !ways_[rank].empty())) can.push_back(rank);
            }
            if (can.empty()) break;
            const std::size_t rank = can[rng.below(can.size())];
            if (!began[rank]) {
                began[rank] = true;
                send(rank, rings_[rank].begin(values[rank]));
                continue;
            }
            auto next = rings_[rank].take(ways_[rank].front());
            ways_[rank].pop_front();
            ASSERT_TRUE(next) << next.error().message;
            if (*next) send(rank, **next);
        }
        for (const Ring& ring : rings_) EXPECT_TRUE(ring.done());
        for (const auto& way : ways_) EXPECT_TRUE(way.empty());
    }
    std::vector<std::size_t> sent;  // bytes of each rank
    std::size_t ahead_max = 0;      // parts that a rank had been sent, beyond those that it had sent

private:
    void send(std::size_t rank, wire::ReducePart part) {
        sent[rank] += part.data.size();
        const std::size_t next = (rank + 1) % rings_.size();
        ways_[next].push_back(std::move(part));
        ++parts_[rank];
        if (parts_[rank] > parts_[next]) ahead_max = std::max(ahead_max, parts_[rank] - parts_[next]);
    }
    std::vector<Ring> rings_;
    std::vector<std::deque<wire::ReducePart>> ways_;  // to each rank
    std::vector<std::size_t> parts_;                  // that each has sent
};

std::size_t random_ranks(TestRng& rng) {
    return 2 + rng.below(limits::group_ranks_max - 1);
}

// The order in which the header says that floats are added.
std::vector<float> sum_in_the_order_of_the_ring(const Values& values) {
    const std::size_t ranks = values.size(), size = values[0].size();
    std::vector<float> out(size);
    for (std::size_t c = 0; c < ranks; ++c) {
        for (std::size_t i = c * size / ranks; i < (c + 1) * size / ranks; ++i) {
            out[i] = values[c][i];
            for (std::size_t k = 1; k < ranks; ++k) out[i] = values[(c + k) % ranks][i] + out[i];
        }
    }
    return out;
}

RC_GTEST_PROP(Ring, EachRankHasTheSameSumBitForBit, (std::uint64_t seed)) {
    TestRng rng(seed);
    const std::size_t ranks = random_ranks(rng), size = ranks + rng.below(300);
    Circle circle(ranks);
    for (int time = 0; time < 3; ++time) {
        Values values = random_values(rng, ranks, size);
        const std::vector<float> wanted = sum_in_the_order_of_the_ring(values);
        circle.reduce(values, rng);
        for (const auto& got : values) RC_ASSERT(std::memcmp(got.data(), wanted.data(), 4 * size) == 0);
    }
}

RC_GTEST_PROP(Ring, EachRankSendsAsLittleAsPossible, (std::uint64_t seed)) {
    TestRng rng(seed);
    const std::size_t ranks = random_ranks(rng), each = 1 + rng.below(100);
    Circle even(ranks);
    Values values = random_values(rng, ranks, ranks * each);
    even.reduce(values, rng);
    for (const std::size_t bytes : even.sent) RC_ASSERT(bytes == 2 * (ranks - 1) * 4 * each);
    // Sizes that do not divide: the same for all ranks together, and no rank more than a value a step from its share.
    const std::size_t size = ranks + rng.below(300);
    Circle odd(ranks);
    values = random_values(rng, ranks, size);
    odd.reduce(values, rng);
    std::size_t all = 0;
    for (const std::size_t bytes : odd.sent) {
        all += bytes;
        RC_ASSERT(bytes * ranks < 2 * (ranks - 1) * 4 * (size + ranks));
    }
    RC_ASSERT(all == 2 * (ranks - 1) * 4 * size);
}

// What the node of a rank that is late has to hold.
RC_GTEST_PROP(Ring, NoRankGetsFarAheadOfTheNext, (std::uint64_t seed)) {
    TestRng rng(seed);
    const std::size_t ranks = random_ranks(rng);
    Circle circle(ranks);
    for (int time = 0; time < 4; ++time) {
        Values values = random_values(rng, ranks, 5 * ranks);
        circle.reduce(values, rng);
    }
    RC_ASSERT(circle.ahead_max <= ranks - 1);
}

class RingOfTwo : public ::testing::Test {
protected:
    RingOfTwo() : part_(b_.begin(theirs_)) { (void)a_.begin(mine_); }
    void expect_refused(const wire::ReducePart& part) { EXPECT_EQ(a_.take(part).error().code, Errc::invalid); }

    std::vector<float> mine_ = {1, 2, 3, 4, 5}, theirs_ = {10, 20, 30, 40, 50};
    Ring a_{0, 2}, b_{1, 2};
    wire::ReducePart part_;
};

TEST_F(RingOfTwo, RefusesAPartTwice) {
    ASSERT_TRUE(a_.take(part_));
    expect_refused(part_);
}

TEST_F(RingOfTwo, RefusesAPartOfAnotherReductionOrStep) {
    wire::ReducePart other = part_;
    other.reduction = 2;
    expect_refused(other);
    other.reduction = 0;
    expect_refused(other);
    other = part_;
    other.step = 1;
    expect_refused(other);
    EXPECT_EQ(mine_, (std::vector<float>{1, 2, 3, 4, 5}));
    EXPECT_TRUE(a_.take(part_));
}

TEST_F(RingOfTwo, RefusesAPartOfAnotherSize) {
    for (const int change : {-4, -1, 1, 4}) {
        wire::ReducePart other = part_;
        other.data.resize(static_cast<std::size_t>(static_cast<int>(other.data.size()) + change));
        expect_refused(other);
    }
    EXPECT_EQ(mine_, (std::vector<float>{1, 2, 3, 4, 5}));
}

TEST_F(RingOfTwo, RefusesAPartWhenNothingIsSummed) {
    Ring idle(0, 2);
    EXPECT_EQ(idle.take(part_).error().code, Errc::invalid);
    wire::ReducePart first = part_;
    first.reduction = 0;
    EXPECT_EQ(idle.take(first).error().code, Errc::invalid);
}

}  // namespace
}  // namespace shoal::engine
