// Ranks that divide the layers of a model answer nearly as the undivided model, and each rank exactly as every other.
//
// SHOAL_EQUIVALENCE=long runs each architecture in each quantisation; otherwise each has one, and llama all. The tokens
// are those of the whole model (teacher forcing): one that differs would change all behind it.
//
// A sum in another order differs in its last bit, which now and then rounds an activation to another f16 or another
// quantum; products of matrices spread that. How far a logit moves depends on the head's scale, which a random
// model has by chance, so differences are taken in standard deviations of the whole model's logits.
#include <arch_fixture.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>

#include "engine/ring.h"
#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"

namespace shoal::engine_worker {
namespace {

using fixtures::Quantisation;
using fixtures::Variant;

// The promise of the row B6: how far a logit may be off, and how often the likeliest token must be the same.
struct Bound {
    Quantisation quantisation;
    double difference_max;
    double agreement_min;
};
constexpr Bound bounds[] = {
    {Quantisation::f16, .01, .99}, {Quantisation::q8_0, .2, .95}, {Quantisation::q4_k_m, .3, .90}};

// Wide enough that half of each row is whole blocks of q4_K, 256 numbers.
Variant wide(std::string_view name) {
    Variant out = fixtures::variant(name);
    out.kv_heads = 2 * out.kv_heads;
    out.heads = 8;
    out.width = 512;
    out.inner = 1024;
    return out;
}

class ModelFile {
public:
    ModelFile(const Variant& variant, Quantisation quantisation)
        : path(fixture_path("ranks-" + std::string(variant.name) + "-" + fixtures::quantisation_name(quantisation))) {
        EXPECT_TRUE(fixtures::make_model(variant, quantisation, path));
    }
    ~ModelFile() { std::filesystem::remove(path); }
    ModelFile(const ModelFile&) = delete;
    ModelFile& operator=(const ModelFile&) = delete;
    const std::string path;
};

// What a rank is sent by the one before it.
class Way {
public:
    void put(wire::ReducePart part) {
        const std::lock_guard lock(mutex_);
        parts_.push_back(std::move(part));
        there_.notify_one();
    }
    wire::ReducePart take() {
        std::unique_lock lock(mutex_);
        there_.wait(lock, [this] { return !parts_.empty(); });
        wire::ReducePart out = std::move(parts_.front());
        parts_.pop_front();
        return out;
    }

private:
    std::mutex mutex_;
    std::condition_variable there_;
    std::deque<wire::ReducePart> parts_;
};

// All ranks of a stage in one process, a thread each.
class Group {
public:
    static Result<std::unique_ptr<Group>> make(const WholeModel& whole, LayerRange range, std::uint32_t ranks,
                                               const StageOptions& options) {
        std::unique_ptr<Group> group(new Group(ranks));
        for (std::uint32_t rank = 0; rank < ranks; ++rank) {
            const Shard shard = TRY(whole.cut_rank(range, {rank, ranks}));
            group->stages_.push_back(TRY(Stage::load(shard, options, [](double) {})));
            group->rings_.emplace_back(rank, ranks);
            group->stages_.back()->sum_with([&group = *group, rank](auto values) { return group.sum(rank, values); });
        }
        return group;
    }
    // The rows of rank 0; those of the others are the same, bit by bit.
    Result<std::vector<float>> run(const std::vector<float>& rows, const std::vector<Place>& places) {
        std::vector<std::vector<float>> out(stages_.size());
        std::vector<std::string> errors(stages_.size());
        std::vector<std::thread> threads;
        for (std::size_t rank = 0; rank < stages_.size(); ++rank) {
            threads.emplace_back([&, rank] {
                const auto computed = stages_[rank]->run(rows, places);
                if (!computed) {
                    errors[rank] = computed.error().message;
                } else {
                    out[rank].assign(computed->begin(), computed->end());
                }
            });
        }
        for (std::thread& thread : threads) thread.join();
        for (const std::string& error : errors) {
            if (!error.empty()) return fail(Errc::internal, error);
        }
        for (const auto& each : out) {
            const bool same =
                each.size() == rows.size() && std::memcmp(each.data(), out[0].data(), 4 * each.size()) == 0;
            EXPECT_TRUE(same) << "ranks differ in a bit";
        }
        return out[0];
    }
    std::vector<std::uint64_t> sent;  // bytes of each rank
    std::uint64_t summed = 0;         // bytes of what was summed, at rank 0

private:
    explicit Group(std::uint32_t ranks) : sent(ranks), ways_(ranks) {}
    Status sum(std::size_t rank, std::span<float> values) {
        if (rank == 0) summed += values.size_bytes();
        std::optional<wire::ReducePart> next = rings_[rank].begin(values);
        while (!rings_[rank].done()) {
            if (next) {
                sent[rank] += next->data.size();
                ways_[(rank + 1) % ways_.size()].put(std::move(*next));
            }
            next = TRY(rings_[rank].take(ways_[rank].take()));
        }
        return ok();
    }
    std::vector<std::unique_ptr<Stage>> stages_;
    std::vector<engine::Ring> rings_;
    std::vector<Way> ways_;  // to each rank
};

struct Outcome {
    double difference = 0;  // of two logits, the largest, in standard deviations of all of them
    double spread = 0;      // that deviation
    double agreement = 0;   // share of rows with the same likeliest token
};

double deviation(const std::vector<float>& values) {
    double sum = 0, squares = 0;
    for (const float x : values) {
        sum += x;
        squares += static_cast<double>(x) * x;
    }
    const double count = static_cast<double>(values.size());
    return std::sqrt(squares / count - sum / count * (sum / count));
}

// The whole model's answer once more, from a group: its prompt and then its tokens one by one.
Outcome compare(const std::string& path, std::uint32_t ranks, std::uint32_t tokens) {
    Outcome out;
    const OpenFile file(path);
    const Result<WholeModel> whole = open_whole(file);
    if (!whole) {
        ADD_FAILURE() << whole.error().message;
        return out;
    }
    const Question question = random_question(whole->shape().vocabulary, tokens);
    const Answer wanted = answer_whole(path, question);
    EXPECT_EQ(wanted.error, "");
    const StageOptions options{.cells = question.cells, .rows_max = 64, .wanted_max = 64};
    auto group = Group::make(*whole, {0, whole->shape().layers}, ranks, options);
    auto embedding = Embedding::open(*whole);
    auto head = Head::load(*whole, 1);
    if (!group || !embedding || !head) {
        ADD_FAILURE() << (group ? "no ends" : group.error().message);
        return out;
    }
    std::size_t turn = 0;
    const Answer got =
        answer(question, whole->shape().vocabulary,
               [&](std::vector<std::int32_t>& next, std::int32_t position) -> Result<std::vector<float>> {
                   if (turn > 0) next = {wanted.tokens[turn - 1]};
                   ++turn;
                   std::vector<Place> places;
                   for (std::size_t i = 0; i < next.size(); ++i) {
                       places.push_back({position + static_cast<std::int32_t>(i), 0, true});
                   }
                   const std::vector<float> rows = TRY(embedding->rows(next));
                   return (*head)->logits(TRY((*group)->run(rows, places)));
               });
    EXPECT_EQ(got.error, "");
    EXPECT_EQ(got.logits.size(), wanted.logits.size());
    out.spread = deviation(wanted.logits);
    out.difference = largest_difference(wanted, got) / out.spread;
    const std::size_t width = whole->shape().vocabulary, rows = wanted.logits.size() / width;
    for (std::size_t row = 0; row < rows && got.logits.size() == wanted.logits.size(); ++row) {
        const auto of = [&](const Answer& a) { return likeliest(std::span(a.logits).subspan(row * width, width)); };
        out.agreement += of(wanted) == of(got) ? 1.0 / static_cast<double>(rows) : 0;
    }
    for (const std::uint64_t bytes : (*group)->sent) EXPECT_EQ(bytes * ranks, 2 * (ranks - 1) * (*group)->summed);
    EXPECT_GT((*group)->summed, 0U);
    return out;
}

class Ranks : public testing::Test {
protected:
    static void SetUpTestSuite() { load_library(); }

    static void expect_within(const Variant& variant, const Bound& bound, std::uint32_t ranks) {
        const ModelFile file(variant, bound.quantisation);
        const Outcome outcome = compare(file.path, ranks, 100);
        std::printf(
            "  %-12s %-7s %u ranks: logits of spread %.1f differ by %.4f of it at most, likeliest "
            "token the same %.1f %%\n",
            std::string(variant.name).c_str(), fixtures::quantisation_name(bound.quantisation), ranks, outcome.spread,
            outcome.difference, 100 * outcome.agreement);
        EXPECT_LE(outcome.difference, bound.difference_max) << variant.name;
        EXPECT_GE(outcome.agreement, bound.agreement_min) << variant.name;
    }
    static Error refusal(const std::string& name, Quantisation quantisation, std::uint32_t ranks,
                         const Architecture* twin = nullptr) {
        const ModelFile made(fixtures::variant(name), quantisation);
        const OpenFile file(made.path);
        const Result<WholeModel> whole = open_whole(file, twin);
        if (!whole) return whole.error();
        const Result<Shard> shard = whole->cut_rank({0, 4}, {0, ranks});
        return shard ? Error{Errc::internal, "taken"} : shard.error();
    }
    static void expect_refused(const Error& error, Errc code, const std::string& words) {
        EXPECT_EQ(error.code, code) << error.message;
        EXPECT_NE(error.message.find(words), std::string::npos) << error.message;
    }
};

// Each that divides, by the fixture that shows it.
std::vector<std::string> dividing_variants() {
    std::vector<std::string> out;
    for (const Variant& variant : fixtures::variants()) {
        const Architecture* kind = find_architecture(variant.architecture);
        if (kind != nullptr && !kind->divides_as.empty() && variant.experts == 0) out.emplace_back(variant.name);
    }
    return out;
}

TEST_F(Ranks, EachArchitectureThatDividesHasAModelToTestItOn) {
    std::string names = dividing_architecture_names() + ", ";
    for (const std::string& name : dividing_variants()) {
        const std::string word = std::string(fixtures::variant(name).architecture) + ", ";
        if (const std::size_t at = names.find(word); at != std::string::npos) names.erase(at, word.size());
    }
    EXPECT_EQ(names, "");
}

class RanksOf : public Ranks, public testing::WithParamInterface<std::size_t> {};

TEST_P(RanksOf, AnswerNearlyAsTheWholeModel) {
    const std::string name = dividing_variants()[GetParam()];
    const char* word = std::getenv("SHOAL_EQUIVALENCE");
    const bool all = name == "llama2" || (word != nullptr && std::string(word) == "long");
    for (std::size_t i = 0; i < std::size(bounds); ++i) {
        if (all || i == GetParam() % std::size(bounds)) expect_within(wide(name), bounds[i], 2);
    }
}

INSTANTIATE_TEST_SUITE_P(Architectures, RanksOf, testing::Range<std::size_t>(0, dividing_variants().size()),
                         [](const testing::TestParamInfo<std::size_t>& each) {
                             return dividing_variants()[each.param];
                         });

// The model that comes with the source, in Q8_0: here a logit is what it is.
TEST_F(Ranks, ATrainedModelIsWithinItsBoundAsItStands) {
    const std::string path = std::string(SHOAL_SOURCE_DIR) + "/models/shoal-mini.gguf";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
    const Outcome outcome = compare(path, 2, 100);
    std::printf("  shoal-mini: logits differ by %.4f at most, likeliest token the same %.1f %%\n",
                outcome.difference * outcome.spread, 100 * outcome.agreement);
    EXPECT_LE(outcome.difference * outcome.spread, bounds[1].difference_max);
    EXPECT_GE(outcome.agreement, bounds[1].agreement_min);
}

TEST_F(Ranks, MayBeThreeOrFour) {
    expect_within(wide("llama3"), bounds[0], 4);
    expect_within(wide("qwen2"), bounds[1], 4);
    Variant of_three = wide("llama3");
    of_three.width = 768;
    of_three.heads = 6;
    of_three.kv_heads = 3;
    of_three.inner = 768;
    expect_within(of_three, bounds[1], 3);
}

// What the ranks hold of each tensor is all of it, once.
TEST_F(Ranks, HoldEachMatrixOnce) {
    const ModelFile made(wide("qwen2"), Quantisation::q4_k_m);
    const OpenFile file(made.path);
    const Result<WholeModel> whole = open_whole(file);
    ASSERT_TRUE(whole);
    const std::uint32_t ranks = 2;
    std::vector<Bytes> shards;
    std::vector<Gguf> headers;
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
        const Result<Shard> shard = whole->cut_rank({2, 5}, {rank, ranks});
        ASSERT_TRUE(shard) << shard.error().message;
        Bytes bytes(shard->bytes());
        ASSERT_TRUE(shard->read(0, bytes));
        // In pieces of any size the same.
        for (std::size_t at = 0; at < bytes.size(); at += 1009) {
            Bytes piece(std::min<std::size_t>(1009, bytes.size() - at));
            ASSERT_TRUE(shard->read(at, piece));
            ASSERT_TRUE(std::equal(piece.begin(), piece.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at)));
        }
        const auto read = [&bytes](std::uint64_t offset, ByteSpan out) {
            if (offset > bytes.size() || out.size() > bytes.size() - offset) return false;
            std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
            return true;
        };
        const Result<Gguf> gguf = read_gguf(read, bytes.size(), library_block);
        ASSERT_TRUE(gguf) << gguf.error().message;
        headers.push_back(*gguf);
        shards.push_back(std::move(bytes));
    }
    for (const char* name :
         {"attn_q.weight", "attn_k.bias", "ffn_up.weight", "attn_output.weight", "ffn_down.weight"}) {
        const GgufTensor* tensor = whole->find_tensor("blk.3." + std::string(name));
        ASSERT_NE(tensor, nullptr);
        Bytes wanted(tensor->bytes), got;
        ASSERT_TRUE(whole->read()(tensor->offset, wanted));
        const bool columns = std::string(name) == "attn_output.weight" || std::string(name) == "ffn_down.weight";
        const std::uint64_t rows = columns ? tensor->dims[1] : 1;
        for (std::uint64_t row = 0; row < rows; ++row) {
            for (std::uint32_t rank = 0; rank < ranks; ++rank) {
                const auto& tensors = headers[rank].tensors;
                const auto part = std::find_if(tensors.begin(), tensors.end(), [&](const GgufTensor& each) {
                    return each.name == "blk.1." + std::string(name);
                });
                ASSERT_NE(part, tensors.end());
                const std::uint64_t bytes = part->bytes / rows;
                append(got, ByteView(shards[rank]).subspan(part->offset + row * bytes, bytes));
            }
        }
        EXPECT_EQ(got, wanted) << name;
    }
}

TEST_F(Ranks, RefuseWhatDoesNotDivideByName) {
    expect_refused(refusal("glm4", Quantisation::f16, 2), Errc::unsupported, "'glm4'");
    expect_refused(refusal("gemma2", Quantisation::f16, 2), Errc::unsupported, "'gemma2'");
    expect_refused(refusal("mamba", Quantisation::f16, 2), Errc::unsupported, "qwen3");
    expect_refused(refusal("mixtral", Quantisation::f16, 2), Errc::unsupported, "_exps");
    expect_refused(refusal("llama2", Quantisation::f16, 3), Errc::invalid, "4 heads do not divide among 3");
    expect_refused(refusal("llama3", Quantisation::f16, 4), Errc::invalid, "2 key heads");
    // 128 columns are half a block.
    expect_refused(refusal("llama2", Quantisation::q4_k_m, 2), Errc::invalid, "whole blocks");
}

// Gate and up in one matrix: halves of it are no halves of both.
TEST_F(Ranks, RefuseAMatrixOfAnotherShape) {
    Architecture twin = *find_architecture("glm4");
    twin.divides_as = "glm4";
    expect_refused(refusal("glm4", Quantisation::f16, 2, &twin), Errc::unsupported, "shape");
}

}  // namespace
}  // namespace shoal::engine_worker
