// Ranks of a hop on machines of their own, over channels with a delay.
#include "pipeline/groups.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <set>

#include "base/test_rng.h"
#include "engine/ring.h"

namespace shoal::pipeline {
namespace {

using engine::StageHandle;

constexpr std::uint32_t width = 32;
constexpr std::uint16_t layers = 3;
const StageHandle handle(1);
const wire::StageSessionId session(ByteArray<16>{9});

NodeId node(std::size_t rank) {
    return NodeId(ByteArray<32>{static_cast<std::uint8_t>(rank + 1), 0x0D});
}

// A rank's layers without a model: twice a layer it sums what it has over all ranks, with the real ring. What comes out
// depends on all rows that came before, and on every rank's share.
class FakeRankEngine final : public engine::RankEngine {
public:
    void open(Now, StageHandle of, const engine::StageShape& shape) override {
        shape_ = shape;
        if (shape.group) ring_.emplace(shape.group->rank, shape.group->ranks.size());
        events_.emplace_back(engine::StageReady{of});
    }
    void compute(Now, StageHandle of, const wire::StageRows& rows) override {
        log.push_back("compute " + std::to_string(rows.parts[0].position));
        values_.resize(rows.tensor.size() / sizeof(float));
        std::memcpy(values_.data(), rows.tensor.data(), rows.tensor.size());
        for (float& x : values_) x = (x + memory_) / static_cast<float>(2 + shape_.group->rank);
        left_ = 2 * layers;
        begin(of);
    }
    void truncate(Now, StageHandle, std::uint16_t, std::uint32_t length) override {
        log.push_back("truncate " + std::to_string(length));
    }
    void fill(Now, StageHandle, const wire::StageKvRows&) override { log.emplace_back("fill"); }
    void read(Now, StageHandle, const wire::StageReadOf&) override { log.emplace_back("read"); }
    void close(Now, StageHandle) override { closed = true; }
    std::optional<engine::StageEvent> poll() override {
        if (events_.empty()) return std::nullopt;
        auto event = std::move(events_.front());
        events_.pop_front();
        return event;
    }
    void reduce(Now, StageHandle of, wire::ReducePart part) override {
        parts.push_back(part);
        if (slow) return held.push_back(std::move(part));
        auto next = ring_->take(part);
        ASSERT_TRUE(next) << next.error().message;
        if (*next) return send(of, std::move(**next));
        if (!ring_->done()) return;
        --left_;
        if (left_ > 0) return begin(of);
        memory_ += values_[0];
        if (wrong) values_[3] += 1;
        Bytes tensor(values_.size() * sizeof(float));
        std::memcpy(tensor.data(), values_.data(), tensor.size());
        events_.emplace_back(engine::StageComputed{of, std::move(tensor), 1ms});
    }
    std::optional<Part> poll_part() override {
        if (parts_.empty()) return std::nullopt;
        Part part = std::move(parts_.front());
        parts_.pop_front();
        return part;
    }
    std::vector<std::string> log;
    std::vector<wire::ReducePart> parts;  // that came
    std::size_t sent_bytes = 0;
    std::vector<wire::ReducePart> held;
    bool wrong = false;
    bool slow = false;
    bool closed = false;

private:
    void begin(StageHandle of) { send(of, ring_->begin(values_)); }
    void send(StageHandle of, wire::ReducePart part) {
        sent_bytes += part.data.size();
        parts_.push_back({of, std::move(part)});
    }
    engine::StageShape shape_;
    std::optional<engine::Ring> ring_;
    std::vector<float> values_;
    float memory_ = 0;
    std::size_t left_ = 0;
    std::deque<engine::StageEvent> events_;
    std::deque<Part> parts_;
};

class GroupsTest : public ::testing::Test {
protected:
    struct Machine {
        FakeRankEngine engine;
        Groups groups{engine};
        std::vector<engine::StageEvent> events;
        bool stopped = false;
        template <typename Event>
        const Event* last() const {
            return events.empty() ? nullptr : std::get_if<Event>(&events.back());
        }
    };
    struct End {
        std::size_t machine = 0;
        ChannelId channel;
        auto operator<=>(const End&) const = default;
    };

    void start(std::size_t ranks, const std::set<std::size_t>& later = {}) {
        for (std::size_t rank = 0; rank < ranks; ++rank) machines_.push_back(std::make_unique<Machine>());
        for (std::size_t rank = 0; rank < ranks; ++rank) {
            if (!later.contains(rank)) open(rank);
        }
        pass(1s);
    }
    void open(std::size_t rank) {
        engine::StageShape shape{ModelId(ByteArray<32>{7}), {0, layers}, wire::ActivationType::f32, width, 4096, 4};
        shape.group = engine::StageGroup{session, 1, static_cast<std::uint8_t>(rank), {}};
        for (std::size_t i = 0; i < machines_.size(); ++i) shape.group->ranks.push_back(node(i));
        at(rank).groups.open(now_, handle, shape);
        drain();
    }
    Machine& at(std::size_t rank) { return *machines_[rank]; }
    bool all_ready() const {
        return std::all_of(machines_.begin(), machines_.end(),
                           [](const auto& m) { return m->template last<engine::StageReady>() != nullptr; });
    }
    // What ranks said when they failed. One that fails takes the others with it.
    std::string failure() const {
        std::string out;
        for (const auto& machine : machines_) {
            for (const auto& event : machine->events) {
                if (const auto* failed = std::get_if<engine::StageFailed>(&event)) out += failed->text + "\n";
            }
        }
        return out;
    }
    void clear() {
        machines_.clear();
        queue_.clear();
        peers_.clear();
    }
    wire::StageRows rows(std::uint32_t position, std::uint16_t count) {
        wire::StageRows out{{{0, position, count}}, Bytes(std::size_t{count} * width * sizeof(float))};
        for (std::size_t i = 0; i < std::size_t{count} * width; ++i) {
            const auto x = static_cast<float>(rng_.uniform());
            std::memcpy(out.tensor.data() + i * sizeof x, &x, sizeof x);
        }
        return out;
    }
    void compute(std::uint32_t position, std::uint16_t count) {
        at(0).groups.compute(now_, handle, rows(position, count));
        drain();
    }

    // ---- the net
    void pass(Duration time) {
        const Instant end = now_.mono + time;
        for (;;) {
            Instant next = queue_.empty() ? Instant::max() : queue_.begin()->first;
            for (const auto& machine : machines_) {
                if (!machine->stopped) next = std::min(next, machine->groups.next_deadline());
            }
            if (next > end) break;
            now_.mono = std::max(now_.mono, next);
            while (!queue_.empty() && queue_.begin()->first <= now_.mono) {
                const auto what = std::move(queue_.begin()->second);
                queue_.erase(queue_.begin());
                what();
                drain();
            }
            for (const auto& machine : machines_) {
                if (!machine->stopped) machine->groups.on_tick(now_);
            }
            drain();
        }
        now_.mono = end;
    }
    void later(std::function<void()> what) { queue_.emplace(now_.mono + delay_, std::move(what)); }
    void drain() {
        for (bool more = true; more;) {
            more = false;
            for (std::size_t i = 0; i < machines_.size(); ++i) {
                if (at(i).stopped) continue;
                at(i).groups.on_engine(now_);
                while (auto output = at(i).groups.poll_channels()) {
                    more = true;
                    carry(i, std::move(*output));
                }
                while (auto event = at(i).groups.poll()) at(i).events.push_back(std::move(*event));
            }
        }
    }
    void carry(std::size_t from, ChannelOutput output) {
        if (auto* message = std::get_if<SendMessage>(&output)) {
            send({from, message->channel}, std::move(message->message));
        } else if (const auto* data = std::get_if<HasData>(&output)) {
            while (auto next = at(from).groups.next_data(data->channel)) send({from, data->channel}, std::move(*next));
        } else if (const auto* wanted = std::get_if<Connect>(&output)) {
            connect(from, wanted->token, wanted->node);
        } else if (const auto* closed = std::get_if<CloseChannel>(&output)) {
            close({from, closed->channel});
        }
    }
    void connect(std::size_t from, std::uint64_t token, const NodeId& to) {
        const End ours{from, ChannelId(next_channel_++)};
        const End theirs{static_cast<std::size_t>(to.view()[0] - 1), ChannelId(next_channel_++)};
        peers_[ours] = theirs;
        peers_[theirs] = ours;
        later([=, this] { at(from).groups.on_connected(now_, token, ours.channel); });
    }
    void send(const End& from, wire::StageMessage message) {
        const auto peer = peers_.find(from);
        if (peer == peers_.end()) return;
        if (spoil && !spoil(from.machine, message)) return;
        const int copies = twice && twice(message) ? 2 : 1;
        for (int i = 0; i < copies; ++i) put(from.machine, peer->second, message);
    }
    // As it would travel.
    void put(std::size_t from, const End& to, const wire::StageMessage& message) {
        const Bytes bytes = wire::encode_stage_message(message);
        later([=, this] {
            if (!peers_.contains(to) || at(to.machine).stopped) return;
            at(to.machine).groups.on_message(now_, to.channel, node(from), *wire::decode_stage_message(bytes));
        });
    }
    void close(const End& from) {
        const auto peer = peers_.find(from);
        if (peer == peers_.end()) return;
        const End to = peer->second;
        peers_.erase(from);
        later([=, this] {
            if (peers_.erase(to) > 0) at(to.machine).groups.on_closed(now_, to.channel);
        });
    }
    // A channel that `from` opens, with this as its first message.
    End stranger(std::size_t from, std::size_t to, const wire::StageMessage& first) {
        const End ours{from, ChannelId(next_channel_++)}, theirs{to, ChannelId(next_channel_++)};
        peers_[ours] = theirs;
        peers_[theirs] = ours;
        put(from, theirs, first);
        return ours;
    }

    Now now_{Instant(1h), {}};
    Duration delay_ = 2ms;
    TestRng rng_{11};
    std::vector<std::unique_ptr<Machine>> machines_;
    std::multimap<Instant, std::function<void()>> queue_;
    std::map<End, End> peers_;
    std::uint64_t next_channel_ = 1;
    // False: the message is lost. It may be changed.
    std::function<bool(std::size_t from, wire::StageMessage&)> spoil;
    std::function<bool(const wire::StageMessage&)> twice;
};

TEST_F(GroupsTest, TheRanksComeTogetherAndComputeInTheOrderOfAsking) {
    for (const std::size_t ranks : {2U, 3U, 8U}) {
        clear();
        start(ranks);
        ASSERT_TRUE(all_ready()) << failure();
        compute(0, 3);
        at(0).groups.truncate(now_, handle, 0, 2);
        compute(2, 1);
        compute(3, 5);
        pass(5s);
        EXPECT_EQ(failure(), "");
        for (std::size_t rank = 0; rank < ranks; ++rank) {
            const std::vector<std::string> wanted = {"compute 0", "truncate 2", "compute 2", "compute 3"};
            EXPECT_EQ(at(rank).engine.log, wanted) << rank;
            EXPECT_EQ(at(rank).events.size(), rank == 0 ? 4U : 1U) << "results leave at rank 0 only";
            // Nine rows, two sums a layer: 2 (N - 1) / N of them, exactly where the width divides.
            const std::size_t summed = 9 * width * sizeof(float) * 2 * layers;
            if (width % ranks == 0) {
                EXPECT_EQ(at(rank).engine.sent_bytes, 2 * (ranks - 1) * summed / ranks);
            }
        }
    }
}

TEST_F(GroupsTest, WhatIsNotDividedPassesThrough) {
    machines_.push_back(std::make_unique<Machine>());
    at(0).groups.open(now_, StageHandle(5), {ModelId(), {0, 1}, wire::ActivationType::f32, width, 64, 1});
    drain();
    ASSERT_NE(at(0).last<engine::StageReady>(), nullptr);
    EXPECT_EQ(at(0).last<engine::StageReady>()->handle, StageHandle(5));
    at(0).groups.truncate(now_, StageHandle(5), 0, 7);
    EXPECT_EQ(at(0).engine.log, std::vector<std::string>{"truncate 7"});
    at(0).groups.close(now_, StageHandle(5));
    EXPECT_TRUE(at(0).engine.closed);
}

TEST_F(GroupsTest, ARankThatIsOpenedLateIsWaitedFor) {
    start(3, {1});
    EXPECT_FALSE(all_ready());
    pass(3s);
    open(1);
    pass(1s);
    EXPECT_TRUE(all_ready()) << failure();
}

TEST_F(GroupsTest, RanksThatAreTooFarApartAreRefusedWithTheFigure) {
    delay_ = 5001us;
    start(2);
    pass(1s);
    EXPECT_NE(failure().find("takes 10.0 ms; ranks of a hop may be 10.0 ms apart"), std::string::npos) << failure();
    for (const auto& machine : machines_) {
        const auto* failed = machine->last<engine::StageFailed>();
        ASSERT_NE(failed, nullptr);
        EXPECT_EQ(failed->code, wire::StageFaultCode::refused);
        EXPECT_TRUE(machine->engine.closed);
        EXPECT_EQ(machine->last<engine::StageReady>(), nullptr);
    }
}

TEST_F(GroupsTest, TenMillisecondsAreNear) {
    delay_ = 5ms;
    start(2);
    EXPECT_TRUE(all_ready()) << failure();
}

// A busy machine only lengthens a probe: the shortest one counts.
TEST_F(GroupsTest, OneQuickProbeIsEnough) {
    int echoes = 0;
    spoil = [&](std::size_t, wire::StageMessage& message) {
        if (std::holds_alternative<wire::GroupEcho>(message)) delay_ = ++echoes < 12 ? 20ms : 1ms;
        return true;
    };
    start(2);
    pass(5s);
    EXPECT_TRUE(all_ready()) << failure();
    EXPECT_GE(echoes, 12);
}

TEST_F(GroupsTest, NobodyElseJoins) {
    start(3, {1});
    const auto refused = [&](std::size_t from, const wire::GroupJoin& join) {
        const End end = stranger(from, 0, join);
        pass(20ms);
        return !peers_.contains(end);
    };
    EXPECT_TRUE(refused(1, {session, 1, 0})) << "not the rank before";
    EXPECT_TRUE(refused(2, {wire::StageSessionId(ByteArray<16>{8}), 1, 0})) << "another session";
    EXPECT_TRUE(refused(2, {session, 2, 0})) << "another hop";
    EXPECT_TRUE(refused(2, {session, 1, 2})) << "another rank";
    open(1);
    pass(1s);
    ASSERT_TRUE(all_ready());
    EXPECT_TRUE(refused(2, {session, 1, 0})) << "when all are together";
    EXPECT_EQ(failure(), "");
    clear();
    start(3, {1});
    EXPECT_FALSE(refused(2, {session, 1, 0})) << "the rank before, again";
}

TEST_F(GroupsTest, RanksThatDifferInABitEndTheHopAndNothingLeavesIt) {
    for (const std::size_t wrong : {0U, 1U, 2U}) {
        clear();
        start(3);
        at(wrong).engine.wrong = true;
        compute(0, 2);
        pass(100ms);
        EXPECT_NE(failure().find("different results"), std::string::npos) << failure();
        EXPECT_EQ(at(0).last<engine::StageComputed>(), nullptr);
    }
}

TEST_F(GroupsTest, ARankThatStandsStillIsNamed) {
    for (const std::size_t still : {1U, 2U}) {
        clear();
        start(3);
        compute(0, 2);
        pass(5ms);  // all have begun
        at(still).stopped = true;
        pass(1400ms);
        EXPECT_EQ(failure(), "");
        pass(300ms);
        EXPECT_NE(
            failure().find("nothing is heard from rank " + std::to_string(still) + " (" + node(still).hex() + ")"),
            std::string::npos)
            << failure();
    }
    // It has not even handed on what was to be computed.
    clear();
    start(3);
    at(1).stopped = true;
    compute(0, 2);
    pass(1700ms);
    EXPECT_NE(failure().find("or from one before it"), std::string::npos) << failure();
}

// Its machine says ALIVE while its engine computes.
TEST_F(GroupsTest, ASlowRankIsNotSilent) {
    start(3);
    at(1).engine.slow = true;
    compute(0, 2);
    pass(10s);
    EXPECT_EQ(failure(), "");
    at(1).engine.slow = false;
    for (auto& part : std::exchange(at(1).engine.held, {})) at(1).engine.reduce(now_, handle, part);
    drain();
    pass(1s);
    EXPECT_NE(at(0).last<engine::StageComputed>(), nullptr) << failure();
}

TEST_F(GroupsTest, ALostRingChannelEndsTheHopAtBothEnds) {
    start(3);
    const End any = peers_.begin()->first;
    close(any);
    at(any.machine).groups.on_closed(now_, any.channel);
    drain();
    pass(100ms);
    for (const auto& machine : machines_) {
        ASSERT_NE(machine->last<engine::StageFailed>(), nullptr);
        EXPECT_NE(machine->last<engine::StageFailed>()->text.find("the link to rank"), std::string::npos);
    }
}

TEST_F(GroupsTest, AfterCloseNothingIsLeft) {
    start(2);
    compute(0, 1);
    for (std::size_t rank = 0; rank < 2; ++rank) at(rank).groups.close(now_, handle);
    drain();
    pass(5s);
    EXPECT_TRUE(peers_.empty());
    EXPECT_EQ(at(0).groups.next_deadline(), Instant::max());
    EXPECT_EQ(at(0).events.size(), 1U);
}

// ---- what the rank before may not send ---------------------------------------------------------------------------

class HostileRank : public GroupsTest {
protected:
    // What rank 1 of 3 says when rank 0 sends this, beside or in the middle of a computation.
    std::string said_to(const wire::StageMessage& message, bool computing) {
        clear();
        start(3);
        EXPECT_TRUE(all_ready());
        at(1).engine.slow = true;
        if (computing) compute(0, 2);
        pass(50ms);
        for (const auto& [from, to] : peers_) {
            if (from.machine == 0 && to.machine == 1) put(0, to, message);
        }
        pass(50ms);
        return at(1).last<engine::StageFailed>() == nullptr ? "" : at(1).last<engine::StageFailed>()->text;
    }
    void expect_refused(const wire::StageMessage& message, bool computing, const std::string& words) {
        const std::string said = said_to(message, computing);
        EXPECT_NE(said.find(words), std::string::npos) << said;
        EXPECT_NE(said.find("rank 0"), std::string::npos) << said;
    }
};

TEST_F(HostileRank, MayNotSendWhatIsNotItsTurn) {
    expect_refused(wire::GroupCompute{2, rows(0, 1)}, false, "computation out of its turn");
    expect_refused(wire::GroupCompute{2, rows(2, 1)}, true, "computation out of its turn");
    expect_refused(wire::GroupCompute{1, rows(1, 1)}, false, "do not follow on");
    expect_refused(wire::GroupCompute{1, {{{0, 0, 2}}, Bytes(2 * width * 2)}}, false, "another shape");
    expect_refused(wire::GroupTruncate{0, 1}, true, "truncation out of its turn");
    expect_refused(wire::GroupTruncate{0, 1}, false, "would lengthen");
    expect_refused(wire::GroupAgree{1, {}}, true, "agreement out of its turn");
    expect_refused(wire::GroupAgree{1, {}}, false, "agreement out of its turn");
    expect_refused(wire::ReducePart{1, 0, Bytes(4)}, false, "too many parts");
    expect_refused(wire::StageAlive{}, false, "not for a ring");
}

TEST_F(HostileRank, MayNotSendMoreThanASumNeeds) {
    const std::size_t chunk = (2 * width + 2) / 3;
    for (const bool large : {true, false}) {
        clear();
        start(3);
        for (const auto& machine : machines_) machine->engine.slow = true;
        compute(0, 2);
        pass(50ms);
        // Rank 1 has sent one part and been sent one; two more may come, and no third.
        for (std::uint8_t step = 1; step <= 3; ++step) {
            EXPECT_EQ(failure(), "") << int{step};
            for (const auto& [from, to] : std::map<End, End>(peers_)) {
                const std::size_t size = 4 * (large ? chunk + 1 : chunk);
                if (from.machine == 0 && to.machine == 1) put(0, to, wire::ReducePart{1, step, Bytes(size)});
            }
            pass(50ms);
            if (large) break;
        }
        EXPECT_NE(failure().find(large ? "a part that is too large" : "too many parts"), std::string::npos)
            << failure();
    }
}

TEST_F(HostileRank, MayNotAgreeTwice) {
    start(3);
    at(0).engine.slow = true;
    twice = [](const wire::StageMessage& message) { return std::holds_alternative<wire::GroupAgree>(message); };
    at(0).engine.slow = false;
    compute(0, 2);
    pass(200ms);
    EXPECT_NE(failure().find("agreement out of its turn"), std::string::npos) << failure();
}

TEST_F(HostileRank, MayNotFloodTruncations) {
    start(2);
    for (std::size_t i = 0; i <= limits::stage_queued_max; ++i) {
        for (const auto& [from, to] : std::map<End, End>(peers_)) {
            if (from.machine == 0 && to.machine == 1) {
                put(0, to, wire::GroupTruncate{0, 0});
                break;
            }
        }
    }
    pass(50ms);
    EXPECT_NE(failure().find("truncation out of its turn"), std::string::npos) << failure();
}

}  // namespace
}  // namespace shoal::pipeline
