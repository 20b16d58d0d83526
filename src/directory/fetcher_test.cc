#include "directory/fetcher.h"

#include <gtest/gtest.h>

#include "directory/test_network.h"

namespace shoal::directory {
namespace {

struct FetcherTest : testing::Test {
    TestNetwork net;
    Book book{net.genesis};
    crypto::SeededRng rng{3};
    std::vector<NodeId> sources = {net.nodes[0].node_id(), net.nodes[1].node_id(), net.nodes[2].node_id()};

    Fetcher make(bool eager) {
        Fetcher fetcher(book, rng, {.eager = eager});
        fetcher.set_sources(sources);
        return fetcher;
    }
    void take(Fetcher& fetcher, std::uint64_t epoch) {
        ASSERT_TRUE(*book.accept(net.now, net.signed_snapshot(epoch)));
        fetcher.on_snapshot_taken(net.now);
    }
    // Lets time pass to the deadline and ticks, until somebody is to be asked; how long that took.
    Duration until_asked(Fetcher& fetcher, NodeId& asked) {
        const Instant begin = net.now.mono;
        for (int i = 0; i < 100; ++i) {
            const Instant next = fetcher.next_deadline().value();
            if (next > net.now.mono) {  // whole seconds, since the wall clock knows no others
                net.pass(std::chrono::ceil<std::chrono::seconds>(next - net.now.mono));
            }
            fetcher.on_tick(net.now);
            if (const auto node = fetcher.poll()) {
                asked = *node;
                return net.now.mono - begin;
            }
        }
        ADD_FAILURE() << "nobody is asked";
        return {};
    }
};

TEST_F(FetcherTest, AsksAtOnceWhenThereIsNoDirectoryAndOnlyOne) {
    Fetcher fetcher = make(false);
    fetcher.on_tick(net.now);
    EXPECT_EQ(fetcher.poll(), sources[0]);
    EXPECT_EQ(fetcher.poll(), std::nullopt);
    fetcher.on_tick(net.now);
    EXPECT_EQ(fetcher.poll(), std::nullopt);
    EXPECT_EQ(fetcher.asking(), sources[0]);
}

TEST_F(FetcherTest, IsHurriedByAnUnknownNodeButNotTwiceInAnInterval) {
    Fetcher fetcher = make(true);
    fetcher.on_tick(net.now);
    ASSERT_TRUE(fetcher.poll());
    take(fetcher, 1);
    NodeId asked;
    for (int i = 0; i < 6; ++i) {  // nothing new for long: it asks rarely
        (void)until_asked(fetcher, asked);
        fetcher.on_not_newer(net.now, asked);
    }
    net.pass(std::chrono::seconds(3));
    EXPECT_TRUE(fetcher.hurry(net.now));
    EXPECT_EQ(until_asked(fetcher, asked), Duration::zero());
    EXPECT_TRUE(fetcher.hurry(net.now)) << "it is being asked for";
    fetcher.on_not_newer(net.now, asked);
    EXPECT_TRUE(fetcher.hurry(net.now));
    EXPECT_EQ(fetcher.next_deadline().value() - net.now.mono, limits::directory_hurry_interval);
}

TEST_F(FetcherTest, AClientIsNotHurried) {
    Fetcher fetcher = make(false);
    fetcher.on_tick(net.now);
    ASSERT_TRUE(fetcher.poll());
    take(fetcher, 1);
    const auto before = fetcher.next_deadline();
    EXPECT_FALSE(fetcher.hurry(net.now));
    EXPECT_EQ(fetcher.next_deadline(), before);
}

TEST_F(FetcherTest, WithoutSourcesWaitsForNothing) {
    Fetcher fetcher(book, rng, {});
    fetcher.on_tick(net.now);
    EXPECT_EQ(fetcher.poll(), std::nullopt);
    EXPECT_FALSE(fetcher.hurry(net.now));
    EXPECT_EQ(fetcher.next_deadline(), std::nullopt);
    fetcher.set_sources(sources);
    EXPECT_LE(fetcher.next_deadline().value(), net.now.mono);
}

TEST_F(FetcherTest, TakesSilenceForFailureAndGoesRoundTheSources) {
    Fetcher fetcher = make(false);
    fetcher.on_tick(net.now);
    ASSERT_EQ(fetcher.poll(), sources[0]);
    net.pass(limits::directory_fetch_timeout - 1s);
    fetcher.on_tick(net.now);
    EXPECT_EQ(fetcher.asking(), sources[0]);
    net.pass(1s);
    fetcher.on_tick(net.now);
    EXPECT_EQ(fetcher.asking(), std::nullopt);
    for (std::size_t i = 1; i < 7; ++i) {
        NodeId asked;
        until_asked(fetcher, asked);
        EXPECT_EQ(asked, sources[i % 3]);
        fetcher.on_failed(net.now, asked);
    }
}

TEST_F(FetcherTest, KnowsWhoStillOwesAnAnswer) {
    Fetcher fetcher = make(false);
    EXPECT_FALSE(fetcher.settle(sources[0])) << "it was not asked";
    NodeId asked;
    until_asked(fetcher, asked);
    net.pass(limits::directory_fetch_timeout);
    fetcher.on_tick(net.now);
    NodeId next;
    until_asked(fetcher, next);
    ASSERT_NE(asked, next);
    EXPECT_TRUE(fetcher.settle(asked)) << "late is not unasked";
    EXPECT_FALSE(fetcher.settle(asked)) << "one asking, one answer";
    take(fetcher, 1);
    EXPECT_TRUE(fetcher.settle(next)) << "another's answer came first";
    EXPECT_FALSE(fetcher.settle(next));
}

TEST_F(FetcherTest, ExpectsNothingOfANodeWhoseLinkIsGone) {
    Fetcher fetcher = make(false);
    NodeId asked;
    until_asked(fetcher, asked);
    fetcher.on_unreachable(net.now, asked);
    EXPECT_EQ(fetcher.asking(), std::nullopt);
    EXPECT_FALSE(fetcher.settle(asked));
}

TEST_F(FetcherTest, RemembersOnlySoManyLateAnswers) {
    Fetcher fetcher = make(false);
    NodeId asked;
    for (std::size_t i = 0; i < 3 * limits::directory_answers_owed_max; ++i) {
        until_asked(fetcher, asked);
        net.pass(limits::directory_fetch_timeout);
        fetcher.on_tick(net.now);
    }
    std::size_t owed = 0;
    for (const NodeId& node : sources) {
        while (fetcher.settle(node)) ++owed;
    }
    EXPECT_EQ(owed, limits::directory_answers_owed_max);
}

TEST_F(FetcherTest, BacksOffFromHalfASecondToAMinute) {
    Fetcher fetcher = make(false);
    fetcher.on_tick(net.now);
    Duration delay = limits::directory_retry_min;
    for (int i = 0; i < 12; ++i) {
        NodeId asked = *fetcher.asking();
        fetcher.on_failed(net.now, asked);
        const Duration wait = fetcher.next_deadline().value() - net.now.mono;
        EXPECT_GE(wait, delay / 2);
        EXPECT_LE(wait, delay + delay / 2);
        delay = std::min(2 * delay, limits::directory_retry_max);
        until_asked(fetcher, asked);
    }
}

TEST_F(FetcherTest, IgnoresReportsAboutNodesItDoesNotAsk) {
    Fetcher fetcher = make(false);
    fetcher.on_tick(net.now);
    fetcher.on_failed(net.now, sources[1]);
    fetcher.on_not_newer(net.now, sources[2]);
    EXPECT_EQ(fetcher.asking(), sources[0]);
}

TEST_F(FetcherTest, AClientAsksInTheSecondHalfOfTheFreshTimeAtARandomInstant) {
    std::vector<double> waits;
    for (int i = 1; i <= 200; ++i) {
        Fetcher fetcher = make(false);
        fetcher.on_tick(net.now);
        take(fetcher, static_cast<std::uint64_t>(i));
        NodeId asked;
        waits.push_back(to_seconds(until_asked(fetcher, asked)));
        EXPECT_EQ(asked, sources[0]);
    }
    const auto [low, high] = std::ranges::minmax(waits);
    EXPECT_GE(low, 1800);
    EXPECT_LE(high, 3151);
    EXPECT_GT(high - low, 1200);
}

TEST_F(FetcherTest, AnEagerNodeAsksOftenAndSlowsDownWhileNothingChanges) {
    Fetcher fetcher = make(true);
    fetcher.on_tick(net.now);
    take(fetcher, 1);
    Duration last{};
    NodeId asked;
    for (int i = 0; i < 10; ++i) {
        last = until_asked(fetcher, asked);
        EXPECT_LE(last, limits::directory_poll_max * 3 / 2 + 1s);
        if (i == 0) {
            EXPECT_LE(last, limits::directory_poll_min * 3 / 2 + 1s);
        }
        fetcher.on_not_newer(net.now, asked);
    }
    EXPECT_GE(last, limits::directory_poll_max / 2);
    until_asked(fetcher, asked);
    take(fetcher, 2);
    EXPECT_LE(until_asked(fetcher, asked), limits::directory_poll_min * 3 / 2 + 1s);
}

TEST_F(FetcherTest, AsksAnotherSourceWhenOneHasNothingNewer) {
    Fetcher fetcher = make(true);
    fetcher.on_tick(net.now);
    take(fetcher, 1);
    NodeId asked;
    until_asked(fetcher, asked);
    EXPECT_EQ(asked, sources[0]);
    fetcher.on_not_newer(net.now, asked);
    until_asked(fetcher, asked);
    EXPECT_EQ(asked, sources[1]);
}

TEST_F(FetcherTest, AsksAtOnceWhenTheDirectoryEnds) {
    Fetcher fetcher = make(false);
    fetcher.on_tick(net.now);
    take(fetcher, 1);
    fetcher.set_sources({});  // nobody to ask in the meantime
    fetcher.on_tick(net.now);
    EXPECT_EQ(fetcher.next_deadline(), net.now.mono + 3h);
    net.pass(3h);
    fetcher.on_tick(net.now);
    fetcher.set_sources(sources);
    fetcher.on_tick(net.now);
    EXPECT_EQ(fetcher.poll(), sources[0]);
}

TEST_F(FetcherTest, AClientWhoseDirectoryIsTooSmallAsksAsARelayDoes) {
    Fetcher fetcher = make(false);
    fetcher.on_tick(net.now);
    take(fetcher, 1);
    fetcher.set_eager(true);
    NodeId asked;
    EXPECT_LE(until_asked(fetcher, asked), limits::directory_poll_min * 3 / 2 + 1s);
    take(fetcher, 2);
    fetcher.set_eager(false);
    EXPECT_GE(until_asked(fetcher, asked), 1800s);
}

TEST_F(FetcherTest, ADirectoryFromTheDiskNeedsNoFetchAtOnce) {
    ASSERT_TRUE(book.restore(net.now, wire::encode(net.signed_snapshot(1))));
    Fetcher fetcher = make(false);
    fetcher.on_tick(net.now);
    EXPECT_EQ(fetcher.poll(), std::nullopt);
    NodeId asked;
    EXPECT_GE(until_asked(fetcher, asked), 1800s);
}

}  // namespace
}  // namespace shoal::directory
