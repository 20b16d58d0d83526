// A lead over ends that do as they are told; the test plays the hops.
#include "pipeline/lead.h"

#include <gtest/gtest.h>

#include <set>

#include "base/test_rng.h"

namespace shoal::pipeline {

using engine::Down;
using engine::Failed;
using engine::Forward;
using engine::Health;
using engine::Ready;
using engine::Truncate;

namespace {

constexpr std::uint32_t width = 32;
constexpr std::uint16_t layers = 12;
constexpr std::size_t row_bytes = 64;  // f16
constexpr std::uint32_t context = 128;
constexpr std::uint16_t sequences = 2;

NodeId node(std::uint8_t number) {
    return NodeId(ByteArray<32>{number, 0x0D});
}
const NodeId self = node(200);

struct ScriptedEnds final : engine::LeadEngine {
    Health health_ = Health::starting;
    std::optional<engine::ModelInfo> model_;
    std::optional<engine::LeadShape> shape_;
    std::deque<engine::Event> events;
    std::deque<Work> work;
    std::vector<engine::Job> submitted;
    std::vector<JobId> cancelled;
    std::vector<Bytes> back, reads;
    std::vector<std::string> breaks, ends_for_good;
    std::uint16_t layers_ = layers;
    std::size_t fills = 0;
    std::optional<wire::KvShape> held;

    void submit(Now, engine::Job job) override { submitted.push_back(std::move(job)); }
    void cancel(Now, JobId job) override { cancelled.push_back(job); }
    void on_tick(Now) override {}
    std::optional<Instant> next_deadline() const override { return std::nullopt; }
    std::optional<engine::Event> poll() override { return next_of(events); }
    Health health() const override { return health_; }
    const engine::ModelInfo* model() const override { return model_ ? &*model_ : nullptr; }
    const engine::LeadShape* shape() const override { return shape_ ? &*shape_ : nullptr; }
    std::optional<Work> next_work() override { return next_of(work); }
    void returned(Now, Bytes tensor) override { back.push_back(std::move(tensor)); }
    void filled(Now) override { ++fills; }
    void given(Now, Bytes bytes) override { reads.push_back(std::move(bytes)); }
    void holds(Now, const std::optional<wire::KvShape>& kv) override { held = kv; }
    void broken(Now, const std::string& why, engine::BrokenFor how_long) override {
        (how_long == engine::BrokenFor::good ? ends_for_good : breaks).push_back(why);
        work.clear();
    }

    void load() {
        model_ = engine::ModelInfo{ModelId(ByteArray<32>{7}), "llama", "scripted", 1, 1, context, sequences};
        shape_ = engine::LeadShape{wire::ActivationType::f16, width, layers_, context, sequences};
        health_ = Health::ready;
        events.emplace_back(Ready{*model_});
    }
    void die() {
        health_ = Health::down;
        work.clear();
        events.emplace_back(Down{"killed by signal 9", false});
    }
    void forward(std::uint16_t sequence, std::uint32_t position, std::uint16_t rows) {
        work.emplace_back(Forward{{{{sequence, position, rows}}, Bytes(rows * row_bytes)}});
    }

private:
    template <typename T>
    static std::optional<T> next_of(std::deque<T>& from) {
        if (from.empty()) return std::nullopt;
        T next = std::move(from.front());
        from.pop_front();
        return next;
    }
};

engine::Job job_of(std::uint64_t id) {
    engine::Job job;
    job.id = JobId(id);
    return job;
}

class LeadTest : public ::testing::Test {
protected:
    struct Channel {
        NodeId node;
        std::vector<wire::StageMessage> said;  // by the lead
        bool closed = false;
    };

    void start(std::size_t standbys = 0) {
        LeadConfig config;
        config.self = self;
        config.hops = hops_;
        ends_.layers_ = hops_.back().layers.end;
        for (std::size_t i = 0; i < standbys; ++i) config.standbys.push_back({node(102), {6, 12}});
        lead_ =
            std::make_unique<Lead>(config, ends_, rng_, [this](const std::string& line) { report_.push_back(line); });
    }
    void settle() {
        while (auto event = lead_->poll()) events_.push_back(std::move(*event));
        while (auto output = lead_->poll_channels()) handle(std::move(*output));
    }
    void handle(ChannelOutput output) {
        if (auto* send = std::get_if<SendMessage>(&output)) {
            channels_.at(send->channel).said.push_back(std::move(send->message));
        } else if (const auto* has = std::get_if<HasData>(&output)) {
            while (auto message = lead_->next_data(has->channel)) {
                channels_.at(has->channel).said.push_back(std::move(*message));
            }
        } else if (const auto* connect = std::get_if<Connect>(&output)) {
            dials_.push_back(*connect);
        } else if (const auto* close = std::get_if<CloseChannel>(&output)) {
            channels_.at(close->channel).closed = true;
        }
    }
    void on_ends() {
        lead_->on_ends(now_);
        settle();
    }
    void tick(Duration time = Duration::zero()) {
        now_.mono += time;
        lead_->on_tick(now_);
        settle();
    }
    // The channels of all that was dialled, in that order.
    std::vector<ChannelId> answer_dials() {
        std::vector<ChannelId> out;
        for (const Connect& dial : std::exchange(dials_, {})) {
            out.push_back(new_channel(dial.node));
            lead_->on_connected(now_, dial.token, out.back());
            settle();
        }
        return out;
    }
    ChannelId new_channel(const NodeId& with) {
        const ChannelId channel(next_channel_++);
        channels_[channel].node = with;
        return channel;
    }
    void says(ChannelId channel, wire::StageMessage message) {
        lead_->on_message(now_, channel, channels_.at(channel).node, std::move(message));
        settle();
    }
    // Until all hops say OPENED and the rows' way is there and back.
    void open_session() {
        controls_ = answer_dials();
        for (const ChannelId control : controls_) {
            const auto& of = std::get<wire::StageOpen>(channels_.at(control).said.at(0)).layers;
            const wire::KvRows half{wire::KvRowType::f16, 4};
            says(control, wire::StageOpened{wire::KvShape{{of.end - std::size_t{of.first}, {half, half}}, 0, 0}});
        }
        const auto first = answer_dials();
        ASSERT_EQ(first.size(), 1U);
        rows_ = first[0];
        says(rows_, wire::StageJoined{});
        const auto& open = std::get<wire::StageOpen>(channels_.at(controls_[0]).said.at(0));
        results_ = new_channel(node(2));
        const wire::StageMessage join = wire::StageJoin{open.session, 3};
        ASSERT_TRUE(lead_->takes(node(2), join));
        says(results_, join);
    }
    void start_and_open() {
        start();
        ends_.load();
        on_ends();
        open_session();
        ASSERT_EQ(lead_->health(), Health::ready);
    }
    void close(ChannelId channel) {
        channels_.at(channel).closed = true;
        lead_->on_closed(now_, channel);
        settle();
    }
    template <typename Kind>
    std::vector<const Kind*> all() const {
        std::vector<const Kind*> out;
        for (const engine::Event& event : events_) {
            if (const auto* one = std::get_if<Kind>(&event)) out.push_back(one);
        }
        return out;
    }
    template <typename Kind>
    std::vector<const Kind*> said(ChannelId channel) const {
        std::vector<const Kind*> out;
        for (const wire::StageMessage& message : channels_.at(channel).said) {
            if (const auto* one = std::get_if<Kind>(&message)) out.push_back(one);
        }
        return out;
    }
    bool all_closed() const {
        return std::all_of(channels_.begin(), channels_.end(), [](const auto& each) { return each.second.closed; });
    }

    Now now_{Instant(1h), UnixTime(std::chrono::seconds(1'800'000'000))};
    TestRng rng_{3};
    std::vector<StageNode> hops_{{node(1), {0, 6}}, {node(2), {6, 12}}};
    ScriptedEnds ends_;
    std::unique_ptr<Lead> lead_;
    std::vector<engine::Event> events_;
    std::vector<std::string> report_;
    std::vector<Connect> dials_;
    std::map<ChannelId, Channel> channels_;
    std::uint64_t next_channel_ = 1;
    std::vector<ChannelId> controls_;
    ChannelId rows_;
    ChannelId results_;
};

TEST_F(LeadTest, IsReadyWhenTheEndsAndAllHopsAre) {
    start();
    tick();
    EXPECT_EQ(lead_->health(), Health::starting);
    EXPECT_TRUE(dials_.empty()) << "the ends say what a session must be";
    ends_.load();
    on_ends();
    EXPECT_EQ(lead_->health(), Health::starting);
    ASSERT_EQ(dials_.size(), 2U);
    const auto controls = answer_dials();
    ASSERT_EQ(said<wire::StageOpen>(controls[1]).size(), 1U);
    const wire::StageOpen& open = *said<wire::StageOpen>(controls[1])[0];
    EXPECT_EQ(open.model, ends_.model_->id);
    EXPECT_EQ(open.layers, (wire::LayerRange{6, 12}));
    EXPECT_EQ(open.width, width);
    EXPECT_EQ(open.context, context);
    EXPECT_EQ(open.sequences, sequences);
    EXPECT_EQ(open.next, self);
    says(controls[0], wire::StageOpened{});
    EXPECT_EQ(lead_->health(), Health::starting);
    EXPECT_EQ(lead_->model(), nullptr);
    EXPECT_TRUE(events_.empty());
    says(controls[1], wire::StageOpened{});
    EXPECT_EQ(lead_->health(), Health::ready);
    ASSERT_NE(lead_->model(), nullptr);
    ASSERT_EQ(all<Ready>().size(), 1U);
    EXPECT_EQ(all<Ready>()[0]->model.id, ends_.model_->id);
    EXPECT_TRUE(ends_.breaks.empty());
}

// The ends have the layers before and behind: nothing here asks whose they are.
TEST_F(LeadTest, HopsMayHaveTheMiddleOnly) {
    hops_ = {{node(1), {2, 5}}, {node(2), {5, 10}}};
    start_and_open();
    ASSERT_FALSE(HasFatalFailure());
    for (std::size_t i = 0; i < hops_.size(); ++i) {
        const auto opens = said<wire::StageOpen>(controls_[i]);
        ASSERT_EQ(opens.size(), 1U);
        EXPECT_EQ(opens[0]->layers, hops_[i].layers);
        EXPECT_EQ(opens[0]->hop, i + 1);
    }
    ends_.forward(0, 0, 3);
    on_ends();
    const auto steps = said<wire::StageStep>(rows_);
    ASSERT_EQ(steps.size(), 1U);
    says(results_, wire::StageStep{1, 0, steps[0]->rows});
    ASSERT_EQ(ends_.back.size(), 1U);
    EXPECT_EQ(ends_.back[0].size(), 3 * row_bytes);
}

TEST_F(LeadTest, AJobThatComesBeforeItIsReadyFails) {
    start();
    ends_.load();
    on_ends();
    lead_->submit(now_, job_of(4));
    settle();
    ASSERT_EQ(all<Failed>().size(), 1U);
    EXPECT_EQ(all<Failed>()[0]->job, JobId(4));
    EXPECT_EQ(all<Failed>()[0]->fault, AskFault::engine_failed);
    EXPECT_TRUE(ends_.submitted.empty());
    open_session();
    lead_->submit(now_, job_of(5));
    lead_->cancel(now_, JobId(5));
    settle();
    EXPECT_EQ(all<Failed>().size(), 1U);
    ASSERT_EQ(ends_.submitted.size(), 1U);
    EXPECT_EQ(ends_.submitted[0].id, JobId(5));
    EXPECT_EQ(ends_.cancelled, std::vector<JobId>{JobId(5)});
}

TEST_F(LeadTest, CarriesRowsToTheHopsAndResultsToTheEnds) {
    start_and_open();
    ends_.forward(0, 0, 3);
    ends_.forward(1, 0, 2);
    on_ends();
    const auto steps = said<wire::StageStep>(rows_);
    ASSERT_EQ(steps.size(), 2U);
    EXPECT_EQ(steps[1]->number, 2U);
    EXPECT_EQ(steps[1]->rows.parts, (std::vector<wire::StagePart>{{1, 0, 2}}));
    for (std::uint64_t number : {1U, 2U}) {
        wire::StageStep result = *said<wire::StageStep>(rows_)[number - 1];
        result.rows.tensor[0] = static_cast<std::uint8_t>(number);
        says(results_, result);
    }
    ASSERT_EQ(ends_.back.size(), 2U);
    EXPECT_EQ(ends_.back[0].size(), 3 * row_bytes);
    EXPECT_EQ(ends_.back[1][0], 2);
    // Rule 3: sequence 1 holds two rows, and then nothing.
    ends_.work.emplace_back(Truncate{1, 0});
    ends_.work.emplace_back(Truncate{1, 0});
    ends_.forward(1, 0, 1);
    on_ends();
    EXPECT_EQ(said<wire::StageTruncate>(rows_).size(), 1U);
    EXPECT_EQ(said<wire::StageStep>(rows_).size(), 3U);
    EXPECT_TRUE(ends_.breaks.empty());
}

// Rule 3: what was guessed wrong is forgotten, and the rows go on from there.
TEST_F(LeadTest, SetsASequenceBackToALength) {
    start_and_open();
    ends_.forward(0, 0, 5);
    ends_.work.emplace_back(Truncate{0, 3});
    ends_.work.emplace_back(Truncate{0, 3});
    ends_.work.emplace_back(Truncate{0, 4});
    ends_.forward(0, 3, 2);
    on_ends();
    const auto truncates = said<wire::StageTruncate>(rows_);
    ASSERT_EQ(truncates.size(), 1U);
    EXPECT_EQ(truncates[0]->length, 3U);
    EXPECT_EQ(said<wire::StageStep>(rows_).size(), 2U);
    EXPECT_TRUE(ends_.breaks.empty());
}

// Rule 4.
TEST_F(LeadTest, HopsThatDoNotReachTheLastLayerAreNoModel) {
    for (const std::uint16_t has : {std::uint16_t{11}, std::uint16_t{13}}) {
        events_.clear();
        start();
        ends_.load();
        ends_.shape_->layers = has;
        on_ends();
        ASSERT_EQ(events_.size(), 1U);
        const Down* down = std::get_if<Down>(&events_[0]);
        ASSERT_TRUE(down != nullptr && down->permanent);
        EXPECT_NE(down->reason.find(has == 13 ? "no hop has layers 12 to 12" : "up to layer 11"), std::string::npos)
            << down->reason;
        EXPECT_EQ(lead_->health(), Health::dead);
        EXPECT_TRUE(channels_.empty());
        EXPECT_EQ(lead_->model(), nullptr);
    }
}

TEST_F(LeadTest, WhatTheHopsHaveNoRoomForWaitsForResults) {
    start_and_open();
    for (std::uint32_t i = 0; i < limits::stage_unsettled_max + 2; ++i) ends_.forward(0, i, 1);
    on_ends();
    EXPECT_EQ(said<wire::StageStep>(rows_).size(), limits::stage_unsettled_max);
    says(results_, *said<wire::StageStep>(rows_)[0]);
    says(results_, *said<wire::StageStep>(rows_)[1]);
    const auto steps = said<wire::StageStep>(rows_);
    ASSERT_EQ(steps.size(), limits::stage_unsettled_max + 2);
    EXPECT_EQ(steps.back()->rows.parts[0].position, limits::stage_unsettled_max + 1);
    EXPECT_TRUE(ends_.work.empty());
}

TEST_F(LeadTest, ASessionThatIsOverBreaksTheJobsAndAnotherIsOpened) {
    start_and_open();
    ends_.forward(0, 0, 3);
    on_ends();
    close(controls_[1]);
    EXPECT_EQ(lead_->health(), Health::down);
    ASSERT_EQ(all<Down>().size(), 1U);
    EXPECT_FALSE(all<Down>()[0]->permanent);
    EXPECT_NE(all<Down>()[0]->reason.find("hop 2"), std::string::npos) << all<Down>()[0]->reason;
    EXPECT_NE(all<Down>()[0]->reason.find(node(2).hex()), std::string::npos) << all<Down>()[0]->reason;
    EXPECT_EQ(ends_.breaks, std::vector<std::string>{all<Down>()[0]->reason});
    EXPECT_TRUE(all_closed());
    EXPECT_NE(lead_->model(), nullptr) << "it was known once";

    ASSERT_EQ(lead_->next_deadline(), now_.mono + limits::engine_restart_min);
    tick(limits::engine_restart_min - 1ms);
    EXPECT_TRUE(dials_.empty());
    tick(1ms);
    ASSERT_EQ(dials_.size(), 2U);
    EXPECT_EQ(lead_->health(), Health::down);
    open_session();
    EXPECT_EQ(lead_->health(), Health::ready);
    ASSERT_EQ(all<Ready>().size(), 2U);
    EXPECT_EQ(all<Ready>()[1]->model.id, ends_.model_->id);
    // It starts from nothing, and so do its numbers.
    ends_.forward(0, 0, 2);
    on_ends();
    ASSERT_EQ(said<wire::StageStep>(rows_).size(), 1U);
    EXPECT_EQ(said<wire::StageStep>(rows_)[0]->number, 1U);
    EXPECT_EQ(ends_.breaks.size(), 1U);
}

TEST_F(LeadTest, JobsWaitForTheNextSessionForAWhileOnly) {
    start_and_open();
    ends_.forward(0, 0, 3);
    on_ends();
    close(controls_[1]);
    ASSERT_EQ(ends_.breaks.size(), 1U);
    // They have heard of it: what no session has carried since is not broken again.
    const Instant end = now_.mono + Lead::pause_max;
    while (now_.mono < end) {
        EXPECT_TRUE(ends_.ends_for_good.empty());
        ASSERT_TRUE(lead_->next_deadline());
        tick(*lead_->next_deadline() - now_.mono);
        for (const Connect& dial : std::exchange(dials_, {})) lead_->on_connect_failed(now_, dial.token);
        settle();
    }
    ASSERT_EQ(now_.mono, end) << "nothing wakes it";
    EXPECT_EQ(ends_.ends_for_good, std::vector<std::string>{lead_->down_reason()});
    EXPECT_EQ(ends_.breaks.size(), 1U);
    tick(Lead::pause_max);
    EXPECT_EQ(ends_.ends_for_good.size(), 1U);
}

TEST_F(LeadTest, TheNextSessionEndsThePause) {
    start_and_open();
    ends_.forward(0, 0, 3);
    on_ends();
    close(controls_[1]);
    tick(limits::engine_restart_min);
    open_session();
    tick(Lead::pause_max);
    EXPECT_EQ(lead_->health(), Health::ready);
    EXPECT_TRUE(ends_.ends_for_good.empty());
    // The ends have died, and all of their jobs with them.
    close(controls_[1]);
    EXPECT_EQ(ends_.breaks.size(), 2U);
    ends_.die();
    on_ends();
    tick(Lead::pause_max);
    EXPECT_TRUE(ends_.ends_for_good.empty());
}

TEST_F(LeadTest, SessionsAreOpenedAfterTwiceTheTimeEachTime) {
    start();
    ends_.load();
    on_ends();
    Duration wait = limits::engine_restart_min;
    for (int i = 0; i < 12; ++i) {
        ASSERT_EQ(dials_.size(), 2U) << i;
        const Connect refused = dials_[0];
        dials_.clear();
        lead_->on_connect_failed(now_, refused.token);
        settle();
        ASSERT_EQ(lead_->next_deadline(), now_.mono + wait) << i;
        tick(wait);
        wait = std::min<Duration>(2 * wait, limits::engine_restart_max);
    }
    EXPECT_EQ(wait, limits::engine_restart_max);
    EXPECT_EQ(lead_->model(), nullptr);
    // One that lasts makes up for it.
    open_session();
    tick(limits::engine_restart_max);
    close(controls_[0]);
    EXPECT_EQ(lead_->next_deadline(), now_.mono + limits::engine_restart_min);
}

TEST_F(LeadTest, AHopThatIsReplacedIsNoNews) {
    start(1);
    ends_.load();
    on_ends();
    ASSERT_EQ(dials_.size(), 3U);
    open_session();
    const std::size_t news = events_.size();
    close(controls_[1]);
    EXPECT_EQ(lead_->health(), Health::ready);
    EXPECT_EQ(events_.size(), news);
    EXPECT_TRUE(ends_.breaks.empty());
    EXPECT_NE(report_.back().find(node(102).hex()), std::string::npos) << report_.back();
}

TEST_F(LeadTest, RowsOfAnotherShapeLoseTheSessionOnly) {
    start();
    ends_.load();
    on_ends();
    open_session();
    ends_.work.emplace_back(Forward{{{{0, 0, 1}}, Bytes(row_bytes + 2)}});
    on_ends();
    ASSERT_EQ(all<Down>().size(), 1U);
    EXPECT_NE(all<Down>().back()->reason.find("another shape"), std::string::npos);
    EXPECT_TRUE(all_closed());
}

TEST_F(LeadTest, RowsThatDoNotFollowOnLoseTheSessionOnly) {
    struct Bad {
        std::uint16_t sequence;
        std::uint32_t position;
        std::uint16_t rows;
    };
    start();
    ends_.load();
    on_ends();
    std::size_t lost = 0;
    for (const Bad& bad : {Bad{0, 5, 1}, Bad{0, 2, 1}, Bad{1, 1, 1}, Bad{sequences, 0, 1}, Bad{0, 3, context - 2}}) {
        open_session();
        ends_.forward(0, 0, 3);
        ends_.forward(bad.sequence, bad.position, bad.rows);
        ends_.forward(0, 3, 1);
        on_ends();
        ++lost;
        ASSERT_EQ(all<Down>().size(), lost) << bad.sequence << " at " << bad.position;
        EXPECT_NE(all<Down>().back()->reason.find("do not follow on"), std::string::npos);
        EXPECT_EQ(ends_.breaks.size(), lost);
        EXPECT_TRUE(ends_.back.empty());
        EXPECT_TRUE(all_closed());
        tick(limits::engine_restart_max);
    }
    open_session();
    ends_.forward(0, 0, context);
    on_ends();
    EXPECT_EQ(lead_->health(), Health::ready);
    EXPECT_EQ(all<Ready>().size(), lost + 1);
}

TEST_F(LeadTest, WhatTheHopsKeepIsSaidAndFilledIn) {
    start_and_open();
    ASSERT_TRUE(ends_.held);
    const std::size_t bytes = ends_.held->token_bytes();
    ends_.work.emplace_back(engine::Fill{{0, 0, 4, Bytes(4 * bytes)}});
    ends_.work.emplace_back(engine::Fill{{0, 4, 2, Bytes(2 * bytes)}});
    ends_.forward(0, 6, 1);
    on_ends();
    const auto fills = said<wire::StageFill>(rows_);
    ASSERT_EQ(fills.size(), 2U);
    EXPECT_EQ(fills[1]->rows.tensor.size(), 2 * bytes);
    ASSERT_EQ(said<wire::StageStep>(rows_).size(), 1U);
    says(results_, wire::StageFill{1, 0, {0, 0, 4, {}}});
    EXPECT_EQ(ends_.fills, 1U);
    EXPECT_EQ(lead_->health(), Health::ready);
}

TEST_F(LeadTest, WhatHopsKeepIsReadAndNothingElse) {
    start_and_open();
    ends_.forward(0, 0, 4);
    ends_.work.emplace_back(engine::Read{{0, 4}});
    on_ends();
    const auto reads = said<wire::StageRead>(rows_);
    ASSERT_EQ(reads.size(), 1U);
    says(results_, *said<wire::StageStep>(rows_)[0]);
    says(results_, wire::StageRead{2, 0, {0, 4}, Bytes(32 * layers)});
    ASSERT_EQ(ends_.reads.size(), 1U);
    EXPECT_EQ(ends_.reads[0].size(), 32U * layers);
    ends_.work.emplace_back(engine::Read{{0, 5}});
    on_ends();
    ASSERT_EQ(all<Down>().size(), 1U);
    EXPECT_NE(all<Down>().back()->reason.find("reads what is not kept"), std::string::npos);
}

TEST_F(LeadTest, FillsThatDoNotFitLoseTheSessionOnly) {
    start();
    ends_.load();
    on_ends();
    std::size_t lost = 0;
    const std::vector<wire::StageKvRows> bad = {{0, 4, 1, Bytes(1)},
                                                {sequences, 0, 1, Bytes(1)},
                                                {1, 0, 1, Bytes(1)},
                                                {0, 3, 1, Bytes(1)},
                                                {1, 0, context, {}}};
    for (const wire::StageKvRows& rows : bad) {
        open_session();
        const std::size_t bytes = ends_.held->token_bytes();
        ends_.forward(0, 0, 3);
        wire::StageKvRows fill = rows;
        fill.tensor.resize(fill.rows * bytes - (rows.sequence == 1 && rows.rows == 1 ? 2 : 0));
        if (rows.rows == context) ++fill.rows;
        ends_.work.emplace_back(engine::Fill{std::move(fill)});
        on_ends();
        ASSERT_EQ(all<Down>().size(), ++lost) << rows.sequence << " at " << rows.position;
        EXPECT_NE(all<Down>().back()->reason.find("filled in what is not kept so"), std::string::npos);
        tick(limits::engine_restart_max);
    }
}

TEST_F(LeadTest, TheDeathOfTheEndsClosesTheSession) {
    start_and_open();
    ends_.forward(0, 0, 3);
    on_ends();
    ends_.die();
    ends_.events.emplace_back(Failed{JobId(3), AskFault::engine_failed, "the engine died", {}});
    on_ends();
    EXPECT_EQ(lead_->health(), Health::down);
    ASSERT_EQ(all<Down>().size(), 1U);
    EXPECT_EQ(all<Down>()[0]->reason, "killed by signal 9");
    EXPECT_EQ(all<Failed>().size(), 1U);
    EXPECT_TRUE(ends_.breaks.empty()) << "they know";
    EXPECT_TRUE(all_closed());
    tick(10 * limits::engine_restart_max);
    EXPECT_TRUE(dials_.empty());
    EXPECT_FALSE(lead_->next_deadline().has_value());
    ends_.load();
    on_ends();
    open_session();
    EXPECT_EQ(lead_->health(), Health::ready);
    EXPECT_EQ(all<Ready>().size(), 2U);
}

TEST_F(LeadTest, EndsThatDieWhileTheLayersAreApartOpenNoSession) {
    start_and_open();
    close(controls_[0]);
    ends_.die();
    on_ends();
    tick(10 * limits::engine_restart_max);
    EXPECT_TRUE(dials_.empty());
    EXPECT_EQ(lead_->health(), Health::down);
    ends_.load();
    on_ends();
    open_session();
    EXPECT_EQ(lead_->health(), Health::ready);
}

TEST_F(LeadTest, AChannelThatComesTooLateIsClosed) {
    start();
    ends_.load();
    on_ends();
    const std::vector<Connect> old = std::exchange(dials_, {});
    ends_.die();
    on_ends();
    const ChannelId nobody = new_channel(old[0].node);
    lead_->on_connected(now_, old[0].token, nobody);
    settle();
    EXPECT_TRUE(channels_.at(nobody).closed);
    // Nor is it taken for one of the session that follows.
    ends_.load();
    on_ends();
    ASSERT_EQ(dials_.size(), 2U);
    const ChannelId stranger = new_channel(old[1].node);
    lead_->on_connected(now_, old[1].token, stranger);
    settle();
    EXPECT_TRUE(channels_.at(stranger).closed);
    EXPECT_TRUE(channels_.at(stranger).said.empty());
    open_session();
    EXPECT_EQ(lead_->health(), Health::ready);
}

}  // namespace
}  // namespace shoal::pipeline
