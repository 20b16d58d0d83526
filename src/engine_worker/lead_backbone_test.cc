// A lead that keeps the first and last layers: its middle is one stage here, handed what the lead hands out.
#include "engine_worker/lead_backbone.h"

#include <arch_fixture.h>

#include <filesystem>

#include "engine_worker/activation.h"
#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"

namespace shoal::engine_worker {
namespace {

using wire::ActivationType;

constexpr std::uint32_t cells = 512;
const StageOptions stage_options{.cells = cells, .sequences = 2, .rows_max = 64};

// The ends and the middle of one file. What is handed out waits until it is carried.
class Boomerang {
public:
    static Result<std::unique_ptr<Boomerang>> make(const std::string& path, wire::LayerRange middle,
                                                   ActivationType type = ActivationType::f32,
                                                   StageOptions options = stage_options) {
        std::unique_ptr<Boomerang> out(new Boomerang(path, type));
        const WholeModel whole = TRY(open_whole(out->file_));
        out->vocabulary_ = whole.shape().vocabulary;
        out->width_ = whole.shape().width;
        auto own = TRY(OwnLayers::load(whole, middle, options, [](double) {}));
        const Shard shard = TRY(whole.cut_without_head({middle.first, middle.end}));
        out->middle_ = TRY(Stage::load(shard, options, [](double) {}));
        out->embedding_ = TRY(Embedding::open(whole));
        auto head = TRY(Head::load(whole, 1));
        out->backbone = std::make_unique<LeadBackbone>(
            TRY(Embedding::open(whole)), std::move(head), type, 4,
            [self = out.get()](const engine::LeadEngine::Work& work) { self->handed.push_back(work); },
            [self = out.get()](const Error& error) { self->gave_up = error.message; }, std::move(own));
        return out;
    }

    // The oldest thing that was handed out, through the middle and back.
    Status carry() {
        const engine::LeadEngine::Work work = std::move(handed.front());
        handed.pop_front();
        if (const auto* truncate = std::get_if<engine::Truncate>(&work)) {
            return middle_->truncate(truncate->sequence, static_cast<std::int32_t>(truncate->length));
        }
        const wire::StageRows& rows = std::get<engine::Forward>(work).rows;
        std::vector<Place> places;
        for (const wire::StagePart& part : rows.parts) {
            for (std::uint32_t i = 0; i < part.rows; ++i) {
                places.push_back({static_cast<std::int32_t>(part.position + i), part.sequence, false});
            }
        }
        const std::vector<float> in = TRY(from_activation(type_, width_, rows.tensor));
        const std::span<const float> out = TRY(middle_->run(in, places));
        const Bytes tensor = TRY(to_activation(type_, width_, out));
        return backbone->returned(tensor);
    }
    Status carry_all() {
        while (!handed.empty()) TRY(carry());
        return ok();
    }
    // The logits of each row, all of which are wanted.
    Result<std::vector<float>> step(std::span<const std::int32_t> tokens, std::int32_t position,
                                    llama_seq_id sequence) {
        TRY(backbone->begin(rows_of(tokens, position, sequence)));
        TRY(carry_all());
        return logits(tokens.size());
    }
    std::vector<float> logits(std::size_t rows) const {
        std::vector<float> out;
        for (std::size_t row = 0; row < rows; ++row) {
            const float* each = backbone->logits(row);
            if (each != nullptr) out.insert(out.end(), each, each + vocabulary_);
        }
        return out;
    }
    static std::vector<BatchRow> rows_of(std::span<const std::int32_t> tokens, std::int32_t position,
                                         llama_seq_id sequence) {
        std::vector<BatchRow> rows;
        for (const std::int32_t token : tokens) {
            rows.push_back({token, static_cast<std::uint32_t>(position), sequence, true});
            ++position;
        }
        return rows;
    }
    Result<std::vector<float>> embedded(std::span<const std::int32_t> tokens) const { return embedding_.rows(tokens); }
    std::uint32_t vocabulary() const { return vocabulary_; }
    std::uint32_t width() const { return width_; }

    std::unique_ptr<LeadBackbone> backbone;
    std::deque<engine::LeadEngine::Work> handed;
    std::string gave_up;

private:
    Boomerang(const std::string& path, ActivationType type) : file_(path), type_(type) {}

    OpenFile file_;
    ActivationType type_;
    Embedding embedding_;
    std::unique_ptr<Stage> middle_;
    std::uint32_t vocabulary_ = 0;
    std::uint32_t width_ = 0;
};

class LeadBackboneTest : public testing::Test {
protected:
    static void SetUpTestSuite() { load_library(); }
    static std::string mini() { return std::string(SHOAL_SOURCE_DIR) + "/models/shoal-mini.gguf"; }
    static void expect_equal(const std::string& path, const std::string& label, std::uint32_t vocabulary,
                             wire::LayerRange middle) {
        Question question = random_question(vocabulary, 24);
        question.cells = cells;
        const Answer whole = answer_whole(path, question);
        auto lead = Boomerang::make(path, middle, ActivationType::f32, {.cells = cells, .rows_max = 64});
        ASSERT_TRUE(lead) << lead.error().message;
        const Answer cut = answer(question, (*lead)->vocabulary(), [&](const auto& tokens, std::int32_t position) {
            return (*lead)->step(tokens, position, 0);
        });
        ASSERT_EQ(whole.error + cut.error + (*lead)->gave_up, "") << label;
        const double difference = largest_difference(whole, cut);
        std::printf("  %-12s middle %u-%u  max logit difference %.3g\n", label.c_str(), middle.first, middle.end,
                    difference);
        EXPECT_EQ(cut.tokens, whole.tokens) << label;
        EXPECT_EQ(cut.logits.size(), whole.logits.size()) << label;
        EXPECT_EQ(difference, 0) << label;
    }
};

TEST_F(LeadBackboneTest, WithItsOwnEndsItAnswersAsTheWholeModel) {
    const OpenFile file(mini());
    const Result<WholeModel> whole = open_whole(file);
    ASSERT_TRUE(whole) << whole.error().message;
    const auto layers = static_cast<std::uint16_t>(whole->shape().layers);
    for (const wire::LayerRange middle :
         {wire::LayerRange{1, static_cast<std::uint16_t>(layers - 1)}, wire::LayerRange{1, 2},
          wire::LayerRange{static_cast<std::uint16_t>(layers / 2), static_cast<std::uint16_t>(layers / 2 + 1)},
          wire::LayerRange{static_cast<std::uint16_t>(layers - 2), static_cast<std::uint16_t>(layers - 1)}}) {
        expect_equal(mini(), "shoal-mini", whole->shape().vocabulary, middle);
    }
}

TEST_F(LeadBackboneTest, SoItDoesWhereLayersAreOfSeveralKinds) {
    for (const char* name : {"gemma2", "mamba", "qwen3"}) {
        const fixtures::Variant& variant = fixtures::variant(name);
        const std::string path = fixture_path("lead-backbone-" + std::string(name));
        ASSERT_TRUE(fixtures::make_model(variant, fixtures::Quantisation::q8_0, path));
        const auto end = static_cast<std::uint16_t>(variant.layers - 2);
        expect_equal(path, name, variant.vocabulary, {2, end});
        std::filesystem::remove(path);
    }
}

TEST_F(LeadBackboneTest, WhatGoesOutIsNoRowOfTheEmbedding) {
    const std::vector<std::int32_t> tokens = random_question(600, 0).prompt;
    auto lead = Boomerang::make(mini(), {1, 3});
    ASSERT_TRUE(lead) << lead.error().message;
    ASSERT_TRUE((*lead)->backbone->begin(Boomerang::rows_of(tokens, 0, 0)));
    const wire::StageRows& rows = std::get<engine::Forward>((*lead)->handed.front()).rows;
    const auto out = from_activation(ActivationType::f32, (*lead)->width(), rows.tensor);
    const auto embedded = (*lead)->embedded(tokens);
    ASSERT_TRUE(out && embedded);
    ASSERT_EQ(out->size(), embedded->size());
    for (std::size_t row = 0; row < tokens.size(); ++row) {
        const auto at = static_cast<std::ptrdiff_t>(row * (*lead)->width());
        EXPECT_FALSE(std::equal(out->begin() + at, out->begin() + at + (*lead)->width(), embedded->begin() + at))
            << row;
    }
}

// Of two sequences in one step, the later one first; the rows of each must come out at their own places.
TEST_F(LeadBackboneTest, RowsOfSeveralSequencesKeepTheirPlaces) {
    const std::vector<std::int32_t> one = random_question(600, 0, 5).prompt, two = {400, 17, 3, 250};
    auto lead = Boomerang::make(mini(), {2, 4});
    auto alone = Boomerang::make(mini(), {2, 4});
    ASSERT_TRUE(lead && alone);
    std::vector<BatchRow> rows = Boomerang::rows_of(two, 0, 1);
    for (const BatchRow& row : Boomerang::rows_of(one, 0, 0)) rows.push_back(row);
    ASSERT_TRUE((*lead)->backbone->begin(rows));
    ASSERT_TRUE((*lead)->carry_all());
    const std::vector<float> together = (*lead)->logits(rows.size());
    const auto second = (*alone)->step(two, 0, 1), first = (*alone)->step(one, 0, 0);
    ASSERT_TRUE(first && second);
    std::vector<float> apart = *second;
    apart.insert(apart.end(), first->begin(), first->end());
    ASSERT_EQ(together.size(), apart.size());
    // Not bit by bit: the library may add up batches of other sizes in another order.
    for (std::size_t i = 0; i < apart.size(); ++i) ASSERT_NEAR(together[i], apart[i], 2e-2) << i;
}

// The last layers are behind: what is forgotten must not be what they have yet to see, nor come too late.
TEST_F(LeadBackboneTest, ASequenceIsForgottenBetweenTheStepsOnBothSides) {
    const std::vector<std::int32_t> old = random_question(600, 0, 9).prompt, anew = {77, 78, 5};
    auto lead = Boomerang::make(mini(), {1, 4});
    auto fresh = Boomerang::make(mini(), {1, 4});
    ASSERT_TRUE(lead && fresh);
    ASSERT_TRUE((*lead)->backbone->begin(Boomerang::rows_of(old, 0, 0)));
    (*lead)->backbone->truncate(0, 0);
    ASSERT_TRUE((*lead)->backbone->begin(Boomerang::rows_of(anew, 0, 0)));
    EXPECT_EQ((*lead)->backbone->under_way(), 2U);
    const Status carried = (*lead)->carry_all();
    ASSERT_TRUE(carried) << carried.error().message;
    EXPECT_EQ((*lead)->gave_up, "");
    const auto right = (*fresh)->step(anew, 0, 0);
    ASSERT_TRUE(right);
    EXPECT_EQ((*lead)->logits(anew.size()), *right);
}

TEST_F(LeadBackboneTest, WhatIsBrokenLeavesNothingInItsOwnLayers) {
    const std::vector<std::int32_t> old = random_question(600, 0, 9).prompt, anew = {77, 78, 5};
    auto lead = Boomerang::make(mini(), {1, 4});
    auto fresh = Boomerang::make(mini(), {1, 4});
    ASSERT_TRUE(lead && fresh);
    ASSERT_TRUE((*lead)->step(old, 0, 0));                                      // in both of its ends
    ASSERT_TRUE((*lead)->backbone->begin(Boomerang::rows_of({{8, 9}}, 9, 0)));  // in the first one only
    (*lead)->handed = {engine::Truncate{0, 0}};                                 // the middle begins anew as well
    (*lead)->backbone->reset();
    EXPECT_EQ((*lead)->backbone->under_way(), 0U);
    ASSERT_TRUE((*lead)->carry_all());
    const auto answer = (*lead)->step(anew, 0, 0), right = (*fresh)->step(anew, 0, 0);
    ASSERT_TRUE(answer && right) << (*lead)->gave_up;
    EXPECT_EQ(*answer, *right);
}

TEST_F(LeadBackboneTest, RoundsWhatTravelsAndNothingElse) {
    const std::vector<std::int32_t> tokens = random_question(600, 0).prompt;
    auto exact = Boomerang::make(mini(), {1, 4}), half = Boomerang::make(mini(), {1, 4}, ActivationType::f16);
    ASSERT_TRUE(exact && half);
    const auto a = (*exact)->step(tokens, 0, 0), b = (*half)->step(tokens, 0, 0);
    ASSERT_TRUE(a && b);
    ASSERT_EQ(a->size(), b->size());
    EXPECT_NE(*a, *b);
    for (std::size_t i = 0; i < a->size(); ++i) ASSERT_NEAR((*a)[i], (*b)[i], 0.5) << i;
}

// A worker that computes for long must be able to say so.
TEST_F(LeadBackboneTest, SomebodyIsCalledWhileItsOwnLayersCompute) {
    auto lead = Boomerang::make(mini(), {2, 6});
    ASSERT_TRUE(lead);
    int calls = 0;
    (*lead)->backbone->while_computing(
        [](void* count) {
            ++*static_cast<int*>(count);
            return false;
        },
        &calls);
    ASSERT_TRUE((*lead)->backbone->begin(Boomerang::rows_of({{1, 2, 3}}, 0, 0)));
    const int first = calls;
    EXPECT_GT(first, 0);
    ASSERT_TRUE((*lead)->carry_all());
    EXPECT_GT(calls, first);
}

TEST_F(LeadBackboneTest, RowsOfAnotherShapeAreRefused) {
    auto lead = Boomerang::make(mini(), {1, 4});
    ASSERT_TRUE(lead);
    ASSERT_TRUE((*lead)->backbone->begin(Boomerang::rows_of({{1, 2, 3}}, 0, 0)));
    const Status taken = (*lead)->backbone->returned(Bytes(2 * 4 * (*lead)->width()));
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, Errc::invalid);
}

TEST_F(LeadBackboneTest, CutsThatCannotBeAreRefusedWithThoseThatCan) {
    const auto refusal = [](const std::string& path, wire::LayerRange middle) {
        const auto lead = Boomerang::make(path, middle);
        EXPECT_FALSE(lead);
        EXPECT_TRUE(lead || lead.error().code == Errc::invalid);
        return lead ? "" : lead.error().message;
    };
    const std::string path = fixture_path("lead-backbone-smollm3");
    const fixtures::Variant& variant = fixtures::variant("smollm3");
    ASSERT_TRUE(fixtures::make_model(variant, fixtures::Quantisation::f16, path));
    const auto layers = static_cast<std::uint16_t>(variant.layers);
    const std::string between = refusal(path, {1, 4}), beyond = refusal(path, {4, layers});
    std::filesystem::remove(path);
    EXPECT_NE(between.find("multiples of 4"), std::string::npos) << between;
    EXPECT_NE(between.find("Can be kept: the first 4"), std::string::npos) << between;
    EXPECT_NE(beyond.find("none would be the last here"), std::string::npos) << beyond;
}

}  // namespace
}  // namespace shoal::engine_worker
