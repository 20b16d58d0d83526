#include "client/client.h"

#include <gtest/gtest.h>

#include <functional>

#include "directory/test_network.h"

namespace shoal::client {
namespace {

const ModelId served(ByteArray<32>{1});
const ModelId unknown(ByteArray<32>{2});

// The client alone, with a directory and nobody at the other end of anything. Questions that are answered, and nodes
// that die, are in node/node_test.cc, over a whole network.
class ClientTest : public ::testing::Test {
protected:
    ClientTest() : net_({1}, 20) { make(false); }
    void make(bool pipelines) {
        ClientConfig config;
        config.circuits.network = net_.genesis.network();
        config.circuits.pacer = PacerMode::fast;
        config.pipelines = pipelines;
        client_.emplace(config, rng_);
    }
    void give_directory(bool with_model = true, bool by_lead = false) {
        wire::Snapshot snapshot = net_.snapshot();
        if (with_model) {
            wire::OfferedModel offered;
            offered.model = served;
            offered.context_tokens = 4096;
            offered.name = "tiny";
            snapshot.entries[3].descriptor = net_.model_node(3, {offered});
            if (by_lead) snapshot.entries[3].descriptor.roles = wire::role_lead;
        }
        client_->on_directory(net_.now, std::make_shared<const directory::View>(*directory::View::verify(
                                            net_.genesis, net_.sign(snapshot, {0}), net_.now)));
    }
    // Nodes 3 and up serve the model; `change` makes them something else.
    void give_models(std::size_t count, const std::function<void(std::size_t, wire::Descriptor&)>& change = {}) {
        wire::Snapshot snapshot = net_.snapshot();
        wire::OfferedModel offered;
        offered.model = served;
        offered.context_tokens = 4096;
        offered.name = "tiny";
        for (std::size_t i = 0; i < count; ++i) {
            wire::Descriptor& descriptor = snapshot.entries[3 + i].descriptor;
            descriptor = net_.model_node(3 + i, {offered});
            if (change) change(i, descriptor);
        }
        client_->on_directory(net_.now, std::make_shared<const directory::View>(*directory::View::verify(
                                            net_.genesis, net_.sign(snapshot, {0}), net_.now)));
    }
    std::variant<AskId, ChatFault> ask(ModelId model, const std::string& text = "hello",
                                       const char* compare = nullptr) {
        ChatRequest request;
        request.messages.push_back({Role::user, Plaintext(text)});
        std::optional<Comparison> rule;
        if (compare != nullptr) rule = *Comparison::parse(compare);
        return client_->ask(net_.now, model, request, rule);
    }
    AskFault fault(const std::variant<AskId, ChatFault>& asked) {
        return std::holds_alternative<ChatFault>(asked) ? std::get<ChatFault>(asked).fault : AskFault::timeout;
    }
    std::vector<ChatFault> faults() {
        std::vector<ChatFault> out;
        while (auto output = client_->poll()) {
            if (auto* over = std::get_if<Client::Fault>(&*output)) out.push_back(over->fault);
        }
        return out;
    }
    // Ticks when the client asks for it; gives how often.
    std::size_t pass(Duration time) {
        const Instant end = net_.now.mono + time;
        std::size_t ticks = 0;
        while (client_->next_deadline() <= end && ++ticks < 100'000) {
            net_.now.mono = std::max(net_.now.mono, client_->next_deadline());
            client_->on_tick(net_.now);
        }
        net_.now.mono = end;
        return ticks;
    }

    directory::TestNetwork net_;
    crypto::SeededRng rng_{1};
    std::optional<Client> client_;
};

TEST_F(ClientTest, WhatCannotBeAskedIsSaidAtOnce) {
    EXPECT_EQ(fault(ask(served)), AskFault::no_circuit) << "no directory";
    EXPECT_TRUE(client_->starved());
    give_directory(false);
    EXPECT_EQ(fault(ask(served)), AskFault::no_model_node);
    EXPECT_TRUE(client_->starved());
    give_directory();
    EXPECT_FALSE(client_->starved());
    EXPECT_EQ(client_->model_nodes(), 1U);
    EXPECT_EQ(fault(ask(unknown)), AskFault::no_model_node);
    EXPECT_EQ(fault(ask(served, "")), AskFault::timeout) << "an empty message is a message";
    ChatRequest nothing;
    EXPECT_EQ(fault(client_->ask(net_.now, served, nothing)), AskFault::bad_request);
    EXPECT_EQ(fault(ask(served, std::string(2 * limits::chat_body_bytes_max, 'x'))), AskFault::bad_request);
    EXPECT_EQ(client_->asks(), 1U);
}

TEST_F(ClientTest, OnlyWhoAllowsPipelinesIsAnsweredByOne) {
    give_directory(true, true);
    EXPECT_EQ(client_->model_nodes(), 0U);
    EXPECT_EQ(fault(ask(served)), AskFault::no_model_node);
    make(true);
    give_directory(true, true);
    EXPECT_EQ(client_->model_nodes(), 1U);
    EXPECT_TRUE(std::holds_alternative<AskId>(ask(served)));
}

TEST_F(ClientTest, ADirectoryThatHasEndedIsNone) {
    give_directory();
    net_.pass(limits::snapshot_valid);
    EXPECT_EQ(fault(ask(served)), AskFault::no_circuit);
}

TEST_F(ClientTest, AQuestionWithoutCircuitsFailsOnceAndOnTime) {
    give_directory();
    ASSERT_TRUE(std::holds_alternative<AskId>(ask(served)));
    pass(limits::circuits_wait - 1ms);
    EXPECT_TRUE(faults().empty());
    pass(1ms);
    const auto said = faults();
    ASSERT_EQ(said.size(), 1U);
    EXPECT_EQ(said[0].fault, AskFault::no_circuit);
    EXPECT_EQ(client_->asks(), 0U);
    pass(5min);
    EXPECT_TRUE(faults().empty());
}

TEST_F(ClientTest, QuestionsAreBounded) {
    give_directory();
    for (std::size_t i = 0; i < limits::asks_max; ++i) ASSERT_TRUE(std::holds_alternative<AskId>(ask(served)));
    EXPECT_EQ(fault(ask(served)), AskFault::overloaded);
    EXPECT_EQ(client_->asks(), limits::asks_max);
}

TEST_F(ClientTest, AComparisonTakesAsManyNodesAsMustAgree) {
    give_models(1);
    const auto refused = ask(served, "hello", "2/3");
    ASSERT_EQ(fault(refused), AskFault::no_model_node);
    EXPECT_NE(std::get<ChatFault>(refused).message.find("there are 1"), std::string::npos);
    give_models(2);
    ASSERT_TRUE(std::holds_alternative<AskId>(ask(served, "hello", "2/3")));
    EXPECT_EQ(client_->asks(), 2U);
    EXPECT_EQ(fault(ask(served, "hello", "3/3")), AskFault::no_model_node);
}

TEST_F(ClientTest, NodesOfOneOperatorAreNotComparedWithEachOther) {
    const auto one_family = [](std::size_t, wire::Descriptor& d) { d.family = FamilyId(ByteArray<32>{9}); };
    give_models(4, one_family);
    EXPECT_EQ(fault(ask(served, "hello", "2/2")), AskFault::no_model_node);
    const auto one_network = [](std::size_t i, wire::Descriptor& d) {
        d.addresses = {*wire::parse_address("10.7.0." + std::to_string(i + 1) + ":9000")};
    };
    give_models(4, one_network);
    EXPECT_EQ(fault(ask(served, "hello", "2/2")), AskFault::no_model_node);
    give_models(4, [](std::size_t i, wire::Descriptor& d) {
        if (i < 3) d.family = FamilyId(ByteArray<32>{9});
    });
    EXPECT_TRUE(std::holds_alternative<AskId>(ask(served, "hello", "2/2"))) << "the fourth is another's";
    // The first is related to both others, and they are not to each other.
    give_models(3, [](std::size_t i, wire::Descriptor& d) {
        if (i != 2) d.family = FamilyId(ByteArray<32>{9});
        if (i != 1) d.addresses = {*wire::parse_address("10.7.0." + std::to_string(i + 1) + ":9000")};
    });
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(std::holds_alternative<AskId>(ask(served, "hello", "2/2"))) << i;
}

TEST_F(ClientTest, EachNodeOfAComparisonCountsAgainstTheLimit) {
    give_models(5);
    for (std::size_t i = 0; i < limits::asks_max / 5; ++i) {
        ASSERT_TRUE(std::holds_alternative<AskId>(ask(served, "hello", "3/5")));
    }
    EXPECT_EQ(client_->asks(), limits::asks_max / 5 * 5);
    EXPECT_EQ(fault(ask(served, "hello", "3/5")), AskFault::overloaded);
    EXPECT_EQ(client_->asks(), limits::asks_max / 5 * 5);
    EXPECT_TRUE(std::holds_alternative<AskId>(ask(served, "hello", "3/3")));
}

TEST_F(ClientTest, AComparisonWithoutCircuitsFailsOnceAndOnTime) {
    give_models(3);
    ASSERT_TRUE(std::holds_alternative<AskId>(ask(served, "hello", "2/3")));
    pass(limits::circuits_wait);
    const auto said = faults();
    ASSERT_EQ(said.size(), 1U);
    EXPECT_EQ(said[0].fault, AskFault::no_circuit);
    EXPECT_EQ(client_->asks(), 0U);
    pass(5min);
    EXPECT_TRUE(faults().empty());
}

TEST_F(ClientTest, ACancelledComparisonLeavesNothing) {
    give_models(3);
    const AskId asked = std::get<AskId>(ask(served, "hello", "2/3"));
    client_->cancel(net_.now, asked);
    client_->cancel(net_.now, asked);
    EXPECT_EQ(client_->asks(), 0U);
    pass(1min);
    EXPECT_TRUE(faults().empty());
}

TEST_F(ClientTest, ACancelledQuestionSaysNothingMore) {
    give_directory();
    const AskId asked = std::get<AskId>(ask(served));
    client_->cancel(net_.now, asked);
    client_->cancel(net_.now, asked);
    client_->cancel(net_.now, AskId(99));
    EXPECT_EQ(client_->asks(), 0U);
    pass(1min);
    EXPECT_TRUE(faults().empty());
}

TEST_F(ClientTest, WithNobodyAnsweringTheTimersStayFewAndFar) {
    give_directory();
    for (const NodeId& guard : client_->circuits().guards()) client_->on_guard_up(net_.now, guard, LinkId(1));
    ASSERT_TRUE(std::holds_alternative<AskId>(ask(served)));
    EXPECT_LT(pass(10min), 2000U);
}

}  // namespace
}  // namespace shoal::client
