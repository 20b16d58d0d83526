#include "engine_worker/head.h"

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include <algorithm>
#include <cmath>

namespace shoal::engine_worker {
namespace {

constexpr std::size_t nodes_max = 16;
constexpr std::uint64_t chunk_bytes = 1 << 20;  // read at once
// Rows of the product by which the library asks whether a kind of buffer can hold a matrix.
constexpr std::int64_t probe_rows = 512;

// The kinds of memory that the processor has for weights, its own orders of them first.
std::vector<ggml_backend_buffer_type_t> buffer_types(ggml_backend_dev_t device) {
    std::vector<ggml_backend_buffer_type_t> out;
    void* found =
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts");
    if (auto* list = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(found); list != nullptr) {
        for (ggml_backend_buffer_type_t* each = list(device); each != nullptr && *each != nullptr; ++each) {
            out.push_back(*each);
        }
    }
    out.push_back(ggml_backend_dev_buffer_type(device));
    return out;
}

// Whether products with this matrix can be computed from that kind of memory.
bool holds(ggml_backend_dev_t device, ggml_backend_buffer_type_t memory, ggml_type type, std::int64_t columns,
           std::int64_t rows) {
    const ggml_context_ptr context(ggml_init({4 * ggml_tensor_overhead(), nullptr, true}));
    ggml_tensor* matrix = ggml_new_tensor_2d(context.get(), type, columns, rows);
    ggml_tensor* product =
        ggml_mul_mat(context.get(), matrix, ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, columns, probe_rows));
    const ggml_backend_buffer_ptr empty(ggml_backend_buft_alloc_buffer(memory, 0));
    matrix->buffer = empty.get();
    return ggml_backend_dev_supports_op(device, product);
}

Status set_threads(ggml_backend_dev_t device, ggml_backend_t backend, std::uint32_t threads) {
    void* found = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_set_n_threads");
    if (found == nullptr) return fail(Errc::unsupported, "this compute library cannot be told how many threads to use");
    reinterpret_cast<ggml_backend_set_n_threads_t>(found)(backend, static_cast<int>(threads));
    return ok();
}

}  // namespace

Head::~Head() = default;

Result<std::unique_ptr<Head>> Head::load(const WholeModel& model, std::uint32_t threads) {
    ASSERT(threads > 0);
    std::unique_ptr<Head> out(new Head());
    out->width_ = model.shape().width;
    out->vocabulary_ = model.shape().vocabulary;
    TRY(out->read_numbers(model));
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (device == nullptr) return fail(Errc::unsupported, "no compute backend for this processor");
    out->backend_.reset(ggml_backend_dev_init(device, nullptr));
    if (!out->backend_) return fail(Errc::exhausted, "the compute backend cannot be started");
    TRY(set_threads(device, out->backend_.get(), threads));
    out->memory_.reset(ggml_gallocr_new(ggml_backend_dev_buffer_type(device)));
    out->norm_ = TRY(out->load_weight(model, "output_norm.weight", out->width_, 1));
    const char* head = model.shape().tied ? "token_embd.weight" : "output.weight";
    out->head_ = TRY(out->load_weight(model, head, out->width_, out->vocabulary_));
    if (model.find_tensor("output_norm.bias") != nullptr) {
        out->norm_bias_ = TRY(out->load_weight(model, "output_norm.bias", out->width_, 1));
    }
    if (model.find_tensor("output.bias") != nullptr) {
        out->head_bias_ = TRY(out->load_weight(model, "output.bias", out->vocabulary_, 1));
    }
    return out;
}

Status Head::read_numbers(const WholeModel& model) {
    const Architecture& kind = *model.shape().kind;
    centred_ = kind.centred_norm;
    const char* name = centred_ ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    const auto epsilon = TRY(model.real(name));
    if (!epsilon || !(*epsilon >= 0 && *epsilon < 1)) {
        return fail(Errc::malformed, std::string("the metadata '") + name + "' is missing or makes no sense");
    }
    epsilon_ = *epsilon;
    const float bend = TRY(model.real("final_logit_softcapping")).value_or(0);
    const float scale = TRY(model.real("logit_scale")).value_or(0);
    const bool odd_scale = scale != 0 || model.find_tensor("output.scale") != nullptr ||
                           model.find_tensor("output.input_scale") != nullptr;
    // gemma2 has 30 where its file says nothing, as the library does.
    if (kind.bends_logits) bend_ = bend == 0 ? 30.0F : bend;
    if (odd_scale || (bend != 0 && !kind.bends_logits)) {
        return fail(Errc::unsupported,
                    "the head of this model does something that is not known here: keep it with the "
                    "last stage");
    }
    return ok();
}

Result<Head::Weight> Head::load_weight(const WholeModel& model, const char* name, std::uint64_t columns,
                                       std::uint64_t rows) {
    const GgufTensor* from = model.find_tensor(name);
    const std::vector<std::uint64_t> vector = {columns}, matrix = {columns, rows};
    if (from == nullptr || (from->dims != matrix && !(rows == 1 && from->dims == vector))) {
        return fail(Errc::malformed, std::string("the tensor '") + name + "' is missing or has another shape");
    }
    const auto type = static_cast<ggml_type>(from->type);
    if (rows == 1 && type != GGML_TYPE_F32) {
        return fail(Errc::unsupported, std::string("the tensor '") + name + "' is no vector of f32");
    }
    Weight out;
    out.context.reset(ggml_init({2 * ggml_tensor_overhead(), nullptr, true}));
    const auto wide = static_cast<std::int64_t>(columns), high = static_cast<std::int64_t>(rows);
    out.tensor = ggml_new_tensor_2d(out.context.get(), type, wide, high);
    ggml_backend_dev_t device = ggml_backend_get_device(backend_.get());
    ggml_backend_buffer_type_t memory = ggml_backend_dev_buffer_type(device);
    if (rows > 1) {
        for (ggml_backend_buffer_type_t each : buffer_types(device)) {
            if (!holds(device, each, type, wide, high)) continue;
            memory = each;
            break;
        }
    }
    out.buffer.reset(ggml_backend_alloc_ctx_tensors_from_buft(out.context.get(), memory));
    if (!out.buffer) return fail(Errc::exhausted, "no memory for the head");
    ggml_backend_buffer_set_usage(out.buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    if (from->bytes != ggml_nbytes(out.tensor)) return fail(Errc::malformed, "the head has another size than shape");
    // Memory with an order of its own takes the whole matrix at once.
    const bool is_plain = memory == ggml_backend_dev_buffer_type(device);
    Bytes bytes(is_plain ? std::min(chunk_bytes, from->bytes) : from->bytes);
    for (std::uint64_t at = 0; at < from->bytes; at += bytes.size()) {
        bytes.resize(std::min<std::uint64_t>(bytes.size(), from->bytes - at));
        if (!model.read()(from->offset + at, bytes)) return fail(Errc::io, "the model file cannot be read");
        ggml_backend_tensor_set(out.tensor, bytes.data(), at, bytes.size());
    }
    return out;
}

ggml_tensor* Head::build(ggml_context* context, ggml_tensor* in) const {
    ggml_tensor* at = centred_ ? ggml_norm(context, in, epsilon_) : ggml_rms_norm(context, in, epsilon_);
    at = ggml_mul(context, at, norm_.tensor);
    if (norm_bias_.tensor != nullptr) at = ggml_add(context, at, norm_bias_.tensor);
    at = ggml_mul_mat(context, head_.tensor, at);
    if (head_bias_.tensor != nullptr) at = ggml_add(context, at, head_bias_.tensor);
    if (bend_ != 0) {
        at = ggml_tanh(context, ggml_scale(context, at, 1.0F / bend_));
        at = ggml_scale(context, at, bend_);
    }
    return at;
}

Result<std::vector<float>> Head::logits(std::span<const float> rows) {
    if (rows.empty() || rows.size() % width_ != 0) {
        return fail(Errc::invalid, "the head takes whole rows of " + std::to_string(width_) + " numbers");
    }
    if (!std::all_of(rows.begin(), rows.end(), [](float x) { return std::isfinite(x); })) {
        return fail(Errc::invalid, "the rows hold numbers that are none");
    }
    const std::size_t overhead = nodes_max * ggml_tensor_overhead() + ggml_graph_overhead_custom(nodes_max, false);
    const ggml_context_ptr context(ggml_init({overhead, nullptr, true}));
    const auto count = static_cast<std::int64_t>(rows.size() / width_);
    ggml_tensor* in = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, static_cast<std::int64_t>(width_), count);
    ggml_set_input(in);
    ggml_tensor* out = build(context.get(), in);
    ggml_set_output(out);
    ggml_cgraph* graph = ggml_new_graph_custom(context.get(), nodes_max, false);
    ggml_build_forward_expand(graph, out);
    if (!ggml_gallocr_alloc_graph(memory_.get(), graph)) return fail(Errc::exhausted, "no memory for logits");
    ggml_backend_tensor_set(in, rows.data(), 0, rows.size_bytes());
    if (ggml_backend_graph_compute(backend_.get(), graph) != GGML_STATUS_SUCCESS) {
        return fail(Errc::internal, "the head does not compute");
    }
    std::vector<float> logits(static_cast<std::size_t>(count) * vocabulary_);
    ggml_backend_tensor_get(out, logits.data(), 0, logits.size() * sizeof(float));
    return logits;
}

}  // namespace shoal::engine_worker
