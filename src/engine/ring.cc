#include "engine/ring.h"

#include <bit>
#include <cstring>

namespace shoal::engine {

// Floats travel as they lie in memory.
static_assert(std::endian::native == std::endian::little && sizeof(float) == 4);

Ring::Ring(std::size_t rank, std::size_t ranks) : rank_(rank), ranks_(ranks), step_(2 * (ranks - 1)) {
    ASSERT(ranks >= 2 && ranks <= limits::group_ranks_max && rank < ranks);
}

std::span<float> Ring::chunk(std::size_t back) const {
    const std::size_t index = (rank_ + 2 * ranks_ - back) % ranks_;
    const std::size_t from = index * values_.size() / ranks_, to = (index + 1) * values_.size() / ranks_;
    return values_.subspan(from, to - from);
}

wire::ReducePart Ring::part(std::size_t step) const {
    // One chunk further back with each step, in both halves: after N - 1 of them the next is the one summed here.
    const std::span<float> sent = chunk(step);
    wire::ReducePart out{number_, static_cast<std::uint8_t>(step), Bytes(sent.size_bytes())};
    std::memcpy(out.data.data(), sent.data(), sent.size_bytes());
    return out;
}

wire::ReducePart Ring::begin(std::span<float> values) {
    ASSERT(done() && values.size() >= ranks_);
    values_ = values;
    ++number_;
    step_ = 0;
    return part(0);
}

Result<std::optional<wire::ReducePart>> Ring::take(const wire::ReducePart& part) {
    if (done() || part.reduction != number_ || part.step != step_) {
        return fail(Errc::invalid, "a part of a reduction out of its turn");
    }
    const std::span<float> into = chunk(step_ + 1);
    if (part.data.size() != into.size_bytes()) {
        return fail(Errc::invalid, "a part of a reduction of another size");
    }
    if (step_ < ranks_ - 1) {
        for (std::size_t i = 0; i < into.size(); ++i) {
            float come = 0;
            std::memcpy(&come, part.data.data() + i * sizeof come, sizeof come);
            into[i] += come;
        }
    } else {
        std::memcpy(into.data(), part.data.data(), into.size_bytes());
    }
    ++step_;
    if (done()) return std::optional<wire::ReducePart>();
    return std::optional(this->part(step_));
}

}  // namespace shoal::engine
