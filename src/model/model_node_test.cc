#include "model/model_node.h"

#include <gtest/gtest.h>

#include "crypto/rng.h"
#include "engine/fake.h"
#include "prompt/asker.h"
#include "wire/chat.h"

namespace shoal::model {
namespace {

const ModelId fake_model(ByteArray<32>{0xfa, 0x4e});

// Askers whose lanes end at the model node, without anything between.
class ModelNodeTest : public ::testing::Test {
protected:
    struct Question {
        std::unique_ptr<prompt::Asker> asker;
        std::string answer;
        std::optional<ChatEnd> end;
        std::optional<prompt::Over> over;
    };

    ModelNodeTest() { start({}); }

    void start(engine::FakeOptions options) {
        engine_ = std::make_unique<engine::FakeEngine>(std::move(options));
        node_ = std::make_unique<ModelNode>(prompt::ServerConfig{self_, network_, now_.wall});
        node_->server().set_hpke_keys(hpke_, nullptr);
        node_->add_engine(*engine_, "fake");
        node_->on_tick(now_);
    }

    static ChatRequest chat(const std::string& text) {
        ChatRequest request;
        request.messages.push_back({Role::user, Plaintext(text)});
        return request;
    }
    Question& ask(const std::string& text) {
        return ask_raw(std::string(as_text(*wire::encode_chat_request(chat(text)))));
    }
    Question& ask_raw(std::string body, ModelId model = fake_model, bool unpaid = true) {
        wire::Request request;
        request.unpaid = unpaid;
        request.id = rng_.id<RequestId>();
        request.expires = now_.wall + std::chrono::duration_cast<std::chrono::seconds>(limits::request_expiry);
        request.model = model;
        request.reply_key = Key32(rng_.array<32>());
        request.body = Plaintext(std::move(body));
        prompt::AskerConfig config;
        config.network = network_;
        config.node = self_;
        config.hpke_key = hpke_.public_key;
        questions_.push_back(std::make_unique<Question>());
        Question& question = *questions_.back();
        question.asker = std::make_unique<prompt::Asker>(*prompt::Asker::start(now_, config, std::move(request), rng_));
        pump();
        return question;
    }
    void to_node(std::size_t question, prompt::LaneId lane, wire::CellCommand command, ByteView payload) {
        node_->on_cell(now_, LinkId(question + 1), wire::make_cell(command, lane.value(), payload, rng_));
    }
    void pump() {
        bool any = true;
        while (any) {
            any = false;
            for (std::size_t i = 0; i < questions_.size(); ++i) any = pump_asker(i) || any;
            while (auto cell = node_->poll()) {
                any = true;
                const std::size_t i = cell->link.value() - 1;
                const prompt::LaneId lane(cell->id.value());
                if (cell->command == wire::CellCommand::stream_end) {
                    questions_[i]->asker->on_lane_end(now_, lane, *wire::decode_stream_end(cell->payload));
                } else {
                    questions_[i]->asker->on_lane_data(now_, lane,
                                                       first_bytes<limits::sealed_record_bytes>(cell->payload));
                    to_node(i, lane, wire::CellCommand::stream_sendme, wire::encode(wire::StreamSendme{1}));
                }
            }
        }
    }
    bool pump_asker(std::size_t i) {
        Question& question = *questions_[i];
        bool any = false;
        while (auto output = question.asker->poll()) {
            any = true;
            if (const auto* wanted = std::get_if<prompt::LaneWanted>(&*output)) {
                to_node(i, wanted->lane, wire::CellCommand::stream_open, wire::encode(wanted->connect.open));
                question.asker->on_lane_open(now_, wanted->lane);
            } else if (const auto* send = std::get_if<prompt::LaneSend>(&*output)) {
                to_node(i, send->lane, wire::CellCommand::stream_data, send->sealed);
            } else if (const auto* ended = std::get_if<prompt::LaneEnd>(&*output)) {
                to_node(i, ended->lane, wire::CellCommand::stream_end, wire::encode(wire::StreamEndReason::done));
            } else if (const auto* delta = std::get_if<ChatDelta>(&*output)) {
                question.answer += delta->text.expose();
            } else if (const auto* end = std::get_if<ChatEnd>(&*output)) {
                question.end = *end;
            } else {
                question.over = std::get<prompt::Over>(std::move(*output));
            }
        }
        return any;
    }
    // Only what the node itself asks for wakes it: a missed deadline shows as a question that never ends.
    void run(Duration time) {
        const Instant end = now_.mono + time;
        while (node_->next_deadline() <= end) {
            now_.mono = std::max(now_.mono, node_->next_deadline());
            node_->on_tick(now_);
            pump();
        }
        now_.wall += std::chrono::duration_cast<std::chrono::seconds>(time);
        now_.mono = end;
    }

    crypto::SeededRng rng_{1};
    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    NetworkId network_{ByteArray<32>{7}};
    NodeId self_{ByteArray<32>{9}};
    crypto::KeyPair hpke_ = crypto::KeyPair::generate(rng_);
    std::unique_ptr<engine::FakeEngine> engine_;
    std::unique_ptr<ModelNode> node_;
    std::vector<std::unique_ptr<Question>> questions_;
};

TEST_F(ModelNodeTest, AQuestionIsAnsweredByTheEngine) {
    Question& q = ask("hello");
    run(5s);
    ASSERT_TRUE(q.end);
    EXPECT_EQ(q.answer, "echo: hello");
    EXPECT_EQ(q.end->reason, FinishReason::stop);
    EXPECT_GT(q.end->usage.prompt.value(), 0U);
    EXPECT_EQ(node_->stats().finished, 1U);
    EXPECT_EQ(node_->stats().completion_tokens, q.end->usage.completion.value());
    ASSERT_EQ(node_->offered().size(), 1U);
    EXPECT_EQ(node_->offered()[0].model, fake_model);
    run(2min);
    EXPECT_FALSE(node_->uses_link(LinkId(1)));
}

TEST_F(ModelNodeTest, ALongTextIsCutIntoFramesAtWholeCharacters) {
    engine::FakeOptions options;
    std::string said;
    while (said.size() < 3 * wire::reply_frame_text_bytes_max)
        said +=
            "\xe2\x82\xac"
            "a";
    options.reply = [&](const ChatRequest&) { return said; };
    options.context_tokens = 1 << 20;
    options.decode_per_second = 1e6;
    start(options);
    Question& q = ask("hello");
    run(60s);
    ASSERT_TRUE(q.end);
    EXPECT_TRUE(q.answer == said);
}

TEST_F(ModelNodeTest, WhatCannotBeServedIsRefusedWithItsReason) {
    const auto fault = [&](Question& q) {
        run(2s);
        return q.over && q.over->fault ? q.over->fault->fault : AskFault::timeout;
    };
    EXPECT_EQ(fault(ask_raw("{}", ModelId(ByteArray<32>{1}))), AskFault::model_unknown);
    EXPECT_EQ(fault(ask_raw("no chat request")), AskFault::bad_request);
    Question& paid = ask_raw("x", fake_model, false);
    EXPECT_EQ(fault(paid), AskFault::refused);
    EXPECT_TRUE(paid.over->moveable);
    Question& q = ask(std::string(20'000, 'x'));
    EXPECT_EQ(fault(q), AskFault::context_exceeded);
    EXPECT_FALSE(q.over->moveable);
    EXPECT_EQ(node_->stats().refused, 3U);
}

TEST_F(ModelNodeTest, AFaultThatTheEngineHasAtOnceNeedsNoTimer) {
    Question& q = ask(std::string(20'000, 'x'));
    // Nothing is running: only the window of a reply record is still to pass.
    run(50ms);
    ASSERT_TRUE(q.over);
    EXPECT_EQ(q.over->fault->fault, AskFault::context_exceeded);
}

TEST_F(ModelNodeTest, CancelFreesTheSlotAtOnceAndTheNextOneRuns) {
    engine::FakeOptions options;
    options.sequences = 1;
    options.reply = [](const ChatRequest& r) {
        return r.messages.back().content.expose() == "long" ? std::string(4000, 'x') : std::string("short");
    };
    start(options);
    Question& first = ask("long");
    run(1s);
    Question& second = ask("next");
    run(1s);
    EXPECT_EQ(engine_->running(), 1U);
    EXPECT_TRUE(second.answer.empty());
    first.asker->cancel(now_);
    pump();
    EXPECT_EQ(node_->stats().cancelled, 1U);
    EXPECT_EQ(engine_->running(), 1U) << "the one that waited, and without any tick";
    run(2s);
    EXPECT_EQ(second.answer, "short");
    EXPECT_EQ(engine_->running(), 0U);
}

TEST_F(ModelNodeTest, AWaitingRequestThatIsCancelledIsNeverRun) {
    engine::FakeOptions options;
    options.sequences = 1;
    options.reply = [](const ChatRequest&) { return std::string(1000, 'x'); };
    start(options);
    ask("first");
    Question& second = ask("second");
    run(1s);
    second.asker->cancel(now_);
    pump();
    run(30s);
    EXPECT_EQ(node_->stats().finished, 1U);
    EXPECT_EQ(node_->stats().cancelled, 1U);
    EXPECT_EQ(engine_->running() + engine_->queued(), 0U);
}

TEST_F(ModelNodeTest, WhoIsGoneFreesTheSlotAfterAMoment) {
    engine::FakeOptions options;
    options.reply = [](const ChatRequest&) { return std::string(8000, 'x'); };
    start(options);
    ask("hello");
    run(1s);
    node_->on_link_down(now_, LinkId(1));
    run(limits::orphan_decode - 500ms);
    EXPECT_EQ(engine_->running(), 1U);
    run(1s);
    EXPECT_EQ(engine_->running(), 0U);
    EXPECT_EQ(node_->stats().cancelled, 1U);
}

TEST_F(ModelNodeTest, AFullQueueAnswersOverload) {
    engine::FakeOptions options;
    options.sequences = 1;
    options.reply = [](const ChatRequest&) { return std::string(100'000, 'x'); };
    options.context_tokens = 1 << 20;
    start(options);
    for (std::size_t i = 0; i < 1 + limits::sched_queue_max; ++i) ask("hello");
    run(100ms);
    Question& more = ask("one too many");
    run(100ms);
    ASSERT_TRUE(more.over);
    EXPECT_EQ(more.over->fault->fault, AskFault::overloaded);
    EXPECT_TRUE(more.over->moveable);
    // And who waits too long is told so.
    run(limits::sched_wait_max);
    ASSERT_TRUE(questions_[5]->over);
    EXPECT_EQ(questions_[5]->over->fault->fault, AskFault::overloaded);
}

TEST_F(ModelNodeTest, WhenTheEngineDiesItsRequestsEndAndThoseThatWaitToo) {
    engine::FakeOptions options;
    options.sequences = 1;
    options.reply = [](const ChatRequest&) { return std::string(1000, 'x'); };
    start(options);
    Question& running = ask("first");
    run(1s);
    Question& waiting = ask("second");
    run(100ms);
    engine_->die(now_, "killed");
    node_->on_engine(now_);
    pump();
    run(100ms);
    ASSERT_TRUE(running.over && waiting.over);
    EXPECT_EQ(running.over->fault->fault, AskFault::engine_failed);
    EXPECT_FALSE(running.over->moveable);
    EXPECT_EQ(waiting.over->fault->fault, AskFault::engine_failed);
    EXPECT_TRUE(waiting.over->moveable);
    Question& early = ask("too early");
    run(50ms);
    EXPECT_TRUE(early.over && early.over->moveable);
    run(5s);
    Question& after = ask("third");
    run(30s);
    EXPECT_TRUE(after.end) << "it came back";
}

// After a restart the directory may still name the node: its clients must go elsewhere, not hear of an unknown model.
TEST_F(ModelNodeTest, WhileItsFirstModelLoadsTheNodeSaysSoAndTheQuestionMayMove) {
    engine::FakeOptions options;
    options.load_time = 5s;
    start(options);
    Question& early = ask("too early");
    run(1s);
    ASSERT_TRUE(early.over && early.over->fault);
    EXPECT_EQ(early.over->fault->fault, AskFault::engine_failed);
    EXPECT_TRUE(early.over->moveable);
    run(10s);
    Question& after = ask("loaded");
    run(30s);
    EXPECT_TRUE(after.end);
}

TEST_F(ModelNodeTest, AnEngineDeadForGoodIsNotOfferedAndSaysWhy) {
    engine_->die(now_, "bad file", true);
    node_->on_engine(now_);
    EXPECT_TRUE(node_->offered().empty());
    ASSERT_TRUE(node_->failed_engine());
    EXPECT_EQ(*node_->failed_engine(), "fake: bad file");
}

}  // namespace
}  // namespace shoal::model
