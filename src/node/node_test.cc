#include "node/node.h"

#include <gtest/gtest.h>

#include "node/virtual_net_test.h"

namespace shoal::node {
namespace {

// Hundreds of tokens: some seconds of answer, in which things can happen.
std::string long_text(std::size_t bytes = 1000) {
    std::string out;
    while (out.size() < bytes) out += "word " + std::to_string(out.size()) + " ";
    return out;
}

class NodeTest : public ::testing::Test {
protected:
    void start(std::uint64_t seed, std::size_t relays = 16, std::size_t models = 2, PacerMode pacer = PacerMode::fast) {
        net_ = std::make_unique<VirtualNet>(seed, relays, models, pacer);
        ASSERT_TRUE(net_->run_until([&] { return net_->ready(); }, 60s));
    }
    void expect_answer(const std::string& asked, Duration limit = 120s) {
        ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, limit));
        ASSERT_TRUE(net_->client().end) << net_->client().fault->message;
        EXPECT_EQ(net_->client().answer, "echo: " + asked);
    }
    bool has_text() { return !net_->client().answer.empty(); }

    std::unique_ptr<VirtualNet> net_;
};

TEST_F(NodeTest, ANetworkAnswersOneQuestion) {
    start(1);
    ASSERT_TRUE(net_->ask("hello"));
    expect_answer("hello", 60s);
}

TEST_F(NodeTest, TheSteadyPaceAnswersToo) {
    start(2, 16, 2, PacerMode::shaped);
    ASSERT_TRUE(net_->ask(long_text(300)));
    expect_answer(long_text(300));
}

// ---- what dies ---------------------------------------------------------------------------------------------------

TEST_F(NodeTest, RelaysThatDieInTheMiddleOfAnAnswerAreReplaced) {
    for (std::uint64_t seed = 10; seed < 14; ++seed) {
        start(seed, 24);
        const std::string text = long_text();
        ASSERT_TRUE(net_->ask(text));
        ASSERT_TRUE(net_->run_until([&] { return has_text(); }, 60s));
        const auto guards = net_->guards();
        std::size_t killed = 0;
        for (std::size_t i = VirtualNet::first_relay; killed < 6; ++i) {
            if (std::find(guards.begin(), guards.end(), i) != guards.end()) continue;
            net_->kill(i);
            ++killed;
        }
        expect_answer(text);
    }
}

TEST_F(NodeTest, AGuardThatDiesInTheMiddleOfAnAnswerIsNoLoss) {
    for (std::uint64_t seed = 20; seed < 24; ++seed) {
        start(seed);
        const std::string text = long_text();
        ASSERT_TRUE(net_->ask(text));
        ASSERT_TRUE(net_->run_until([&] { return has_text(); }, 60s));
        net_->kill(net_->guards()[seed % 2]);
        expect_answer(text);
    }
}

TEST_F(NodeTest, AModelNodeThatDiesBeforeItsFirstWordIsReplacedByAnother) {
    start(30, 24);
    const std::string text = long_text(6000);  // some time of prefill
    ASSERT_TRUE(net_->ask(text));
    ASSERT_TRUE(net_->run_until([&] { return net_->busy_model().has_value(); }, 60s));
    ASSERT_FALSE(has_text());
    const std::size_t dead = *net_->busy_model();
    net_->kill(dead);
    expect_answer(text);
    // It is shunned now: the next questions do not try it first.
    for (int i = 0; i < 5; ++i) {
        const Instant asked = net_->now().mono;
        ASSERT_TRUE(net_->ask("again"));
        expect_answer("again");
        EXPECT_LT(net_->now().mono - asked, 3s);
    }
}

TEST_F(NodeTest, AModelNodeThatDiesBehindItsFirstWordIsLostWithWhatWasSaid) {
    start(31, 24);
    ASSERT_TRUE(net_->ask(long_text()));
    ASSERT_TRUE(net_->run_until([&] { return has_text(); }, 60s));
    net_->kill(*net_->busy_model());
    ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 180s));
    ASSERT_TRUE(net_->client().fault);
    EXPECT_EQ(net_->client().fault->fault, AskFault::node_lost);
    EXPECT_TRUE(("echo: " + long_text()).starts_with(net_->client().answer));
}

TEST_F(NodeTest, AnEngineThatDiesBeforeItsFirstWordMovesTheQuestion) {
    start(32);
    const std::string text = long_text(6000);
    ASSERT_TRUE(net_->ask(text));
    ASSERT_TRUE(net_->run_until([&] { return net_->busy_model().has_value(); }, 60s));
    VirtualNet::Machine& m = (*net_)[*net_->busy_model()];
    m.engine->die(net_->now(), "killed");
    m.node->on_engine(net_->now());
    expect_answer(text);
}

// ---- what is not there -------------------------------------------------------------------------------------------

TEST_F(NodeTest, WithoutAModelNodeTheQuestionFailsAtOnce) {
    net_ = std::make_unique<VirtualNet>(40, 16, 0);
    net_->run_until([] { return false; }, 30s);
    EXPECT_FALSE(net_->ask("hello"));
    EXPECT_EQ(net_->client().fault->fault, AskFault::no_model_node);
}

// A client that has just come has the newest directory; relays that have seen no change for long ask rarely.
class LateModelTest : public NodeTest {
protected:
    void SetUp() override {
        net_ = std::make_unique<VirtualNet>(43, 16, 0);
        net_->run_until([] { return false; }, 5min);
        const NodeId late = (*net_)[net_->add_model()].key.node_id();
        const auto knows = [&](std::size_t i) { return (*net_)[i].node->book().find(late, net_->now()) != nullptr; };
        ASSERT_TRUE(net_->run_until([&] { return knows(0); }, 10s)) << "the verifier";
        net_->restart_client();
        ASSERT_TRUE(net_->run_until([&] { return net_->ready(); }, 10s));
        std::size_t behind = 0;
        for (std::size_t i = VirtualNet::first_relay; i <= 16; ++i) behind += knows(i) ? 0 : 1;
        ASSERT_GE(behind, 12U) << "the test needs relays with an older directory";
    }
};

TEST_F(LateModelTest, AProxyThatDoesNotKnowItYetAsksForANewerDirectory) {
    const Instant asked = net_->now().mono;
    ASSERT_TRUE(net_->ask("hello"));
    ASSERT_TRUE(net_->run_until([&] { return has_text(); }, 60s));
    EXPECT_LT(net_->now().mono - asked, limits::got_timeout_min) << "no clove had to be sent twice";
    expect_answer("hello");
}

TEST_F(LateModelTest, WhatNoDirectoryComesForIsRefused) {
    net_->kill(0);  // whom the relays ask
    const Instant asked = net_->now().mono;
    ASSERT_TRUE(net_->ask("hello"));
    ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 60s));
    ASSERT_TRUE(net_->client().fault);
    EXPECT_GE(net_->now().mono - asked, limits::unknown_node_wait);
    EXPECT_LT(net_->now().mono - asked, limits::accept_timeout) << "said, and not only silent";
}

TEST_F(NodeTest, WithoutADirectoryTheQuestionFailsAtOnce) {
    net_ = std::make_unique<VirtualNet>(41);
    net_->kill(0);
    EXPECT_FALSE(net_->ask("hello"));
    EXPECT_EQ(net_->client().fault->fault, AskFault::no_circuit);
}

TEST_F(NodeTest, WithoutCircuitsTheQuestionWaitsAndSaysSo) {
    start(42);
    for (std::size_t i = VirtualNet::first_relay; i <= 16; ++i) net_->kill(i);
    const Instant asked = net_->now().mono;
    ASSERT_TRUE(net_->ask("hello"));
    ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 60s));
    EXPECT_EQ(net_->client().fault->fault, AskFault::no_circuit);
    EXPECT_GE(net_->now().mono - asked, limits::circuits_wait);
    EXPECT_LE(net_->now().mono - asked, limits::circuits_wait + 1s);
}

// ---- many, and none of them --------------------------------------------------------------------------------------

TEST_F(NodeTest, SixtyFourQuestionsAtOnceEachGetTheirOwnAnswer) {
    start(50, 24);
    std::map<client::AskId, std::string> asked;
    for (std::size_t i = 0; i < limits::asks_max; ++i) {
        const std::string text = "question " + std::to_string(i);
        const auto ask = net_->ask(text);
        ASSERT_TRUE(ask);
        asked[*ask] = text;
    }
    EXPECT_FALSE(net_->ask("one too many"));
    EXPECT_EQ(net_->client().fault->fault, AskFault::overloaded);
    ASSERT_TRUE(net_->run_until([&] { return net_->client().node->client()->asks() == 0; }, 120s));
    for (const auto& [ask, text] : asked) {
        const VirtualNet::Asked& got = net_->client().asked[ask];
        ASSERT_TRUE(got.end) << text << ": " << (got.fault ? got.fault->message : "nothing");
        EXPECT_EQ(got.answer, "echo: " + text);
        EXPECT_EQ(got.endings, 1U);
    }
}

TEST_F(NodeTest, CancelFreesTheSlotAndNothingMoreComes) {
    start(51);
    const auto ask = net_->ask(long_text());
    ASSERT_TRUE(ask);
    ASSERT_TRUE(net_->run_until([&] { return has_text(); }, 60s));
    const std::size_t model = *net_->busy_model();
    net_->cancel(*ask);
    const std::string so_far = net_->client().answer;
    ASSERT_TRUE(net_->run_until([&] { return !net_->busy_model(); }, 500ms)) << "long before it would have ended";
    EXPECT_EQ((*net_)[model].node->model()->stats().cancelled, 1U);
    net_->run_until([] { return false; }, 10s);
    EXPECT_EQ(net_->client().answer, so_far);
    EXPECT_FALSE(net_->answered());
    EXPECT_EQ(net_->client().node->client()->asks(), 0U);
}

TEST_F(NodeTest, NothingOfAQuestionIsLeftAfterAWhile) {
    start(52);
    ASSERT_TRUE(net_->ask("hello"));
    expect_answer("hello");
    net_->run_until([] { return false; }, 3min);
    for (std::size_t i = 0; i < net_->size(); ++i) {
        const model::ModelNode* model = (*net_)[i].node->model();
        if (model == nullptr) continue;
        for (std::uint64_t link = 0; link < 1000; ++link) EXPECT_FALSE(model->uses_link(LinkId(link)));
    }
    EXPECT_GE(net_->client().node->client()->circuits().ready(), limits::circuits_ready_target);
}

// ---- the wire ----------------------------------------------------------------------------------------------------

std::uint64_t trace_of(std::uint64_t seed) {
    VirtualNet net(seed);
    std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
    net.on_wire = [&](std::size_t from, std::size_t to, Bytes& bytes) {
        const auto take = [&](std::uint64_t value) { hash = (hash ^ value) * 0x100'0000'01b3; };
        take(from);
        take(to);
        for (const std::uint8_t byte : bytes) take(byte);
    };
    if (!net.run_until([&] { return net.ready(); }, 60s)) return 0;
    (void)net.ask("hello");
    (void)net.run_until([&] { return net.answered(); }, 60s);
    return hash;
}

TEST(Node, TheSameSeedPutsTheSameBytesOnTheWire) {
    const std::uint64_t first = trace_of(60);
    EXPECT_NE(first, 0U);
    EXPECT_EQ(trace_of(60), first);
    EXPECT_NE(trace_of(61), first);
}

// What TLS would have noticed is let through here: every layer above must notice by itself.
TEST_F(NodeTest, AFlippedBitOnTheWireNeverGivesAWrongAnswer) {
    std::size_t answered = 0;
    for (std::uint64_t seed = 70; seed < 82; ++seed) {
        start(seed);
        crypto::SeededRng chance(seed);
        int flips = 0;
        net_->on_wire = [&](std::size_t, std::size_t, Bytes& bytes) {
            if (flips < 3 && chance.below(40) == 0) {
                bytes[chance.below(bytes.size())] ^= static_cast<std::uint8_t>(1U << chance.below(8));
                ++flips;
            }
        };
        const std::string text = long_text(400);
        ASSERT_TRUE(net_->ask(text));
        ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 300s)) << seed;
        EXPECT_TRUE(("echo: " + text).starts_with(net_->client().answer)) << seed;
        if (net_->client().end) {
            EXPECT_EQ(net_->client().answer, "echo: " + text) << seed;
        }
        answered += net_->client().end ? 1U : 0U;
    }
    EXPECT_GE(answered, 10U);
}

}  // namespace
}  // namespace shoal::node
