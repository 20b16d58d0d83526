#include "base/rng.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "base/assert.h"
#include "base/ids.h"
#include "base/test_rng.h"

namespace shoal {
namespace {

// Gives out the words it was told, in order.
class ScriptedRng final : public Rng {
public:
    explicit ScriptedRng(std::vector<std::uint64_t> words) : words_(std::move(words)) {}
    void fill(ByteSpan out) override {
        ASSERT(out.size() == 8 && next_ < words_.size());
        store_le<std::uint64_t>(out.data(), words_[next_++]);
    }
    std::size_t used() const { return next_; }

private:
    std::vector<std::uint64_t> words_;
    std::size_t next_ = 0;
};

RC_GTEST_PROP(Rng, BelowStaysBelow, (std::uint64_t seed)) {
    TestRng rng(seed);
    const auto bound = *rc::gen::inRange<std::uint64_t>(1, UINT64_MAX);
    RC_ASSERT(rng.below(bound) < bound);
}

TEST(Rng, BelowDrawsAgainWhatWouldBeUneven) {
    // 2^64 mod 3 = 1: the word 0 belongs to a residue that has one word more than the others.
    ScriptedRng rng({0, 7});
    EXPECT_EQ(rng.below(3), 1U);
    EXPECT_EQ(rng.used(), 2U);
}

TEST(Rng, BelowIsEvenOverASmallBound) {
    TestRng rng(1);
    std::array<int, 5> seen{};
    for (int i = 0; i < 50'000; ++i) ++seen[rng.below(5)];
    for (int count : seen) EXPECT_NEAR(count, 10'000, 500);  // five standard deviations are 447
}

TEST(Rng, UniformIsInItsIntervalAtBothEnds) {
    ScriptedRng rng({0, UINT64_MAX});
    EXPECT_EQ(rng.uniform(), 0.0);
    EXPECT_LT(rng.uniform(), 1.0);
}

RC_GTEST_PROP(Rng, BetweenStaysBetween, (std::uint64_t seed)) {
    TestRng rng(seed);
    const Duration low(*rc::gen::inRange<std::int64_t>(-1'000'000'000'000, 1'000'000'000'000));
    const Duration high = low + Duration(*rc::gen::inRange<std::int64_t>(1, 1'000'000'000'000));
    const Duration d = rng.between(low, high);
    RC_ASSERT(d >= low);
    RC_ASSERT(d < high);
}

TEST(Rng, ExponentialHasItsMeanAndIsNeverNegative) {
    TestRng rng(2);
    double sum = 0;
    constexpr int draws = 100'000;
    for (int i = 0; i < draws; ++i) {
        const Duration d = rng.exponential(10s);
        ASSERT_GE(d, Duration::zero());
        sum += to_seconds(d);
    }
    EXPECT_NEAR(sum / draws, 10.0, 0.2);
    ScriptedRng largest({UINT64_MAX});
    EXPECT_LT(largest.exponential(10s), 400s);  // -ln(2^-53) means: finite
}

TEST(Rng, IdsDiffer) {
    TestRng rng(3);
    EXPECT_NE(rng.id<NodeId>(), rng.id<NodeId>());
}

}  // namespace
}  // namespace shoal
