#include "engine_worker/prefix_cache.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <list>

#include "base/test_rng.h"

namespace shoal::engine_worker {
namespace {

const PrefixScope mine(ByteArray<32>{1});
const PrefixScope yours(ByteArray<32>{2});

std::vector<std::int32_t> counted(std::int32_t count, std::int32_t from = 0) {
    std::vector<std::int32_t> out;
    for (std::int32_t i = 0; i < count; ++i) out.push_back(from + i);
    return out;
}

TEST(PrefixCache, FindsWholeBlocksAndLeavesOneToken) {
    PrefixCache cache;
    EXPECT_EQ(cache.keep(mine, counted(15), 3), 0U);
    EXPECT_TRUE(cache.empty());
    EXPECT_EQ(cache.keep(mine, counted(50), 3), 48U);
    EXPECT_EQ(cache.tokens(), 48U);
    const auto taken = cache.take(mine, counted(48));  // the last token's logits are wanted
    ASSERT_TRUE(taken.has_value());
    EXPECT_EQ(taken->sequence, 3);
    EXPECT_EQ(taken->held, 48U);
    EXPECT_EQ(taken->common, 32U);
    EXPECT_TRUE(cache.empty());
    EXPECT_EQ(cache.tokens(), 0U);
    ASSERT_EQ(cache.keep(mine, counted(50), 3), 48U);
    EXPECT_EQ(cache.take(mine, counted(49))->common, 48U);
}

TEST(PrefixCache, FindsNothingOfAnotherScope) {
    PrefixCache cache;
    ASSERT_EQ(cache.keep(mine, counted(64), 0), 64U);
    EXPECT_FALSE(cache.take(yours, counted(65)).has_value());
    EXPECT_TRUE(cache.take(mine, counted(65)).has_value());
}

TEST(PrefixCache, ABlockCountsOnlyBehindTheSameBlocks) {
    PrefixCache cache;
    std::vector<std::int32_t> other = counted(64);
    other[0] = 7;
    ASSERT_EQ(cache.keep(mine, other, 0), 64U);
    EXPECT_FALSE(cache.take(mine, counted(65)).has_value());
    other = counted(64);
    other[40] = 7;
    ASSERT_EQ(cache.keep(mine, other, 1), 64U);
    EXPECT_EQ(cache.take(mine, counted(65))->common, 32U);
}

TEST(PrefixCache, AnotherEngineFindsWhatWasDescribedAndNothingElse) {
    PrefixCache cache;
    const auto chain = [](const PrefixScope& scope, std::int32_t count) { return prefix_chain(scope, counted(count)); };
    ASSERT_EQ(cache.keep(mine, counted(80), 4), 80U);
    EXPECT_FALSE(cache.find(chain(mine, 64), 64).has_value());
    EXPECT_FALSE(cache.describe(5, chain(mine, 64), 64, Bytes(7))) << "another sequence";
    EXPECT_FALSE(cache.describe(4, chain(yours, 64), 64, Bytes(7))) << "another scope";
    EXPECT_FALSE(cache.describe(4, chain(mine, 96), 96, Bytes(7))) << "more than it has";
    ASSERT_TRUE(cache.describe(4, chain(mine, 64), 64, Bytes(7)));
    const auto found = cache.find(chain(mine, 64), 64);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->sequence, 4);
    EXPECT_EQ(*found->head, Bytes(7));
    EXPECT_FALSE(cache.find(chain(mine, 48), 48).has_value()) << "a beginning of what was described";
    EXPECT_FALSE(cache.find(chain(mine, 80), 80).has_value()) << "more than was described";
    EXPECT_FALSE(cache.find(chain(yours, 64), 64).has_value());
    EXPECT_FALSE(cache.find(chain(mine, 64), 48).has_value());
    EXPECT_FALSE(cache.find({}, 0).has_value());
    // Taken and kept anew it must be described anew.
    ASSERT_TRUE(cache.take(mine, counted(81)).has_value());
    EXPECT_FALSE(cache.find(chain(mine, 64), 64).has_value());
    ASSERT_EQ(cache.keep(mine, counted(80), 4), 80U);
    EXPECT_FALSE(cache.find(chain(mine, 64), 64).has_value());
}

TEST(PrefixCache, TheOldestGoesFirst) {
    PrefixCache cache;
    for (std::int32_t i = 0; i < 4; ++i) ASSERT_GT(cache.keep(mine, counted(32, 100 * i), i), 0U);
    ASSERT_TRUE(cache.take(mine, counted(40, 0)).has_value());
    ASSERT_GT(cache.keep(mine, counted(40, 0), 0), 0U);
    std::vector<std::int32_t> order;
    while (const auto gone = cache.take_oldest()) order.push_back(gone->sequence);
    EXPECT_EQ(order, (std::vector<std::int32_t>{1, 2, 3, 0}));
    EXPECT_FALSE(cache.take_oldest().has_value());
}

// The naive twin keeps the tokens themselves.
RC_GTEST_PROP(PrefixCache, FindsWhatACopyOfTheTokensFinds, (std::uint64_t seed)) {
    TestRng rng(seed);
    struct Kept {
        PrefixScope scope;
        std::vector<std::int32_t> tokens;
        std::int32_t sequence;
    };
    std::list<Kept> twin;
    PrefixCache cache;
    std::vector<std::int32_t> free = counted(8);
    const auto arbitrary_tokens = [&rng] {
        std::vector<std::int32_t> out = counted(static_cast<std::int32_t>(rng.below(100)));
        for (std::size_t changes = rng.below(3); changes > 0 && !out.empty(); --changes) {
            out[rng.below(out.size())] = static_cast<std::int32_t>(1000 + rng.below(2));
        }
        return out;
    };
    for (int step = 0; step < 60; ++step) {
        const PrefixScope scope = rng.below(2) == 0 ? mine : yours;
        std::vector<std::int32_t> tokens = arbitrary_tokens();
        if (rng.below(2) == 0 && !free.empty()) {
            const std::uint32_t kept = cache.keep(scope, tokens, free.back());
            RC_ASSERT(kept == tokens.size() / prefix_block_tokens * prefix_block_tokens);
            if (kept == 0) continue;
            tokens.resize(kept);
            twin.push_back({scope, tokens, free.back()});
            free.pop_back();
        } else if (rng.below(4) == 0) {
            const auto gone = cache.take_oldest();
            RC_ASSERT(gone.has_value() == !twin.empty());
            if (!gone) continue;
            RC_ASSERT(gone->sequence == twin.front().sequence && gone->held == twin.front().tokens.size());
            free.push_back(gone->sequence);
            twin.pop_front();
        } else {
            std::size_t most = 0;
            auto best = twin.end();
            for (auto at = twin.begin(); at != twin.end() && !tokens.empty(); ++at) {
                if (at->scope != scope) continue;
                const auto differs =
                    std::mismatch(tokens.begin(), tokens.end() - 1, at->tokens.begin(), at->tokens.end()).first;
                const auto common = static_cast<std::size_t>(differs - tokens.begin()) / prefix_block_tokens;
                if (common == 0 || common < most) continue;
                most = common;
                best = at;
            }
            const auto taken = cache.take(scope, tokens);
            RC_ASSERT(taken.has_value() == (best != twin.end()));
            if (!taken) continue;
            RC_ASSERT(taken->sequence == best->sequence && taken->held == best->tokens.size() &&
                      taken->common == most * prefix_block_tokens);
            free.push_back(taken->sequence);
            twin.erase(best);
        }
        std::size_t sum = 0;
        for (const Kept& kept : twin) sum += kept.tokens.size();
        RC_ASSERT(cache.tokens() == sum);
    }
}

}  // namespace
}  // namespace shoal::engine_worker
