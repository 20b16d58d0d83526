// Comparisons over a whole network: one model node of three answers something else.
#include <gtest/gtest.h>

#include "node/node.h"
#include "node/virtual_net_test.h"

namespace shoal::node {
namespace {

constexpr std::size_t relays = 16;
constexpr std::size_t first_model = 1 + relays;
const std::string question = "What is the capital of France? Please answer at some length, in several sentences.";
const std::string truth = "echo: " + question;

std::string altered(const ChatRequest& request) {
    std::string out = "echo: " + request.messages.back().content.expose();
    out[out.size() / 2] = '#';
    return out;
}
std::string shorter(const ChatRequest& request) {
    return "echo: " + request.messages.back().content.expose().substr(0, 20);
}
std::string longer(const ChatRequest& request) {
    return "echo: " + request.messages.back().content.expose() + " Buy this!";
}
std::string of_another_mind(const ChatRequest&) {
    return "no";
}

class CompareTest : public ::testing::Test {
protected:
    void start(std::uint64_t seed, std::size_t models, VirtualNet::Replies replies = {}) {
        net_ = std::make_unique<VirtualNet>(seed, relays, models, PacerMode::fast, std::move(replies));
        const auto all = [&] { return net_->ready() && client().model_nodes() == models; };
        ASSERT_TRUE(net_->run_until(all, 120s));
    }
    const client::Client& client() { return *net_->client().node->client(); }
    NodeId model(std::size_t index) { return (*net_)[first_model + index].key.node_id(); }
    // Until the slower nodes are judged as well.
    void ask(const char* compare, Duration limit = 180s) {
        const std::size_t before = net_->client().compared.size();
        ASSERT_TRUE(net_->ask(question, *Comparison::parse(compare)));
        ASSERT_TRUE(net_->run_until([&] { return net_->client().compared.size() > before; }, limit));
        ASSERT_TRUE(net_->answered());
    }
    const client::Client::Compared& report() { return net_->client().compared.back(); }
    // Whose engine has a job.
    std::vector<std::size_t> busy() {
        std::vector<std::size_t> out;
        for (std::size_t i = first_model; i + 1 < net_->size(); ++i) {
            const auto& engine = (*net_)[i].engine;
            if (engine && engine->running() > 0) out.push_back(i);
        }
        return out;
    }

    std::unique_ptr<VirtualNet> net_;
};

TEST_F(CompareTest, ALiarIsFoundWithinOneQuestionAndAskedNoMore) {
    for (std::uint64_t seed = 100; seed < 106; ++seed) {
        start(seed, 3, {altered, nullptr, nullptr});
        ask("2/3");
        EXPECT_EQ(net_->client().answer, truth);
        ASSERT_TRUE(net_->client().end);
        EXPECT_EQ(net_->client().end->agreement, (Agreement{2, 3}));
        ASSERT_EQ(report().against.size(), 1U) << seed;
        EXPECT_EQ(report().against[0].node, model(0));
        EXPECT_EQ(report().against[0].bytes, truth.size() / 2);
        EXPECT_EQ(report().agreed, 2U);
        for (int again = 0; again < 10; ++again) {
            ASSERT_TRUE(net_->ask(question));
            ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 60s));
            ASSERT_EQ(net_->client().answer, truth);
        }
        ask("2/3");
        EXPECT_EQ(report().asked, 2U) << "where two are enough, the liar is not asked for a third";
        EXPECT_EQ(client().asks(), 0U);
    }
}

TEST_F(CompareTest, WhoCutsTheReplyShortIsFoundToo) {
    start(110, 3, {nullptr, shorter, nullptr});
    ask("2/3");
    EXPECT_EQ(net_->client().answer, truth);
    ASSERT_EQ(report().against.size(), 1U);
    EXPECT_EQ(report().against[0].node, model(1));
}

TEST_F(CompareTest, WhoGoesOnBehindTheAnswerIsFoundToo) {
    start(109, 3, {nullptr, nullptr, longer});
    ask("2/3");
    EXPECT_EQ(net_->client().answer, truth);
    ASSERT_EQ(report().against.size(), 1U);
    EXPECT_EQ(report().against[0].node, model(2));
    EXPECT_EQ(report().against[0].bytes, truth.size());
}

TEST_F(CompareTest, SuspicionEnds) {
    start(111, 3, {altered, nullptr, nullptr});
    ask("2/3");
    ASSERT_TRUE(client().suspects().suspected(net_->now(), model(0)));
    net_->run_until([] { return false; }, limits::suspicion_min);
    EXPECT_FALSE(client().suspects().suspected(net_->now(), model(0)));
    ask("2/3");
    EXPECT_EQ(report().asked, 3U);
    ASSERT_EQ(report().against.size(), 1U);
    EXPECT_EQ(report().against[0].suspected, 2 * limits::suspicion_min);
}

TEST_F(CompareTest, WhereThereIsNobodyElseASuspectIsAsked) {
    start(112, 3, {altered, nullptr, nullptr});
    ask("2/3");
    net_->kill(first_model + 1);
    net_->kill(first_model + 2);
    ASSERT_TRUE(net_->ask(question));
    ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 180s));
    EXPECT_EQ(net_->client().answer.size(), truth.size());
    EXPECT_NE(net_->client().answer, truth);
}

TEST_F(CompareTest, WhereNoTwoAgreeTheQuestionFails) {
    start(113, 3, {altered, of_another_mind, nullptr});
    ask("2/3");
    ASSERT_TRUE(net_->client().fault);
    EXPECT_EQ(net_->client().fault->fault, AskFault::disagreed);
    EXPECT_NE(net_->client().fault->message.find("2 of 3"), std::string::npos);
    // The two others agreed long enough to contradict the one; which of them is wrong then nobody knows.
    ASSERT_EQ(report().against.size(), 1U);
    EXPECT_EQ(report().against[0].node, model(1));
    EXPECT_EQ(net_->client().answer, truth.substr(0, truth.size() / 2));
    EXPECT_EQ(client().asks(), 0U);
}

TEST_F(CompareTest, ANodeThatDiesIsReplacedFromTheBeginning) {
    start(114, 4);
    ASSERT_TRUE(net_->ask(question, *Comparison::parse("3/3")));
    ASSERT_TRUE(net_->run_until([&] { return net_->client().answer.size() > 8; }, 60s));
    ASSERT_EQ(busy().size(), 3U);
    net_->kill(busy()[0]);
    ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 180s));
    EXPECT_EQ(net_->client().answer, truth) << (net_->client().fault ? net_->client().fault->message : "");
    EXPECT_EQ(net_->client().end->agreement, (Agreement{3, 3}));
}

TEST_F(CompareTest, ANodeThatDiesDoesNotFailWhatTheOthersAgreeOn) {
    start(115, 3);
    ASSERT_TRUE(net_->ask(question, *Comparison::parse("2/3")));
    ASSERT_TRUE(net_->run_until([&] { return !net_->client().answer.empty(); }, 60s));
    net_->kill(busy().at(0));
    ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 180s));
    EXPECT_EQ(net_->client().answer, truth);
    ASSERT_TRUE(net_->client().end);
    EXPECT_FALSE(client().suspects().suspected(net_->now(), model(0)));
}

TEST_F(CompareTest, CancelReachesEveryNode) {
    start(116, 3);
    const auto asked = net_->ask(question + question + question, *Comparison::parse("2/3"));
    ASSERT_TRUE(asked);
    ASSERT_TRUE(net_->run_until([&] { return busy().size() == 3; }, 60s));
    net_->cancel(*asked);
    EXPECT_EQ(client().asks(), 0U);
    ASSERT_TRUE(net_->run_until([&] { return busy().empty(); }, 1s)) << "long before they would have ended";
    net_->run_until([] { return false; }, 10s);
    EXPECT_FALSE(net_->answered());
}

// Where three of five are enough the others are waited for, but not at the cost of what is asked next.
TEST_F(CompareTest, WhoSaysNothingMoreKeepsNoPlaceFromOtherQuestions) {
    start(118, 5);
    net_->on_wire = [&](std::size_t from, std::size_t, Bytes& bytes) {
        if (from == first_model || from == first_model + 1) bytes.clear();
    };
    std::size_t most = 0;
    for (std::size_t i = 0; i < limits::asks_max; ++i) {
        ASSERT_TRUE(net_->ask("hi", *Comparison::parse("3/5"))) << i << " questions, " << client().asks() << " wait";
        ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 60s));
        ASSERT_TRUE(net_->client().end) << i;
        most = std::max(most, client().asks());
    }
    EXPECT_GT(most, limits::asks_max - 5) << "else this shows nothing";
}

// The node's side of rule 6: what two nodes get of one question has nothing in common but what the model must read.
TEST_F(CompareTest, EachNodeIsAskedOverCircuitsOfItsOwn) {
    start(117, 3);
    std::map<std::size_t, std::set<std::size_t>> proxies;
    net_->on_wire = [&](std::size_t from, std::size_t to, Bytes& bytes) {
        if (to >= first_model && to < first_model + 3 && bytes.size() >= limits::cell_bytes) proxies[to].insert(from);
    };
    ask("2/3");
    for (std::size_t i = 0; i < 3; ++i) EXPECT_GE(proxies[first_model + i].size(), 4U) << "n cloves by n proxies";
}

}  // namespace
}  // namespace shoal::node
