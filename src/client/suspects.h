// Suspects: nodes whose replies others contradicted. Whoever chooses a node takes them last.
//
// Rules
//   1. A contradiction makes a node suspected for limits::suspicion_min, and each further one for twice as long as the
//      last, up to suspicion_max. A reply that agrees makes the next time shorter again, and ends none.
//   2. Suspicion ends. Rationale: honest nodes contradict each other as well, where arithmetic that differs in its last
//      digits meets two tokens that are as good; and who is never asked again can never be found right.
//   3. A full table forgets the one whose suspicion ends first. It is of this client alone and is not kept on disk.
//
// What nodes can do: as many as are needed to outvote a node have it suspected; they can do no more than that here.
// Complexity: O(log n), O(n) when full. Pure; one thread.
#pragma once

#include <cstdint>
#include <map>

#include "base/ids.h"
#include "base/limits.h"
#include "base/time.h"

namespace shoal::client {

class Suspects {
public:
    // Others contradicted it. Gives how long it is suspected from now.
    Duration contradicted(Now now, const NodeId& node);
    void agreed(const NodeId& node);
    bool suspected(Now now, const NodeId& node) const;
    void on_tick(Now now);  // forgets what is long over
    std::size_t size() const { return nodes_.size(); }

private:
    struct Record {
        std::uint32_t contradictions = 0;
        Instant until{};
    };
    std::map<NodeId, Record> nodes_;  // bounded: suspects_max
};

}  // namespace shoal::client
