#include "engine_worker/repeats.h"

#include <gtest/gtest.h>

#include <numeric>

namespace shoal::engine_worker {
namespace {

std::vector<llama_token> guess(const std::vector<llama_token>& tokens, std::size_t count) {
    const Sampler unused({}, Noise({}, 1, {}));
    Repeats repeats;
    return repeats.draft(0, tokens, count, unused);
}

using Tokens = std::vector<llama_token>;

TEST(Repeats, GuessesWhatFollowedLastTime) {
    EXPECT_EQ(guess({1, 2, 3, 4, 5, 6, 2, 3}, 3), (Tokens{4, 5, 6}));
}

TEST(Repeats, TakesTheLongerMatchAndThenTheLater) {
    EXPECT_EQ(guess({7, 2, 3, 10, 9, 2, 3, 11, 7, 2, 3}, 1), (Tokens{10}));
    EXPECT_EQ(guess({2, 3, 10, 2, 3, 11, 2, 3}, 1), (Tokens{11}));
}

// A word that is repeated without end overlaps with itself.
TEST(Repeats, MayOverlapWithTheEnd) {
    EXPECT_EQ(guess({5, 5, 5, 5}, 4), (Tokens{5}));
}

TEST(Repeats, HasNoGuessWithoutAMatch) {
    EXPECT_EQ(guess({1, 2, 3, 4}, 4), Tokens{});
    EXPECT_EQ(guess({1, 2, 1}, 4), Tokens{});  // one token is no pattern
    EXPECT_EQ(guess({1}, 4), Tokens{});
    EXPECT_EQ(guess({}, 4), Tokens{});
    EXPECT_EQ(guess({1, 2, 3, 1, 2}, 0), Tokens{});
}

TEST(Repeats, LooksOnlySoFarBack) {
    Tokens tokens(Repeats::tokens_searched_max + 10);
    std::iota(tokens.begin(), tokens.end(), 100);
    tokens.insert(tokens.begin(), {1, 2, 3});
    tokens.insert(tokens.end(), {1, 2});
    EXPECT_EQ(guess(tokens, 1), Tokens{});
    tokens.insert(tokens.end(), {3, 9, 1, 2});
    EXPECT_EQ(guess(tokens, 1), (Tokens{3}));
}

}  // namespace
}  // namespace shoal::engine_worker
