#include "client/scope.h"

#include <algorithm>

#include "base/assert.h"
#include "crypto/hash.h"

namespace shoal::client {

PrefixScope Scopes::of(const ModelId& model, const ChatRequest& request) const {
    crypto::Blake2b256 hash(secret_.expose());
    hash.update(as_bytes("sc1/prefix-scope"));
    hash.update(model.view());
    for (const ChatMessage& message : request.messages) {
        std::uint8_t head[5] = {static_cast<std::uint8_t>(message.role)};
        store_le<std::uint32_t>(head + 1, static_cast<std::uint32_t>(message.content.size()));
        hash.update(head);
        hash.update(as_bytes(message.content.expose()));
        if (message.role == Role::user) break;
    }
    return PrefixScope(hash.digest());
}

NodeId home_of(const PrefixScope& scope, const std::vector<NodeId>& nodes) {
    ASSERT(!nodes.empty());
    const auto weight = [&scope](const NodeId& node) { return crypto::blake2b<32>(scope.view(), {node.view()}); };
    return *std::max_element(nodes.begin(), nodes.end(),
                             [&](const NodeId& a, const NodeId& b) { return weight(a) < weight(b); });
}

}  // namespace shoal::client
