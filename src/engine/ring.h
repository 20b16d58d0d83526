// Ring all-reduce: the sum of one vector of floats from each of N ranks, at every rank, bit for bit the same.
//
//   idle --begin()--> reduce-scatter, N - 1 steps --> all-gather, N - 1 steps --> idle
//
// Rank r sends to rank r + 1 and receives from rank r - 1, modulo N. The vector is cut into N chunks, chunk c from
// c n / N on. In step s of the first half rank r sends chunk r - s and adds what comes to chunk r - s - 1; then it
// holds the whole sum of chunk r + 1. In the second half these sums go around and are taken over as they are.
// (Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, 2009.)
//
// Rules
//   1. A sum is made once, at one rank, in the order of the ring, and then copied. Rationale: floats add to other bits
//      in another order, and ranks that differ in a bit drift apart.
//   2. Reductions are numbered from 1, steps from 0 to 2 N - 3. A part that is not the next one is refused, and so is
//      one of another size: the neighbour computes something else.
//   3. Nothing is held for later: what comes before begin() is the owner's to keep. A neighbour is never more than
//      N - 1 parts ahead of what this rank has sent, since it cannot go on without that.
//
// Cost: each rank sends 2 n less two chunks, 2 (N - 1) / N of the vector, which no algorithm goes below.
// Pure; one thread.
#pragma once

#include <optional>
#include <span>

#include "wire/stage.h"

namespace shoal::engine {

class Ring {
public:
    // `ranks` is 2 to limits::group_ranks_max, `rank` below it (ASSERT).
    Ring(std::size_t rank, std::size_t ranks);

    // A reduction of `values` begins; gives the first part to send. At least a value for each rank, and no reduction
    // under way (ASSERT). The values must stay where they are until done().
    wire::ReducePart begin(std::span<float> values);
    // The next part from the rank before. Gives the part to send for it, if there is one. Errc::invalid: it does not
    // fit; the values are worth nothing then.
    Result<std::optional<wire::ReducePart>> take(const wire::ReducePart& part);
    bool done() const { return step_ == steps(); }

    // The number of the last reduction that began.
    std::uint64_t number() const { return number_; }
    std::size_t steps() const { return 2 * (ranks_ - 1); }

private:
    // Chunk of the values, `back` steps behind this rank on the ring.
    std::span<float> chunk(std::size_t back) const;
    wire::ReducePart part(std::size_t step) const;

    std::size_t rank_;
    std::size_t ranks_;
    std::span<float> values_;
    std::uint64_t number_ = 0;
    std::size_t step_;  // that the next part must be of; steps(): none is under way
};

}  // namespace shoal::engine
