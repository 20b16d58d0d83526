#include "node/node.h"

#include <gtest/gtest.h>

#include "node/virtual_net_test.h"

namespace shoal::node {
namespace {

TEST(Node, ANetworkAnswersOneQuestion) {
    VirtualNet net(1);
    ASSERT_TRUE(net.run_until([&] { return net.ready(); }, 60s));
    ASSERT_TRUE(net.ask("hello"));
    ASSERT_TRUE(net.run_until([&] { return net.answered(); }, 60s));
    ASSERT_TRUE(net.client().end) << net.client().fault->message;
    EXPECT_EQ(net.client().answer, "echo: hello");
}

}  // namespace
}  // namespace shoal::node
