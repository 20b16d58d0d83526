// For this room's tests: the same greedy answer from a whole model and from a chain of its stages.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <llama.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engine_worker/devices.h"
#include "engine_worker/embedding.h"
#include "engine_worker/head.h"
#include "engine_worker/stage.h"

namespace shoal::engine_worker {

class OpenFile {
public:
    explicit OpenFile(const std::string& path) : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        struct stat status {};
        EXPECT_EQ(fstat(descriptor_, &status), 0) << path;
        bytes_ = static_cast<std::uint64_t>(status.st_size);
    }
    ~OpenFile() { close(descriptor_); }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;
    int descriptor() const { return descriptor_; }
    std::uint64_t bytes() const { return bytes_; }
    ReadAt reader() const { return reader_of(descriptor_); }

private:
    int descriptor_;
    std::uint64_t bytes_ = 0;
};

// `twin`: cut by this entry of the table in place of the right one.
inline Result<WholeModel> open_whole(const OpenFile& file, const Architecture* twin = nullptr) {
    Gguf gguf = TRY(read_gguf(file.reader(), file.bytes(), library_block));
    return WholeModel::open(std::move(gguf), file.reader(), library_block, twin);
}

inline void load_library() {
    const char* libraries = std::getenv("SHOAL_ENGINE_LIBS");
    const std::string folder = libraries == nullptr ? "" : libraries;
    ASSERT_TRUE(load_backends(folder.empty() ? "" : folder + "/ggml/backends0"));
}

// A greedy answer: the logits of every row of the prompt and of every token, and the tokens.
struct Answer {
    std::string error;
    std::vector<std::int32_t> tokens;
    std::vector<float> logits;  // [prompt + tokens - 1, vocabulary]
};

struct Question {
    std::vector<std::int32_t> prompt;
    std::uint32_t tokens = 0;
    std::uint32_t cells = 256;
};
inline Question random_question(std::uint32_t vocabulary, std::uint32_t tokens, std::uint32_t prompt = 24) {
    Question out{{}, tokens, 256};
    for (std::uint32_t i = 0; i < prompt; ++i) {
        out.prompt.push_back(static_cast<std::int32_t>((i * 7919 + 11) % vocabulary));
    }
    return out;
}

inline std::int32_t likeliest(std::span<const float> row) {
    return static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

// Asks `step` for the logits of the prompt, then of one token after another.
template <typename Step>
Answer answer(const Question& question, std::uint32_t vocabulary, Step step) {
    Answer out;
    std::vector<std::int32_t> next = question.prompt;
    std::int32_t position = 0;
    while (out.tokens.size() < question.tokens) {
        const Result<std::vector<float>> logits = step(next, position);
        if (!logits) {
            out.error = logits.error().message;
            return out;
        }
        position += static_cast<std::int32_t>(next.size());
        out.logits.insert(out.logits.end(), logits->begin(), logits->end());
        next = {likeliest(std::span(*logits).last(vocabulary))};
        out.tokens.push_back(next.front());
    }
    return out;
}

// The library on the whole file, as it comes.
inline Answer answer_whole(const std::string& path, const Question& question, const Offload& offload = {}) {
    DeviceList devices;
    llama_model_params model_params = llama_model_default_params();
    set_devices(offload, limits::model_layers_max, devices, model_params);  // all of them
    model_params.load_mode = LLAMA_LOAD_MODE_NONE;
    const std::unique_ptr<llama_model, LlamaDelete> model(llama_model_load_from_file(path.c_str(), model_params));
    if (!model) return {"the whole model does not load: " + last_library_error(), {}, {}};
    llama_context_params params = llama_context_default_params();
    params.n_ctx = question.cells;
    params.n_batch = params.n_ubatch = 64;
    params.n_threads = params.n_threads_batch = 1;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    params.kv_unified = true;
    const std::unique_ptr<llama_context, LlamaDelete> context(llama_init_from_model(model.get(), params));
    if (!context) return {"the whole model has no context", {}, {}};
    const auto vocabulary = static_cast<std::uint32_t>(llama_vocab_n_tokens(llama_model_get_vocab(model.get())));
    return answer(question, vocabulary,
                  [&](std::vector<std::int32_t>& tokens, std::int32_t position) -> Result<std::vector<float>> {
                      llama_batch batch = llama_batch_init(static_cast<std::int32_t>(tokens.size()), 0, 1);
                      for (std::size_t i = 0; i < tokens.size(); ++i) {
                          batch.token[i] = tokens[i];
                          batch.pos[i] = position + static_cast<std::int32_t>(i);
                          batch.n_seq_id[i] = 1;
                          batch.seq_id[i][0] = 0;
                          batch.logits[i] = 1;
                      }
                      batch.n_tokens = static_cast<std::int32_t>(tokens.size());
                      const std::int32_t error = llama_decode(context.get(), batch);
                      llama_batch_free(batch);
                      if (error != 0) return fail(Errc::internal, "decode " + std::to_string(error));
                      const float* logits = llama_get_logits(context.get());
                      return std::vector<float>(logits, logits + tokens.size() * vocabulary);
                  });
}

class Chain {
public:
    // Stages [0, cuts[0]), [cuts[0], cuts[1]) ... to the last block; with the head in the last one, or apart.
    static Result<std::unique_ptr<Chain>> make(const std::string& path, std::vector<std::uint32_t> cuts,
                                               const StageOptions& options, const Architecture* twin = nullptr,
                                               bool head_apart = false) {
        std::unique_ptr<Chain> chain(new Chain(path));
        const WholeModel whole = TRY(open_whole(chain->file_, twin));
        chain->vocabulary_ = whole.shape().vocabulary;
        chain->embedding_ = TRY(Embedding::open(whole));
        cuts.push_back(whole.shape().layers);
        std::uint32_t first = 0;
        for (std::uint32_t end : cuts) {
            const Shard shard = TRY(head_apart ? whole.cut_without_head({first, end}) : whole.cut({first, end}));
            chain->stages.push_back(TRY(Stage::load(shard, options, [](double) {})));
            first = end;
        }
        if (head_apart) chain->head_ = TRY(Head::load(whole, options.threads));
        return chain;
    }
    Result<std::vector<float>> run(std::span<const std::int32_t> tokens, std::span<const Place> places) {
        std::vector<float> rows = TRY(embedding_.rows(tokens));
        for (const std::unique_ptr<Stage>& stage : stages) {
            const std::span<const float> out = TRY(stage->run(rows, places));
            rows.assign(out.begin(), out.end());
        }
        if (head_) return head_->logits(rows);
        return rows;
    }
    std::uint32_t vocabulary() const { return vocabulary_; }
    std::vector<std::unique_ptr<Stage>> stages;

private:
    explicit Chain(const std::string& path) : file_(path) {}
    OpenFile file_;
    Embedding embedding_;
    std::unique_ptr<Head> head_;
    std::uint32_t vocabulary_ = 0;
};

inline Answer answer_chain(const std::string& path, const std::vector<std::uint32_t>& cuts, const Question& question,
                           const Architecture* twin = nullptr, bool head_apart = false) {
    const StageOptions options{.cells = question.cells, .rows_max = 64, .wanted_max = 64};
    const Result<std::unique_ptr<Chain>> chain = Chain::make(path, cuts, options, twin, head_apart);
    if (!chain) return {chain.error().message, {}, {}};
    return answer(question, (*chain)->vocabulary(),
                  [&](std::vector<std::int32_t>& tokens, std::int32_t position) -> Result<std::vector<float>> {
                      std::vector<Place> places;
                      for (std::size_t i = 0; i < tokens.size(); ++i) {
                          places.push_back({position + static_cast<std::int32_t>(i), 0, true});
                      }
                      return (*chain)->run(tokens, places);
                  });
}

// The largest difference of two logits, up to the first token that differs.
inline double largest_difference(const Answer& a, const Answer& b) {
    double out = 0;
    for (std::size_t i = 0; i < std::min(a.logits.size(), b.logits.size()); ++i) {
        out = std::max(out, std::fabs(static_cast<double>(a.logits[i]) - static_cast<double>(b.logits[i])));
    }
    return out;
}

}  // namespace shoal::engine_worker
