// How much of a model's answers changes when hidden states travel as f16 or q8_0 (B7): the most likely token at every
// position of texts that are given (teacher-forced), against f32, over a split into three stages with the head apart.
//
//   engine_worker_bench BACKENDS MODEL [TOKENS [DRAFT]]      lines of: name value
//
// With a draft model also how often its likeliest token is the model's, and how often its second choice is where it is
// not (B8): what a tree of guesses could win over a chain.
//
// The texts are the model's own answers, drawn at temperature 1; then, as the unfavourable case, tokens drawn at
// random, where nothing is likely. Every run draws the same ones. Rows travel as they do in the product: to the first
// stage, between the stages, and back to the head.
#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "engine/prompt_steps.h"
#include "engine_worker/activation.h"
#include "engine_worker/chat_template.h"
#include "engine_worker/devices.h"
#include "engine_worker/embedding.h"
#include "engine_worker/head.h"
#include "engine_worker/sampler.h"
#include "engine_worker/stage.h"

namespace shoal::engine_worker {
namespace {

using wire::ActivationType;
using Tokens = std::vector<std::int32_t>;

constexpr std::uint32_t stages = 3;
constexpr std::uint32_t text_tokens_max = 512;

class Split {
public:
    static Result<std::unique_ptr<Split>> make(const WholeModel& whole) {
        auto split = std::unique_ptr<Split>(new Split(TRY(Embedding::open(whole))));
        StageOptions options;
        options.cells = text_tokens_max;
        options.rows_max = engine::prompt_tokens_shared;
        const std::uint32_t layers = whole.shape().layers, parts = std::min(stages, layers);
        for (std::uint32_t i = 0; i < parts; ++i) {
            const Shard shard = TRY(whole.cut_without_head({layers * i / parts, layers * (i + 1) / parts}));
            split->stages_.push_back(TRY(Stage::load(shard, options, [](double) {})));
        }
        split->head_ = TRY(Head::load(whole, options.threads));
        return split;
    }

    std::uint32_t width() const { return embedding_.width(); }
    std::uint32_t vocabulary() const { return head_->vocabulary(); }
    // f32 [tokens, vocabulary]; they follow on from `position`. 0 begins a new text.
    Result<std::vector<float>> logits(ActivationType type, std::span<const std::int32_t> tokens,
                                      std::int32_t position) {
        std::vector<Place> places;
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            places.push_back({position + static_cast<std::int32_t>(i), 0, false});
        }
        const std::vector<float> looked_up = TRY(embedding_.rows(tokens));
        std::vector<float> rows = TRY(travel(type, looked_up));
        for (const auto& stage : stages_) {
            if (position == 0) TRY(stage->truncate(0, 0));
            const std::span<const float> out = TRY(stage->run(rows, places));
            rows = TRY(travel(type, {out.begin(), out.end()}));
        }
        return head_->logits(rows);
    }

private:
    explicit Split(Embedding embedding) : embedding_(std::move(embedding)) {}

    Result<std::vector<float>> travel(ActivationType type, const std::vector<float>& rows) const {
        const Bytes sent = TRY(to_activation(type, width(), rows));
        return from_activation(type, width(), sent);
    }

    Embedding embedding_;
    std::vector<std::unique_ptr<Stage>> stages_;
    std::unique_ptr<Head> head_;
};

std::int32_t likeliest(std::span<const float> row) {
    return static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

// The prompt and the model's own answer to it, as tokens.
Result<Tokens> own_text(const Model& model, Split& split, std::uint64_t seed) {
    static constexpr const char* questions[] = {"Tell me a story about a fox.", "What is the capital of France?",
                                                "What is 12 plus 30?", "Tell me a story."};
    ChatRequest request;
    request.messages.push_back({Role::user, Plaintext(questions[seed % std::size(questions)])});
    request.sampling.seed = seed;
    const std::vector<Segment> segments = TRY(model.chat_template->render(request));
    const TokenIds prompt = model.tokenizer->tokenize(segments);
    Tokens text = prompt.expose();
    Sampler sampler(request.sampling, Noise({}, seed, text));
    for (std::size_t fed = 0; text.size() < text_tokens_max;) {
        const auto next = std::span<const std::int32_t>(text).subspan(
            fed, std::min<std::size_t>(text.size() - fed, engine::prompt_tokens_shared));
        const std::vector<float> logits = TRY(split.logits(ActivationType::f32, next, static_cast<std::int32_t>(fed)));
        fed += next.size();
        if (fed < text.size()) continue;
        const auto token = sampler.next(std::span(logits).last(split.vocabulary()));
        if (!token) return fail(Errc::internal, "the model gave no finite logits");
        if (model.tokenizer->ends_generation(*token)) break;
        text.push_back(*token);
    }
    return text;
}

Tokens random_text(std::uint32_t vocabulary, std::uint64_t& state) {
    Tokens text(text_tokens_max);
    for (std::int32_t& token : text) {
        state = state * 6'364'136'223'846'793'005U + 1'442'695'040'888'963'407U;
        token = static_cast<std::int32_t>((state >> 33) % vocabulary);
    }
    return text;
}

// The most likely token behind each of the text.
Result<Tokens> predictions(Split& split, ActivationType type, const Tokens& text) {
    Tokens out;
    for (std::size_t fed = 0; fed < text.size(); fed += engine::prompt_tokens_shared) {
        const auto next =
            std::span(text).subspan(fed, std::min<std::size_t>(text.size() - fed, engine::prompt_tokens_shared));
        const std::vector<float> logits = TRY(split.logits(type, next, static_cast<std::int32_t>(fed)));
        for (std::size_t i = 0; i < next.size(); ++i) {
            out.push_back(likeliest(std::span(logits).subspan(i * split.vocabulary(), split.vocabulary())));
        }
    }
    return out;
}

struct Choices {
    std::int32_t first = 0, second = 0;
};
Choices two_likeliest(std::span<const float> row) {
    Choices out{0, 1};
    if (row[1] > row[0]) std::swap(out.first, out.second);
    for (std::size_t i = 2; i < row.size(); ++i) {
        const auto token = static_cast<std::int32_t>(i);
        if (row[i] > row[static_cast<std::size_t>(out.first)]) {
            out = {token, out.first};
        } else if (row[i] > row[static_cast<std::size_t>(out.second)]) {
            out.second = token;
        }
    }
    return out;
}

// How good the guesses of a draft are, token by token.
Status compare_draft(Split& split, Split& draft, const std::vector<Tokens>& texts) {
    std::size_t positions = 0, first = 0, second = 0;
    for (const Tokens& text : texts) {
        const Tokens wanted = TRY(predictions(split, ActivationType::f32, text));
        for (std::size_t fed = 0; fed < text.size(); fed += engine::prompt_tokens_shared) {
            const auto next =
                std::span(text).subspan(fed, std::min<std::size_t>(text.size() - fed, engine::prompt_tokens_shared));
            const std::vector<float> logits =
                TRY(draft.logits(ActivationType::f32, next, static_cast<std::int32_t>(fed)));
            for (std::size_t i = 0; i < next.size(); ++i, ++positions) {
                const Choices guess =
                    two_likeliest(std::span(logits).subspan(i * draft.vocabulary(), draft.vocabulary()));
                first += guess.first == wanted[fed + i] ? 1 : 0;
                second += guess.second == wanted[fed + i] ? 1 : 0;
            }
        }
    }
    const auto of = [](std::size_t part, std::size_t all) {
        return static_cast<double>(part) / static_cast<double>(all);
    };
    std::printf("draft.first %.6f\ndraft.second_of_the_rest %.6f\n", of(first, positions),
                of(second, positions - first));
    return ok();
}

Status compare(Split& split, const std::string& of, const std::vector<Tokens>& texts) {
    std::size_t positions = 0, same_f16 = 0, same_q8_0 = 0;
    for (const Tokens& text : texts) {
        const Tokens f32 = TRY(predictions(split, ActivationType::f32, text));
        const Tokens f16 = TRY(predictions(split, ActivationType::f16, text));
        const Tokens q8_0 = TRY(predictions(split, ActivationType::q8_0, text));
        positions += text.size();
        for (std::size_t i = 0; i < text.size(); ++i) {
            same_f16 += f16[i] == f32[i] ? 1 : 0;
            same_q8_0 += q8_0[i] == f32[i] ? 1 : 0;
        }
    }
    const auto share = [&](std::size_t same) { return static_cast<double>(same) / static_cast<double>(positions); };
    std::printf("%s.positions %zu\n%s.f16 %.6f\n%s.q8_0 %.6f\n", of.c_str(), positions, of.c_str(), share(same_f16),
                of.c_str(), share(same_q8_0));
    return ok();
}

// Bytes of a STEP with so many rows.
double step_bytes(ActivationType type, std::uint32_t width, std::uint16_t rows) {
    wire::StageRows step;
    step.parts = {{0, 0, rows}};
    step.tensor.resize(rows * wire::activation_row_bytes(type, width));
    return static_cast<double>(wire::encode_stage_message(wire::StageStep{1, 0, std::move(step)}).size());
}

void print_bytes(std::uint32_t width) {
    for (const std::uint16_t rows : {std::uint16_t{512}, std::uint16_t{1}}) {
        const double f32 = step_bytes(ActivationType::f32, width, rows);
        std::printf("bytes.%d.f16 %.4f\nbytes.%d.q8_0 %.4f\n", rows, f32 / step_bytes(ActivationType::f16, width, rows),
                    rows, f32 / step_bytes(ActivationType::q8_0, width, rows));
    }
}

Result<EndsOfModel> open_ends(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return fail(Errc::not_found, "cannot open " + path);
    engine::pipe::Load load;
    load.context_tokens = text_tokens_max;
    load.sequences = 1;
    load.threads = 1;
    OpenedModel opened = TRY(open_whole_model(file, [](double) {}));
    return load_ends(std::move(opened), load);
}

// `draft`: empty for none.
Status run(const std::string& backends, const std::string& path, std::size_t tokens, const std::string& draft) {
    TRY(load_backends(backends));
    const EndsOfModel ends = TRY(open_ends(path));
    const std::unique_ptr<Split> split = TRY(Split::make(ends.whole));
    std::vector<Tokens> own, random;
    std::size_t own_tokens = 0, random_tokens = 0;
    for (std::uint64_t seed = 0; own_tokens < tokens; ++seed) {
        own.push_back(TRY(own_text(ends.model, *split, seed)));
        own_tokens += own.back().size();
    }
    for (std::uint64_t state = 1; random_tokens < tokens / 4; random_tokens += random.back().size()) {
        random.push_back(random_text(split->vocabulary(), state));
    }
    TRY(compare(*split, "own", own));
    TRY(compare(*split, "random", random));
    if (!draft.empty()) {
        const EndsOfModel its_ends = TRY(open_ends(draft));
        const std::unique_ptr<Split> its = TRY(Split::make(its_ends.whole));
        if (its->vocabulary() != split->vocabulary()) return fail(Errc::invalid, "the draft has another vocabulary");
        TRY(compare_draft(*split, *its, own));
    }
    print_bytes(split->width());
    return ok();
}

}  // namespace
}  // namespace shoal::engine_worker

int main(int count, char** words) {
    if (count < 3) {
        std::fprintf(stderr, "engine_worker_bench BACKENDS MODEL [TOKENS [DRAFT]]\n");
        return 2;
    }
    const long tokens = count > 3 ? std::strtol(words[3], nullptr, 10) : 10'000;
    const auto done = shoal::engine_worker::run(words[1], words[2], tokens > 0 ? static_cast<std::size_t>(tokens) : 1,
                                                count > 4 ? words[4] : "");
    if (!done) std::fprintf(stderr, "engine_worker_bench: %s\n", done.error().message.c_str());
    return done ? 0 : 1;
}
