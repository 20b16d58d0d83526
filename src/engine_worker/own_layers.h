// The first and the last layers of a model whose middle is elsewhere (boomerang): so what leaves is no embedding, and
// what comes back gives no logits.
//
// Rules
//   1. Rows go out in the order of begin() and come back in that order: finish() is of the oldest that is under way.
//   2. A truncation takes its place between those calls. The first layers forget at once; the last ones when the rows
//      that were begun before it have come back.
//
// Computes what the same layers do anywhere else, to the last bit (stage.h). One thread calls.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "engine_worker/stage.h"
#include "wire/stage.h"

namespace shoal::engine_worker {

class OwnLayers {
public:
    // What they are made of: the layers before `middle`, and those behind it. Errc::invalid, as of load().
    struct Cut {
        Shard first;
        Shard last;
    };
    static Result<Cut> cut(const WholeModel& whole, wire::LayerRange middle);
    // The layers before `middle` and those behind it. `progress` gets 0 to 1. Errc::invalid: the model cannot be cut
    // there; the message says where it can. Other errors as of Stage::load.
    static Result<std::unique_ptr<OwnLayers>> load(const WholeModel& whole, wire::LayerRange middle,
                                                   const StageOptions& options,
                                                   const std::function<void(double)>& progress);

    // `rows` is f32 [n, width] of the embedding, in the order of `parts`; the answer is the state before the middle.
    Result<std::vector<float>> begin(std::span<const float> rows, std::span<const wire::StagePart> parts);
    // `rows` is the state behind the middle; the answer is that behind the last layer.
    Result<std::vector<float>> finish(std::span<const float> rows);
    // Errc::unsupported: a recurrent model, and a position that is not 0.
    Status truncate(std::int32_t sequence, std::int32_t position);
    // Of both ends: layers, and those of them that a GPU computes.
    std::uint32_t layers() const { return first_->layers() + last_->layers(); }
    std::uint32_t on_gpu() const { return first_->on_gpu() + last_->on_gpu(); }
    // What is under way will not come, and nothing is held of any sequence.
    Status clear();

    void while_computing(ggml_abort_callback callback, void* data);

private:
    struct Truncation {
        std::int32_t sequence = 0;
        std::int32_t position = 0;
    };
    struct UnderWay {
        std::vector<Place> places;
        std::vector<Truncation> behind;  // of the last layers, when these rows are through; bounded: by the sequences
    };

    OwnLayers() = default;

    std::unique_ptr<Stage> first_;
    std::unique_ptr<Stage> last_;
    std::uint32_t sequences_ = 0;
    std::deque<UnderWay> under_way_;  // bounded: Backbone::steps_max
};

// Where a model may be cut, so that the ends before and behind can be kept: "the first 1-3 layers and those from 2-5
// on"; empty: nowhere.
std::string possible_ends(const ModelShape& shape);

}  // namespace shoal::engine_worker
