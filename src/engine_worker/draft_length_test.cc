#include "engine_worker/draft_length.h"

#include <gtest/gtest.h>

#include "base/test_rng.h"

namespace shoal::engine_worker {
namespace {

// An engine whose round takes `fixed` and `each` more for every guess; a guess is right with probability `right`.
struct Engine {
    double fixed;
    double each;
    double right;
};

struct Outcome {
    double tokens_a_second = 0;
    double guessed_share = 0;  // of rounds
    std::size_t last = 0;
};

Outcome run(DraftLength& length, const Engine& engine, int rounds, TestRng& rng, std::size_t most = 16) {
    double seconds = 0, tokens = 0, guessed = 0;
    Outcome out;
    for (int i = 0; i < rounds; ++i) {
        const std::size_t count = length.choose(most);
        EXPECT_LE(count, most);
        std::size_t right = 0;
        while (right < count && rng.uniform() < engine.right) ++right;
        const double took = engine.fixed + engine.each * static_cast<double>(count);
        length.note(count, right, from_seconds(took));
        seconds += took;
        tokens += static_cast<double>(right) + 1;
        guessed += count > 0 ? 1 : 0;
        out.last = count;
    }
    out.tokens_a_second = tokens / seconds;
    out.guessed_share = guessed / rounds;
    return out;
}

double plain(const Engine& engine) {
    return 1 / engine.fixed;
}

TEST(DraftLength, AsksWhatAPlainRoundTakesFirst) {
    DraftLength length;
    EXPECT_EQ(length.choose(16), 0U);
    length.note(0, 0, from_seconds(0.1));
    EXPECT_GT(length.choose(16), 0U);
}

// A way round of 150 ms on which rows are nearly free.
TEST(DraftLength, GuessesFarWhereARoundTakesLongAnyway) {
    TestRng rng(1);
    DraftLength length;
    const Engine engine{0.150, 0.001, 0.8};
    EXPECT_GT(run(length, engine, 500, rng).tokens_a_second, 3.5 * plain(engine));
}

// Guesses that are seldom right and as dear as tokens: it stops, and what it still tries costs next to nothing.
TEST(DraftLength, TurnsItselfOffWhereItDoesNotPay) {
    TestRng rng(2);
    DraftLength length;
    const Engine engine{0.020, 0.015, 0.2};
    run(length, engine, 100, rng);
    const Outcome later = run(length, engine, 3000, rng);
    EXPECT_LT(later.guessed_share, 0.02);
    EXPECT_GT(later.tokens_a_second, 0.98 * plain(engine));
}

// Cheap guesses, nearly all of them right, and then a text that nobody guesses, and back.
TEST(DraftLength, FollowsTheText) {
    TestRng rng(3);
    DraftLength length;
    Engine engine{0.050, 0.004, 0.9};
    EXPECT_GT(run(length, engine, 300, rng).tokens_a_second, 1.5 * plain(engine));
    engine.right = 0.02;
    run(length, engine, 100, rng);
    EXPECT_LT(run(length, engine, 600, rng).guessed_share, 0.1);
    engine.right = 0.9;
    run(length, engine, 3000, rng);  // the next time it tries
    EXPECT_GT(run(length, engine, 300, rng).tokens_a_second, 1.5 * plain(engine));
}

// For random engines it comes near the best fixed length, and never falls much below no guessing at all.
TEST(DraftLength, IsNearTheBestLengthForRandomEngines) {
    TestRng rng(4);
    for (int i = 0; i < 60; ++i) {
        const Engine engine{0.005 + 0.2 * rng.uniform(), 0.02 * rng.uniform() * rng.uniform(), rng.uniform() * 0.95};
        double best = 0;
        for (const std::size_t n : DraftLength::lengths) {
            double tokens = 1, chance = 1;
            for (std::size_t j = 0; j < n; ++j) tokens += chance *= engine.right;
            best = std::max(best, tokens / (engine.fixed + engine.each * static_cast<double>(n)));
        }
        DraftLength length;
        run(length, engine, 200, rng);
        const Outcome later = run(length, engine, 2000, rng);
        EXPECT_GT(later.tokens_a_second, 0.90 * best) << engine.fixed << ' ' << engine.each << ' ' << engine.right;
        EXPECT_GT(later.tokens_a_second, 0.97 * plain(engine));
    }
}

TEST(DraftLength, GivesNoMoreThanIsAllowed) {
    TestRng rng(5);
    DraftLength length;
    run(length, {0.150, 0.001, 0.95}, 300, rng, 3);
    EXPECT_EQ(length.choose(0), 0U);
    EXPECT_LE(length.choose(5), 4U);
}

}  // namespace
}  // namespace shoal::engine_worker
