// The fetcher in virtual time; the engine and the other node are played by the test.
#include "model/prefix_fetcher.h"

#include <gtest/gtest.h>

#include <set>

#include "base/limits.h"
#include "crypto/rng.h"

namespace shoal::model {
namespace {

using What = PrefixNote::What;

const ModelId served(ByteArray<32>{1});
const NodeId self(ByteArray<32>{2});
const NodeId holder(ByteArray<32>{3});

// Writes down what it is given.
class Player final : public engine::Prefixes {
public:
    void give(Now, JobId job, Bytes bytes, bool last) override {
        given[job] += bytes.size();
        if (last) whole.insert(job);
    }
    bool takes(JobId) const override { return takes_more; }
    void give_up(Now, JobId job) override { given_up.insert(job); }
    void open(Now, PrefixReadId, const ByteArray<32>&, std::uint32_t) override {}
    void more(Now, PrefixReadId) override {}
    void close(Now, PrefixReadId) override {}
    std::optional<engine::PrefixEvent> poll_prefix() override { return std::nullopt; }

    std::map<JobId, std::size_t> given;
    std::set<JobId> whole, given_up;
    bool takes_more = true;
};

class PrefixFetcherTest : public testing::Test {
protected:
    static constexpr std::size_t whole_bytes = 10'000'000;
    static constexpr Duration recompute = 10s;

    void start(PrefixListed listed) { fetcher_.emplace(self, std::move(listed)); }
    void SetUp() override {
        start([](Now, const NodeId& node, const ModelId& model) { return node != NodeId{} && model == served; });
    }
    JobId want(const NodeId& node = holder, Duration reading = recompute, std::uint64_t bytes = whole_bytes) {
        const JobId job(next_job_++);
        engine::PrefixWanted wanted{job, ByteArray<32>{9}, {node, {640, bytes, {}}}, reading};
        fetcher_->wanted(now_, engine_, served, wanted);
        drain();
        return job;
    }
    void drain() {
        while (auto output = fetcher_->poll()) {
            if (const auto* wanted = std::get_if<PrefixConnect>(&*output)) {
                asked_.emplace_back(wanted->token, wanted->node);
            } else if (const auto* sent = std::get_if<PrefixSend>(&*output)) {
                fetches_.push_back(std::get<wire::PrefixFetch>(sent->message));
            } else if (const auto* closed = std::get_if<PrefixClose>(&*output)) {
                closed_.insert(closed->channel);
            } else if (std::holds_alternative<PrefixTook>(*output)) {
                ++taken_;
            }
        }
        while (auto note = fetcher_->poll_note()) notes_.push_back(std::move(*note));
    }
    // Until then, with the timers that it asks for and no others.
    void run_until(Instant end) {
        while (fetcher_->next_deadline() <= end) {
            now_.mono = std::max(now_.mono, fetcher_->next_deadline());
            fetcher_->on_tick(now_);
            drain();
        }
        now_.mono = std::max(now_.mono, end);
    }
    PrefixChannelId connect() {
        const PrefixChannelId channel(next_channel_++);
        fetcher_->on_connected(now_, asked_.back().first, channel);
        drain();
        return channel;
    }
    void say(PrefixChannelId channel, wire::PrefixMessage message) {
        fetcher_->on_message(now_, channel, std::move(message));
        drain();
    }
    PrefixChannelId begin() {
        const PrefixChannelId channel = connect();
        say(channel, wire::PrefixReading{});
        return channel;
    }
    static wire::PrefixMessage piece(std::size_t bytes, bool last = false) {
        return wire::PrefixBytes{Bytes(bytes), last};
    }
    // The peer answers after `delay` and gives `rate` bytes a second, for at most `bytes` in all. Until it is over.
    void steadily(JobId job, Duration delay, double rate, std::size_t bytes = whole_bytes) {
        const Instant began = now_.mono;
        run_until(began + delay);
        if (engine_.given_up.contains(job)) return;
        const PrefixChannelId channel = begin();
        for (std::size_t sent = 0; sent < bytes;) {
            const std::size_t size = std::min<std::size_t>(limits::prefix_piece_bytes, whole_bytes - sent);
            sent += size;
            run_until(began + delay + from_seconds(static_cast<double>(sent) / rate));
            if (engine_.given_up.contains(job)) return;
            say(channel, piece(size, sent == whole_bytes));
        }
        run_until(now_.mono + 2 * recompute);
    }

    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    std::optional<PrefixFetcher> fetcher_;
    Player engine_;
    std::uint64_t next_job_ = 1, next_channel_ = 1;
    std::vector<std::pair<std::uint64_t, NodeId>> asked_;
    std::vector<wire::PrefixFetch> fetches_;
    std::set<PrefixChannelId> closed_;
    std::vector<PrefixNote> notes_;
    std::size_t taken_ = 0;
};

TEST_F(PrefixFetcherTest, WhatAnotherNodeHoldsGoesToTheEngine) {
    const JobId job = want();
    ASSERT_EQ(asked_.size(), 1U);
    EXPECT_EQ(asked_[0].second, holder);
    const PrefixChannelId channel = begin();
    ASSERT_EQ(fetches_.size(), 1U);
    EXPECT_EQ(fetches_[0].model, served);
    EXPECT_EQ(fetches_[0].chain, ByteArray<32>{9});
    EXPECT_EQ(fetches_[0].tokens, 640U);
    for (std::size_t left = whole_bytes; left > 0;) {
        const std::size_t size = std::min<std::size_t>(left, 250'000);
        left -= size;
        say(channel, piece(size, left == 0));
    }
    EXPECT_EQ(engine_.given[job], whole_bytes);
    EXPECT_TRUE(engine_.whole.contains(job));
    EXPECT_TRUE(engine_.given_up.empty());
    EXPECT_TRUE(closed_.contains(channel));
    ASSERT_EQ(notes_.size(), 1U);
    EXPECT_EQ(notes_[0].what, What::fetched);
    EXPECT_EQ(notes_[0].bytes, whole_bytes);
    EXPECT_EQ(fetcher_->fetching(), 0U);
    fetcher_->job_ended(job);
    EXPECT_EQ(fetcher_->next_deadline(), Instant::max());
}

// ---- who is asked ------------------------------------------------------------------------------------------------

TEST_F(PrefixFetcherTest, OnlyNodesOfTheDirectoryAreAskedAndNeverThisOne) {
    for (const NodeId& node : {NodeId{}, self}) EXPECT_TRUE(engine_.given_up.contains(want(node)));
    start({});
    EXPECT_TRUE(engine_.given_up.contains(want()));
    EXPECT_TRUE(asked_.empty());
}

TEST_F(PrefixFetcherTest, TheLinkIsMadeBeforeTheEngineSaysThatItIsWanted) {
    const auto expects = [&](const NodeId& node) {
        fetcher_->expected(now_, served, node);
        const auto output = fetcher_->poll();
        return output && std::get<PrefixExpect>(*output).node == node;
    };
    EXPECT_TRUE(expects(holder));
    EXPECT_FALSE(expects(self));
    EXPECT_FALSE(expects(NodeId{})) << "not of the directory";
    fetcher_->on_connect_failed(now_, (want(), asked_.back().first));
    EXPECT_FALSE(expects(holder)) << "it failed a short while ago";
}

TEST_F(PrefixFetcherTest, AShortPromptIsNotWorthAsking) {
    EXPECT_TRUE(engine_.given_up.contains(want(holder, limits::prefix_recompute_min - 1ns)));
    EXPECT_TRUE(asked_.empty());
    EXPECT_FALSE(engine_.given_up.contains(want(holder, limits::prefix_recompute_min)));
    EXPECT_EQ(asked_.size(), 1U);
}

TEST_F(PrefixFetcherTest, NoMoreAreUnderWayThanMayBe) {
    for (std::size_t i = 0; i < limits::prefix_fetches_max; ++i) EXPECT_FALSE(engine_.given_up.contains(want()));
    EXPECT_TRUE(engine_.given_up.contains(want()));
    EXPECT_EQ(asked_.size(), limits::prefix_fetches_max);
}

// ---- only when it is faster --------------------------------------------------------------------------------------

TEST_F(PrefixFetcherTest, WhoeverIsGoneCostsFourPercentAndIsNotAskedAgainForAWhile) {
    const Instant asked = now_.mono;
    const JobId job = want();
    run_until(asked + recompute / 25 - 1ns);
    EXPECT_FALSE(engine_.given_up.contains(job));
    run_until(asked + recompute / 25 + 1ns);
    EXPECT_TRUE(engine_.given_up.contains(job));
    // The link comes after all: the channel is closed again.
    EXPECT_TRUE(closed_.contains(connect()));
    EXPECT_TRUE(fetches_.empty());
    EXPECT_TRUE(engine_.given_up.contains(want())) << "at once";
    run_until(now_.mono + limits::node_shunned);
    EXPECT_FALSE(engine_.given_up.contains(want()));
    EXPECT_EQ(asked_.size(), 2U);
}

TEST_F(PrefixFetcherTest, WhoeverAnswersAndGivesNothingIsLeftToo) {
    const Instant asked = now_.mono;
    const JobId job = want();
    begin();
    run_until(asked + recompute / 25 + 1ns);
    EXPECT_TRUE(engine_.given_up.contains(job));
}

TEST_F(PrefixFetcherTest, ASteadyLineNeverCostsMoreThanFivePercentWhateverItsRate) {
    std::size_t fetched = 0, left = 0;
    for (const Duration delay : {Duration(1ms), Duration(50ms), Duration(350ms), Duration(2s)}) {
        for (double share = 0.01; share < 4; share *= 1.15) {  // of R, that all bytes take
            SetUp();
            const Instant asked = now_.mono;
            const JobId job = want();
            steadily(job, delay, whole_bytes / (share * to_seconds(recompute)));
            ASSERT_EQ(notes_.size(), 1U);
            if (notes_[0].what == What::fetched) {
                EXPECT_LE(notes_[0].took, 65 * recompute / 100) << share;
                ++fetched;
            } else {
                EXPECT_LE(notes_[0].took, 5 * recompute / 100) << share;
                EXPECT_LT(notes_[0].took, now_.mono - asked);
                ++left;
            }
            EXPECT_TRUE(share > 0.5 || delay > 50ms || engine_.whole.contains(job)) << share;
            notes_.clear();
        }
    }
    EXPECT_GT(fetched, 20U);
    EXPECT_GT(left, 20U);
}

TEST_F(PrefixFetcherTest, ALineThatWasTooSlowIsNotAskedAgainWhileItIsRemembered) {
    steadily(want(), 1ms, whole_bytes / (1.2 * to_seconds(recompute)));
    const std::size_t asked = asked_.size();
    EXPECT_TRUE(engine_.given_up.contains(want()));
    EXPECT_EQ(asked_.size(), asked);
    // What is smaller would still be in time.
    EXPECT_FALSE(engine_.given_up.contains(want(holder, recompute, whole_bytes / 10)));
    EXPECT_EQ(asked_.size(), asked + 1);
    run_until(now_.mono + limits::prefix_peer_memory);
    EXPECT_FALSE(engine_.given_up.contains(want()));
}

TEST_F(PrefixFetcherTest, WhoeverBeginsWellAndFallsSilentIsLeftSoon) {
    const Instant asked = now_.mono;
    const JobId job = want();
    steadily(job, 1ms, whole_bytes / to_seconds(2s), whole_bytes / 2);  // half of it, in a tenth of R
    ASSERT_TRUE(engine_.given_up.contains(job));
    EXPECT_LE(notes_.back().took, 1s + 12 * recompute / 100);
    EXPECT_EQ(notes_.back().reason, "it is too slow");
    EXPECT_GT(now_.mono, asked);
    EXPECT_TRUE(engine_.given_up.contains(want())) << "and is not asked the next time";
}

TEST_F(PrefixFetcherTest, ALineThatBecomesSlowIsKeptWhereTheRestIsSoonerThanReading) {
    const JobId job = want();
    const PrefixChannelId channel = begin();
    const std::size_t size = 250'000;
    std::size_t sent = 0;
    // Half of it in a tenth of R, then at a third of that rate: three tenths more.
    while (sent < whole_bytes) {
        run_until(now_.mono + (sent < whole_bytes / 2 ? 50ms : 150ms));
        ASSERT_FALSE(engine_.given_up.contains(job)) << sent;
        sent += size;
        say(channel, piece(size, sent == whole_bytes));
    }
    EXPECT_TRUE(engine_.whole.contains(job));
}

TEST_F(PrefixFetcherTest, AnEngineThatTakesNothingHoldsTheOtherNodeBack) {
    const JobId job = want();
    const PrefixChannelId channel = begin();
    EXPECT_EQ(taken_, 1U) << "the answer itself";
    engine_.takes_more = false;
    for (int i = 0; i < 3; ++i) say(channel, piece(1000));
    EXPECT_EQ(taken_, 1U);
    fetcher_->on_engine();
    drain();
    EXPECT_EQ(taken_, 1U);
    engine_.takes_more = true;
    fetcher_->on_engine();
    drain();
    EXPECT_EQ(taken_, 4U);
    EXPECT_EQ(engine_.given[job], 3000U);
}

// ---- what goes wrong ---------------------------------------------------------------------------------------------

TEST_F(PrefixFetcherTest, WhateverEndsItTheJobReadsItsPrompt) {
    const auto left = [&](auto end) {
        SetUp();
        const JobId job = want();
        end(job);
        drain();
        EXPECT_EQ(fetcher_->fetching(), 0U);
        return engine_.given_up.contains(job) ? notes_.back().reason : "it goes on";
    };
    using wire::PrefixRefusal;
    EXPECT_EQ(left([&](JobId) { fetcher_->on_connect_failed(now_, asked_.back().first); }), "it cannot be reached");
    EXPECT_EQ(left([&](JobId) { fetcher_->on_closed(now_, begin()); }), "it broke off");
    EXPECT_EQ(left([&](JobId) { say(connect(), wire::PrefixRefused{PrefixRefusal::gone}); }),
              "it does not hold it any more");
    EXPECT_EQ(left([&](JobId) { say(begin(), wire::PrefixRefused{PrefixRefusal::gone}); }),
              "it does not hold it any more");
    EXPECT_EQ(left([&](JobId) { say(connect(), wire::PrefixRefused{PrefixRefusal::busy}); }),
              "it gives to as many as it may");
    EXPECT_EQ(left([&](JobId) { say(connect(), wire::PrefixRefused{PrefixRefusal::stranger}); }),
              "it does not know this node as one that serves the model");
    EXPECT_EQ(left([&](JobId) { say(connect(), piece(1000)); }), "it gave before it answered");
    EXPECT_EQ(left([&](JobId) { say(begin(), wire::PrefixReading{}); }), "it answered twice");
    EXPECT_EQ(left([&](JobId) { say(begin(), wire::PrefixFetch{served, {}, 1}); }), "it asked where it was asked");
    const std::string other = "it gave another number of bytes than it had said";
    EXPECT_EQ(left([&](JobId) { say(begin(), piece(1000, true)); }), other);
    EXPECT_EQ(left([&](JobId) {
                  const PrefixChannelId channel = begin();
                  for (std::size_t i = 0; i < 40; ++i) say(channel, piece(250'000));
              }),
              other)
        << "all of it, and not the last";
}

TEST_F(PrefixFetcherTest, WhoeverGaveOtherBytesIsNotAskedForTenMinutes) {
    const JobId job = want();
    const PrefixChannelId channel = begin();
    for (std::size_t i = 1; i <= 40; ++i) say(channel, piece(250'000, i == 40));
    fetcher_->refused(now_, {job, "layer 3 has another hash"});
    drain();
    ASSERT_EQ(notes_.size(), 2U);
    EXPECT_EQ(notes_[1].what, What::tampered);
    EXPECT_EQ(notes_[1].node, holder);
    EXPECT_EQ(notes_[1].reason, "layer 3 has another hash");
    EXPECT_FALSE(engine_.given_up.contains(job)) << "the engine goes on by itself";
    EXPECT_TRUE(engine_.given_up.contains(want()));
    run_until(now_.mono + limits::prefix_peer_shunned - 1s);
    EXPECT_TRUE(engine_.given_up.contains(want()));
    run_until(now_.mono + 1s);
    EXPECT_FALSE(engine_.given_up.contains(want()));
}

TEST_F(PrefixFetcherTest, ARefusalInTheMiddleEndsTheTransfer) {
    const JobId job = want();
    const PrefixChannelId channel = begin();
    say(channel, piece(1000));
    fetcher_->refused(now_, {job, "another shape"});
    drain();
    EXPECT_TRUE(closed_.contains(channel));
    say(channel, piece(1000));  // was on its way
    EXPECT_EQ(engine_.given[job], 1000U);
}

TEST_F(PrefixFetcherTest, AJobThatEndsLetsTheOtherNodeGo) {
    const JobId job = want();
    const PrefixChannelId channel = begin();
    fetcher_->job_ended(job);
    drain();
    EXPECT_TRUE(closed_.contains(channel));
    EXPECT_TRUE(engine_.given_up.empty()) << "it knows";
    EXPECT_EQ(fetcher_->next_deadline(), Instant::max());
}

// Holds the fetcher to its words to the engine: nothing after the end of a job, and one end for each.
class StrictEngine final : public engine::Prefixes {
public:
    void give(Now, JobId job, Bytes bytes, bool last) override {
        ASSERT_TRUE(open_.contains(job)) << "given after its end";
        ASSERT_FALSE(bytes.empty());
        if (last) open_.erase(job);
    }
    bool takes(JobId job) const override { return takes_more && open_.contains(job); }
    void give_up(Now, JobId job) override { ASSERT_EQ(open_.erase(job), 1U) << "given up after its end"; }
    void open(Now, PrefixReadId, const ByteArray<32>&, std::uint32_t) override {}
    void more(Now, PrefixReadId) override {}
    void close(Now, PrefixReadId) override {}
    std::optional<engine::PrefixEvent> poll_prefix() override { return std::nullopt; }

    std::set<JobId> open_;
    bool takes_more = true;
};

// What carries the messages: which connects are unanswered, which channels are open, what each owes.
struct Carrier {
    void drain(PrefixFetcher& fetcher) {
        while (auto output = fetcher.poll()) {
            if (const auto* wanted = std::get_if<PrefixConnect>(&*output)) {
                connects.push_back(wanted->token);
            } else if (const auto* closed = std::get_if<PrefixClose>(&*output)) {
                EXPECT_EQ(owed.erase(closed->channel), 1U) << "a channel is closed once";
            } else if (const auto* took = std::get_if<PrefixTook>(&*output)) {
                ASSERT_TRUE(owed.contains(took->channel));
                ASSERT_GT(owed[took->channel]--, 0) << "more was taken than came";
            }
        }
        while (fetcher.poll_note()) {
        }
    }
    std::vector<std::uint64_t> connects;
    std::map<PrefixChannelId, int> owed;  // messages that were not taken, by open channel
};

wire::PrefixMessage any_message(crypto::SeededRng& rng) {
    switch (rng.below(12)) {
        case 0: return wire::PrefixFetch{served, {}, 1};
        case 1: return wire::PrefixRefused{static_cast<wire::PrefixRefusal>(rng.below(3))};
        case 2:
        case 3:
        case 4: return wire::PrefixReading{};
        default: return wire::PrefixBytes{Bytes(1 + rng.below(400)), rng.below(6) == 0};
    }
}

// One of many orders in which things may come.
void anything(std::uint64_t seed) {
    crypto::SeededRng rng(seed);
    Now now{Instant(1h), from_unix_seconds(1'800'000'000)};
    StrictEngine engine;
    Carrier carrier;
    PrefixFetcher fetcher(self, [](Now, const NodeId&, const ModelId&) { return true; });
    const auto a_channel = [&] { return std::next(carrier.owed.begin(), rng.below(carrier.owed.size()))->first; };
    std::uint64_t jobs = 0, channels = 0;
    for (int step = 0; step < 400; ++step) {
        const std::uint64_t what = rng.below(10);
        if (what == 0) {
            const JobId job(++jobs);
            engine.open_.insert(job);
            const NodeId node(ByteArray<32>{static_cast<std::uint8_t>(3 + rng.below(50))});
            fetcher.wanted(now, engine, served, {job, {}, {node, {16, 1 + rng.below(2000), {}}}, rng.below(2) * 2s});
        } else if (what == 1 && !carrier.connects.empty()) {
            const std::uint64_t token = carrier.connects.back();
            carrier.connects.pop_back();
            const PrefixChannelId channel(++channels);
            carrier.owed[channel] = 0;
            rng.below(4) > 0 ? fetcher.on_connected(now, token, channel)
                             : (carrier.owed.erase(channel), fetcher.on_connect_failed(now, token));
        } else if (what < 6 && !carrier.owed.empty()) {
            const PrefixChannelId channel = a_channel();
            ++carrier.owed[channel];
            fetcher.on_message(now, channel, any_message(rng));
        } else if (what == 6 && !carrier.owed.empty() && rng.below(4) == 0) {
            const PrefixChannelId channel = a_channel();
            carrier.owed.erase(channel);
            fetcher.on_closed(now, channel);
        } else if (what == 7 && jobs > 0) {
            const JobId job(1 + rng.below(jobs));
            engine.open_.erase(job);
            rng.below(2) == 0 ? fetcher.job_ended(job) : fetcher.refused(now, {job, "altered"});
        } else if (what == 8) {
            engine.takes_more = rng.below(2) == 0;
            fetcher.on_engine();
        } else {
            now.mono += Duration(1ms) * rng.below(40);
            fetcher.on_tick(now);
        }
        carrier.drain(fetcher);
        ASSERT_LE(fetcher.fetching(), limits::prefix_fetches_max);
    }
    // In the end every timer has run, and every job knows.
    while (fetcher.next_deadline() != Instant::max()) {
        now.mono = std::max(now.mono, fetcher.next_deadline());
        fetcher.on_tick(now);
        carrier.drain(fetcher);
    }
    EXPECT_TRUE(engine.open_.empty()) << "a job waits for ever";
}

TEST(PrefixFetcher, WhateverComesInWhateverOrderEachJobIsSettledOnce) {
    for (std::uint64_t seed = 1; seed <= 500 && !testing::Test::HasFailure(); ++seed) {
        SCOPED_TRACE(seed);
        anything(seed);
    }
}

TEST(PrefixPeers, AFullTableForgetsWhatIsBelievedShortest) {
    const auto node = [](std::size_t i) {
        ByteArray<32> bytes{};
        store_le<std::uint64_t>(bytes.data(), i + 1);
        return NodeId(bytes);
    };
    Now now{Instant(1h), {}};
    PrefixPeers peers;
    peers.shun(now, node(0), limits::prefix_peer_shunned + 1s);
    for (std::size_t i = 1; i < limits::prefix_peers_max + 50; ++i) {
        now.mono += 1ms;
        peers.measured(now, node(i), {1e6, 1ms});
        ASSERT_LE(peers.size(), limits::prefix_peers_max);
    }
    EXPECT_TRUE(peers.shunned(now, node(0)));
    EXPECT_FALSE(peers.pace(now, node(1)));
    EXPECT_TRUE(peers.pace(now, node(limits::prefix_peers_max + 49)));
    now.mono += limits::prefix_peer_memory;
    EXPECT_FALSE(peers.pace(now, node(limits::prefix_peers_max + 49)));
}

}  // namespace
}  // namespace shoal::model
