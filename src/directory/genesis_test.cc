#include "directory/genesis.h"

#include <gtest/gtest.h>

#include "directory/test_network.h"

namespace shoal::directory {
namespace {

TEST(Genesis, NetworkIdIsTheHashOfWhatItSays) {
    Genesis g;
    g.name = "shoal";
    g.created = UnixTime(1'800'000'000s);
    g.verifiers = {{NodeId(ByteArray<32>{1}), 5}};
    // From an independent BLAKE2b over "SC1-GENE" | created | name | verifiers.
    EXPECT_EQ(g.network().hex(), "d57d8752ea30745a9d8bb734b1fc8d59a3df35b2b540626784f7b414859073a0");
}

TEST(Genesis, NetworkIdCoversNameTimeAndVerifiersInTheirOrder) {
    const Genesis g = TestNetwork({1, 2, 3}).genesis;
    std::vector<Genesis> others(5, g);
    others[0].name = "other";
    others[1].created += 1s;
    others[2].verifiers[1].weight = 9;
    others[3].verifiers.pop_back();
    std::swap(others[4].verifiers[0], others[4].verifiers[1]);
    for (const Genesis& other : others) EXPECT_NE(other.network(), g.network());
}

TEST(Genesis, BootstrapsMayChangeWithoutMakingAnotherNetwork) {
    TestNetwork net;
    const NetworkId before = net.genesis.network();
    net.genesis.bootstraps = {{net.nodes[0].node_id(), *wire::parse_address("127.0.0.1:9000")}};
    EXPECT_EQ(net.genesis.network(), before);
    EXPECT_TRUE(net.genesis.check());
}

TEST(Genesis, CheckNamesWhatIsWrong) {
    const TestNetwork net({1, 1});
    ASSERT_TRUE(net.genesis.check());
    const auto broken = [&](auto change) {
        Genesis g = net.genesis;
        change(g);
        const Status status = g.check();
        return status ? std::string() : status.error().message;
    };
    EXPECT_NE(broken([](Genesis& g) { g.name = ""; }).find("name"), std::string::npos);
    EXPECT_NE(broken([](Genesis& g) { g.name = "Shoal"; }).find("name"), std::string::npos);
    EXPECT_NE(broken([](Genesis& g) { g.name = std::string(65, 'a'); }).find("name"), std::string::npos);
    EXPECT_NE(broken([](Genesis& g) { g.verifiers.clear(); }).find("no verifier"), std::string::npos);
    EXPECT_NE(broken([](Genesis& g) { g.verifiers[1] = g.verifiers[0]; }).find("twice"), std::string::npos);
    EXPECT_NE(broken([](Genesis& g) { g.verifiers[1].weight = 0; }).find("weighs 0"), std::string::npos);
    EXPECT_NE(broken([](Genesis& g) { g.verifiers[1].weight = 1'000'000'000; }).find("weights"), std::string::npos);
    EXPECT_NE(broken([](Genesis& g) {
                  for (std::uint8_t i = 0; i < 31; ++i) g.verifiers.push_back({NodeId(ByteArray<32>{i}), 1});
              }).find("more than 31"),
              std::string::npos);
    const wire::Address address = *wire::parse_address("127.0.0.1:9000");
    EXPECT_NE(broken([&](Genesis& g) {
                  g.bootstraps = {{NodeId(), address}, {NodeId(), address}};
              }).find("twice"),
              std::string::npos);
    EXPECT_NE(broken([&](Genesis& g) { g.bootstraps = {{NodeId(), {}}}; }).find("nobody can dial"), std::string::npos);
    EXPECT_NE(broken([&](Genesis& g) {
                  for (std::uint8_t i = 0; i < 33; ++i) g.bootstraps.push_back({NodeId(ByteArray<32>{i}), address});
              }).find("more than 32"),
              std::string::npos);
}

TEST(Genesis, QuorumIsMoreThanTwoThirds) {
    EXPECT_TRUE(is_quorum(1, 1));
    EXPECT_FALSE(is_quorum(0, 1));
    EXPECT_FALSE(is_quorum(2, 3));
    EXPECT_TRUE(is_quorum(3, 4));
    EXPECT_FALSE(is_quorum(4, 6));
    EXPECT_TRUE(is_quorum(5, 7));
    EXPECT_FALSE(is_quorum(0, 0));
}

}  // namespace
}  // namespace shoal::directory
