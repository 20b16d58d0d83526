// One stage of a model, loaded: rows of the hidden state in, rows out.
//
// Rules
//   1. The first stage takes rows of the embedding (embedding.h); every other one what the stage before gave. The last
//      one gives logits, the others the hidden state after their last block, before any norm.
//   2. A call is all or nothing for the caller, not for the cache: after an error, truncate() the sequences of the call
//      to where they were.
//   3. In a recurrent model the rows of each sequence are computed for themselves. Rationale: the library orders the
//      rows of mixed batches anew, and cuts batches in two.
//   4. Weights are read into memory once, from the Shard: no file is mapped, no copy is kept.
//      Rationale: a memory file would hold them twice, and pages of a mapped file that was repacked stay resident.
//
//   5. The graph is run on tokens that mean nothing, and the rows are put in place of their embedding when it has been
//      looked up. Rationale: for rows instead of tokens some architectures compute something else (they take them for
//      images), or stop the process.
//   6. All stages of a chain have the same number of cells. Rationale: some architectures turn positions differently
//      for long contexts, and judge by what they could hold.
//
//   7. A stage of which this is one rank's part has the parts of each product that is divided (attn_output, ffn_down)
//      summed over all ranks before the graph goes on: two sums a block, of as many floats as the call has rows times
//      width. What comes out is then the whole hidden state, the same at every rank.
//
//   8. Hidden states are read and put back through the library, never by a tensor's address: it may be a GPU's.
//
// A chain of stages computes what the uncut model does, bit by bit, as long as the rows of each call are the same; with
// layers on a GPU nearly (docs/gpu.md). One thread.
#pragma once

#include <llama.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine_worker/model.h"
#include "engine_worker/shard.h"

namespace shoal::engine_worker {

struct StageOptions {
    std::uint32_t cells = 4096;    // tokens that all sequences hold together
    std::uint32_t sequences = 1;   // numbered from 0
    std::uint32_t rows_max = 512;  // of one call
    std::uint32_t wanted_max = 1;  // of one call, for the last stage: each takes a vocabulary of floats
    std::uint32_t threads = 1;
    bool small_cache = false;  // q8_0 in place of f16
    Offload offload = {};
};

// Where a row belongs.
struct Place {
    std::int32_t position = 0;
    std::int32_t sequence = 0;
    bool wanted = false;  // of the last stage: give its logits
};

// What a stage of this shard takes of a GPU. Errors as of read_gguf.
Result<GpuSizes> gpu_sizes(const Shard& shard, const StageOptions& options);

class Stage {
public:
    // Reads the shard; `progress` gets 0 to 1. Call load_backends() before. Errc::unsupported: the library refuses the
    // shard. Errc::exhausted: no memory for so many cells. Errc::invalid: a GPU does not take so many layers.
    static Result<std::unique_ptr<Stage>> load(const Shard& shard, const StageOptions& options,
                                               const std::function<void(double)>& progress);

    bool is_first() const { return first_; }
    bool is_last() const { return last_; }
    // Of its layers, those that a GPU computes: the last ones.
    std::uint32_t on_gpu() const { return on_gpu_; }
    std::uint32_t layers() const { return layers_; }
    std::uint32_t width() const { return width_; }
    // Floats of a row that comes out: width(), or the vocabulary's size for the last stage.
    std::uint32_t out_width() const { return last_ ? vocabulary_ : width_; }

    // `rows` is f32 [places, width()]. What comes back is f32 [places, out_width()] (of the last stage: only the places
    // that are wanted), in the same order, and valid until the next call.
    // Errc::invalid: sizes, places or numbers that cannot be; exhausted: no free cells; internal: the library failed.
    Result<std::span<const float>> run(std::span<const float> rows, std::span<const Place> places);

    // Sums the values over all ranks, in place; a failure ends the call. Must be set before run() where the shard is
    // one rank's part.
    using Sum = std::function<Status(std::span<float> values)>;
    void sum_with(Sum sum) { sum_ = std::move(sum); }

    // Forgets what the sequence holds from `position` on. A recurrent model forgets all or nothing: Errc::unsupported
    // for any position but 0.
    Status truncate(std::int32_t sequence, std::int32_t position);

    // What its layers keep of a token, where that can be moved (library_kv.h). Not of one rank's part.
    const std::optional<KvShape>& kv() const { return kv_; }
    // What the sequence holds. Errors as of copy_sequence.
    Result<KvCopy> copy(std::int32_t sequence) const;
    // In place of what the sequence holds. Errors as of place_sequence.
    Status place(std::int32_t sequence, const KvCopy& copy);

    // Is called now and then during run(); what it gives says whether to give up.
    void while_computing(ggml_abort_callback callback, void* data);

    // The tensor that leaves the stage, as the library calls it.
    const std::string& boundary() const { return boundary_; }

private:
    Stage() = default;
    Status make_context(const StageOptions& options);
    Status warm_up();
    Status check(std::span<const float> rows, std::span<const Place> places) const;
    Status compute(std::span<const float> rows, std::span<const Place> places);
    Status decode(std::span<const Place> places);
    static bool on_node(ggml_tensor* node, bool asks, void* self);
    bool wants(const ggml_tensor* node);
    void feed(ggml_tensor* node);
    void take(const ggml_tensor* node);
    bool is_part_of_sum(const ggml_tensor* node) const;
    bool sum(ggml_tensor* node);
    void look_for_boundary(const ggml_tensor* node);

    bool first_ = false;
    bool last_ = false;
    bool recurrent_ = false;
    std::uint32_t width_ = 0;
    std::uint32_t vocabulary_ = 0;
    std::uint32_t layers_ = 0;
    std::uint32_t on_gpu_ = 0;
    float scale_ = 1;  // of what comes in
    std::string entry_;
    StageOptions options_;
    std::unique_ptr<llama_model, LlamaDelete> weights_;
    std::unique_ptr<llama_context, LlamaDelete> context_;
    std::string boundary_;
    std::vector<std::string> seen_;  // names of nodes, while the boundary is looked for
    bool looking_ = false;
    bool fed_ = false;  // in this call
    bool divided_ = false;
    bool warming_up_ = false;
    std::optional<KvShape> kv_;
    Sum sum_;
    std::uint32_t sums_ = 0;  // in this call
    Status summed_ = ok();    // the first failure of this call
    std::vector<float> parts_;
    std::vector<float> in_;
    std::vector<float> out_;
};

}  // namespace shoal::engine_worker
