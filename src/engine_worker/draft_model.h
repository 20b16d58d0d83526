// Guesses by a model that answers sooner: a smaller one of the same vocabulary, or the model itself without some of its
// layers (the idea of SWIFT, 2410.06916).
//
// It holds a sequence for each of the batcher's, and follows them: what a guess had wrong it forgets at the next one.
// A long prompt is read in pieces of `rows_max`, one a call, so that no step waits for all of it; until it is read
// there is no guess.
#pragma once

#include <functional>
#include <memory>

#include "engine_worker/drafter.h"
#include "engine_worker/embedding.h"
#include "engine_worker/stage.h"

namespace shoal::engine_worker {

class DraftModel final : public Drafter {
public:
    struct Options {
        std::uint32_t context = 0;  // of each sequence
        std::uint32_t sequences = 1;
        std::uint32_t threads = 1;
        std::uint32_t tokens = 0;                              // of the model whose tokens are guessed: no other is
        std::function<void(double)> progress = [](double) {};  // of loading
    };
    // Another model, which must have the vocabulary of the one that `of` heads and `read` reads. Errc::invalid: it has
    // another one; and what Stage::load and WholeModel give.
    static Result<std::unique_ptr<DraftModel>> load_other(const WholeModel& draft, const Gguf& of, const ReadAt& read,
                                                          const Options& options);
    // `model` without these layers.
    static Result<std::unique_ptr<DraftModel>> load_skipping(const WholeModel& model, LayerRange skipped,
                                                             const Options& options);

    std::vector<llama_token> draft(llama_seq_id sequence, std::span<const llama_token> tokens, std::size_t count,
                                   const Sampler& next) override;
    void forget(llama_seq_id sequence) override;

private:
    static constexpr std::size_t rows_max = 256;

    DraftModel(Embedding embedding, std::unique_ptr<Stage> stage, const Options& options);
    static Result<std::unique_ptr<DraftModel>> load(const WholeModel& model, const Shard& shard,
                                                    const Options& options);
    // Logits behind the last of `tokens`, which follow on from what the sequence holds; empty: it cannot be computed.
    std::vector<float> feed(llama_seq_id sequence, std::span<const llama_token> tokens);
    // Forgets what the sequence holds and `tokens` does not begin with.
    void follow(llama_seq_id sequence, std::span<const llama_token> tokens);

    Embedding embedding_;
    std::unique_ptr<Stage> stage_;
    Options options_;
    std::vector<TokenIds> held_;  // bounded: options_.context of each; one for each sequence: the tokens in its cache
};

}  // namespace shoal::engine_worker
