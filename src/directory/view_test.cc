#include "directory/view.h"

#include <gtest/gtest.h>

#include "directory/test_network.h"

namespace shoal::directory {
namespace {

Errc error(const TestNetwork& net, const wire::SignedSnapshot& s) {
    const auto view = View::verify(net.genesis, s, net.now);
    EXPECT_FALSE(view);
    return view ? Errc::internal : view.error().code;
}

TEST(View, ShowsWhatTheCommitteeSigned) {
    const TestNetwork net;
    const wire::SignedSnapshot s = net.signed_snapshot();
    const auto view = View::verify(net.genesis, s, net.now);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->epoch(), Epoch(1));
    EXPECT_EQ(view->hash(), snapshot_hash(s.body));
    EXPECT_EQ(view->entries().size(), 4U);
    EXPECT_EQ(to_bytes(view->encoded()), wire::encode(s));
    for (const auto& node : net.nodes) {
        ASSERT_NE(view->find(node.node_id()), nullptr);
        EXPECT_EQ(view->find(node.node_id())->descriptor.node, node.node_id());
    }
    EXPECT_EQ(view->find(net.verifiers[0].node_id()), nullptr);
}

// ---- signatures --------------------------------------------------------------------------------------------------

TEST(View, NeedsMoreThanTwoThirdsOfTheWeight) {
    const TestNetwork net({1, 1, 1});
    EXPECT_EQ(error(net, net.sign(net.snapshot(), {})), Errc::unauthenticated);
    EXPECT_EQ(error(net, net.sign(net.snapshot(), {0, 2})), Errc::unauthenticated);
    EXPECT_TRUE(View::verify(net.genesis, net.sign(net.snapshot(), {0, 1, 2}), net.now));
}

TEST(View, CountsWeightsAndNotHeads) {
    const TestNetwork net({5, 1, 1});
    EXPECT_TRUE(View::verify(net.genesis, net.sign(net.snapshot(), {0}), net.now));  // 5 of 7
    EXPECT_EQ(error(net, net.sign(net.snapshot(), {1, 2})), Errc::unauthenticated);
}

TEST(View, DoesNotCountASignatureThatDoesNotHold) {
    const TestNetwork net({1, 1, 1});
    wire::SignedSnapshot s = net.sign(net.snapshot(), {0, 1, 2});
    s.signatures[1].signature[0] ^= 1;
    EXPECT_EQ(error(net, s), Errc::unauthenticated);
    const TestNetwork four({1, 1, 1, 1});  // three of four are enough, also beside a forged one
    s = four.sign(four.snapshot(), {0, 1, 2, 3});
    s.signatures[1].signature[0] ^= 1;
    EXPECT_TRUE(View::verify(four.genesis, s, four.now));
}

TEST(View, RefusesASignerItDoesNotKnow) {
    const TestNetwork net({1});
    wire::SignedSnapshot s = net.signed_snapshot();
    s.signatures.push_back(s.signatures[0]);
    s.signatures[1].index = 1;
    EXPECT_EQ(error(net, s), Errc::unauthenticated);
}

TEST(View, CountsASignerOnce) {
    const TestNetwork net({1, 1, 1});
    wire::SignedSnapshot s = net.sign(net.snapshot(), {0, 1});
    s.signatures.push_back(s.signatures[1]);
    EXPECT_EQ(error(net, s), Errc::malformed);
}

TEST(View, RefusesASignatureOfOneVerifierUnderTheNumberOfAnother) {
    const TestNetwork net({1, 1, 1});
    wire::SignedSnapshot s = net.sign(net.snapshot(), {0, 1});
    s.signatures.push_back({2, s.signatures[1].signature});
    EXPECT_EQ(error(net, s), Errc::unauthenticated);
}

TEST(View, NoticesEveryFlippedByteOfTheBody) {
    const TestNetwork net({1}, 1);
    const wire::SignedSnapshot s = net.signed_snapshot();
    for (std::size_t i = 0; i < s.body.size(); ++i) {
        wire::SignedSnapshot flipped = s;
        flipped.body[i] ^= 1;
        EXPECT_FALSE(View::verify(net.genesis, flipped, net.now)) << i;
    }
}

TEST(View, UsesWhatWasSignedAndNotWhatStandsBesideIt) {
    const TestNetwork net;
    wire::SignedSnapshot s = net.signed_snapshot();
    s.snapshot.entries.clear();
    s.snapshot.epoch = Epoch(99);
    const auto view = View::verify(net.genesis, s, net.now);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->epoch(), Epoch(1));
    EXPECT_EQ(view->entries().size(), 4U);
}

TEST(View, RefusesAnotherNetwork) {
    const TestNetwork net;
    Genesis other = net.genesis;
    other.name = "other";
    const auto view = View::verify(other, net.signed_snapshot(), net.now);
    ASSERT_FALSE(view);
    EXPECT_EQ(view.error().code, Errc::unauthenticated);
    // Also when its body claims the right one: the signatures then fail.
    wire::Snapshot s = net.snapshot();
    s.network = other.network();
    EXPECT_FALSE(View::verify(other, net.sign(s, {0}), net.now));
    // And when this committee signed it: what it says of another network is nothing to go by here.
    EXPECT_FALSE(View::verify(net.genesis, net.sign(s, {0}), net.now));
}

// ---- times and shape ---------------------------------------------------------------------------------------------

TEST(View, RefusesWhatHasEndedToTheSecond) {
    TestNetwork net;
    const wire::SignedSnapshot s = net.signed_snapshot();
    net.pass(3h - 1s);
    EXPECT_TRUE(View::verify(net.genesis, s, net.now));
    net.pass(1s);
    EXPECT_EQ(error(net, s), Errc::expired);
}

TEST(View, RefusesTheFutureBeyondTheSkewOfClocks) {
    TestNetwork net;
    const wire::SignedSnapshot s = net.signed_snapshot();
    net.pass(-90s);
    EXPECT_TRUE(View::verify(net.genesis, s, net.now));
    net.pass(-1s);
    EXPECT_EQ(error(net, s), Errc::expired);
}

TEST(View, RefusesSpansAboveTheLimits) {
    const TestNetwork net;
    wire::Snapshot s = net.snapshot();
    s.fresh_until += 1s;
    EXPECT_EQ(error(net, net.sign(s, {0})), Errc::invalid);
    wire::SignedSnapshot by_hand = net.signed_snapshot();  // the encoder would not write it
    ++by_hand.body[4 + 1 + 32 + 8 + 16];                   // lowest byte of valid_until
    by_hand.signatures = {sign_snapshot(net.verifiers[0], net.genesis.network(), 0, by_hand.body)};
    EXPECT_EQ(error(net, by_hand), Errc::malformed);
}

TEST(View, RefusesEntriesOutOfOrder) {
    const TestNetwork net({1}, 2);
    wire::SignedSnapshot s = net.signed_snapshot();
    const std::size_t entry_bytes = wire::encode_descriptor_body(s.snapshot.entries[0].descriptor).size() + 6;
    const auto first = s.body.end() - static_cast<std::ptrdiff_t>(2 * entry_bytes);
    std::swap_ranges(first, first + static_cast<std::ptrdiff_t>(entry_bytes),
                     s.body.end() - static_cast<std::ptrdiff_t>(entry_bytes));
    s.signatures = {sign_snapshot(net.verifiers[0], net.genesis.network(), 0, s.body)};
    EXPECT_EQ(error(net, s), Errc::malformed);
}

TEST(View, RefusesAnEntryThatHadEndedWhenItWasSigned) {
    const TestNetwork net;
    wire::Snapshot s = net.snapshot();
    s.entries[2].descriptor.valid_after -= 24h;
    s.entries[2].descriptor.valid_until -= 24h;
    EXPECT_EQ(error(net, net.sign(s, {0})), Errc::invalid);
}

TEST(View, RefusesAnEmptyBodyAndTooManySignatures) {
    const TestNetwork net;
    EXPECT_EQ(error(net, {}), Errc::invalid);
    wire::SignedSnapshot s = net.signed_snapshot();
    s.signatures.resize(32, s.signatures[0]);
    EXPECT_EQ(error(net, s), Errc::invalid);
}

// ---- roles and models --------------------------------------------------------------------------------------------

wire::OfferedModel offer(std::uint8_t id, std::string name, std::uint32_t context = 4096) {
    return {ModelId(ByteArray<32>{id}), 1, context, {}, std::move(name)};
}

TEST(View, ListsByRoleAndLeavesOutWeightZero) {
    const TestNetwork net;
    wire::Snapshot s = net.snapshot();
    s.entries[0].descriptor = net.model_node(0, {offer(1, "a")});
    s.entries[1].descriptor.roles = wire::role_relay;
    s.entries[2].weight = 0;
    const auto view = View::verify(net.genesis, net.sign(s, {0}), net.now);
    ASSERT_TRUE(view);
    EXPECT_EQ(std::vector(view->relays().begin(), view->relays().end()), (std::vector<std::uint32_t>{1, 3}));
    EXPECT_EQ(std::vector(view->guards().begin(), view->guards().end()), (std::vector<std::uint32_t>{3}));
    EXPECT_EQ(std::vector(view->model_nodes().begin(), view->model_nodes().end()), (std::vector<std::uint32_t>{0}));
    EXPECT_NE(view->find(net.nodes[2].node_id()), nullptr);
}

TEST(View, SumsUpModelsByWhatMostWeightClaims) {
    const TestNetwork net({1}, 5);
    wire::Snapshot s = net.snapshot();
    s.entries[0].descriptor = net.model_node(0, {offer(1, "mini", 8192), offer(2, "big")});
    s.entries[1].descriptor = net.model_node(1, {offer(1, "mini", 8192)});
    s.entries[2].descriptor = net.model_node(2, {offer(1, "evil", 16)});
    s.entries[3].descriptor = net.model_node(3, {offer(9, "mini")});
    s.entries[4].descriptor = net.model_node(4, {offer(3, "mini")});
    const auto view = View::verify(net.genesis, net.sign(s, {0}), net.now);
    ASSERT_TRUE(view);
    ASSERT_EQ(view->models().size(), 4U);
    EXPECT_EQ(view->models()[0].id, offer(1, "").model);
    EXPECT_EQ(view->models()[0].name, "mini");
    EXPECT_EQ(view->models()[0].context_tokens, 8192U);
    EXPECT_EQ(view->models()[0].nodes, 3U);
    EXPECT_EQ(view->nodes_of(offer(1, "").model),
              (std::vector{net.nodes[0].node_id(), net.nodes[1].node_id(), net.nodes[2].node_id()}));
    EXPECT_TRUE(view->nodes_of(offer(7, "").model).empty());
    EXPECT_EQ(view->find_model("mini"), offer(1, "").model);  // two against one and one
    EXPECT_EQ(view->find_model("evil"), offer(1, "").model);
    EXPECT_EQ(view->find_model("none"), std::nullopt);
    EXPECT_EQ(view->find_model(""), std::nullopt);
}

TEST(View, TellsWhoHoldsAModelFromWhoLeadsIt) {
    const TestNetwork net({1}, 3);
    wire::Snapshot s = net.snapshot();
    s.entries[0].descriptor = net.model_node(0, {offer(1, "mini")});
    s.entries[1].descriptor = net.model_node(1, {offer(1, "mini"), offer(2, "large")});
    s.entries[1].descriptor.roles = wire::role_lead;
    const auto view = View::verify(net.genesis, net.sign(s, {0}), net.now);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->nodes_of(offer(1, "").model), std::vector{net.nodes[0].node_id()});
    EXPECT_EQ(view->leads_of(offer(1, "").model), std::vector{net.nodes[1].node_id()});
    EXPECT_TRUE(view->nodes_of(offer(2, "").model).empty());
    ASSERT_EQ(view->models().size(), 2U);
    EXPECT_EQ(view->models()[0].nodes + view->models()[0].leads, 2U);
    EXPECT_EQ(view->models()[1].nodes, 0U);
    EXPECT_EQ(view->models()[1].leads, 1U);
}

TEST(View, GivesAContestedNameToWeightAndThenToTheSmallerId) {
    const TestNetwork net({1}, 2);
    wire::Snapshot s = net.snapshot();
    s.entries[0].descriptor = net.model_node(0, {offer(9, "x")});
    s.entries[1].descriptor = net.model_node(1, {offer(3, "x")});
    auto view = View::verify(net.genesis, net.sign(s, {0}), net.now);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->find_model("x"), offer(3, "").model);
    s.entries[0].weight = 2;
    view = View::verify(net.genesis, net.sign(s, {0}), net.now);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->find_model("x"), offer(9, "").model);
}

}  // namespace
}  // namespace shoal::directory
