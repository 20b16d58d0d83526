// The scope of a conversation (protocol/chat.md): what its node may reuse for it, and for nothing else.
//
// All turns of a conversation have one scope: its messages up to the first of the user's, and the model, name it under
// a secret of this client. So a node learns from it only what the texts say as well, that the turns belong together;
// two conversations, or two clients with the same one, share nothing.
//
// Pure. Cost: a hash of these messages. One thread.
#pragma once

#include <vector>

#include "base/chat.h"
#include "base/rng.h"

namespace shoal::client {

class Scopes {
public:
    // Draws the secret.
    explicit Scopes(Rng& rng) : secret_(rng.array<32>()) {}
    PrefixScope of(const ModelId& model, const ChatRequest& request) const;

private:
    Key32 secret_;
};

// The same node for every turn, whoever else comes or goes: that with the greatest hash together with the scope
// (rendezvous hashing). `nodes` is not empty.
NodeId home_of(const PrefixScope& scope, const std::vector<NodeId>& nodes);

}  // namespace shoal::client
