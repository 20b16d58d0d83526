#include "client/prefix_sources.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace shoal::client {
namespace {

PrefixScope scope(std::uint64_t number) {
    ByteArray<32> bytes{};
    store_le<std::uint64_t>(bytes.data(), number);
    return PrefixScope(bytes);
}
PrefixSource held_by(std::uint8_t node, std::uint32_t tokens = 640) {
    return {NodeId(ByteArray<32>{node}), {tokens, 1000, {}}};
}

TEST(PrefixSources, TheNewestAnswerSaysWhoHoldsIt) {
    PrefixSources sources;
    EXPECT_EQ(sources.find(scope(1)), nullptr);
    sources.learn(scope(1), held_by(1));
    sources.learn(scope(2), held_by(2));
    sources.learn(scope(1), held_by(3, 656));
    ASSERT_NE(sources.find(scope(1)), nullptr);
    EXPECT_EQ(*sources.find(scope(1)), held_by(3, 656));
    EXPECT_EQ(*sources.find(scope(2)), held_by(2));
    EXPECT_EQ(sources.size(), 2U);
}

TEST(PrefixSources, TheConversationThatWasAskedLongestAgoIsForgotten) {
    PrefixSources sources;
    for (std::uint64_t i = 0; i < limits::prefix_sources_max; ++i) sources.learn(scope(i), held_by(1));
    sources.touch(scope(0));
    sources.learn(scope(1'000'000), held_by(2));
    EXPECT_EQ(sources.size(), limits::prefix_sources_max);
    EXPECT_NE(sources.find(scope(0)), nullptr);
    EXPECT_EQ(sources.find(scope(1)), nullptr);
    sources.touch(scope(1));  // what is not known is not made up
    EXPECT_EQ(sources.find(scope(1)), nullptr);
    EXPECT_EQ(sources.size(), limits::prefix_sources_max);
}

}  // namespace
}  // namespace shoal::client
