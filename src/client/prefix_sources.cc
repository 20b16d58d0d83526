#include "client/prefix_sources.h"

#include "base/limits.h"

namespace shoal::client {

void PrefixSources::learn(const PrefixScope& scope, const PrefixSource& source) {
    if (!sources_.contains(scope) && sources_.size() >= limits::prefix_sources_max) {
        sources_.erase(by_asked_.begin()->second);
        by_asked_.erase(by_asked_.begin());
    }
    Entry& entry = sources_[scope];
    entry.source = source;
    mark(scope, entry);
}

void PrefixSources::touch(const PrefixScope& scope) {
    const auto at = sources_.find(scope);
    if (at != sources_.end()) mark(scope, at->second);
}

void PrefixSources::mark(const PrefixScope& scope, Entry& entry) {
    by_asked_.erase(entry.asked);
    entry.asked = next_++;
    by_asked_.emplace(entry.asked, scope);
}

const PrefixSource* PrefixSources::find(const PrefixScope& scope) const {
    const auto at = sources_.find(scope);
    return at == sources_.end() ? nullptr : &at->second.source;
}

}  // namespace shoal::client
