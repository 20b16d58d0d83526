// Layers on a GPU answer nearly as the processor does, whole and in stages, all of them there or the last ones.
//
// Runs by itself (ctest -R engine_worker_gpu): the driver's threads stay in the process. On a machine without a GPU a
// renderer in software takes its place where Vulkan has one (package mesa-vulkan-drivers): slow, but its memory is
// another than the processor's, so what reads a tensor by its address is seen. Without either the tests are skipped,
// and say so.
//
// On one device stages compute what the whole model does, nearly to the bit. From the processor's answers a GPU's
// differ more: it sums in another order. Differences are in standard deviations of the logits (ranks_test.cc), and all
// are asked for the same tokens. Random models with experts choose between nearly equal ones, and recurrent ones add up
// what differs: these are compared on one device only.
#include <arch_fixture.h>

#include <filesystem>

#include "engine_worker/devices.h"
#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"

namespace shoal::engine_worker {
namespace {

using fixtures::Quantisation;
using fixtures::Variant;

struct Bound {
    Quantisation quantisation;
    double difference_max;
    double agreement_min;
};
constexpr Bound bounds[] = {
    {Quantisation::f16, .1, .90}, {Quantisation::q8_0, .3, .85}, {Quantisation::q4_k_m, .4, .80}};
// Where layers are cut wrongly, logits are off by hundredths of their spread and more.
constexpr Bound on_one_device = {Quantisation::q8_0, .005, .95};
constexpr std::uint32_t answer_tokens = 10;

class Gpu : public testing::Test {
protected:
    static void SetUpTestSuite() {
        load_library();
        const char* libraries = std::getenv("SHOAL_ENGINE_LIBS");
        const std::string folder = libraries == nullptr || *libraries == '\0' ? "" : std::string(libraries) + backends;
        const DeviceSearch search = find_devices(folder, Software::taken);
        for (const Device& device : search.devices) {
            std::printf("  %s: %s, a %s, %llu of %llu MiB free\n", device.name.c_str(), device.description.c_str(),
                        kind_name(device.kind), static_cast<unsigned long long>(device.free_bytes >> 20),
                        static_cast<unsigned long long>(device.total_bytes >> 20));
        }
        auto opened = open_gpu(folder, "", std::nullopt, Software::taken);
        if (opened) {
            gpu() = *opened;
        } else {
            missing() = opened.error().message;
        }
    }
    void SetUp() override {
        if (!gpu()) GTEST_SKIP() << "********** NOTHING WAS TESTED ON A GPU: " << missing() << " **********";
    }
    static Offload& gpu() {
        static Offload device;
        return device;
    }
    static std::string& missing() {
        static std::string reason;
        return reason;
    }
    static Offload last_layers(std::uint32_t count) {
        Offload out = gpu();
        out.layers = count;
        return out;
    }

private:
    static constexpr const char* backends = "/ggml/backends0";
};

class ModelFile {
public:
    ModelFile(std::string_view name, Quantisation quantisation)
        : variant(fixtures::variant(name)),
          path(fixture_path("gpu-" + std::string(name) + "-" + fixtures::quantisation_name(quantisation))) {
        EXPECT_TRUE(fixtures::make_model(variant, quantisation, path));
    }
    ~ModelFile() { std::filesystem::remove(path); }
    ModelFile(const ModelFile&) = delete;
    ModelFile& operator=(const ModelFile&) = delete;
    const Variant variant;
    const std::string path;
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

struct Outcome {
    double difference = 0;  // the largest of two logits, in standard deviations of all
    double agreement = 0;   // share of rows with the same likeliest token
};
Outcome compare(const Answer& wanted, const Answer& got, std::uint32_t vocabulary) {
    EXPECT_EQ(wanted.error, "");
    EXPECT_EQ(got.error, "");
    EXPECT_EQ(got.logits.size(), wanted.logits.size());
    Outcome out{largest_difference(wanted, got) / deviation(wanted.logits), 0};
    const std::size_t rows = wanted.logits.size() / vocabulary;
    for (std::size_t row = 0; row < rows && got.logits.size() == wanted.logits.size(); ++row) {
        const auto of = [&](const Answer& a) {
            return likeliest(std::span(a.logits).subspan(row * vocabulary, vocabulary));
        };
        out.agreement += of(wanted) == of(got) ? 1.0 / static_cast<double>(rows) : 0;
    }
    return out;
}

// The tokens of `wanted` once more, whatever comes out.
template <typename Step>
Answer repeat(const Answer& wanted, const Question& question, std::uint32_t vocabulary, Step step) {
    std::size_t told = 0;
    return answer(question, vocabulary,
                  [&](std::vector<std::int32_t>& next, std::int32_t position) -> Result<std::vector<float>> {
                      if (position > 0) next = {wanted.tokens[told++]};
                      return step(next, position);
                  });
}

std::vector<Place> places_of(std::size_t count, std::int32_t position) {
    std::vector<Place> out;
    for (std::size_t i = 0; i < count; ++i) out.push_back({position + static_cast<std::int32_t>(i), 0, true});
    return out;
}

Answer answer_stages(const ModelFile& file, const Question& question, const Answer& wanted, const Offload& offload,
                     bool head_apart, std::uint32_t cut) {
    StageOptions options{.cells = question.cells, .rows_max = 64, .wanted_max = 64};
    options.offload = offload;
    const Result<std::unique_ptr<Chain>> chain = Chain::make(file.path, {cut}, options, nullptr, head_apart);
    if (!chain) return {chain.error().message, {}, {}};
    for (const auto& stage : (*chain)->stages) {
        const std::uint32_t all = stage->layers();
        EXPECT_EQ(stage->on_gpu(), offload.layers ? *offload.layers : all);
    }
    return repeat(wanted, question, (*chain)->vocabulary(),
                  [&](const std::vector<std::int32_t>& tokens, std::int32_t position) {
                      return (*chain)->run(tokens, places_of(tokens.size(), position));
                  });
}

void expect_near(const Outcome& outcome, const Bound& bound, const std::string& what) {
    std::printf("  %-32s logits differ by %.4f of their spread at most, likeliest token the same %.1f %%\n",
                what.c_str(), outcome.difference, 100 * outcome.agreement);
    EXPECT_LE(outcome.difference, bound.difference_max) << what;
    EXPECT_GE(outcome.agreement, bound.agreement_min) << what;
}

TEST_F(Gpu, StagesAnswerAsTheWholeModelOnIt) {
    for (const char* name : {"llama3", "qwen2", "gemma3", "mixtral", "mamba2"}) {
        const ModelFile file(name, Quantisation::q8_0);
        const Question question = random_question(file.variant.vocabulary, answer_tokens);
        const Answer wanted = answer_whole(file.path, question, gpu());
        const Answer got = answer_stages(file, question, wanted, gpu(), false, file.variant.layers / 2);
        expect_near(compare(wanted, got, file.variant.vocabulary), on_one_device, std::string(name) + ", all on it");
    }
}

TEST_F(Gpu, StagesAnswerNearlyAsTheWholeModelOnTheProcessor) {
    for (const Bound& bound : bounds) {
        const ModelFile file("llama3", bound.quantisation);
        const Question question = random_question(file.variant.vocabulary, answer_tokens);
        const Answer wanted = answer_whole(file.path, question);
        const auto outcome = [&](const Offload& offload, bool head_apart) {
            return compare(wanted, answer_stages(file, question, wanted, offload, head_apart, 4),
                           file.variant.vocabulary);
        };
        const std::string label = fixtures::quantisation_name(bound.quantisation);
        expect_near(outcome(gpu(), false), bound, label + ", all layers");
        expect_near(outcome(last_layers(2), true), bound, label + ", the last 2 of each stage, head apart");
    }
}

TEST_F(Gpu, AWholeModelIsLoadedAndAnswers) {
    const std::string path = std::string(SHOAL_SOURCE_DIR) + "/models/shoal-mini.gguf";
    engine::pipe::Load load;
    load.context_tokens = 256;
    load.sequences = 2;
    load.threads = 1;
    const Question question = random_question(2000, answer_tokens);
    const Answer wanted = answer_whole(path, question);
    for (const std::optional<std::uint32_t> layers :
         {std::optional<std::uint32_t>(), std::optional<std::uint32_t>(3)}) {
        Offload offload = gpu();
        offload.layers = layers;
        const OpenFile file(path);
        const Result<Model> model = load_model(
            dup(file.descriptor()), load, [](double) {}, offload);
        ASSERT_TRUE(model) << model.error().message;
        const auto all = static_cast<std::uint32_t>(llama_model_n_layer(model->weights.get()));
        EXPECT_EQ(model->on_gpu, layers.value_or(all));
        const auto vocabulary = static_cast<std::uint32_t>(llama_vocab_n_tokens(model->vocab()));
        std::vector<float> rows;
        // One row at a time: as many logits are made as there are sequences.
        const auto step = [&](const std::vector<std::int32_t>& tokens, std::int32_t) -> Result<std::vector<float>> {
            std::vector<float> out;
            for (llama_token token : tokens) {
                if (llama_decode(model->context.get(), llama_batch_get_one(&token, 1)) != 0) {
                    return fail(Errc::internal, "it does not compute");
                }
                const float* logits = llama_get_logits_ith(model->context.get(), -1);
                out.insert(out.end(), logits, logits + vocabulary);
            }
            return out;
        };
        const Outcome outcome = compare(wanted, repeat(wanted, question, vocabulary, step), vocabulary);
        expect_near(outcome, bounds[2], "shoal-mini, " + (layers ? std::to_string(*layers) + " layers" : "all"));
    }
}

// What a rank hands out to be summed, and what it is given back, lies in the GPU's memory.
TEST_F(Gpu, SumsOfRanksGoThroughItsMemory) {
    Variant wide = fixtures::variant("llama2");
    wide.kv_heads = 4;
    wide.heads = 8;
    wide.width = 512;
    wide.inner = 1024;
    const std::string path = fixture_path("gpu-ranks");
    ASSERT_TRUE(fixtures::make_model(wide, Quantisation::f16, path));
    {
        const OpenFile file(path);
        const Result<WholeModel> whole = open_whole(file);
        ASSERT_TRUE(whole);
        const Result<Shard> shard = whole->cut_rank({0, 4}, {1, 2});
        ASSERT_TRUE(shard) << shard.error().message;
        const Result<Embedding> embedding = Embedding::open(*whole);
        ASSERT_TRUE(embedding);
        const Result<std::vector<float>> rows = embedding->rows(std::vector<std::int32_t>{5, 6, 7, 8});
        ASSERT_TRUE(rows);
        std::vector<std::vector<float>> out;
        for (const Offload& offload : {Offload{}, gpu()}) {
            StageOptions options{.cells = 64, .rows_max = 16};
            options.offload = offload;
            auto stage = Stage::load(*shard, options, [](double) {});
            ASSERT_TRUE(stage) << stage.error().message;
            std::uint32_t sums = 0;
            // As if the other rank had the same part.
            (*stage)->sum_with([&sums](std::span<float> values) {
                ++sums;
                for (float& value : values) value *= 2;
                return ok();
            });
            const auto states = (*stage)->run(*rows, places_of(4, 0));
            ASSERT_TRUE(states) << states.error().message;
            EXPECT_EQ(sums, 8U);
            out.emplace_back(states->begin(), states->end());
        }
        double difference = 0;
        for (std::size_t i = 0; i < out[0].size(); ++i) {
            difference = std::max(difference, std::fabs(static_cast<double>(out[0][i] - out[1][i])));
        }
        EXPECT_LT(difference / deviation(out[0]), bounds[0].difference_max);
    }
    std::filesystem::remove(path);
}

TEST_F(Gpu, TakesRowsBackAndGoesOn) {
    const ModelFile file("qwen2", Quantisation::q8_0);
    StageOptions options{.cells = 256, .rows_max = 64, .wanted_max = 64};
    options.offload = gpu();
    const auto straight = Chain::make(file.path, {3}, options), winding = Chain::make(file.path, {3}, options);
    ASSERT_TRUE(straight && winding);
    const std::vector<std::int32_t> prompt = {5, 6, 7, 8, 9, 10}, wrong = {400, 401}, right = {13, 14};
    for (const auto& chain : {straight->get(), winding->get()}) ASSERT_TRUE(chain->run(prompt, places_of(6, 0)));
    ASSERT_TRUE((*winding)->run(wrong, places_of(2, 6)));
    for (const auto& stage : (*winding)->stages) ASSERT_TRUE(stage->truncate(0, 6));
    const auto expected = (*straight)->run(right, places_of(2, 6)), got = (*winding)->run(right, places_of(2, 6));
    ASSERT_TRUE(expected && got);
    const Outcome outcome =
        compare({"", {}, *expected}, {"", {}, *got}, static_cast<std::uint32_t>((*straight)->vocabulary()));
    EXPECT_LT(outcome.difference, bounds[1].difference_max);
}

TEST_F(Gpu, RefusesMoreLayersThanThereAre) {
    const ModelFile file("llama2", Quantisation::q8_0);
    StageOptions options{.cells = 64, .rows_max = 16};
    options.offload = last_layers(4);
    const auto chain = Chain::make(file.path, {3}, options);
    ASSERT_FALSE(chain);
    EXPECT_EQ(chain.error().code, Errc::invalid);
    EXPECT_NE(chain.error().message.find("only 3 are computed here"), std::string::npos) << chain.error().message;
}

// What the user's options can reach does not take software for a GPU.
TEST_F(Gpu, SoftwareIsNoGpuForWhoAsksByOption) {
    const char* libraries = std::getenv("SHOAL_ENGINE_LIBS");
    const DeviceSearch search = find_devices(
        libraries == nullptr || *libraries == '\0' ? "" : std::string(libraries) + "/ggml/backends0", Software::taken);
    const auto device = std::find_if(search.devices.begin(), search.devices.end(),
                                     [](const Device& each) { return each.name == gpu().name; });
    ASSERT_NE(device, search.devices.end());
    const auto chosen = choose_gpu(search, gpu().name);
    EXPECT_EQ(chosen.has_value(), is_gpu(device->kind));
}

}  // namespace
}  // namespace shoal::engine_worker
