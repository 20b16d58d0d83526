#include "model/own_model.h"

#include <gtest/gtest.h>

#include "engine/fake.h"

namespace shoal::model {
namespace {

const ModelId fake_model(ByteArray<32>{0xfa, 0x4e});

class OwnModelTest : public ::testing::Test {
protected:
    OwnModelTest() { start({}); }

    void start(engine::FakeOptions options) {
        engine_ = std::make_unique<engine::FakeEngine>(std::move(options));
        own_ = std::make_unique<OwnModel>(*engine_, "mine");
        pass(Duration::zero());
    }
    std::variant<JobId, ChatFault> try_ask(const std::string& text, ModelId model = fake_model) {
        ChatRequest request;
        request.messages.push_back({Role::user, Plaintext(text)});
        return own_->ask(now_, model, std::move(request), {});
    }
    JobId ask(const std::string& text) {
        const auto taken = try_ask(text);
        EXPECT_TRUE(std::holds_alternative<JobId>(taken));
        return std::holds_alternative<JobId>(taken) ? std::get<JobId>(taken) : JobId(0);
    }
    AskFault refusal(const std::string& text, ModelId model = fake_model) {
        const auto taken = try_ask(text, model);
        EXPECT_TRUE(std::holds_alternative<ChatFault>(taken));
        return std::holds_alternative<ChatFault>(taken) ? std::get<ChatFault>(taken).fault : AskFault::timeout;
    }
    void pass(Duration time) {
        const Instant until = now_.mono + time;
        do {
            now_.mono = std::min(until, std::max(now_.mono, own_->next_deadline()));
            own_->on_tick(now_);
            while (auto output = own_->poll()) take(std::move(*output));
        } while (now_.mono < until);
    }
    void take(OwnModel::Output output) {
        if (auto* delta = std::get_if<OwnModel::Delta>(&output)) {
            texts_[delta->question] += delta->delta.text.expose();
        } else if (const auto* end = std::get_if<OwnModel::End>(&output)) {
            EXPECT_TRUE(ends_.emplace(end->question, end->end).second);
        } else {
            const auto& fault = std::get<OwnModel::Fault>(output);
            EXPECT_TRUE(faults_.emplace(fault.question, fault.fault).second);
        }
    }

    Now now_;
    std::unique_ptr<engine::FakeEngine> engine_;
    std::unique_ptr<OwnModel> own_;
    std::map<JobId, std::string> texts_;
    std::map<JobId, ChatEnd> ends_;
    std::map<JobId, ChatFault> faults_;
};

TEST_F(OwnModelTest, AQuestionIsAnsweredByTheEngineOfThisNode) {
    const JobId one = ask("hello"), two = ask("and you");
    pass(60s);
    EXPECT_EQ(texts_[one], "echo: hello");
    EXPECT_EQ(texts_[two], "echo: and you");
    ASSERT_TRUE(ends_.contains(one) && ends_.contains(two));
    EXPECT_EQ(ends_[one].reason, FinishReason::stop);
    EXPECT_GT(ends_[one].usage.completion.value(), 0U);
    EXPECT_TRUE(faults_.empty());
}

TEST_F(OwnModelTest, AnotherModelIsNotAsked) {
    EXPECT_EQ(refusal("hello", ModelId(ByteArray<32>{9})), AskFault::model_unknown);
}

TEST_F(OwnModelTest, BeforeTheEngineIsReadyNothingIsTaken) {
    start({.load_time = 10s, .reply = {}});
    EXPECT_FALSE(own_->ready());
    EXPECT_FALSE(own_->failed());
    EXPECT_NE(own_->why_not(), "");
    EXPECT_EQ(refusal("hello"), AskFault::engine_failed);
    pass(11s);
    EXPECT_TRUE(own_->ready());
    EXPECT_EQ(own_->why_not(), "");
    ask("hello");
}

TEST_F(OwnModelTest, WhatFindsNoSlotWaitsAndIsAnsweredToo) {
    start({.sequences = 1, .reply = {}});
    const JobId one = ask("first"), two = ask("second");
    pass(60s);
    EXPECT_EQ(texts_[one], "echo: first");
    EXPECT_EQ(texts_[two], "echo: second");
}

TEST_F(OwnModelTest, TheQueueIsBounded) {
    start({.sequences = 1, .decode_per_second = 0.01, .reply = {}});
    for (std::size_t i = 0; i <= limits::sched_queue_max; ++i) ask("wait");
    EXPECT_EQ(refusal("one more"), AskFault::overloaded);
    pass(limits::sched_wait_max + 1s);
    EXPECT_EQ(faults_.size(), limits::sched_queue_max);
    EXPECT_EQ(faults_.begin()->second.fault, AskFault::overloaded);
}

TEST_F(OwnModelTest, AnEngineThatDiesEndsWhatRunsAndWhatWaits) {
    start({.sequences = 1, .reply = {}});
    const JobId one = ask("first"), two = ask("second");
    pass(Duration::zero());
    engine_->die(now_, "hop 2 was lost");
    own_->on_engine(now_);
    pass(Duration::zero());
    ASSERT_TRUE(faults_.contains(one) && faults_.contains(two));
    EXPECT_EQ(faults_[one].fault, AskFault::engine_failed);
    EXPECT_EQ(faults_[two].message, "hop 2 was lost");
    EXPECT_TRUE(own_->failed());
    EXPECT_EQ(own_->why_not(), "hop 2 was lost");
    pass(60s);
    EXPECT_TRUE(own_->ready());
    const JobId three = ask("third");
    pass(60s);
    EXPECT_EQ(texts_[three], "echo: third");
}

TEST_F(OwnModelTest, WhatIsCancelledSaysNothingMoreAndFreesItsSlot) {
    start({.sequences = 1, .reply = {}});
    const JobId runs = ask("first"), waits = ask("second"), last = ask("third");
    pass(Duration::zero());
    own_->cancel(now_, runs);
    own_->cancel(now_, waits);
    own_->cancel(now_, JobId(999));
    const std::string before = texts_[runs];
    pass(60s);
    EXPECT_EQ(texts_[runs], before);
    EXPECT_FALSE(ends_.contains(runs) || faults_.contains(runs) || ends_.contains(waits) || faults_.contains(waits));
    EXPECT_EQ(texts_[last], "echo: third");
}

// A worker that talks without end, whatever the batcher of a sound one allows.
struct EndlessEngine final : engine::Engine {
    engine::ModelInfo info{fake_model, "fake", "endless", 1, 0, 4096, 1};
    std::deque<engine::Event> events{engine::Ready{info}};
    std::vector<JobId> cancelled;

    void submit(Now, engine::Job job) override {
        for (int i = 0; i < 3; ++i) {
            events.emplace_back(engine::Text{job.id, Plaintext(std::string(limits::reply_bytes_max / 2, 'x')), {}});
        }
    }
    void cancel(Now, JobId job) override {
        cancelled.push_back(job);
        events.emplace_back(engine::Failed{job, AskFault::cancelled, "cancelled", {}});
    }
    void on_tick(Now) override {}
    std::optional<Instant> next_deadline() const override { return std::nullopt; }
    std::optional<engine::Event> poll() override {
        if (events.empty()) return std::nullopt;
        engine::Event event = std::move(events.front());
        events.pop_front();
        return event;
    }
    engine::Health health() const override { return engine::Health::ready; }
    const engine::ModelInfo* model() const override { return &info; }
};

TEST_F(OwnModelTest, AnAnswerWithoutAnEndIsCutOff) {
    EndlessEngine endless;
    own_ = std::make_unique<OwnModel>(endless, "mine");
    pass(Duration::zero());
    const JobId one = ask("hello");
    pass(Duration::zero());
    EXPECT_EQ(texts_[one].size(), limits::reply_bytes_max);
    ASSERT_TRUE(faults_.contains(one));
    EXPECT_EQ(faults_[one].fault, AskFault::engine_failed);
    EXPECT_EQ(endless.cancelled, std::vector<JobId>{one});
    own_.reset();
}

}  // namespace
}  // namespace shoal::model
