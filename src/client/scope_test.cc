#include "client/scope.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "crypto/rng.h"

namespace shoal::client {
namespace {

const ModelId model(ByteArray<32>{1});

ChatRequest request_of(const std::vector<std::pair<Role, std::string>>& messages) {
    ChatRequest out;
    for (const auto& [role, text] : messages) out.messages.push_back({role, Plaintext(text)});
    return out;
}

TEST(Scopes, AllTurnsOfAConversationHaveOne) {
    crypto::SeededRng rng(1);
    const Scopes scopes(rng);
    const PrefixScope first = scopes.of(model, request_of({{Role::system, "be brief"}, {Role::user, "hello"}}));
    EXPECT_FALSE(first.is_zero());
    EXPECT_EQ(first, scopes.of(model, request_of({{Role::system, "be brief"},
                                                  {Role::user, "hello"},
                                                  {Role::assistant, "good day"},
                                                  {Role::user, "what is new?"}})));
}

TEST(Scopes, NothingElseHasIt) {
    crypto::SeededRng rng(1);
    const Scopes scopes(rng), others(rng);
    const ChatRequest request = request_of({{Role::system, "be brief"}, {Role::user, "hello"}});
    const std::set<PrefixScope> all = {
        scopes.of(model, request),
        scopes.of(ModelId(ByteArray<32>{2}), request),
        others.of(model, request),
        scopes.of(model, request_of({{Role::system, "be brief"}, {Role::user, "hello!"}})),
        scopes.of(model, request_of({{Role::system, "be"}, {Role::user, "hello"}})),
        scopes.of(model, request_of({{Role::user, "hello"}})),
        scopes.of(model, request_of({{Role::system, "be briefhello"}})),
        scopes.of(model, request_of({{Role::system, "be brief"}, {Role::assistant, "hello"}})),
    };
    EXPECT_EQ(all.size(), 8U);
}

TEST(Home, StaysWhoeverElseComesOrGoesAndIsSharedOutEvenly) {
    crypto::SeededRng rng(1);
    std::vector<NodeId> nodes;
    for (int i = 0; i < 10; ++i) nodes.push_back(rng.id<NodeId>());
    std::map<NodeId, int> conversations;
    for (int i = 0; i < 1000; ++i) {
        const auto scope = rng.id<PrefixScope>();
        const NodeId home = home_of(scope, nodes);
        ++conversations[home];
        std::vector<NodeId> others = nodes;
        std::erase_if(others, [&](const NodeId& node) { return node == nodes[0] && node != home; });
        others.push_back(home);
        EXPECT_EQ(home_of(scope, others), home);
    }
    for (const NodeId& node : nodes) {
        EXPECT_GT(conversations[node], 60);  // of 100, four standard deviations
        EXPECT_LT(conversations[node], 140);
    }
}

}  // namespace
}  // namespace shoal::client
