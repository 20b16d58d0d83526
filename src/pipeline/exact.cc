// The exact search of search.h.
#include <bit>
#include <limits>

#include "base/assert.h"
#include "pipeline/search.h"

namespace shoal::pipeline {
namespace {

using Cost = std::int64_t;  // nanoseconds; all sums of a problem stay far below `never` (base/limits.h)
constexpr Cost never = std::numeric_limits<Cost>::max() / 4;

Cost cost_of(const std::optional<Hop>& hop) {
    return hop ? hop->decode.count() : never;
}

class Exact {
public:
    Exact(const Problem& problem, std::span<const NodeIndex> nodes, Duration cap);
    Found run();

private:
    using Set = std::uint32_t;
    struct Best {
        Cost cost = never;
        Set used = 0;
        std::size_t last = 0;
        Boundary end = 0;
    };
    Cost& at(Set used, std::size_t last, Boundary b) { return cost_[(used * count_ + last) * bounds_ + b]; }
    // entry_[b]: the cheapest way to have layers up to b on `before`, and the activations at `node`.
    void fill_entry(Set before, std::size_t node);
    void extend(Set used, std::size_t node);
    bool better(const Best& a, const Best& b) const;
    Best best(bool complete);
    Found chain_of(Best from, bool complete);
    bool hop_allowed(const std::optional<Hop>& hop) const { return hop && hop->decode_transfer <= cap_; }

    const Problem& problem_;
    std::span<const NodeIndex> nodes_;
    Duration cap_;
    std::size_t count_;
    std::size_t bounds_;
    std::vector<Cost> cost_;           // bounded: [set][last][boundary], 16 nodes
    std::vector<Cost> entry_;          // bounded: boundaries
    std::vector<Cost> hops_;           // bounded: [from][to]
    std::vector<Cost> first_hops_;     // bounded: [to], from the coordinator
    std::vector<std::size_t> window_;  // bounded: boundaries whose entry − prefix may become the least
    std::vector<Boundary> earliest_;   // bounded: [node][end]
};

Exact::Exact(const Problem& problem, std::span<const NodeIndex> nodes, Duration cap)
    : problem_(problem), nodes_(nodes), cap_(cap), count_(nodes.size()), bounds_(problem.last() + 1) {
    ASSERT(count_ <= 16);
    cost_.assign((std::size_t{1} << count_) * count_ * bounds_, never);
    entry_.resize(bounds_);
    window_.resize(bounds_);
    for (const NodeIndex from : nodes_) {
        const auto& first = problem.hop(problem.coordinator(), from);
        first_hops_.push_back(hop_allowed(first) ? cost_of(first) : never);
        for (const NodeIndex to : nodes_) {
            const auto& hop = problem.hop(from, to);
            hops_.push_back(hop_allowed(hop) ? cost_of(hop) : never);
        }
        for (Boundary end = 0; end < bounds_; ++end) earliest_.push_back(earliest_begin(problem, from, end, cap));
    }
}

void Exact::fill_entry(Set before, std::size_t node) {
    std::ranges::fill(entry_, never);
    if (before == 0) entry_[0] = first_hops_[node];
    for (std::size_t last = 0; last < count_; ++last) {
        const Cost hop = hops_[last * count_ + node];
        if ((before >> last & 1) == 0 || hop == never) continue;
        const Cost* from = &at(before, last, 0);
        for (Boundary b = 0; b < bounds_; ++b) entry_[b] = std::min(entry_[b], from[b] + hop);
    }
}

// For each end the least of entry − prefix over the permitted beginnings: a window whose both edges only move forward,
// so its minimum costs a constant on average (the monotone queue).
void Exact::extend(Set used, std::size_t node) {
    fill_entry(used & ~(Set{1} << node), node);
    const NodeIndex name = nodes_[node];
    const auto key = [&](Boundary b) { return entry_[b] - problem_.prefix(name, b).count(); };
    std::size_t front = 0;
    std::size_t back = 0;
    Cost* out = &at(used, node, 0);
    for (Boundary end = 1; end < bounds_; ++end) {
        if (entry_[end - 1] < never) {
            while (back > front && key(window_[back - 1]) >= key(end - 1)) --back;
            window_[back++] = end - 1;
        }
        while (front < back && window_[front] < earliest_[node * bounds_ + end]) ++front;
        if (front < back) out[end] = key(window_[front]) + problem_.offset(name, end).count();
    }
}

bool Exact::better(const Best& a, const Best& b) const {
    if (a.cost != b.cost) return a.cost < b.cost;
    return std::popcount(a.used) < std::popcount(b.used);
}

Exact::Best Exact::best(bool complete) {
    Best out;
    for (Set used = 1; used < Set{1} << count_; ++used) {
        for (std::size_t last = 0; last < count_; ++last) {
            if ((used >> last & 1) == 0) continue;
            const auto& back = problem_.hop_back(nodes_[last]);
            Boundary end = bounds_ - 1;
            if (!complete) {
                while (end > 0 && at(used, last, end) >= never) --end;
                if (end < out.end || end == 0) continue;
            } else if (!hop_allowed(back)) {
                continue;
            }
            const Best here{at(used, last, end) + (complete ? cost_of(back) : 0), used, last, end};
            if (here.cost >= never) continue;
            if (here.end > out.end || better(here, out)) out = here;
        }
    }
    return out;
}

// Back from the end: which beginning, and which node before, give just this cost.
Found Exact::chain_of(Best from, bool complete) {
    Found out{complete, {}, Duration(from.cost)};
    Set used = from.used;
    std::size_t node = from.last;
    Boundary end = from.end;
    while (end > 0) {
        const Set before = used & ~(Set{1} << node);
        fill_entry(before, node);
        const Cost total = at(used, node, end);
        const auto fits = [&](Boundary b) {
            return entry_[b] < never && entry_[b] + problem_.step(nodes_[node], b, end).count() == total;
        };
        Boundary begin = earliest_[node * bounds_ + end];
        while (begin < end && !fits(begin)) ++begin;
        ASSERT(begin < end);
        out.chain.insert(out.chain.begin(), {nodes_[node], begin, end});
        std::size_t last = 0;
        while (before != 0 && ((before >> last & 1) == 0 || hops_[last * count_ + node] == never ||
                               at(before, last, begin) + hops_[last * count_ + node] != entry_[begin])) {
            ++last;
        }
        used = before;
        node = last;
        end = begin;
    }
    return out;
}

Found Exact::run() {
    for (Set used = 1; used < Set{1} << count_; ++used) {
        for (std::size_t node = 0; node < count_; ++node) {
            if ((used >> node & 1) != 0) extend(used, node);
        }
    }
    const Best whole = best(true);
    if (whole.cost < never) return chain_of(whole, true);
    const Best part = best(false);
    return part.cost < never ? chain_of(part, false) : Found{};
}

}  // namespace

Found search_exact(const Problem& problem, std::span<const NodeIndex> nodes, Duration stage_cap) {
    return Exact(problem, nodes, stage_cap).run();
}

}  // namespace shoal::pipeline
