// Where the channels of one protocol are: the id by which their user knows each, and the link and number that it has
// there. And who waits for a link, to open one.
//
// Pure; one thread.
#pragma once

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "link/channels.h"

namespace shoal::node {

// `Place` has a link and a number; number 0 is a channel without a link, to this node itself. Ids are never reused.
// Complexity: O(log n).
template <typename Id, typename Place>
class ChannelPlaces {
public:
    Id add(Place place) {
        const Id id(next_id_++);
        if (place.number != 0) at_[{place.link, place.number}] = id;
        places_.emplace(id, std::move(place));
        return id;
    }
    // nullptr: it was closed. Valid until it is taken out.
    Place* find(Id id) {
        const auto at = places_.find(id);
        return at == places_.end() ? nullptr : &at->second;
    }
    std::optional<Id> find(LinkId link, link::ChannelNumber number) const {
        const auto at = at_.find({link, number});
        return at == at_.end() ? std::nullopt : std::optional(at->second);
    }
    std::optional<Place> take(Id id) {
        auto node = places_.extract(id);
        if (node.empty()) return std::nullopt;
        at_.erase({node.mapped().link, node.mapped().number});
        return std::move(node.mapped());
    }
    // Any that is on this link; nullopt: none is.
    std::optional<Id> any_of(LinkId link) const {
        const auto first = at_.lower_bound({link, 0});
        return first != at_.end() && first->first.first == link ? std::optional(first->second) : std::nullopt;
    }
    auto begin() { return places_.begin(); }
    auto end() { return places_.end(); }

private:
    std::map<Id, Place> places_;                               // bounded: channels_per_link_max a link
    std::map<std::pair<LinkId, link::ChannelNumber>, Id> at_;  // bounded: as places_
    std::uint64_t next_id_ = 1;
};

// Takes out those who wait for this node, in their order.
template <typename Waiting>
std::vector<Waiting> take_waiting(std::vector<Waiting>& all, const NodeId& node) {
    const auto first =
        std::stable_partition(all.begin(), all.end(), [&](const Waiting& each) { return each.node != node; });
    std::vector<Waiting> out(std::make_move_iterator(first), std::make_move_iterator(all.end()));
    all.erase(first, all.end());
    return out;
}

}  // namespace shoal::node
