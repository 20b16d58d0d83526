#include "engine_worker/draft_model.h"

#include <algorithm>

namespace shoal::engine_worker {
namespace {

// What makes two vocabularies one.
constexpr const char* vocabulary_keys[] = {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                                           "tokenizer.ggml.merges"};
constexpr std::uint64_t piece_bytes = 64 * 1024;

const GgufPair* find_pair(const Gguf& gguf, std::string_view key) {
    const auto at = std::find_if(gguf.metadata.begin(), gguf.metadata.end(),
                                 [key](const GgufPair& pair) { return pair.key == key; });
    return at == gguf.metadata.end() ? nullptr : &*at;
}

Result<bool> is_same_value(const WholeModel& a, const Gguf& b, const ReadAt& read_b, std::string_view key) {
    const GgufPair* left = find_pair(a.gguf(), key);
    const GgufPair* right = find_pair(b, key);
    if (left == nullptr || right == nullptr) return left == right;
    if (left->bytes != right->bytes) return false;
    Bytes one, other;
    for (std::uint64_t done = 0; done < left->bytes; done += piece_bytes) {
        const auto count = static_cast<std::size_t>(std::min(piece_bytes, left->bytes - done));
        one.resize(count);
        other.resize(count);
        if (!a.read()(left->offset + done, one) || !read_b(right->offset + done, other)) {
            return fail(Errc::io, "the model file cannot be read");
        }
        if (one != other) return false;
    }
    return true;
}

Status check_same_vocabulary(const WholeModel& draft, const Gguf& of, const ReadAt& read) {
    bool same = true;
    for (const char* key : vocabulary_keys) same = same && TRY(is_same_value(draft, of, read, key));
    return same ? ok()
                : Status(fail(Errc::invalid, "the model that is to draft has another vocabulary than the model"));
}

}  // namespace

DraftModel::DraftModel(Embedding embedding, std::unique_ptr<Stage> stage, const Options& options)
    : embedding_(std::move(embedding)), stage_(std::move(stage)), options_(options), held_(options.sequences) {}

Result<std::unique_ptr<DraftModel>> DraftModel::load(const WholeModel& model, const Shard& shard,
                                                     const Options& options) {
    // What a guess has wrong is taken back, often.
    if (model.shape().kind->recurrent) {
        return fail(Errc::unsupported, "a recurrent model cannot draft: it cannot take a token back");
    }
    Embedding embedding = TRY(Embedding::open(model));
    StageOptions stage;
    stage.cells = options.context * options.sequences;
    stage.sequences = options.sequences;
    stage.rows_max = rows_max;
    stage.threads = options.threads;
    std::unique_ptr<Stage> loaded = TRY(Stage::load(shard, stage, options.progress));
    return std::unique_ptr<DraftModel>(new DraftModel(std::move(embedding), std::move(loaded), options));
}

Result<std::unique_ptr<DraftModel>> DraftModel::load_other(const WholeModel& draft, const Gguf& of, const ReadAt& read,
                                                           const Options& options) {
    TRY(check_same_vocabulary(draft, of, read));
    const Shard shard = TRY(draft.cut({0, draft.shape().layers}));
    return load(draft, shard, options);
}

Result<std::unique_ptr<DraftModel>> DraftModel::load_skipping(const WholeModel& model, LayerRange skipped,
                                                              const Options& options) {
    const Shard shard = TRY(model.cut_skipping(skipped));
    return load(model, shard, options);
}

std::vector<float> DraftModel::feed(llama_seq_id sequence, std::span<const llama_token> tokens) {
    TokenIds& held = held_[static_cast<std::size_t>(sequence)];
    const auto length = static_cast<std::int32_t>(held.expose().size());
    std::vector<Place> places;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        places.push_back({length + static_cast<std::int32_t>(i), sequence, i + 1 == tokens.size()});
    }
    const auto rows = embedding_.rows(tokens);
    const auto logits = rows ? stage_->run(*rows, places) : Result<std::span<const float>>(rows.error());
    if (!logits) {
        (void)stage_->truncate(sequence, length);
        return {};
    }
    for (const llama_token token : tokens) held.append(token);
    return {logits->begin(), logits->begin() + std::min<std::ptrdiff_t>(std::ssize(*logits), options_.tokens)};
}

void DraftModel::follow(llama_seq_id sequence, std::span<const llama_token> tokens) {
    TokenIds& ids = held_[static_cast<std::size_t>(sequence)];
    const std::vector<std::int32_t>& held = ids.expose();
    // The last one is computed anew, for its logits.
    const std::size_t most = std::min(held.size(), tokens.size() - 1);
    const auto most_at = held.begin() + static_cast<std::ptrdiff_t>(most);
    const auto same =
        static_cast<std::size_t>(std::mismatch(held.begin(), most_at, tokens.begin()).first - held.begin());
    if (same == held.size()) return;
    (void)stage_->truncate(sequence, static_cast<std::int32_t>(same));  // it is no recurrent model
    ids.cut_to(same);
}

std::vector<llama_token> DraftModel::draft(llama_seq_id sequence, std::span<const llama_token> tokens,
                                           std::size_t count, const Sampler& next) {
    ASSERT(static_cast<std::size_t>(sequence) < held_.size() && !tokens.empty());
    count = std::min<std::size_t>(count, options_.context - std::min<std::size_t>(tokens.size(), options_.context));
    if (count == 0) return {};
    follow(sequence, tokens);
    const std::span<const llama_token> behind =
        tokens.subspan(held_[static_cast<std::size_t>(sequence)].expose().size());
    std::vector<float> logits = feed(sequence, behind.first(std::min(behind.size(), rows_max)));
    std::vector<llama_token> out;
    if (behind.size() > rows_max) return out;
    Sampler sampler = next.fork();
    while (!logits.empty()) {
        const std::optional<std::int32_t> token = sampler.next(logits);
        if (!token) break;
        out.push_back(*token);
        if (out.size() == count) break;
        logits = feed(sequence, {&out.back(), 1});
    }
    return out;
}

void DraftModel::forget(llama_seq_id sequence) {
    TokenIds& held = held_[static_cast<std::size_t>(sequence)];
    if (held.expose().empty()) return;
    (void)stage_->truncate(sequence, 0);
    held.clear();
}

}  // namespace shoal::engine_worker
