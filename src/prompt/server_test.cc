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

// ---- how a question ends -----------------------------------------------------------------------------------------

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

// ---- bounds ------------------------------------------------------------------------------------------------------

// The node's side of a sealed stream, driven by hand.
struct Hand {
    PromptWorld& w;
    LinkId link;
    std::uint32_t id;
    std::optional<crypto::StreamSealer> sealer;

    Hand(PromptWorld& world, std::uint64_t on, std::uint32_t number) : w(world), link(on), id(number) {
        auto client = crypto::StreamSealer::client(w.config.network, w.config.node, w.config.hpke_key, w.rng);
        sealer.emplace(std::move(client->sealer));
        cell(wire::CellCommand::stream_open,
             wire::encode(wire::StreamOpen{wire::StreamProtocol::prompt, client->encapsulated}));
    }
    void cell(wire::CellCommand command, ByteView payload) {
        w.server->on_cell(w.now, link, wire::make_cell(command, id, payload, w.rng));
    }
    void record(const wire::Record& record) { bytes(wire::encode_record(record)); }
    void bytes(const wire::RecordBytes& record) { cell(wire::CellCommand::stream_data, sealer->seal(record)); }
    // What the server has said on this stream and nobody has looked at; drops what it said on others.
    std::vector<wire::Record> heard() {
        std::vector<wire::Record> out;
        while (auto output = w.server->poll()) {
            auto* cell = std::get_if<StreamCell>(&*output);
            if (auto* opened = std::get_if<Opened>(&*output)) w.opened.push_back(std::move(*opened));
            if (cell == nullptr || cell->link != link || cell->id.value() != id) continue;
            if (cell->command == wire::CellCommand::stream_end) {
                ended = *wire::decode_stream_end(cell->payload);
            } else {
                out.push_back(
                    *wire::decode_record(*sealer->open(first_bytes<limits::sealed_record_bytes>(cell->payload))));
            }
        }
        return out;
    }
    std::optional<wire::StreamEndReason> ended;
};

struct Message {
    Message(PromptWorld& w, const wire::Request& request, std::uint64_t link)
        : cloves(*make_cloves(request, 2, 4, w.rng)) {
        for (std::uint32_t i = 0; i < 4; ++i) hands.emplace_back(w, link + i, 1);
    }
    void deliver(std::size_t i) {
        for (const wire::RecordBytes& record : cloves.records[i]) hands[i].bytes(record);
    }
    Cloves cloves;
    std::vector<Hand> hands;
};

TEST(Server, ClovesThatBeginAndNeverEndTakeNoMoreThanTheirShareOfMemory) {
    PromptWorld w(10);
    wire::Request big = w.request(std::string(limits::chat_body_bytes_max, 'x'));
    const Cloves cloves = *make_cloves(big, 2, 4, w.rng);
    const wire::RecordBytes& first = cloves.records[0][0];
    std::vector<Hand> hands;
    // All of one message: a bound by messages alone would not see them.
    const std::size_t fits = limits::gathering_bytes_max / cloves.bucket.fragment_bytes;
    for (std::uint32_t i = 0; i < fits; ++i) {
        hands.emplace_back(w, 1, i + 1).bytes(first);
        ASSERT_TRUE(hands.back().heard().empty());
    }
    EXPECT_LE(w.server->usage().gathering_bytes, limits::gathering_bytes_max);
    EXPECT_EQ(w.server->usage().gathering, 1U);
    Hand same(w, 2, 1);
    same.bytes(first);
    EXPECT_TRUE(same.heard().empty());
    EXPECT_EQ(same.ended, wire::StreamEndReason::busy);
    Hand other(w, 2, 2);
    other.bytes((*make_cloves(big, 2, 4, w.rng)).records[0][0]);
    const auto said = other.heard();
    ASSERT_EQ(said.size(), 1U);
    EXPECT_EQ(std::get<wire::RecordError>(said[0]).fault, AskFault::overloaded);
    EXPECT_EQ(other.ended, wire::StreamEndReason::done);
    for (Hand& hand : hands) hand.cell(wire::CellCommand::stream_end, wire::encode(wire::StreamEndReason::done));
    EXPECT_EQ(w.server->usage().gathering_bytes, 0U);
    w.run(2 * limits::clove_gather_timeout + limits::reply_kept);
    expect_empty(*w.server);
}

TEST(Server, OneLinkHasNoMoreThanItsShareOfStreams) {
    PromptWorld w(11);
    for (std::uint32_t i = 0; i < limits::link_streams_per_link_max; ++i) Hand(w, 1, i + 1);
    EXPECT_EQ(w.server->usage().streams, limits::link_streams_per_link_max);
    EXPECT_FALSE(w.server->poll());
    Hand more(w, 1, 0x7fff'ffff);
    (void)more.heard();
    EXPECT_EQ(more.ended, wire::StreamEndReason::busy);
    Hand elsewhere(w, 2, 1);
    (void)elsewhere.heard();
    EXPECT_FALSE(elsewhere.ended);
    EXPECT_TRUE(w.server->uses_link(LinkId(1)));
    w.server->on_link_down(w.now, LinkId(1));
    EXPECT_FALSE(w.server->uses_link(LinkId(1)));
    EXPECT_EQ(w.server->usage().streams, 1U);
}

TEST(Server, MessagesThatWaitForMoreClovesAreBounded) {
    PromptWorld w(25);
    const wire::Request request = w.request("hello");
    const auto one_clove = [&] { return (*make_cloves(request, 2, 4, w.rng)).records[0][0]; };
    for (std::uint32_t i = 0; i < limits::messages_gathering_max; ++i) Hand(w, 1, i + 1).bytes(one_clove());
    while (w.server->poll()) {
    }
    EXPECT_EQ(w.server->usage().gathering, limits::messages_gathering_max);
    Hand more(w, 2, 1);
    more.bytes(one_clove());
    const auto said = more.heard();
    ASSERT_EQ(said.size(), 1U);
    EXPECT_EQ(std::get<wire::RecordError>(said[0]).fault, AskFault::overloaded);
    EXPECT_EQ(w.server->usage().gathering, limits::messages_gathering_max);
}

TEST(Server, AProxyThatGivesNoCreditGetsNoMoreThanItsWindow) {
    PromptWorld w(26);
    Message message(w, w.request("hello"), 10);
    message.deliver(0);
    message.deliver(1);
    std::size_t cells = message.hands[0].heard().size();
    for (std::uint32_t i = 0; i < 4 * limits::link_stream_window_cells; ++i) {
        // The other copy's proxy does, so the reply goes on.
        message.hands[1].cell(wire::CellCommand::stream_sendme, wire::encode(wire::StreamSendme{1}));
        w.advance(w.now.mono + limits::reply_flush);
        ASSERT_TRUE(w.server->reply(w.now, w.opened.at(0).handle, ChatDelta{Plaintext("a word of the reply")}));
        cells += message.hands[0].heard().size();
    }
    EXPECT_EQ(cells, limits::link_stream_window_cells);
}

// ---- what is kept, and for how long ------------------------------------------------------------------------------

std::size_t pads(const std::vector<wire::Record>& records) {
    const auto is_pad = [](const wire::Record& record) { return std::holds_alternative<wire::Pad>(record); };
    return static_cast<std::size_t>(std::count_if(records.begin(), records.end(), is_pad));
}

TEST(Server, AClientWaitsAsLongAsTheNodeWorks) {
    PromptWorld w(30);
    w.ask("a long prompt");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    w.run(10 * limits::silence_timeout);  // in the queue, and then it is read
    EXPECT_TRUE(w.overs.empty()) << "the client gave up a node that was working";
    ASSERT_TRUE(w.say("at last"));
    ASSERT_TRUE(w.finish());
    EXPECT_TRUE(w.run_until([&] { return w.ended.has_value(); }, 10s));
    EXPECT_EQ(w.heard, "at last");
}

TEST(Server, ANodeThatIsLostIsStillFound) {
    PromptWorld w(31);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    w.run(1s);
    for (auto& [lane, road] : w.roads) road.swallows = true;
    w.on_wanted = [](LaneId, PromptWorld::Road&) { return false; };
    EXPECT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 2 * limits::silence_timeout));
}

TEST(Server, SignsOfLifeAreFewAndEndWithTheReply) {
    PromptWorld w(32);
    const wire::Request request = w.request("hello");
    Message message(w, request, 10);
    message.deliver(0);
    message.deliver(1);
    (void)message.hands[0].heard();
    ASSERT_EQ(w.opened.size(), 1U);
    // Of the stream of clove 0; the server is called each second.
    const auto heard_for = [&](Duration time) {
        std::size_t out = 0;
        for (const Instant end = w.now.mono + time; w.now.mono < end;) {
            w.advance(w.now.mono + 1s);
            w.server->on_tick(w.now);
            out += pads(message.hands[0].heard());
        }
        return out;
    };
    EXPECT_EQ(heard_for(limits::reply_keepalive - 1s), 0U);
    EXPECT_EQ(heard_for(1s), 1U);
    EXPECT_LE(w.server->next_deadline(), w.now.mono + limits::reply_keepalive);
    EXPECT_EQ(heard_for(4 * limits::reply_keepalive), 4U);
    // Text is a sign of life as well.
    heard_for(limits::reply_keepalive / 2);
    ASSERT_TRUE(w.server->reply(w.now, w.opened[0].handle, ChatDelta{Plaintext("abc")}));
    EXPECT_EQ(heard_for(limits::reply_keepalive - 2s), 0U);
    ASSERT_TRUE(w.server->reply(w.now, w.opened[0].handle, ChatEnd{}));
    EXPECT_EQ(heard_for(limits::reply_kept / 2), 0U);
}

TEST(Server, SignsOfLifeNeedCreditAsEverythingElse) {
    PromptWorld w(33);
    w.on_wanted = [](LaneId, PromptWorld::Road& road) { return road.gives_credit = false, true; };
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    std::size_t came = 0;
    w.on_back = [&](LaneId, Bytes&) { ++came; };
    w.asker.reset();  // nobody who would repair it
    w.run(100 * limits::reply_keepalive);
    EXPECT_LE(came, 2 * limits::link_stream_window_cells + 2 * 4) << "beyond GOT and ACCEPTED, two windows";
}

// A server that keeps little, and questions by hand to fill it.
struct Small : PromptWorld {
    explicit Small(std::uint64_t seed, std::size_t bytes) : PromptWorld(seed) {
        ServerConfig config_of_server{config.node, config.network, now.wall};
        config_of_server.reply_bytes_max = bytes;
        server = std::make_unique<Server>(config_of_server);
        server->set_hpke_keys(*hpke, nullptr);
    }
    // A request that runs; its streams stay open.
    Handle open() {
        const std::size_t before = opened.size();
        asked.push_back(std::make_unique<Message>(*this, request("hello"), link += 10));
        asked.back()->deliver(0);
        asked.back()->deliver(1);
        said = asked.back()->hands[0].heard();
        return opened.size() > before ? opened.back().handle : Handle(0);
    }
    bool add(Handle handle, std::size_t bytes) {
        return server->reply(now, handle, ChatDelta{Plaintext(std::string(bytes, 'a'))});
    }
    void end(Handle handle) {
        ASSERT(server->reply(now, handle, ChatEnd{}));
        for (int i = 0; i < 20; ++i) {  // a record each time
            advance(now.mono + 2 * limits::reply_flush);
            server->on_tick(now);
        }
    }
    std::uint64_t link = 0;
    std::vector<std::unique_ptr<Message>> asked;
    std::vector<wire::Record> said;
};

TEST(Server, ARunningReplyMayNotGrowPastWhatTheNodeKeeps) {
    Small w(34, 64 * 1024);
    const Handle first = w.open();
    const Handle second = w.open();
    std::size_t taken = 0;
    while (taken < 100 && w.add(taken % 2 == 0 ? first : second, 4000)) ++taken;
    EXPECT_EQ(taken, 64U * 1024 / 4003);
    EXPECT_LE(w.server->usage().reply_bytes, 64U * 1024 + 1024) << "only an end may still come";
    // The one that could not grow has ended, and the model is told.
    bool told = false;
    while (auto output = w.server->poll()) told = told || std::holds_alternative<Stopped>(*output);
    EXPECT_TRUE(told);
    EXPECT_FALSE(w.add(taken % 2 == 0 ? first : second, 1)) << "the reply went on after its end";
    EXPECT_EQ(w.open(), Handle(0)) << "a request was taken without room for its reply";
    ASSERT_FALSE(w.said.empty());
    EXPECT_EQ(std::get<wire::RecordError>(w.said.back()).fault, AskFault::overloaded);
}

TEST(Server, TheClientLearnsThatThereWasNoRoom) {
    PromptWorld w(35);
    ServerConfig config{w.config.node, w.config.network, w.now.wall};
    config.reply_bytes_max = 64 * 1024;
    w.server = std::make_unique<Server>(config);
    w.server->set_hpke_keys(*w.hpke, nullptr);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    while (w.say(std::string(4000, 'a'))) w.run(50ms);
    ASSERT_TRUE(w.run_until([&] { return !w.overs.empty(); }, 10s));
    ASSERT_TRUE(w.overs[0].fault.has_value());
    EXPECT_EQ(w.overs[0].fault->fault, AskFault::overloaded);
    EXPECT_NE(w.overs[0].fault->message.find("room"), std::string::npos) << w.overs[0].fault->message;
    EXPECT_EQ(w.heard.size(), 64U * 1024 / 4003 * 4000) << "what there was did not arrive";
    ASSERT_EQ(w.stopped.size(), 1U);
}

TEST(Server, WhatWasHandedOutMakesWayForWhatIsAskedNow) {
    Small w(36, 64 * 1024);
    std::vector<Handle> old;
    for (int i = 0; i < 6; ++i) {
        old.push_back(w.open());
        for (int j = 0; j < 2; ++j) ASSERT_TRUE(w.add(old.back(), 4000));
        w.end(old.back());
    }
    ASSERT_EQ(w.server->usage().replies, 6U);
    const Handle now = w.open();
    for (int i = 0; i < 12; ++i) ASSERT_TRUE(w.add(now, 4000)) << i;
    EXPECT_LE(w.server->usage().reply_bytes, 64U * 1024);
    EXPECT_LT(w.server->usage().replies, 7U);
    EXPECT_GT(w.server->usage().replies, 1U) << "more was dropped than there was need of";
    // The oldest went first: the newest of the old ones can still be resumed.
    const auto ended = [](const Message& message) { return message.hands[0].ended.has_value(); };
    for (const auto& message : w.asked) (void)message->hands[0].heard();
    EXPECT_FALSE(ended(*w.asked[5]));
}

// ---- joining and resuming ----------------------------------------------------------------------------------------

std::vector<std::uint32_t> sequences(const std::vector<wire::Record>& records) {
    std::vector<std::uint32_t> out;
    for (const wire::Record& record : records) {
        if (const auto* reply = std::get_if<wire::Reply>(&record)) out.push_back(reply->sequence);
    }
    return out;
}

TEST(Server, ANewMessageOfTheSameRequestGetsTheReplyFromItsBeginning) {
    PromptWorld w(12);
    const wire::Request request = w.request("hello");
    Message first(w, request, 10);
    first.deliver(0);
    first.deliver(1);
    (void)first.hands[0].heard();
    ASSERT_EQ(w.opened.size(), 1U);
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(w.server->reply(w.now, w.opened[0].handle, ChatDelta{Plaintext("abc")}));
        w.advance(w.now.mono + 20ms);
        w.server->on_tick(w.now);
    }
    ASSERT_TRUE(w.server->reply(w.now, w.opened[0].handle, ChatEnd{}));
    (void)first.hands[0].heard();
    // The client has seen nothing of it and asks again under new cloves.
    Message second(w, request, 20);
    second.deliver(0);
    second.deliver(1);
    std::vector<wire::Record> said;
    for (const wire::Record& record : second.hands[0].heard()) said.push_back(record);
    EXPECT_EQ(w.opened.size(), 1U) << "the model was asked twice";
    for (Hand& hand : first.hands) hand.cell(wire::CellCommand::stream_end, wire::encode(wire::StreamEndReason::done));
    for (const wire::Record& record : second.hands[0].heard()) said.push_back(record);
    const auto numbers = sequences(said);
    ASSERT_FALSE(numbers.empty());
    EXPECT_EQ(numbers.front(), 0U);
}

TEST(Server, AResumedStreamCarriesTheReplyAlthoughTheOldOnesLookAlive) {
    PromptWorld w(13);
    const wire::Request request = w.request("hello");
    Message message(w, request, 10);
    for (std::size_t i = 0; i < 4; ++i) message.deliver(i);
    (void)message.hands[0].heard();
    ASSERT_EQ(w.opened.size(), 1U);
    ASSERT_TRUE(w.server->reply(w.now, w.opened[0].handle, ChatDelta{Plaintext("abc")}));
    Hand resumed(w, 30, 1);
    resumed.record(wire::Resume{request.id, 0, resume_proof(request.reply_key, request.id, 0)});
    const auto said = resumed.heard();
    ASSERT_EQ(said.size(), 2U);
    EXPECT_TRUE(std::holds_alternative<wire::Accepted>(said[0]));
    EXPECT_EQ(std::get<wire::Reply>(said[1]).sequence, 0U);
    EXPECT_EQ(w.server->stats().resumes, 1U);
}

TEST(Server, TheReplyGoesOverBothGuardsAlthoughTheClovesOfOneCameFirst) {
    PromptWorld w(46);
    w.on_wanted = [](LaneId, PromptWorld::Road& road) {
        road.delay = road.index % 2 == 1 ? 1ms : 100ms;
        return true;
    };
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    ASSERT_TRUE(w.say("before "));
    w.run(300ms);
    ASSERT_EQ(w.living().size(), 4U);
    for (const LaneId lane : w.living()) w.roads.at(lane).swallows = w.roads.at(lane).index % 2 == 1;
    ASSERT_TRUE(w.say("and after"));
    EXPECT_TRUE(w.run_until([&] { return w.heard == "before and after"; }, 1s));
}

TEST(Server, AResumeWithoutTheReplyKeyIsRefused) {
    PromptWorld w(14);
    const wire::Request request = w.request("hello");
    Message message(w, request, 10);
    message.deliver(0);
    message.deliver(1);
    (void)message.hands[0].heard();
    ASSERT_EQ(w.opened.size(), 1U);
    const Key32 guessed(w.rng.array<32>());
    for (const wire::Resume& wrong :
         {wire::Resume{request.id, 0, resume_proof(guessed, request.id, 0)},
          wire::Resume{request.id, 0, resume_proof(request.reply_key, request.id, 1)},
          wire::Resume{w.rng.id<RequestId>(), 0, resume_proof(request.reply_key, request.id, 0)},
          wire::Resume{request.id, 7, resume_proof(request.reply_key, request.id, 7)}}) {
        Hand hand(w, 40, static_cast<std::uint32_t>(1 + w.server->stats().streams));
        hand.record(wrong);
        const auto said = hand.heard();
        ASSERT_EQ(said.size(), 1U);
        EXPECT_EQ(std::get<wire::RecordError>(said[0]).fault, AskFault::node_lost);
        EXPECT_EQ(hand.ended, wire::StreamEndReason::done);
    }
    EXPECT_EQ(w.server->stats().resumes, 0U);
}

// ---- what may not come -------------------------------------------------------------------------------------------

TEST(Server, ARequestThatIsPlayedAgainIsRefused) {
    PromptWorld w(15);
    const wire::Request request = w.request("hello");
    Message message(w, request, 10);
    message.deliver(0);
    message.deliver(1);
    (void)message.hands[0].heard();
    ASSERT_EQ(w.opened.size(), 1U);
    // While it runs: under another reply key, by somebody who saw the id.
    wire::Request stolen = w.request("hello");
    stolen.id = request.id;
    Message thief(w, stolen, 20);
    thief.deliver(0);
    thief.deliver(1);
    EXPECT_EQ(std::get<wire::RecordError>(thief.hands[1].heard().back()).fault, AskFault::refused);
    EXPECT_EQ(w.server->stats().replays, 1U);
    // After it is forgotten, and before it expires.
    ASSERT_TRUE(w.server->reply(w.now, w.opened[0].handle, ChatEnd{}));
    w.run(2 * limits::reply_kept);
    ASSERT_EQ(w.server->usage().replies, 0U);
    Message again(w, request, 30);
    again.deliver(0);
    again.deliver(1);
    EXPECT_EQ(std::get<wire::RecordError>(again.hands[1].heard().back()).fault, AskFault::refused);
    EXPECT_EQ(w.server->stats().replays, 2U);
    EXPECT_EQ(w.opened.size(), 1U);
}

TEST(Server, RecordedStreamsOpenNothingAtARestartedNode) {
    PromptWorld w(16);
    w.ask("hello");
    ASSERT_TRUE(w.run_until([&] { return !w.opened.empty(); }, 10s));
    w.asker.reset();
    w.advance(w.now.mono + 1s);
    const auto play = [&](std::uint64_t base) {
        for (const auto& [lane, road] : w.roads) {
            Hand hand(w, base + lane.value(), 1);  // a stream of its own, then the recorded bytes over it
            hand.cell(wire::CellCommand::stream_end, wire::encode(wire::StreamEndReason::done));
            hand.cell(wire::CellCommand::stream_open, road.forward[0]);
            for (std::size_t i = 1; i < road.forward.size(); ++i) {
                hand.cell(wire::CellCommand::stream_data, road.forward[i]);
            }
        }
    };
    // The same server: the message is known, and its streams only join what their reader cannot open.
    play(100);
    w.pump();
    EXPECT_EQ(w.opened.size(), 1U);
    w.restart();
    play(200);
    w.pump();
    EXPECT_EQ(w.opened.size(), 1U);
    EXPECT_EQ(w.server->stats().requests, 0U);
    EXPECT_GE(w.server->stats().refused, 1U);
}

// A client may have been trying while the node was down, and its clock may be behind.
TEST(Server, WhoAskedJustBeforeTheStartIsToldToAskAgain) {
    PromptWorld w(18);
    w.advance(w.now.mono + 1h);
    w.restart();
    std::uint64_t link = 10;
    const auto answer = [&](std::chrono::seconds ago) {
        wire::Request request = w.request("hello");
        request.expires = w.now.wall - ago + std::chrono::duration_cast<std::chrono::seconds>(limits::request_expiry);
        Message message(w, request, link += 10);
        message.deliver(0);
        message.deliver(1);
        const auto heard = message.hands[1].heard();
        const auto* error = std::get_if<wire::RecordError>(&heard.back());
        return error == nullptr ? std::nullopt : std::optional(error->fault);
    };
    const auto skew = std::chrono::duration_cast<std::chrono::seconds>(limits::clock_skew);
    EXPECT_EQ(answer(1s), AskFault::overloaded);
    EXPECT_EQ(answer(skew), AskFault::overloaded);
    EXPECT_EQ(answer(skew + 1s), AskFault::refused);
    EXPECT_EQ(w.opened.size(), 0U);
    EXPECT_EQ(answer(0s), std::nullopt);
    EXPECT_EQ(w.opened.size(), 1U);
}

TEST(Server, TheEndOfAReplyWaitsForNoClock) {
    PromptWorld w(19);
    Message message(w, w.request("hello"), 20);
    message.deliver(0);
    message.deliver(1);
    (void)message.hands[0].heard();
    ASSERT_EQ(w.opened.size(), 1U);
    const auto replies = [&] {
        const auto heard = message.hands[0].heard();
        return std::count_if(heard.begin(), heard.end(),
                             [](const wire::Record& r) { return std::holds_alternative<wire::Reply>(r); });
    };
    const Handle handle = w.opened[0].handle;
    ASSERT_TRUE(w.server->reply(w.now, handle, ChatDelta{Plaintext(std::string("a"))}));
    EXPECT_EQ(replies(), 1);
    ASSERT_TRUE(w.server->reply(w.now, handle, ChatDelta{Plaintext(std::string("b"))}));
    EXPECT_EQ(replies(), 0) << "the next piece waits for limits::reply_flush";
    ASSERT_TRUE(w.server->reply(w.now, handle, ChatEnd{}));
    EXPECT_EQ(replies(), 1);
}

TEST(Server, WhatIsExpiredOrFromTheFutureIsRefused) {
    PromptWorld w(17);
    w.advance(w.now.mono + 1h);
    std::uint64_t link = 10;
    const auto opens = [&](std::chrono::seconds expires_in) {
        wire::Request request = w.request("hello");
        request.expires = w.now.wall + expires_in;
        Message message(w, request, link += 10);
        message.deliver(0);
        message.deliver(1);
        const std::size_t before = w.opened.size();
        (void)message.hands[0].heard();
        return w.opened.size() > before;
    };
    const auto expiry = std::chrono::duration_cast<std::chrono::seconds>(limits::request_expiry);
    const auto skew = std::chrono::duration_cast<std::chrono::seconds>(limits::clock_skew);
    EXPECT_FALSE(opens(0s));
    EXPECT_FALSE(opens(-1h));
    EXPECT_TRUE(opens(1s));
    EXPECT_TRUE(opens(expiry + skew));
    EXPECT_FALSE(opens(expiry + skew + 1s));
    EXPECT_FALSE(opens(24h * 365 * 300));
}

TEST(Server, ACloveThatContradictsTheOthersEndsItsStream) {
    PromptWorld w(27);
    Message message(w, w.request("hello"), 10);
    message.deliver(0);
    auto first = std::get<wire::CloveFirst>(*wire::decode_record(message.cloves.records[1][0]));
    first.k = 3;
    first.ciphertext_bytes = static_cast<std::uint32_t>(3 * wire::clove_bytes(first.total));
    message.hands[1].record(first);
    EXPECT_TRUE(message.hands[1].heard().empty());
    EXPECT_EQ(message.hands[1].ended, wire::StreamEndReason::protocol);
    message.deliver(2);
    (void)message.hands[2].heard();
    EXPECT_EQ(w.opened.size(), 1U) << "the others give the message";
}

TEST(Server, ACancelOfAnotherRequestEndsItsStreamAndStopsNothing) {
    PromptWorld w(28);
    Message message(w, w.request("hello"), 10);
    message.deliver(0);
    message.deliver(1);
    (void)message.hands[0].heard();
    message.hands[0].record(wire::Cancel{w.rng.id<RequestId>()});
    (void)message.hands[0].heard();
    EXPECT_EQ(message.hands[0].ended, wire::StreamEndReason::protocol);
    EXPECT_TRUE(w.server->reply(w.now, w.opened.at(0).handle, ChatDelta{Plaintext("it goes on")}));
}

TEST(Server, ACellThatDoesNotOpenEndsItsStreamAlone) {
    PromptWorld w(18);
    const wire::Request request = w.request("hello");
    Message message(w, request, 10);
    ByteArray<limits::sealed_record_bytes> bent = message.hands[0].sealer->seal(message.cloves.records[0][0]);
    bent[1000] ^= 1;
    message.hands[0].cell(wire::CellCommand::stream_data, bent);
    (void)message.hands[0].heard();
    EXPECT_EQ(message.hands[0].ended, wire::StreamEndReason::protocol);
    EXPECT_EQ(w.server->stats().bad_seals, 1U);
    message.deliver(1);
    message.deliver(2);
    (void)message.hands[1].heard();
    EXPECT_EQ(w.opened.size(), 1U);
}

TEST(Server, RecordsThatOnlyANodeSendsEndTheStream) {
    PromptWorld w(19);
    std::uint32_t id = 0;
    for (const wire::Record& record :
         {wire::Record(wire::Got{1}), wire::Record(wire::Accepted{}), wire::Record(wire::Reply{0, false, Bytes(32)}),
          wire::Record(wire::RecordError{AskFault::refused, "no"})}) {
        Hand hand(w, 1, ++id);
        hand.record(record);
        (void)hand.heard();
        EXPECT_EQ(hand.ended, wire::StreamEndReason::protocol);
    }
    EXPECT_EQ(w.server->stats().bad_records, 4U);
    Hand twice(w, 1, ++id);
    const Cloves cloves = *make_cloves(w.request(std::string(5000, 'x')), 2, 4, w.rng);
    twice.bytes(cloves.records[0][0]);
    twice.bytes(cloves.records[0][0]);
    (void)twice.heard();
    EXPECT_EQ(twice.ended, wire::StreamEndReason::protocol);
}

TEST(Server, ACorruptedFragmentIsPassedOverWhenOneMoreArrives) {
    PromptWorld w(20);
    const wire::Request request = w.request("hello");
    Message message(w, request, 10);
    auto wrong = std::get<wire::CloveFirst>(*wire::decode_record(message.cloves.records[0][0]));
    wrong.fragment[5] ^= 0x40;
    message.hands[0].record(wrong);
    message.deliver(1);
    EXPECT_EQ(message.hands[1].heard().size(), 1U);  // GOT, and no ACCEPTED
    EXPECT_TRUE(w.opened.empty());
    message.deliver(2);
    (void)message.hands[2].heard();
    ASSERT_EQ(w.opened.size(), 1U);
    EXPECT_EQ(w.opened[0].request.body.expose(), "hello");
}

TEST(Server, TooFewClovesAreGivenUpInTime) {
    PromptWorld w(21);
    Message message(w, w.request("hello"), 10);
    message.deliver(0);
    (void)message.hands[0].heard();
    w.advance(w.now.mono + limits::clove_gather_timeout);
    w.server->on_tick(w.now);
    const auto said = message.hands[0].heard();
    ASSERT_EQ(said.size(), 1U);
    EXPECT_EQ(std::get<wire::RecordError>(said[0]).fault, AskFault::timeout);
    EXPECT_EQ(w.server->usage().gathering, 0U);
    EXPECT_EQ(w.server->usage().gathering_bytes, 0U);
}

}  // namespace
}  // namespace shoal::prompt
