#include "node/directory_agent.h"

#include <gtest/gtest.h>

#include "directory/test_network.h"

namespace shoal::node {
namespace {

using directory::TestNetwork;

// A client that knows two bootstraps and has no directory yet.
struct AgentTest : testing::Test {
    TestNetwork net;
    crypto::SeededRng rng{5};
    crypto::SigningKey identity = crypto::SigningKey::generate(rng);
    std::unique_ptr<DirectoryAgent> agent;

    AgentTest() {
        for (std::size_t i = 0; i < 2; ++i) {
            net.genesis.bootstraps.push_back({net.nodes[i].node_id(), net.descriptor(i).addresses[0]});
        }
        AgentConfig config;
        config.genesis = net.genesis;
        agent = std::make_unique<DirectoryAgent>(net.now, std::move(config), identity, rng);
    }
    // Lets time pass until somebody is asked.
    std::optional<NodeId> until_asked(Duration limit) {
        for (const Instant end = net.now.mono + limit; net.now.mono <= end; net.pass(1s)) {
            agent->on_tick(net.now);
            while (auto output = agent->poll()) {
                const auto* send = std::get_if<DirectoryAgent::Send>(&*output);
                if (send != nullptr && std::holds_alternative<wire::GetSnapshot>(send->message)) return send->to;
            }
        }
        return std::nullopt;
    }
    // What a link brings; the status decides whether the link goes on.
    Status answer(const NodeId& from, std::uint64_t epoch) {
        return agent->on_message(net.now, LinkId(1), from,
                                 wire::encode_snapshot_message(wire::encode(net.signed_snapshot(epoch))), true);
    }
    Status not_newer(const NodeId& from) {
        return agent->on_message(net.now, LinkId(1), from, wire::encode_directory_message(wire::NotNewer{Epoch(0)}),
                                 true);
    }
};

TEST_F(AgentTest, AnAnswerThatNobodyAskedForEndsItsLink) {
    const auto asked = until_asked(10s);
    ASSERT_TRUE(asked);
    const NodeId other = net.nodes[*asked == net.nodes[0].node_id() ? 1 : 0].node_id();
    EXPECT_FALSE(answer(other, 1));
    EXPECT_FALSE(not_newer(other));
    EXPECT_TRUE(answer(*asked, 1));
    EXPECT_FALSE(answer(*asked, 2)) << "one asking, two answers";
    ASSERT_NE(agent->book().current(net.now), nullptr);
    EXPECT_EQ(agent->book().current(net.now)->epoch(), Epoch(1));
}

TEST_F(AgentTest, ALateAnswerKeepsItsLinkAndIsOfUse) {
    const auto slow = until_asked(10s);
    ASSERT_TRUE(slow);
    net.pass(limits::directory_fetch_timeout);
    const auto next = until_asked(limits::directory_retry_max);
    ASSERT_TRUE(next);
    ASSERT_NE(*next, *slow);
    EXPECT_TRUE(answer(*slow, 1)) << "an honest node over a slow link lost it, and every circuit on it";
    ASSERT_NE(agent->book().current(net.now), nullptr);
    EXPECT_TRUE(answer(*next, 1));
    EXPECT_TRUE(agent->book().fresh(net.now));
}

TEST_F(AgentTest, ALateNothingNewIsNoOffenceEither) {
    const auto slow = until_asked(10s);
    ASSERT_TRUE(slow);
    net.pass(limits::directory_fetch_timeout);
    const auto next = until_asked(limits::directory_retry_max);
    ASSERT_TRUE(next);
    EXPECT_TRUE(not_newer(*slow));
    EXPECT_TRUE(answer(*next, 1)) << "the late one took the place of the one that is awaited";
}

TEST_F(AgentTest, AfterItsLinkWasLostANodeOwesNothing) {
    const auto asked = until_asked(10s);
    ASSERT_TRUE(asked);
    agent->on_unreachable(net.now, *asked);
    EXPECT_FALSE(answer(*asked, 1));
}

}  // namespace
}  // namespace shoal::node
