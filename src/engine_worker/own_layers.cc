#include "engine_worker/own_layers.h"

#include <algorithm>
#include <utility>

namespace shoal::engine_worker {
namespace {

// "1-3, 5".
template <typename Holds>
std::string list_of(std::uint32_t begin, std::uint32_t end, const Holds& holds) {
    std::string out;
    for (std::uint32_t at = begin; at < end; ++at) {
        if (!holds(at)) continue;
        std::uint32_t last = at;
        while (last + 1 < end && holds(last + 1)) ++last;
        out += (out.empty() ? "" : ", ") + std::to_string(at) + (last > at ? "-" + std::to_string(last) : "");
        at = last;
    }
    return out;
}

bool may_be_cut(const ModelShape& shape, LayerRange range) {
    return check_range(*shape.kind, shape.layers, range, shape.slides).has_value();
}

// Errc::invalid, with what would do.
Status check_middle(const ModelShape& shape, wire::LayerRange middle) {
    const LayerRange first{0, middle.first}, last{middle.end, shape.layers};
    std::string why;
    if (middle.end >= shape.layers) {
        why = "the model has layers 0 to " + std::to_string(shape.layers - 1) + ", so none would be the last here";
    } else if (const Status cut = check_range(*shape.kind, shape.layers, first, shape.slides); !cut) {
        why = cut.error().message;
    } else if (const Status end = check_range(*shape.kind, shape.layers, last, shape.slides); !end) {
        why = end.error().message;
    }
    if (why.empty()) return ok();
    const std::string ends = possible_ends(shape);
    return fail(Errc::invalid,
                "layers " + std::to_string(middle.first) + " to " + std::to_string(middle.end - 1) +
                    " cannot be elsewhere: " + why + ". " +
                    (ends.empty() ? "This model has no ends that could be kept" : "Can be kept: " + ends));
}

// The last layers of both ends together go to the GPU.
Status divide_gpu(const Shard& first, const Shard& last, StageOptions& of_first, StageOptions& of_last) {
    if (!of_last.offload) return ok();
    GpuSizes both = TRY(gpu_sizes(first, of_first));
    const GpuSizes behind = TRY(gpu_sizes(last, of_last));
    both.layers.insert(both.layers.end(), behind.layers.begin(), behind.layers.end());
    both.head += behind.head;
    both.buffers += behind.buffers;
    const std::uint32_t count = TRY(place_layers(of_last.offload, both));
    of_last.offload.layers = std::min(count, last.blocks());
    of_first.offload.layers = count - *of_last.offload.layers;
    if (of_first.offload.layers == 0U) of_first.offload = {};
    return ok();
}

}  // namespace

std::string possible_ends(const ModelShape& shape) {
    const std::string first = list_of(1, shape.layers, [&](std::uint32_t cut) { return may_be_cut(shape, {0, cut}); });
    const std::string last = list_of(1, shape.layers, [&](std::uint32_t cut) {
        return may_be_cut(shape, {cut, shape.layers});
    });
    return first.empty() || last.empty() ? "" : "the first " + first + " layers, and those from " + last + " on";
}

Result<OwnLayers::Cut> OwnLayers::cut(const WholeModel& whole, wire::LayerRange middle) {
    TRY(check_middle(whole.shape(), middle));
    Shard first = TRY(whole.cut_without_head({0, middle.first}));
    Shard last = TRY(whole.cut_without_head({middle.end, whole.shape().layers}));
    return Cut{std::move(first), std::move(last)};
}

Result<std::unique_ptr<OwnLayers>> OwnLayers::load(const WholeModel& whole, wire::LayerRange middle,
                                                   const StageOptions& options,
                                                   const std::function<void(double)>& progress) {
    const Cut cut = TRY(OwnLayers::cut(whole, middle));
    std::unique_ptr<OwnLayers> out(new OwnLayers());
    out->sequences_ = options.sequences;
    StageOptions of_first = options, of_last = options;
    TRY(divide_gpu(cut.first, cut.last, of_first, of_last));
    out->first_ = TRY(Stage::load(cut.first, of_first, [&](double share) { progress(share / 2); }));
    out->last_ = TRY(Stage::load(cut.last, of_last, [&](double share) { progress(0.5 + share / 2); }));
    return out;
}

Result<std::vector<float>> OwnLayers::begin(std::span<const float> rows, std::span<const wire::StagePart> parts) {
    UnderWay begun;
    for (const wire::StagePart& part : parts) {
        for (std::uint32_t i = 0; i < part.rows; ++i) {
            begun.places.push_back({static_cast<std::int32_t>(part.position + i), part.sequence, false});
        }
    }
    const std::span<const float> states = TRY(first_->run(rows, begun.places));
    under_way_.push_back(std::move(begun));
    return std::vector<float>(states.begin(), states.end());
}

Result<std::vector<float>> OwnLayers::finish(std::span<const float> rows) {
    ASSERT(!under_way_.empty());
    const UnderWay done = std::move(under_way_.front());
    under_way_.pop_front();
    const std::span<const float> states = TRY(last_->run(rows, done.places));
    std::vector<float> out(states.begin(), states.end());
    for (const Truncation& each : done.behind) TRY(last_->truncate(each.sequence, each.position));
    return out;
}

Status OwnLayers::truncate(std::int32_t sequence, std::int32_t position) {
    TRY(first_->truncate(sequence, position));
    if (under_way_.empty()) return last_->truncate(sequence, position);
    under_way_.back().behind.push_back({sequence, position});
    return ok();
}

Status OwnLayers::clear() {
    under_way_.clear();
    for (std::uint32_t sequence = 0; sequence < sequences_; ++sequence) {
        TRY(first_->truncate(static_cast<std::int32_t>(sequence), 0));
        TRY(last_->truncate(static_cast<std::int32_t>(sequence), 0));
    }
    return ok();
}

void OwnLayers::while_computing(ggml_abort_callback callback, void* data) {
    first_->while_computing(callback, data);
    last_->while_computing(callback, data);
}

}  // namespace shoal::engine_worker
