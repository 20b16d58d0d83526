#include "engine_worker/model.h"

#include <ggml-backend.h>
#include <ggml.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <thread>

#include "engine_worker/library_kv.h"
#include "engine_worker/read_stream.h"
#include "engine_worker/speculation.h"
#include "wire/text.h"

namespace shoal::engine_worker {
namespace {

// A context that nobody chose: enough for a conversation, small enough for many of them.
constexpr std::uint32_t context_default = 4096;
// What the key-value cells of all sequences may take when their number was not chosen.
constexpr std::uint64_t kv_bytes_default = 2ULL << 30;
constexpr double share_of_hashing = 0.5;  // of the progress bar

std::string& library_error() {
    static std::string line;
    return line;
}

void on_library_log(ggml_log_level level, const char* text, void*) {
    if (level != GGML_LOG_LEVEL_ERROR) return;
    std::string_view line(text);
    while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
    // The inner reason comes first; what follows says only that loading failed.
    if (!line.empty() && library_error().empty()) library_error() = wire::plain_text(line, 300);
}

Error unloadable(const std::string& what) {
    const std::string& reason = last_library_error();
    return fail(Errc::unsupported, what + (reason.empty() ? "" : ": " + reason));
}

Status check_vocabulary(const Model& model) {
    if (llama_vocab_type(model.vocab()) == LLAMA_VOCAB_TYPE_NONE || llama_vocab_n_tokens(model.vocab()) < 2) {
        return fail(Errc::unsupported, "the model has no vocabulary");
    }
    return ok();
}

Status load_weights(int file, const Offload& offload, Model& model, const std::function<void(double)>& progress) {
    DeviceList devices;
    llama_model_params params = llama_model_default_params();
    set_devices(offload, model.on_gpu, devices, params);
    // A mapped file would stay the device's memory where its driver can reach the machine's.
    params.load_mode = offload ? LLAMA_LOAD_MODE_NONE : LLAMA_LOAD_MODE_MMAP;
    auto report = [&progress](float share) {
        progress(share_of_hashing + (1 - share_of_hashing) * static_cast<double>(share));
    };
    params.progress_callback = [](float share, void* to) {
        (*static_cast<decltype(report)*>(to))(share);
        return true;
    };
    params.progress_callback_user_data = &report;
    std::FILE* stream = fdopen(file, "rb");
    if (stream == nullptr) return fail(Errc::io, "the model's descriptor is not open");
    model.weights.reset(llama_model_load_from_file_ptr(stream, params));
    (void)std::fclose(stream);
    if (!model.weights) return unloadable("the model cannot be loaded");
    const llama_model* weights = model.weights.get();
    if (!llama_model_has_decoder(weights) || llama_model_has_encoder(weights) || llama_model_is_diffusion(weights)) {
        return fail(Errc::unsupported,
                    "the architecture " + model.info.architecture + " does not generate text step by step");
    }
    return check_vocabulary(model);
}

std::uint64_t kv_bytes_per_token(const llama_model* model, ggml_type type) {
    const auto heads = static_cast<std::uint64_t>(std::max(llama_model_n_head(model), 1));
    const auto kv_heads = static_cast<std::uint64_t>(std::max(llama_model_n_head_kv(model), 1));
    const auto width = static_cast<std::uint64_t>(std::max(llama_model_n_embd(model), 1)) / heads * kv_heads;
    const auto layers = static_cast<std::uint64_t>(std::max(llama_model_n_layer(model), 1));
    return std::max<std::uint64_t>(
        2 * layers * width * ggml_type_size(type) / static_cast<std::uint64_t>(ggml_blck_size(type)), 1);
}

std::uint32_t context_of(std::uint32_t wanted, std::uint64_t trained) {
    if (wanted == 0) {
        wanted = trained == 0 ? context_default
                              : static_cast<std::uint32_t>(std::min<std::uint64_t>(trained, context_default));
    }
    return std::min(wanted, limits::context_tokens_max);
}

std::uint32_t context_of(std::uint32_t wanted, const llama_model* weights) {
    return context_of(wanted, static_cast<std::uint64_t>(std::max(llama_model_n_ctx_train(weights), 0)));
}

// What all sequences hold together where nobody chose.
std::uint32_t cells_of(std::uint32_t context, std::uint32_t sequences, std::uint64_t bytes_per_token) {
    const std::uint64_t affordable = kv_bytes_default / bytes_per_token;
    const std::uint64_t cells = std::min<std::uint64_t>(std::uint64_t{context} * sequences, affordable);
    return static_cast<std::uint32_t>(std::max<std::uint64_t>(cells, context));
}

// How much each sequence and all together may hold.
void size_context(Model& model, const engine::pipe::Load& options, ggml_type kv) {
    const std::uint32_t context = context_of(options.context_tokens, model.weights.get());
    model.info.context_tokens = context;
    model.info.sequences = options.sequences;
    const std::uint32_t cells = options.cells != 0
                                    ? options.cells
                                    : cells_of(context, options.sequences, kv_bytes_per_token(model.weights.get(), kv));
    // One whole conversation always fits.
    model.cells = std::max(cells, context);
}

Status make_context(Model& model, const engine::pipe::Load& options) {
    const ggml_type kv = options.kv == engine::pipe::KvType::q8_0 ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
    size_context(model, options, kv);
    llama_context_params params = llama_context_default_params();
    params.n_ctx = model.cells;
    params.n_batch = limits::prefill_chunk_tokens;
    params.n_ubatch = limits::prefill_chunk_tokens;
    params.n_seq_max = options.sequences;
    params.n_outputs_max = options.sequences + (options.drafts.any() ? guess_rows_max : 0);
    params.n_threads = static_cast<std::int32_t>(model.threads);
    params.n_threads_batch = params.n_threads;
    params.type_k = kv;
    params.type_v = kv;
    params.kv_unified = true;
    params.op_offload = false;  // what stays with the processor is computed by it
    params.no_perf = true;
    model.context.reset(llama_init_from_model(model.weights.get(), params));
    if (!model.context) {
        return fail(Errc::exhausted, "no context of " + std::to_string(model.cells) + " tokens can be made (" +
                                         last_library_error() + "); choose a smaller context or fewer sequences");
    }
    return ok();
}

// The first computation allocates and starts threads: better before the first prompt than in it.
Status warm_up(Model& model) {
    llama_token token = llama_vocab_bos(model.vocab());
    if (token == LLAMA_TOKEN_NULL) token = 0;
    if (llama_decode(model.context.get(), llama_batch_get_one(&token, 1)) != 0) {
        return unloadable("the model loads but does not compute");
    }
    model.kv = learn_kv_shape(model.weights.get(), model.context.get());
    forget_library_error();
    llama_memory_clear(llama_get_memory(model.context.get()), true);
    return ok();
}

Result<std::uint64_t> bytes_of(int file) {
    struct stat status {};
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) return fail(Errc::malformed, "the model is not a file");
    return static_cast<std::uint64_t>(status.st_size);
}

void describe(const Gguf& gguf, const ModelId& id, engine::ModelInfo& info) {
    info.id = id;
    info.architecture = gguf.architecture;
    info.name = gguf.name;
    info.quantisation = static_cast<std::uint8_t>(std::min<std::uint32_t>(gguf.file_type, UINT8_MAX));
}

std::string token_text(const llama_vocab* vocab, llama_token token) {
    return token == LLAMA_TOKEN_NULL ? std::string() : llama_vocab_get_text(vocab, token);
}

// The tokenizer and nothing else, through a stream of our own that has zeros for all tensors: the library reads ahead,
// and they need not be here.
Status load_vocabulary(const WholeModel& whole, Model& model) {
    const Gguf& gguf = whole.gguf();
    const auto by_offset = [](const GgufTensor& a, const GgufTensor& b) { return a.offset < b.offset; };
    const auto [first, last] = std::minmax_element(gguf.tensors.begin(), gguf.tensors.end(), by_offset);
    const std::uint64_t header = first->offset;
    const auto read = [&whole, header](std::uint64_t offset, ByteSpan out) {
        std::fill(out.begin(), out.end(), std::uint8_t{0});
        if (offset >= header) return true;
        return whole.read()(offset, out.first(std::min<std::uint64_t>(out.size(), header - offset)));
    };
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    ReadStream cookie{read, last->offset + last->bytes};
    std::FILE* stream = fopencookie(&cookie, "rb", ReadStream::functions());
    if (stream == nullptr) return fail(Errc::exhausted, "no memory for a stream");
    model.weights.reset(llama_model_load_from_file_ptr(stream, params));
    (void)std::fclose(stream);
    if (!model.weights) return unloadable("the model's vocabulary cannot be loaded");
    return check_vocabulary(model);
}

Status make_text_side(Model& model) {
    const llama_vocab* vocab = model.vocab();
    const char* source = llama_model_chat_template(model.weights.get(), nullptr);
    model.chat_template = std::make_unique<ChatTemplate>(
        TRY(ChatTemplate::parse(source == nullptr ? "" : source, token_text(vocab, llama_vocab_bos(vocab)),
                                token_text(vocab, llama_vocab_eos(vocab)))));
    model.tokenizer = std::make_unique<Tokenizer>(vocab, model.chat_template->source());
    return ok();
}

}  // namespace

const std::string& last_library_error() {
    return library_error();
}

void forget_library_error() {
    library_error().clear();
}

void watch_library() {
    llama_log_set(on_library_log, nullptr);
}

ReadAt reader_of(int file) {
    return [file](std::uint64_t offset, ByteSpan out) {
        for (std::size_t done = 0; done < out.size();) {
            const ssize_t count = pread(file, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
            if (count < 0 && errno == EINTR) continue;
            if (count <= 0) return false;
            done += static_cast<std::size_t>(count);
        }
        return true;
    };
}

BlockSize library_block(std::uint32_t type) {
    if (type >= GGML_TYPE_COUNT) return {};
    const auto known = static_cast<ggml_type>(type);
    const std::int64_t elements = ggml_blck_size(known);
    if (elements <= 0 || ggml_type_size(known) == 0) return {};
    return {static_cast<std::uint64_t>(elements), ggml_type_size(known)};
}

std::uint16_t default_threads() {
    return static_cast<std::uint16_t>(std::clamp(std::thread::hardware_concurrency(), 2U, 256U) - 1);
}

Result<Gguf> read_header(int file) {
    const std::uint64_t bytes = TRY(bytes_of(file));
    return read_gguf(reader_of(file), bytes, library_block);
}

Result<OpenedModel> open_whole_model(int file, const std::function<void(double)>& progress) {
    const ReadAt read = reader_of(file);
    Gguf gguf = TRY(read_header(file));
    const ModelId id = TRY(model_id(gguf, read, progress));
    WholeModel whole = TRY(WholeModel::open(std::move(gguf), read, library_block));
    return OpenedModel{std::move(whole), id};
}

Result<EndsOfModel> load_ends(OpenedModel opened, const engine::pipe::Load& options) {
    Model model;
    describe(opened.model.gguf(), opened.id, model.info);
    for (const GgufTensor& tensor : opened.model.gguf().tensors) {
        std::uint64_t count = 1;
        for (const std::uint64_t size : tensor.dims) count *= size;
        model.info.parameters += count;
    }
    model.threads = options.threads;
    forget_library_error();
    TRY(load_vocabulary(opened.model, model));
    // The library compares them where it loads the tensors.
    const std::uint32_t rows = opened.model.shape().vocabulary;
    if (static_cast<std::uint32_t>(llama_vocab_n_tokens(model.vocab())) > rows) {
        return fail(Errc::malformed, "the model names " + std::to_string(llama_vocab_n_tokens(model.vocab())) +
                                         " tokens and has rows for " + std::to_string(rows));
    }
    model.one_kind_a_step = opened.model.shape().kind->recurrent;
    TRY(make_text_side(model));
    model.info.context_tokens = context_of(options.context_tokens, model.weights.get());
    model.info.sequences = options.sequences;
    model.cells = model.info.context_tokens * options.sequences;
    return EndsOfModel{std::move(model), std::move(opened.model)};
}

namespace {

// How many layers go to the GPU. The number of cells is settled with it: what was counted is what will be held.
Status place(const Gguf& gguf, const ReadAt& read, const Offload& offload, engine::pipe::Load& options, Model& model) {
    ContextSizes sizes;
    sizes.sequences = options.sequences;
    sizes.rows = limits::prefill_chunk_tokens;
    sizes.outputs = options.sequences + (options.drafts.any() ? guess_rows_max : 0);
    sizes.small_cache = options.kv == engine::pipe::KvType::q8_0;
    const std::uint32_t context = context_of(options.context_tokens, number_of(gguf, read, "context_length", 0));
    if (options.cells == 0) {
        options.cells = cells_of(context, options.sequences, cache_bytes_per_token(gguf, read, sizes.small_cache));
    }
    sizes.cells = std::max(options.cells, context);
    const GpuSizes needed = TRY(gpu_sizes(gguf, read, sizes));
    model.on_gpu = TRY(place_layers(offload, needed));
    return ok();
}

}  // namespace

Result<Model> load_model(int file, const engine::pipe::Load& asked, const std::function<void(double)>& progress,
                         const Offload& offload) {
    const ReadAt read = reader_of(file);
    engine::pipe::Load options = asked;
    Model model;
    const Gguf gguf = TRY(read_header(file));
    describe(gguf, TRY(model_id(gguf, read, [&progress](double share) { progress(share * share_of_hashing); })),
             model.info);
    ASSERT(options.threads > 0);
    model.threads = options.threads;
    forget_library_error();
    if (offload) TRY(place(gguf, read, offload, options, model));
    TRY(load_weights(file, offload, model, progress));
    model.info.parameters = llama_model_n_params(model.weights.get());
    model.one_kind_a_step = llama_model_is_recurrent(model.weights.get()) || llama_model_is_hybrid(model.weights.get());
    TRY(make_text_side(model));
    TRY(make_context(model, options));
    TRY(warm_up(model));
    return model;
}

}  // namespace shoal::engine_worker
