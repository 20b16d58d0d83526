#include "prompt/server.h"

#include <gtest/gtest.h>

#include "prompt/prompt_world_test.h"

namespace shoal::prompt {
namespace {

void expect_empty(const Server& server) {
    const Server::Usage usage = server.usage();
    EXPECT_EQ(usage.streams, 0U);
    EXPECT_EQ(usage.gathering, 0U);
    EXPECT_EQ(usage.gathering_bytes, 0U);
    EXPECT_EQ(usage.replies, 0U);
    EXPECT_EQ(usage.reply_bytes, 0U);
}

// ---- how a question ends
// ---------------------------------------------------------------------------------------------

TEST(Server, EverythingOfAQuestionIsForgottenWhenItsReplyWasKept) {
    PromptWorld w(1);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    EXPECT_EQ(w.opened[0].request.body.expose(), "hello");
    ASSERT_TRUE(w.say("hi"));
    ASSERT_TRUE(w.finish());
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s));
    EXPECT_EQ(w.heard, "hi");
    EXPECT_EQ(w.server->usage().replies, 1U);
    w.run(limits::reply_kept - 2s);
    EXPECT_EQ(w.server->usage().replies, 1U);
    w.run(5s);
    expect_empty(*w.server);
}

TEST(Server, AReplyThatEndsWithNobodyThereIsForgottenToo) {
    PromptWorld w(2);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return w.asker->next_deadline() == Instant::max() || !w.opened.empty(); }, 10s));
    for (const LaneId lane : w.living())
        w.cell(lane, wire::CellCommand::stream_end, wire::encode(wire::StreamEndReason::link_lost));
    w.asker.reset();
    ASSERT_TRUE(w.say("nobody reads this"));
    ASSERT_TRUE(w.finish());
    w.run(2 * limits::reply_kept);
    expect_empty(*w.server);
    EXPECT_TRUE(w.stopped.empty());
}

TEST(Server, AReplyThatNobodyGivesCreditForIsForgottenToo) {
    PromptWorld w(3);
    w.on_wanted = [](LaneId, PromptWorld::Road& road) { return road.gives_credit = false, true; };
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(w.say("more and more text "));
        w.run(20ms);
    }
    ASSERT_TRUE(w.finish());
    w.asker.reset();
    w.run(2 * limits::reply_kept);
    expect_empty(*w.server);
}

TEST(Server, StoppedRepliesAreCountedToTheByte) {
    PromptWorld w(4);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    w.asker->cancel(w.now);
    w.pump();
    w.run(1s);
    ASSERT_EQ(w.stopped.size(), 1U);
    EXPECT_GT(w.server->usage().reply_bytes, 0U);
    w.run(2 * limits::reply_kept);
    expect_empty(*w.server);
}

TEST(Server, CancelStopsTheModelOnce) {
    PromptWorld w(5);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    ASSERT_TRUE(w.say("a"));
    w.asker->cancel(w.now);
    w.pump();
    w.run(1s);
    EXPECT_EQ(w.stopped.size(), 1U);
    EXPECT_FALSE(w.say("b"));
    w.run(10s);
    EXPECT_EQ(w.stopped.size(), 1U);
}

TEST(Server, WithNobodyThereTheModelGoesOnForAMomentAndStops) {
    PromptWorld w(6);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    w.asker.reset();
    for (const LaneId lane : w.living()) w.end_lane(lane);
    w.run(limits::orphan_decode - 100ms);
    EXPECT_TRUE(w.stopped.empty());
    w.run(1s);
    EXPECT_EQ(w.stopped.size(), 1U);
    EXPECT_EQ(w.server->usage().replies, 1U);
    w.run(limits::reply_kept + 1s);
    expect_empty(*w.server);
}

}  // namespace
}  // namespace shoal::prompt
