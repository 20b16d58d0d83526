#include "engine_worker/draft_model.h"

#include <gtest/gtest.h>

#include "engine_worker/drafters.h"
#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"

namespace shoal::engine_worker {
namespace {

const std::string models = std::string(SHOAL_SOURCE_DIR) + "/models/";

class DraftModelTest : public ::testing::Test {
protected:
    static void SetUpTestSuite() { load_library(); }
    DraftModelTest() : file_(models + "shoal-mini.gguf"), nano_(models + "shoal-nano.gguf") {
        options_.tokens = mini().shape().vocabulary;
    }

    WholeModel mini() const { return *open_whole(file_); }
    static Sampler greedy() {
        Sampling sampling;
        sampling.temperature = 0;
        return {sampling, Noise({}, 1, {})};
    }
    static std::vector<llama_token> some_tokens(std::size_t count) {
        std::vector<llama_token> out;
        for (std::size_t i = 0; i < count; ++i) out.push_back(static_cast<llama_token>(300 + i * 37 % 1000));
        return out;
    }

    OpenFile file_, nano_;
    DraftModel::Options options_{512, 2, 1};
};

// What a whole model says greedily, its own draft of all layers but none guesses to the last token.
TEST_F(DraftModelTest, GuessesWhatItsModelWouldSay) {
    const WholeModel draft = *open_whole(nano_);
    auto drafter = DraftModel::load_other(draft, mini().gguf(), file_.reader(), options_);
    ASSERT_TRUE(drafter.has_value()) << drafter.error().message;
    Question question{some_tokens(20), 12, 512};
    const Answer said = answer_whole(models + "shoal-nano.gguf", question);
    const std::vector<llama_token> prompt(question.prompt.begin(), question.prompt.end());
    const std::vector<llama_token> expected(said.tokens.begin(), said.tokens.end());
    EXPECT_EQ((*drafter)->draft(0, prompt, 12, greedy()), expected);
    // Another turn, beside it and in it: what it held and was not so is forgotten.
    EXPECT_EQ((*drafter)->draft(1, prompt, 12, greedy()), expected);
    std::vector<llama_token> longer = prompt;
    longer.insert(longer.end(), expected.begin(), expected.begin() + 3);
    EXPECT_EQ((*drafter)->draft(0, longer, 9, greedy()),
              std::vector<llama_token>(expected.begin() + 3, expected.end()));
    (void)(*drafter)->draft(0, some_tokens(7), 5, greedy());
    EXPECT_EQ((*drafter)->draft(0, prompt, 12, greedy()), expected);
    (*drafter)->forget(0);
    EXPECT_EQ((*drafter)->draft(0, prompt, 12, greedy()), expected);
}

// A draft may have rows for more tokens than its vocabulary names: the model would refuse them with all that runs.
TEST_F(DraftModelTest, GuessesNoTokenThatTheModelHasNot) {
    options_.tokens = 300;
    const WholeModel draft = *open_whole(nano_);
    auto drafter = DraftModel::load_other(draft, mini().gguf(), file_.reader(), options_);
    ASSERT_TRUE(drafter.has_value()) << drafter.error().message;
    const std::vector<llama_token> guesses = (*drafter)->draft(0, some_tokens(20), 12, greedy());
    EXPECT_EQ(guesses.size(), 12U);
    for (const llama_token token : guesses) EXPECT_LT(token, 300);
}

// No step waits for all of a long prompt.
TEST_F(DraftModelTest, ReadsALongPromptInPiecesAndGuessesWhenItHasRead) {
    options_.context = 1024;
    const WholeModel draft = *open_whole(nano_);
    auto drafter = DraftModel::load_other(draft, mini().gguf(), file_.reader(), options_);
    ASSERT_TRUE(drafter.has_value());
    const std::vector<llama_token> prompt = some_tokens(600);
    EXPECT_TRUE((*drafter)->draft(0, prompt, 4, greedy()).empty());
    EXPECT_TRUE((*drafter)->draft(0, prompt, 4, greedy()).empty());
    EXPECT_EQ((*drafter)->draft(0, prompt, 4, greedy()).size(), 4U);
}

TEST_F(DraftModelTest, GuessesNotBeyondItsContext) {
    options_.context = 24;
    const WholeModel draft = *open_whole(nano_);
    auto drafter = DraftModel::load_other(draft, mini().gguf(), file_.reader(), options_);
    ASSERT_TRUE(drafter.has_value());
    EXPECT_EQ((*drafter)->draft(0, some_tokens(20), 12, greedy()).size(), 4U);
    EXPECT_TRUE((*drafter)->draft(0, some_tokens(24), 12, greedy()).empty());
    EXPECT_TRUE((*drafter)->draft(0, some_tokens(30), 12, greedy()).empty());
}

TEST_F(DraftModelTest, WithoutSomeLayersTheModelGuessesToo) {
    auto drafter = DraftModel::load_skipping(mini(), {2, 6}, options_);
    ASSERT_TRUE(drafter.has_value()) << drafter.error().message;
    EXPECT_EQ((*drafter)->draft(0, some_tokens(20), 5, greedy()).size(), 5U);
    for (const LayerRange range : {LayerRange{0, 3}, LayerRange{3, 3}, LayerRange{5, 8}, LayerRange{2, 9}}) {
        const auto refused = DraftModel::load_skipping(mini(), range, options_);
        ASSERT_FALSE(refused.has_value()) << range.first << '-' << range.end;
        EXPECT_NE(refused.error().message.find("1 to 6"), std::string::npos) << refused.error().message;
    }
}

TEST_F(DraftModelTest, AnotherVocabularyIsRefused) {
    const OpenFile stranger(fixture_path("spm"));
    const WholeModel draft = *open_whole(stranger);
    const auto refused = DraftModel::load_other(draft, mini().gguf(), file_.reader(), options_);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message.find("another vocabulary"), std::string::npos);
}

TEST_F(DraftModelTest, OfARecurrentModelNothingIsGuessed) {
    Model model;
    model.one_kind_a_step = true;
    engine::pipe::Drafts drafts;
    EXPECT_TRUE(load_drafters(drafts, model, mini().gguf(), file_.reader(), -1, [](double) {}).has_value());
    drafts.repeats = true;
    EXPECT_FALSE(load_drafters(drafts, model, mini().gguf(), file_.reader(), -1, [](double) {}).has_value());
}

}  // namespace
}  // namespace shoal::engine_worker
