#include "engine_worker/stage.h"

#include <ggml-backend.h>
#include <ggml.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine_worker/library_kv.h"
#include "engine_worker/read_stream.h"

namespace shoal::engine_worker {
namespace {

constexpr std::size_t stream_bytes = 1 << 20;

Error refused(const std::string& what) {
    const std::string& reason = last_library_error();
    return fail(Errc::unsupported, what + (reason.empty() ? "" : ": " + reason));
}

Result<std::unique_ptr<llama_model, LlamaDelete>> load_weights(const Shard& shard, const Offload& offload,
                                                               std::uint32_t on_gpu,
                                                               const std::function<void(double)>& progress) {
    DeviceList devices;
    llama_model_params params = llama_model_default_params();
    set_devices(offload, on_gpu, devices, params);
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    params.progress_callback = [](float share, void* to) {
        (*static_cast<const std::function<void(double)>*>(to))(static_cast<double>(share));
        return true;
    };
    params.progress_callback_user_data = const_cast<std::function<void(double)>*>(&progress);
    const auto read = [&shard](std::uint64_t offset, ByteSpan out) { return shard.read(offset, out); };
    ReadStream cookie{read, shard.bytes()};
    std::FILE* stream = fopencookie(&cookie, "rb", ReadStream::functions());
    if (stream == nullptr) return fail(Errc::exhausted, "no memory for a stream");
    (void)std::setvbuf(stream, nullptr, _IOFBF, stream_bytes);
    forget_library_error();
    std::unique_ptr<llama_model, LlamaDelete> out(llama_model_load_from_file_ptr(stream, params));
    (void)std::fclose(stream);
    if (!out) return refused("the stage cannot be loaded");
    return out;
}

}  // namespace

// A shard is a model like any other, and says itself what it holds.
Result<GpuSizes> gpu_sizes(const Shard& shard, const StageOptions& options) {
    const ReadAt read = [&shard](std::uint64_t offset, ByteSpan out) { return shard.read(offset, out); };
    const Gguf gguf = TRY(read_gguf(read, shard.bytes(), library_block));
    const std::uint32_t outputs = shard.has_head() ? std::max(options.wanted_max, options.sequences) : options.rows_max;
    return gpu_sizes(gguf, read, {options.cells, options.sequences, options.rows_max, outputs, options.small_cache});
}

Result<std::unique_ptr<Stage>> Stage::load(const Shard& shard, const StageOptions& options,
                                           const std::function<void(double)>& progress) {
    ASSERT(options.cells > 0 && options.sequences > 0 && options.rows_max > 0 && options.threads > 0);
    std::unique_ptr<Stage> stage(new Stage());
    stage->options_ = options;
    stage->first_ = shard.is_first();
    stage->last_ = shard.has_head();
    stage->recurrent_ = shard.shape().kind->recurrent;
    stage->divided_ = shard.rank().count > 1;
    stage->width_ = shard.shape().width;
    stage->vocabulary_ = shard.shape().vocabulary;
    stage->layers_ = shard.blocks();
    const Architecture& kind = *shard.shape().kind;
    stage->entry_ = kind.entry;
    if (stage->first_ && kind.scales_embedding) stage->scale_ = std::sqrt(static_cast<float>(stage->width_));
    if (options.offload) {
        const GpuSizes sizes = TRY(gpu_sizes(shard, options));
        stage->on_gpu_ = TRY(place_layers(options.offload, sizes));
    }
    stage->weights_ = TRY(load_weights(shard, options.offload, stage->on_gpu_, progress));
    const llama_model* weights = stage->weights_.get();
    if (llama_model_n_layer(weights) != static_cast<std::int32_t>(stage->layers_) ||
        llama_model_n_embd(weights) != static_cast<std::int32_t>(stage->width_)) {
        return fail(Errc::unsupported, "the inference library read another shape of stage than was written");
    }
    TRY(stage->make_context(options));
    TRY(stage->warm_up());
    return stage;
}

Status Stage::make_context(const StageOptions& options) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = options.cells;
    params.n_batch = options.rows_max;
    params.n_ubatch = options.rows_max;
    params.n_seq_max = options.sequences;
    // Of the last stage never fewer than sequences: the library stops the process otherwise.
    params.n_outputs_max = last_ ? std::max(options.wanted_max, options.sequences) : options.rows_max;
    params.n_threads = static_cast<std::int32_t>(options.threads);
    params.n_threads_batch = params.n_threads;
    params.type_k = options.small_cache ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
    params.type_v = params.type_k;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    params.kv_unified = true;
    params.op_offload = false;  // what stays with the processor is computed by it
    params.no_perf = true;
    params.cb_eval = on_node;
    params.cb_eval_user_data = this;
    context_.reset(llama_init_from_model(weights_.get(), params));
    if (context_) return ok();
    return fail(Errc::exhausted, "no memory for a stage of " + std::to_string(options.cells) + " tokens (" +
                                     last_library_error() + "); choose fewer");
}

// Finds the tensor that leaves the stage: what the last norm of the graph reads.
void Stage::look_for_boundary(const ggml_tensor* node) {
    const std::string_view name = node->name;
    if (name != "result_norm") {
        seen_.emplace_back(name);
        return;
    }
    while (node != nullptr && (node->op == GGML_OP_MUL || node->op == GGML_OP_ADD)) node = node->src[0];
    const bool is_norm = node != nullptr && (node->op == GGML_OP_RMS_NORM || node->op == GGML_OP_NORM);
    if (is_norm && node->src[0] != nullptr) boundary_ = node->src[0]->name;
}

bool Stage::wants(const ggml_tensor* node) {
    if (looking_) look_for_boundary(node);
    return entry_ == node->name || is_part_of_sum(node) || (!last_ && !looking_ && boundary_ == node->name);
}

// One rank's part of a product that ends a sub-layer.
bool Stage::is_part_of_sum(const ggml_tensor* node) const {
    if (!divided_ || node->op != GGML_OP_MUL_MAT || node->src[0] == nullptr) return false;
    const std::string_view name = node->src[0]->name;
    return name.ends_with(".attn_output.weight") || name.ends_with(".ffn_down.weight");
}

bool Stage::sum(ggml_tensor* node) {
    ++sums_;
    if (warming_up_) return true;
    if (node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node) || ggml_nbytes(node) != in_.size() * sizeof(float)) {
        summed_ = fail(Errc::internal, "a product that is to be summed has another shape than the rows");
        return false;
    }
    parts_.resize(in_.size());
    ggml_backend_tensor_get(node, parts_.data(), 0, parts_.size() * sizeof(float));
    summed_ = sum_(parts_);
    if (summed_) ggml_backend_tensor_set(node, parts_.data(), 0, parts_.size() * sizeof(float));
    return summed_.has_value();
}

// Puts the rows in place of the embedding of the tokens that mean nothing.
void Stage::feed(ggml_tensor* node) {
    const std::size_t bytes = in_.size() * sizeof(float);
    // Twice in a call: the library cut the batch in two, and these are not the rows of this part.
    if (fed_ || node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node) || ggml_nbytes(node) != bytes) {
        fed_ = false;
        return;
    }
    ggml_backend_tensor_set(node, in_.data(), 0, bytes);
    fed_ = true;
}

void Stage::take(const ggml_tensor* node) {
    if (node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node)) return;
    const std::size_t before = out_.size();
    out_.resize(before + static_cast<std::size_t>(ggml_nelements(node)));
    ggml_backend_tensor_get(node, out_.data() + before, 0, ggml_nbytes(node));
}

// Asked about every node before it is computed, and called with those that it said yes to. False then: no more.
bool Stage::on_node(ggml_tensor* node, bool asks, void* self) {
    auto& stage = *static_cast<Stage*>(self);
    if (asks) return stage.wants(node);
    if (stage.entry_ == node->name) {
        stage.feed(node);
        return true;
    }
    if (stage.is_part_of_sum(node)) return stage.sum(node);
    stage.take(node);
    return false;
}

// One row through everything: allocates, starts threads, and shows the names of the graph's nodes.
Status Stage::warm_up() {
    in_.assign(width_, 0.01F);
    looking_ = !last_;
    warming_up_ = true;
    forget_library_error();
    const Place place{.position = 0, .sequence = 0, .wanted = true};
    const Status computed = decode({&place, 1});
    looking_ = false;
    warming_up_ = false;
    if (computed && !divided_) kv_ = learn_kv_shape(weights_.get(), context_.get());
    llama_memory_clear(llama_get_memory(context_.get()), true);
    if (!computed) return refused("the stage loads but does not compute (" + computed.error().message + ")");
    if (last_) return ok();
    const auto same = std::count(seen_.begin(), seen_.end(), boundary_);
    seen_.clear();
    seen_.shrink_to_fit();
    if (boundary_.empty() || same != 1) {
        return fail(Errc::unsupported, "the stage's last tensor cannot be told from the others");
    }
    return ok();
}

Status Stage::check(std::span<const float> rows, std::span<const Place> places) const {
    if (places.empty() || places.size() > options_.rows_max) {
        return fail(Errc::invalid, "a call has 1 to " + std::to_string(options_.rows_max) + " rows, not " +
                                       std::to_string(places.size()));
    }
    if (rows.size() != places.size() * width_) {
        return fail(Errc::invalid, "a row has " + std::to_string(width_) + " numbers: " + std::to_string(rows.size()) +
                                       " came for " + std::to_string(places.size()) + " rows");
    }
    std::size_t wanted = 0;
    for (const Place& place : places) {
        if (place.sequence < 0 || static_cast<std::uint32_t>(place.sequence) >= options_.sequences ||
            place.position < 0 || static_cast<std::uint32_t>(place.position) >= options_.cells) {
            return fail(Errc::invalid, "no such place: sequence " + std::to_string(place.sequence) + ", position " +
                                           std::to_string(place.position));
        }
        wanted += place.wanted ? 1 : 0;
    }
    if (last_ && wanted > options_.wanted_max) {
        return fail(Errc::invalid, "logits of " + std::to_string(wanted) + " rows are more than agreed");
    }
    // One number that is none would spread over every later answer of the sequence.
    if (!std::all_of(rows.begin(), rows.end(), [](float x) { return std::isfinite(x); })) {
        return fail(Errc::invalid, "the rows hold numbers that are none");
    }
    return ok();
}

// Computes in_.
Status Stage::decode(std::span<const Place> places) {
    const std::size_t count = places.size();
    std::vector<llama_token> tokens(count, 0);
    std::vector<llama_pos> positions(count);
    std::vector<std::int32_t> one(count, 1);
    std::vector<llama_seq_id> sequences(count);
    std::vector<llama_seq_id*> sequence_of(count);
    std::vector<std::int8_t> wanted(count, 1);
    for (std::size_t i = 0; i < count; ++i) {
        positions[i] = places[i].position;
        sequences[i] = places[i].sequence;
        sequence_of[i] = &sequences[i];
        if (last_) wanted[i] = places[i].wanted ? 1 : 0;
    }
    llama_batch batch{};
    batch.n_tokens = static_cast<std::int32_t>(count);
    batch.token = tokens.data();
    batch.pos = positions.data();
    batch.n_seq_id = one.data();
    batch.seq_id = sequence_of.data();
    batch.logits = wanted.data();
    fed_ = false;
    sums_ = 0;
    summed_ = ok();
    const std::int32_t error = llama_decode(context_.get(), batch);
    TRY(summed_);
    if (error == 0) {
        llama_synchronize(context_.get());
        if (divided_ && sums_ != 2 * layers_) {
            return fail(Errc::internal, "the stage has other sums than two a block");
        }
        if (!fed_) return fail(Errc::internal, "the stage did not take its rows as they were given");
        return ok();
    }
    if (error == 1) return fail(Errc::exhausted, "the stage's cache is full");
    if (error == -1) return fail(Errc::invalid, "the rows do not follow what the sequence holds");
    return fail(Errc::internal, "the stage does not compute (" + std::to_string(error) + ")");
}

// One batch of the library.
Status Stage::compute(std::span<const float> rows, std::span<const Place> places) {
    in_.assign(rows.begin(), rows.end());
    if (scale_ != 1) {
        for (float& x : in_) x *= scale_;
    }
    TRY(decode(places));
    if (!last_) return ok();
    for (std::size_t i = 0; i < places.size(); ++i) {
        if (!places[i].wanted) continue;
        const float* logits = llama_get_logits_ith(context_.get(), static_cast<std::int32_t>(i));
        if (logits == nullptr) return fail(Errc::internal, "the stage gave no logits");
        out_.insert(out_.end(), logits, logits + vocabulary_);
    }
    return ok();
}

Result<std::span<const float>> Stage::run(std::span<const float> rows, std::span<const Place> places) {
    ASSERT(!divided_ || sum_);
    TRY(check(rows, places));
    out_.clear();
    for (std::size_t from = 0; from < places.size();) {
        std::size_t to = places.size();
        if (recurrent_) {
            to = from + 1;
            while (to < places.size() && places[to].sequence == places[from].sequence) ++to;
        }
        TRY(compute(rows.subspan(from * width_, (to - from) * width_), places.subspan(from, to - from)));
        from = to;
    }
    if (!last_ && out_.size() != rows.size()) {
        return fail(Errc::internal, "the stage gave rows of another shape");
    }
    return std::span<const float>(out_);
}

Result<KvCopy> Stage::copy(std::int32_t sequence) const {
    return copy_sequence(context_.get(), sequence);
}

Status Stage::place(std::int32_t sequence, const KvCopy& copy) {
    return place_sequence(context_.get(), sequence, copy);
}

void Stage::while_computing(ggml_abort_callback callback, void* data) {
    llama_set_abort_callback(context_.get(), callback, data);
}

Status Stage::truncate(std::int32_t sequence, std::int32_t position) {
    if (sequence < 0 || static_cast<std::uint32_t>(sequence) >= options_.sequences || position < 0) {
        return fail(Errc::invalid,
                    "no such place: sequence " + std::to_string(sequence) + ", position " + std::to_string(position));
    }
    if (llama_memory_seq_rm(llama_get_memory(context_.get()), sequence, position, -1)) return ok();
    return fail(Errc::unsupported, "a recurrent model cannot go back to position " + std::to_string(position));
}

}  // namespace shoal::engine_worker
