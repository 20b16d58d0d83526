// PrefixSources: who holds what of which conversation, as the replies said (protocol/chat.md, `kept`). So the next turn
// goes to the node that holds it, and another node, where it has to go to one, is told where to fetch it.
//
// Rules
//   1. A newer answer of a conversation takes the place of what an older one said.
//   2. At most limits::prefix_sources_max conversations; the one that was asked longest ago is forgotten. In memory
//      only: with the process goes the secret of its scopes, so nothing older could be found again.
//
// What a node can do here: say that it holds what it does not. The next node then asks it in vain, for a moment.
// Complexity: O(log n). Pure; one thread.
#pragma once

#include <cstdint>
#include <map>

#include "base/chat.h"

namespace shoal::client {

class PrefixSources {
public:
    // An answer of this conversation ended.
    void learn(const PrefixScope& scope, const PrefixSource& source);
    // The conversation is asked now.
    void touch(const PrefixScope& scope);
    // Valid until the next learn(). nullptr: nobody is known to hold it.
    const PrefixSource* find(const PrefixScope& scope) const;
    std::size_t size() const { return sources_.size(); }

private:
    struct Entry {
        PrefixSource source;
        std::uint64_t asked = 0;
    };
    void mark(const PrefixScope& scope, Entry& entry);

    std::map<PrefixScope, Entry> sources_;           // bounded: prefix_sources_max
    std::map<std::uint64_t, PrefixScope> by_asked_;  // the same ones, longest ago first
    std::uint64_t next_ = 1;
};

}  // namespace shoal::client
