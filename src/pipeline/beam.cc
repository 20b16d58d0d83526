// The beam search of search.h, for more nodes than an exact search can take.
#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

#include "base/assert.h"
#include "pipeline/search.h"

namespace shoal::pipeline {
namespace {

constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

struct Partial {
    double score = 0;  // cost, and the least that can follow
    std::int64_t cost = 0;
    std::uint64_t used = 0;
    NodeIndex last = 0;
    std::size_t parent = nowhere;  // into kept_
    Boundary end = 0;
};

// What a worker does at best: the rate at which it takes bytes of the model, how many, and what its use costs anyway.
struct Worker {
    NodeIndex node = 0;
    double ns_per_byte = 0;
    double bytes_max = 0;
    double fixed_ns = 0;
};

class Beam {
public:
    Beam(const Problem& problem, Duration cap, std::size_t width);
    Found run();

private:
    // A lower bound of the time of layers from `b` on: the fastest workers left, each filled to the brim. None: they
    // are too small together.
    std::optional<double> remainder(Boundary b, std::uint64_t used) const;
    void extend(const Partial& from, std::size_t parent);
    void offer(Partial partial);
    std::vector<Partial> select(Boundary b);
    Found chain_of(const Partial& last, bool complete) const;
    bool hop_allowed(const std::optional<Hop>& hop) const { return hop && hop->decode_transfer <= cap_; }

    const Problem& problem_;
    Duration cap_;
    std::size_t width_;
    std::vector<Worker> workers_;                  // bounded: nodes; the fastest first
    std::vector<std::vector<Boundary>> farthest_;  // bounded: [node][begin], the farthest end of a stage
    std::vector<std::vector<Partial>> open_;       // bounded: 16 widths for each boundary
    std::vector<Partial> kept_;                    // bounded: a width for each boundary
    bool bounded_ = true;                          // whether what cannot be completed is dropped
};

Beam::Beam(const Problem& problem, Duration cap, std::size_t width)
    : problem_(problem), cap_(cap), width_(width), farthest_(problem.nodes()), open_(problem.last() + 1) {
    const double all =
        static_cast<double>(problem.weight_bytes(0, problem.last()) + problem.kv_bytes(0, problem.last()));
    for (const NodeIndex node : problem.workers()) {
        const Duration whole = problem.offset(node, problem.last()) - problem.offset(node, 0);
        Worker w{node, static_cast<double>(whole.count()) / all, static_cast<double>(problem.room(node)), 0};
        if (w.ns_per_byte > 0) w.bytes_max = std::min(w.bytes_max, static_cast<double>(cap.count()) / w.ns_per_byte);
        Duration nearest = Duration::max();
        for (NodeIndex from = 0; from < problem.nodes(); ++from) {
            const auto& hop = problem.hop(from, node);
            if (from != node && hop_allowed(hop)) nearest = std::min(nearest, hop->decode);
        }
        if (node == problem.coordinator()) nearest = Duration{};
        if (nearest == Duration::max()) continue;
        w.fixed_ns = static_cast<double>((nearest + problem.offset(node, 0)).count());
        workers_.push_back(w);
        std::vector<Boundary>& farthest = farthest_[node];
        farthest.resize(problem.last() + 1);
        for (Boundary end = 1; end <= problem.last(); ++end) {
            for (Boundary begin = earliest_begin(problem, node, end, cap); begin < end; ++begin) farthest[begin] = end;
        }
    }
    std::ranges::sort(workers_, {}, &Worker::ns_per_byte);
}

std::optional<double> Beam::remainder(Boundary b, std::uint64_t used) const {
    if (b == problem_.last()) return 0;
    double bytes =
        static_cast<double>(problem_.weight_bytes(b, problem_.last()) + problem_.kv_bytes(b, problem_.last()));
    double ns = 0;
    for (const Worker& w : workers_) {
        if ((used >> w.node & 1) != 0) continue;
        const double taken = std::min(bytes, w.bytes_max);
        ns += taken * w.ns_per_byte + w.fixed_ns;
        bytes -= taken;
        if (bytes <= 0) return ns;
    }
    return bounded_ ? std::nullopt : std::optional<double>(ns);
}

void Beam::offer(Partial partial) {
    const auto rest = remainder(partial.end, partial.used);
    if (!rest) return;
    partial.score = static_cast<double>(partial.cost) + *rest;
    std::vector<Partial>& open = open_[partial.end];
    open.push_back(partial);
    if (open.size() >= 16 * width_) {
        std::ranges::nth_element(open, open.begin() + static_cast<std::ptrdiff_t>(8 * width_), {}, &Partial::score);
        open.resize(8 * width_);
    }
}

void Beam::extend(const Partial& from, std::size_t parent) {
    const NodeIndex at = parent == nowhere ? problem_.coordinator() : from.last;
    for (const Worker& w : workers_) {
        if ((from.used >> w.node & 1) != 0) continue;
        const auto& hop = problem_.hop(at, w.node);
        if (!hop_allowed(hop)) continue;
        for (Boundary end = from.end + 1; end <= farthest_[w.node][from.end]; ++end) {
            const Duration step = hop->decode + problem_.step(w.node, from.end, end);
            offer({0, from.cost + step.count(), from.used | std::uint64_t{1} << w.node, w.node, parent, end});
        }
    }
}

// The best by score, each set of nodes with the same last one once.
std::vector<Partial> Beam::select(Boundary b) {
    std::vector<Partial>& open = open_[b];
    std::ranges::sort(open, {}, [](const Partial& p) { return std::tie(p.score, p.used, p.last); });
    std::vector<Partial> out;
    std::set<std::pair<std::uint64_t, NodeIndex>> seen;
    for (const Partial& p : open) {
        if (out.size() >= width_) break;
        if (seen.emplace(p.used, p.last).second) out.push_back(p);
    }
    open = {};
    return out;
}

Found Beam::chain_of(const Partial& last, bool complete) const {
    Found out{complete, {}, Duration(last.cost)};
    const Partial* p = &last;
    while (true) {
        const Partial* parent = p->parent == nowhere ? nullptr : &kept_[p->parent];
        out.chain.insert(out.chain.begin(), {p->last, parent == nullptr ? 0 : parent->end, p->end});
        if (parent == nullptr) return out;
        p = parent;
    }
}

Found Beam::run() {
    for (const bool bounded : {true, false}) {
        bounded_ = bounded;
        kept_.clear();
        extend({}, nowhere);
        Partial farthest;
        for (Boundary b = 1; b < problem_.last(); ++b) {
            for (const Partial& p : select(b)) {
                if (farthest.end < b) farthest = p;
                kept_.push_back(p);
                extend(p, kept_.size() - 1);
            }
        }
        std::optional<Partial> best;
        for (const Partial& p : open_[problem_.last()]) {
            const auto& back = problem_.hop_back(p.last);
            if (farthest.end < problem_.last()) farthest = p;
            if (!hop_allowed(back)) continue;
            Partial whole = p;
            whole.cost += back->decode.count();
            if (!best || whole.cost < best->cost) best = whole;
        }
        open_[problem_.last()].clear();
        if (best) return chain_of(*best, true);
        // Nothing led to the end: once more, without dropping what cannot, to see how far the nodes reach.
        if (!bounded && farthest.end > 0) return chain_of(farthest, false);
    }
    return {};
}

}  // namespace

Found search_beam(const Problem& problem, Duration stage_cap, std::size_t width) {
    return Beam(problem, stage_cap, width).run();
}

}  // namespace shoal::pipeline
