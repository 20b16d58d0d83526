#include "client/suspects.h"

#include <algorithm>

namespace shoal::client {

Duration Suspects::contradicted(Now now, const NodeId& node) {
    if (!nodes_.contains(node) && nodes_.size() >= limits::suspects_max) {
        nodes_.erase(std::min_element(nodes_.begin(), nodes_.end(),
                                      [](const auto& a, const auto& b) { return a.second.until < b.second.until; }));
    }
    Record& record = nodes_[node];
    Duration span = limits::suspicion_min;
    for (std::uint32_t i = 0; i < record.contradictions && span < limits::suspicion_max; ++i) span *= 2;
    span = std::min<Duration>(span, limits::suspicion_max);
    record.contradictions += span < limits::suspicion_max ? 1 : 0;
    record.until = now.mono + span;
    return span;
}

void Suspects::agreed(const NodeId& node) {
    const auto at = nodes_.find(node);
    if (at != nodes_.end() && at->second.contradictions > 0) --at->second.contradictions;
}

bool Suspects::suspected(Now now, const NodeId& node) const {
    const auto at = nodes_.find(node);
    return at != nodes_.end() && now.mono < at->second.until;
}

void Suspects::on_tick(Now now) {
    std::erase_if(nodes_, [&](const auto& entry) { return now.mono >= entry.second.until + limits::suspicion_max; });
}

}  // namespace shoal::client
