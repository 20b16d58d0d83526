// A chain of stages answers as the uncut model does: every architecture of the table, every quantisation, three plans.
//
// SHOAL_EQUIVALENCE=long runs all of it, with 128 tokens; otherwise each architecture has one quantisation and 100
// tokens for one plan, 24 for the others. The largest difference of two logits is printed.
#include <arch_fixture.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"

namespace shoal::engine_worker {
namespace {

using fixtures::Quantisation;
using fixtures::Variant;

constexpr Quantisation all_quantisations[] = {Quantisation::q4_k_m, Quantisation::q5_k_m, Quantisation::q6_k,
                                              Quantisation::q8_0, Quantisation::f16};

bool is_long() {
    const char* word = std::getenv("SHOAL_EQUIVALENCE");
    return word != nullptr && std::string(word) == "long";
}

class ModelFile {
public:
    ModelFile(const Variant& variant, Quantisation quantisation)
        : path_(fixture_path("stage-" + std::string(variant.name) + "-" + fixtures::quantisation_name(quantisation))) {
        made_ = fixtures::make_model(variant, quantisation, path_);
    }
    ~ModelFile() { std::filesystem::remove(path_); }
    ModelFile(const ModelFile&) = delete;
    ModelFile& operator=(const ModelFile&) = delete;
    bool made() const { return made_; }
    const std::string& path() const { return path_; }

private:
    std::string path_;
    bool made_ = false;
};

// Bytes of the blocks' matrices by type of tensor.
std::map<std::uint32_t, std::uint64_t> stored_types(const std::string& path) {
    const OpenFile file(path);
    const Result<Gguf> gguf = read_gguf(file.reader(), file.bytes(), library_block);
    std::map<std::uint32_t, std::uint64_t> out;
    if (!gguf) return out;
    for (const GgufTensor& tensor : gguf->tensors) {
        if (tensor.name.rfind("blk.", 0) == 0 && tensor.dims.size() > 1) out[tensor.type] += tensor.bytes;
    }
    return out;
}

// The types that a file of this quantisation is made of: nearly all bytes, and both kinds of a mixture.
void expect_types(const std::string& path, Quantisation quantisation) {
    std::vector<ggml_type> wanted;
    switch (quantisation) {
        case Quantisation::q4_k_m: wanted = {GGML_TYPE_Q4_K, GGML_TYPE_Q6_K}; break;
        case Quantisation::q5_k_m: wanted = {GGML_TYPE_Q5_K, GGML_TYPE_Q6_K}; break;
        case Quantisation::q6_k: wanted = {GGML_TYPE_Q6_K}; break;
        case Quantisation::q8_0: wanted = {GGML_TYPE_Q8_0}; break;
        case Quantisation::f16: wanted = {GGML_TYPE_F16}; break;
    }
    std::map<std::uint32_t, std::uint64_t> types = stored_types(path);
    std::uint64_t all = 0, right = 0;
    for (const auto& [type, bytes] : types) all += type == GGML_TYPE_F32 ? 0 : bytes;  // small tables never quantise
    for (ggml_type type : wanted) right += types[type];
    EXPECT_GT(types[wanted.front()], 0U) << ggml_type_name(wanted.front());
    EXPECT_GE(right * 10, all * 8) << "most of " << path << " is stored as something else";
}

std::vector<std::vector<std::uint32_t>> plans(std::uint32_t layers, std::uint32_t multiple) {
    const std::uint32_t third = layers / 3;
    if (multiple > 1) return {{multiple}, {2 * multiple}, {multiple, 2 * multiple}};
    return {{layers / 2}, {third, 2 * third + 1}, {1, 3, layers - 2}};
}

std::string text_of(const std::vector<std::uint32_t>& cuts) {
    std::string out;
    for (std::uint32_t cut : cuts) out += (out.empty() ? "" : ",") + std::to_string(cut);
    return out;
}

void expect_equal(const std::string& path, const std::string& label, std::uint32_t layers, std::uint32_t vocabulary,
                  std::uint32_t multiple = 1) {
    const Question question = random_question(vocabulary, is_long() ? 128 : 100);
    const Answer whole = answer_whole(path, question);
    ASSERT_EQ(whole.error, "") << label;
    for (const std::vector<std::uint32_t>& cuts : plans(layers, multiple)) {
        Question asked = question;
        if (!is_long() && cuts.size() > 1) asked.tokens = 24;
        const Answer chain = answer_chain(path, cuts, asked);
        ASSERT_EQ(chain.error, "") << label << " cut at " << text_of(cuts);
        const double difference = largest_difference(whole, chain);
        std::printf("  %-12s cut at %-10s %3u tokens  max logit difference %.3g\n", label.c_str(),
                    text_of(cuts).c_str(), asked.tokens, difference);
        EXPECT_TRUE(std::equal(chain.tokens.begin(), chain.tokens.end(), whole.tokens.begin()))
            << label << " cut at " << text_of(cuts) << " answers other tokens";
        EXPECT_EQ(chain.tokens.size(), asked.tokens);
        EXPECT_EQ(difference, 0) << label << " cut at " << text_of(cuts);
    }
    // The same with the head at the coordinator, which no stage has then.
    Question asked = question;
    asked.tokens = is_long() ? 128 : 12;
    const Answer apart = answer_chain(path, {multiple > 1 ? multiple : layers / 2}, asked, nullptr, true);
    ASSERT_EQ(apart.error, "") << label;
    EXPECT_TRUE(std::equal(apart.tokens.begin(), apart.tokens.end(), whole.tokens.begin())) << label;
    EXPECT_EQ(largest_difference(whole, apart), 0) << label << " with its head apart";
}

class Equivalence : public testing::TestWithParam<std::size_t> {
protected:
    static void SetUpTestSuite() { load_library(); }
};

class Stages : public testing::Test {
protected:
    static void SetUpTestSuite() { load_library(); }
};

// The rule that a table must hold only what was shown.
TEST(ShardTable, EachEntryHasAModelToTestItOn) {
    std::string names = architecture_names() + ", ";
    for (const Variant& variant : fixtures::variants()) {
        const std::string name = std::string(variant.architecture) + ", ";
        if (const std::size_t at = names.find(name); at != std::string::npos) names.erase(at, name.size());
    }
    EXPECT_EQ(names, "");
}

TEST_P(Equivalence, AChainOfStagesAnswersAsTheWholeModel) {
    const Variant& variant = fixtures::variants()[GetParam()];
    for (std::size_t i = 0; i < std::size(all_quantisations); ++i) {
        if (!is_long() && i != GetParam() % std::size(all_quantisations)) continue;
        const ModelFile file(variant, all_quantisations[i]);
        ASSERT_TRUE(file.made()) << last_library_error();
        expect_types(file.path(), all_quantisations[i]);
        expect_equal(file.path(), std::string(variant.name) + " " + fixtures::quantisation_name(all_quantisations[i]),
                     variant.layers, variant.vocabulary, find_architecture(variant.architecture)->cut_multiple);
    }
}

TEST_F(Stages, TheBundledModelAnswersTheSameInStages) {
    const std::string path = std::string(SHOAL_SOURCE_DIR) + "/models/shoal-mini.gguf";
    const OpenFile file(path);
    const Result<WholeModel> whole = open_whole(file);
    ASSERT_TRUE(whole) << whole.error().message;
    expect_equal(path, "shoal-mini", whole->shape().layers, whole->shape().vocabulary);
}

// The answer of stages that are cut by an entry of the table with something left out.
void expect_wrong(const std::string& variant_name, const Architecture& twin, const char* what,
                  std::uint32_t right_cut = 3) {
    const Variant& variant = fixtures::variant(variant_name);
    const ModelFile file(variant, Quantisation::f16);
    ASSERT_TRUE(file.made());
    const Question question = random_question(variant.vocabulary, 24);
    const Answer whole = answer_whole(file.path(), question);
    const Answer right = answer_chain(file.path(), {right_cut}, question);
    const Answer wrong = answer_chain(file.path(), {3}, question, &twin);
    ASSERT_EQ(whole.error + right.error + wrong.error, "");
    EXPECT_EQ(largest_difference(whole, right), 0);
    EXPECT_GT(largest_difference(whole, wrong), 1e-3) << what << " is not seen by this test";
}

TEST_F(Stages, NumberingWindowsAnewWithoutTheirPatternIsSeen) {
    for (const char* name : {"gemma2", "gemma3"}) {
        Architecture twin = *find_architecture(name);
        twin.window_period = 0;
        expect_wrong(name, twin, "a pattern of windows that starts anew");
    }
}

TEST_F(Stages, AnEmbeddingThatIsNotMultipliedIsSeen) {
    for (const char* name : {"gemma", "gemma3"}) {
        Architecture twin = *find_architecture(name);
        twin.scales_embedding = false;
        expect_wrong(name, twin, "an embedding that is not multiplied");
    }
}

TEST_F(Stages, RowsThatEnterBeforeTheMultiplicationAreSeen) {
    Architecture twin = *find_architecture("gemma2");
    twin.entry = "embd";
    expect_wrong("gemma2", twin, "a hidden state that is multiplied again");
}

TEST_F(Stages, ACutBetweenMultiplesIsSeen) {
    Architecture twin = *find_architecture("smollm3");
    twin.cut_multiple = 1;
    expect_wrong("smollm3", twin, "a count of blocks that starts anew", 4);
}

INSTANTIATE_TEST_SUITE_P(Architectures, Equivalence, testing::Range<std::size_t>(0, fixtures::variants().size()),
                         [](const testing::TestParamInfo<std::size_t>& each) {
                             std::string name(fixtures::variants()[each.param].name);
                             std::erase(name, '-');
                             return name;
                         });

}  // namespace
}  // namespace shoal::engine_worker
