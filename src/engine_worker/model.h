// One GGUF, loaded: weights, context, template and tokenizer.
//
// Call load_backends() of devices.h before the sandbox (it opens libraries) and load_model() inside it (it reads the
// file). One thread.
#pragma once

#include <llama.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/pipe.h"
#include "engine_worker/kv_copy.h"
#include "engine_worker/offload.h"
#include "engine_worker/shard.h"
#include "engine_worker/tokenizer.h"

namespace shoal::engine_worker {

struct LlamaDelete {
    void operator()(llama_model* model) const { llama_model_free(model); }
    void operator()(llama_context* context) const { llama_free(context); }
};

struct Model {
    engine::ModelInfo info;
    std::uint32_t threads = 1;
    std::uint32_t cells = 0;       // tokens that all sequences hold together
    std::uint32_t on_gpu = 0;      // layers
    bool one_kind_a_step = false;  // recurrent layers: a batch holds decodes, or a chunk of one prompt
    std::optional<KvShape> kv;     // what a sequence holds of each token, where it can be moved (library_kv.h)
    std::unique_ptr<llama_model, LlamaDelete> weights;
    std::unique_ptr<llama_context, LlamaDelete> context;
    std::unique_ptr<ChatTemplate> chat_template;
    std::unique_ptr<Tokenizer> tokenizer;

    const llama_vocab* vocab() const { return llama_model_get_vocab(weights.get()); }
};

// The machine's hardware threads less one, at least one: the node needs some too. Reads a file of the system, so it is
// called before the sandbox.
std::uint16_t default_threads();

// Reads the whole model from the open descriptor `file`; `options` say how many threads. `progress` gets 0 to 1. The
// message of an error is one plain line; Errc::malformed and Errc::unsupported are the file's fault, Errc::exhausted
// the machine's memory, Errc::invalid that a GPU does not take what was asked for.
Result<Model> load_model(int file, const engine::pipe::Load& options, const std::function<void(double)>& progress,
                         const Offload& offload = {});

// The whole model behind an open descriptor, and its id; `progress` gets 0 to 1. Errors as of read_gguf and WholeModel.
struct OpenedModel {
    WholeModel model;
    ModelId id;
};
Result<OpenedModel> open_whole_model(int file, const std::function<void(double)>& progress);

// The ends of a model, for a lead: text side and sizes, without weights or context. The rest of it is read through
// `whole` as it is wanted, so what is opened must stay so. Reads nothing behind the header.
struct EndsOfModel {
    Model model;
    WholeModel whole;
};
Result<EndsOfModel> load_ends(OpenedModel opened, const engine::pipe::Load& options);

// The first error that the library wrote since it was forgotten, made one plain line; empty when there was none.
const std::string& last_library_error();
void forget_library_error();
// From now on such errors are kept, and nothing else that it says.
void watch_library();

// What stands before the tensors of the model behind an open descriptor. Errors as of read_gguf.
Result<Gguf> read_header(int file);

// Reads an open file, which must outlive the reader.
ReadAt reader_of(int file);

// What the library knows of a type of tensor (gguf.h).
BlockSize library_block(std::uint32_t type);

}  // namespace shoal::engine_worker
