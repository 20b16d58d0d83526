#include "prompt/asker.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>

#include "prompt/prompt_world_test.h"

namespace shoal::prompt {
namespace {

using Road = PromptWorld::Road;

// ---- all goes well -----------------------------------------------------------------------------------------------

TEST(Asker, AnAnswerComesInOrderAndOnce) {
    PromptWorld w(1);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    std::string said;
    for (int i = 0; i < 50; ++i) {
        const std::string piece = "word " + std::to_string(i) + " ";
        said += piece;
        ASSERT_TRUE(w.say(piece));
        w.run(7ms);
    }
    ASSERT_TRUE(w.finish());
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s));
    EXPECT_EQ(w.heard, said);
    ASSERT_TRUE(w.ended);
    EXPECT_FALSE(w.overs[0].fault);
    EXPECT_EQ(w.roads.size(), 4U);
    EXPECT_EQ(w.asker->next_deadline(), Instant::max());
    w.run(1s);
    EXPECT_EQ(w.overs.size(), 1U);
    EXPECT_EQ(w.outputs_after_over, 0U);
}

TEST(Asker, AProxyThatDoesNotKnowTheNodeIsReplacedOnce) {
    crypto::SeededRng rng(9);
    const auto hpke = crypto::KeyPair::generate(rng);
    AskerConfig config;
    config.node = NodeId(ByteArray<32>{5});
    config.hpke_key = hpke.public_key;
    const Now now{Instant(1h), from_unix_seconds(1'800'000'000)};
    wire::Request request;
    request.unpaid = true;
    request.id = rng.id<RequestId>();
    request.body = Plaintext("x");
    auto asker = Asker::start(now, config, std::move(request), rng);
    ASSERT_TRUE(asker);
    std::vector<LaneWanted> wanted;
    std::optional<Over> over;
    const auto drain = [&] {
        while (auto output = asker->poll()) {
            if (const auto* lane = std::get_if<LaneWanted>(&*output)) wanted.push_back(*lane);
            if (const auto* end = std::get_if<Over>(&*output)) over = *end;
        }
    };
    drain();
    ASSERT_EQ(wanted.size(), 4U);
    asker->on_lane_end(now, wanted[1].lane, wire::StreamEndReason::unknown_node);
    drain();
    ASSERT_EQ(wanted.size(), 5U);
    EXPECT_EQ(wanted[4].index, wanted[1].index);
    // Nobody knows it: every clove is tried on two proxies, and then the question may go elsewhere.
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        asker->on_lane_end(now, wanted[i].lane, wire::StreamEndReason::unknown_node);
        drain();
    }
    EXPECT_EQ(wanted.size(), 8U);
    ASSERT_TRUE(over && over->fault);
    EXPECT_EQ(over->fault->fault, AskFault::no_model_node);
    EXPECT_TRUE(over->moveable);
}

TEST(Asker, AMegabyteArrivesInOrderOverLanesOfUnlikeSpeed) {
    PromptWorld w(2);
    int lanes = 0;
    w.on_wanted = [&](LaneId, Road& road) {
        road.delay = Duration(3ms) * ++lanes;
        return true;
    };
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    std::string said;
    while (said.size() < 1'000'000) {
        const std::string piece = std::to_string(said.size()) + std::string(4000, '.');
        said += piece;
        ASSERT_TRUE(w.say(piece));
    }
    ASSERT_TRUE(w.finish());
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 120s));
    EXPECT_FALSE(w.overs[0].fault);
    EXPECT_TRUE(w.heard == said);
}

TEST(Asker, TwoRequestsOfOneTextHaveNoBytesInCommon) {
    PromptWorld w(3);
    std::set<std::string> seen;
    std::size_t parts = 0;
    for (int i = 0; i < 3; ++i) {
        w.roads.clear();
        w.events.clear();
        w.ask("the same words");
        for (const auto& [lane, road] : w.roads) {
            for (const Bytes& bytes : road.forward) {
                // Runs of sixteen bytes, which any id or number in clear would give away.
                for (std::size_t at = 0; at + 16 <= bytes.size(); at += 16) {
                    ++parts;
                    seen.emplace(as_text(ByteView(bytes).subspan(at, 16)));
                }
            }
        }
    }
    EXPECT_GE(parts, 3U * 4U * 85U);
    EXPECT_EQ(seen.size(), parts);
}

// ---- lanes die ---------------------------------------------------------------------------------------------------

TEST(Asker, AnyLanesButKMayBeLostBeforeAnythingArrives) {
    for (unsigned lost = 0; lost < 16; ++lost) {
        if (std::popcount(lost) > 2) continue;
        PromptWorld w(100 + lost);
        w.on_wanted = [&](LaneId lane, Road& road) {
            if (lane.value() <= 4) road.swallows = (lost >> (lane.value() - 1) & 1U) != 0;
            return true;
        };
        w.ask("hello");
        ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 1s)) << lost;
        ASSERT_TRUE(w.say("hi"));
        ASSERT_TRUE(w.finish());
        ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s)) << lost;
        EXPECT_EQ(w.heard, "hi");
        EXPECT_FALSE(w.overs[0].fault);
    }
}

TEST(Asker, ACloveWithoutGotGoesOnceMoreOnAnotherLane) {
    PromptWorld w(4);
    w.on_wanted = [](LaneId lane, Road& road) {
        road.swallows = lane.value() >= 2 && lane.value() <= 4;  // one of two needed arrives
        return true;
    };
    w.ask("hello");
    EXPECT_FALSE(w.run_until([&] { return !w.opened.empty(); }, limits::got_timeout_min));
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 1s));
    EXPECT_EQ(w.roads.size(), 7U);
    std::multiset<unsigned> again;
    for (const auto& [lane, road] : w.roads) {
        if (lane.value() > 4) again.insert(road.index);
    }
    EXPECT_EQ(again, (std::multiset<unsigned>{2, 3, 4}));
    ASSERT_TRUE(w.finish());
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s));
    EXPECT_FALSE(w.overs[0].fault);
}

TEST(Asker, ANewMessageJoinsTheRequestThatRunsAlready) {
    PromptWorld w(5);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 1s));
    // The node heard all of the first message; the client hears nothing, and the node cannot tell.
    for (auto& [lane, road] : w.roads) road.swallows = true;
    ASSERT_TRUE(w.say("early words "));
    w.on_wanted = [&](LaneId lane, Road& road) {
        road.swallows = lane.value() <= 8;  // nor by the same cloves once more
        return true;
    };
    w.at(2s, [&] { EXPECT_TRUE(w.say("and the rest")); });
    w.at(3s, [&] { EXPECT_TRUE(w.finish()); });
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 60s));
    EXPECT_FALSE(w.overs[0].fault) << w.overs[0].fault->message;
    EXPECT_EQ(w.heard, "early words and the rest");
    EXPECT_EQ(w.opened.size(), 1U);
}

TEST(Asker, ResumesWhenBothCopiesDiedInTheMiddle) {
    PromptWorld w(6);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    ASSERT_TRUE(w.say("one "));
    w.run(100ms);
    for (const LaneId lane : w.living()) w.end_lane(lane);
    ASSERT_TRUE(w.say("two "));
    w.run(100ms);
    ASSERT_TRUE(w.say("three"));
    ASSERT_TRUE(w.finish());
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s));
    EXPECT_FALSE(w.overs[0].fault);
    EXPECT_EQ(w.heard, "one two three");
    EXPECT_GE(w.server->stats().resumes, 1U);
}

TEST(Asker, AResumeThatNobodyAnswersIsTriedOnAnotherLane) {
    PromptWorld w(7);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    ASSERT_TRUE(w.say("one "));
    w.run(100ms);
    int more = 0;
    w.on_wanted = [&](LaneId, Road& road) {
        road.swallows = ++more <= 2;
        return true;
    };
    for (const LaneId lane : w.living()) w.end_lane(lane);
    ASSERT_TRUE(w.say("two"));
    ASSERT_TRUE(w.finish());
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s));
    EXPECT_FALSE(w.overs[0].fault);
    EXPECT_EQ(w.heard, "one two");
    EXPECT_GE(more, 3);
}

TEST(Asker, AReplyThatIsGoneAtTheNodeIsNotAskedForAgainAndAgain) {
    PromptWorld w(8);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    ASSERT_TRUE(w.say("one "));
    w.run(100ms);
    const std::size_t before = w.roads.size();
    for (const LaneId lane : w.living()) w.end_lane(lane);
    w.restart();
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s));
    ASSERT_TRUE(w.overs[0].fault);
    EXPECT_EQ(w.overs[0].fault->fault, AskFault::node_lost);
    EXPECT_FALSE(w.overs[0].moveable);
    EXPECT_LE(w.roads.size(), before + 4);
}

TEST(Asker, LanesThatBreakAgainAndAgainEndTheQuestion) {
    PromptWorld w(9);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    ASSERT_TRUE(w.say("one "));
    w.run(100ms);
    w.on_wanted = [](LaneId, Road&) { return false; };
    for (const LaneId lane : w.living()) w.end_lane(lane);
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 60s));
    EXPECT_EQ(w.overs[0].fault->fault, AskFault::node_lost);
    EXPECT_FALSE(w.overs[0].moveable);
}

TEST(Asker, ANodeThatNeverAnswersIsGivenUpAndTheQuestionMayMove) {
    PromptWorld w(10);
    w.on_wanted = [](LaneId, Road& road) { return road.swallows = true; };
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 120s));
    EXPECT_EQ(w.overs[0].fault->fault, AskFault::no_model_node);
    EXPECT_TRUE(w.overs[0].moveable);
    EXPECT_LE(w.roads.size(), 4 * 2 * limits::message_attempts_max);
}

// ---- what the node says ------------------------------------------------------------------------------------------

TEST(Asker, FaultsOfTheNodeMoveTheQuestionAndFaultsOfTheRequestDoNot) {
    for (const auto& [fault, moves] :
         {std::pair(AskFault::engine_failed, true), std::pair(AskFault::overloaded, true),
          std::pair(AskFault::model_unknown, true), std::pair(AskFault::refused, true),
          std::pair(AskFault::bad_request, false), std::pair(AskFault::context_exceeded, false)}) {
        PromptWorld w(11);
        w.ask("hello");
        ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
        ASSERT_TRUE(w.reply(ChatFault{fault, "because"}));
        ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s));
        EXPECT_EQ(w.overs[0].fault->fault, fault);
        EXPECT_EQ(w.overs[0].fault->message, "because");
        EXPECT_EQ(w.overs[0].moveable, moves) << static_cast<int>(fault);
    }
}

TEST(Asker, AFaultBehindTheFirstWordsDoesNotMoveTheQuestion) {
    PromptWorld w(12);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    ASSERT_TRUE(w.say("one "));
    w.run(100ms);
    ASSERT_TRUE(w.reply(ChatFault{AskFault::engine_failed, "it died"}));
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s));
    EXPECT_EQ(w.heard, "one ");
    EXPECT_FALSE(w.overs[0].moveable);
}

TEST(Asker, AFlippedBitCostsALaneAndNothingElse) {
    PromptWorld w(13);
    int flips = 0;
    w.on_back = [&](LaneId, Bytes& bytes) {
        if (++flips == 6 || flips == 9) bytes[700] ^= 4;
    };
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    std::string said;
    for (int i = 0; i < 20; ++i) {
        said += std::to_string(i);
        ASSERT_TRUE(w.say(std::to_string(i)));
        w.run(20ms);
    }
    ASSERT_TRUE(w.finish());
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s));
    EXPECT_FALSE(w.overs[0].fault);
    EXPECT_EQ(w.heard, said);
}

TEST(Asker, AfterCancelNothingComesAndTheNodeStops) {
    PromptWorld w(14);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    ASSERT_TRUE(w.say("one "));
    w.asker->cancel(w.now);
    EXPECT_TRUE(w.asker->over());
    w.run(10s);
    EXPECT_EQ(w.stopped.size(), 1U);
    EXPECT_TRUE(w.heard.empty());
    EXPECT_TRUE(w.overs.empty());
    EXPECT_TRUE(w.living().empty());
}

TEST(Asker, OddAndEvenClovesCarryTheReply) {
    PromptWorld w(15);
    std::set<unsigned> carried;
    w.on_back = [&](LaneId lane, Bytes&) {
        if (!w.opened.empty() && w.now.mono > Instant(1h) + 1s) carried.insert(w.roads.at(lane).index % 2);
    };
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    w.run(2s);
    ASSERT_TRUE(w.say("one"));
    w.run(1s);
    EXPECT_EQ(carried, (std::set<unsigned>{0, 1}));
}

TEST(Asker, ARequestBeyondTheLargestBucketIsRefusedAtTheStart) {
    PromptWorld w(16, 4, 1);
    auto started = Asker::start(w.now, w.config, w.request(std::string(limits::chat_body_bytes_max, 'x')), w.rng);
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code, Errc::exhausted);
}

// ---- anything at any time ----------------------------------------------------------------------------------------

// Lanes that end, swallow and refuse, replies and ticks in any order: the whole text once and in order, or one fault.
RC_GTEST_PROP(Asker, WhateverHappensTheTextIsWholeOrThereIsOneFault, ()) {
    const auto seed = *rc::gen::arbitrary<std::uint32_t>();
    const auto k = *rc::gen::inRange<std::uint8_t>(1, 4);
    const auto n = static_cast<std::uint8_t>(k + *rc::gen::inRange(0, 3));
    PromptWorld w(seed, n, k);
    crypto::SeededRng chance(seed + 1'000'000ULL);
    const auto percent = [&](std::uint64_t p) { return chance.below(100) < p; };
    const std::uint64_t trouble = *rc::gen::inRange<std::uint64_t>(0, 60);
    w.on_wanted = [&](LaneId, Road& road) {
        road.delay = Duration(1ms) * static_cast<int>(1 + chance.below(80));
        road.swallows = percent(trouble / 4);
        return !percent(trouble / 4);
    };
    w.on_back = [&](LaneId, Bytes& bytes) {
        if (percent(trouble / 20)) bytes[chance.below(bytes.size())] ^= 1;
    };
    w.ask("hello");
    std::string said;
    bool finished = false;
    for (int i = 0; i < 60 && w.overs.empty(); ++i) {
        w.run(Duration(1ms) * static_cast<int>(chance.below(300)));
        const auto living = w.living();
        if (percent(trouble) && !living.empty()) w.end_lane(living[chance.below(living.size())]);
        if (percent(trouble / 4) && !living.empty()) w.roads.at(living[chance.below(living.size())]).swallows = true;
        if (w.opened.empty() || finished) continue;
        if (percent(90)) {
            const std::string piece = std::to_string(i) + std::string(chance.below(3000), 'a');
            if (w.say(piece)) said += piece;
        } else {
            finished = w.finish();
        }
    }
    if (!w.opened.empty() && !finished) finished = w.finish();
    RC_ASSERT(w.run_until([&] { return !w.overs.empty(); }, 15min));
    RC_ASSERT(w.opened.size() <= 1U);
    if (w.overs[0].fault) {
        RC_ASSERT(!w.ended);
        RC_ASSERT(said.starts_with(w.heard));
        RC_ASSERT(!w.overs[0].moveable || w.heard.empty());
    } else {
        RC_ASSERT(w.ended.has_value());
        RC_ASSERT(w.heard == said);
    }
    RC_ASSERT(trouble > 0 || !w.overs[0].fault);
    w.run(10min);
    RC_ASSERT(w.overs.size() == 1U);
    RC_ASSERT(w.outputs_after_over == 0U);
    const Server::Usage usage = w.server->usage();
    RC_ASSERT(usage.streams == 0U && usage.gathering == 0U && usage.gathering_bytes == 0U);
    RC_ASSERT(usage.replies == 0U && usage.reply_bytes == 0U);
}

}  // namespace
}  // namespace shoal::prompt
