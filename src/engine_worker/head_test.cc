#include "engine_worker/head.h"

#include <arch_fixture.h>

#include <filesystem>

#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"

// That its logits are those of the uncut model is shown for every architecture in equivalence_test.cc.
namespace shoal::engine_worker {
namespace {

class HeadTest : public testing::Test {
protected:
    static void SetUpTestSuite() { load_library(); }
    // The error of loading the head of a variant by a changed entry of the table.
    static Error refusal(const char* name, void (*change)(Architecture&)) {
        const std::string path = fixture_path(std::string("head-test-") + name);
        EXPECT_TRUE(fixtures::make_model(fixtures::variant(name), fixtures::Quantisation::f16, path));
        Architecture twin = *find_architecture(fixtures::variant(name).architecture);
        change(twin);
        Error out{Errc::internal, "taken"};
        {
            const OpenFile file(path);
            const Result<WholeModel> whole = open_whole(file, &twin);
            EXPECT_TRUE(whole);
            const auto head = Head::load(*whole, 1);
            if (!head) out = head.error();
        }
        std::filesystem::remove(path);
        return out;
    }
};

TEST_F(HeadTest, RefusesToForgetThatLogitsAreBent) {
    const Error error = refusal("gemma2", [](Architecture& twin) { twin.bends_logits = false; });
    EXPECT_EQ(error.code, Errc::unsupported);
    EXPECT_NE(error.message.find("last stage"), std::string::npos) << error.message;
}

TEST_F(HeadTest, RefusesANormOfAnotherKind) {
    const Error error = refusal("starcoder2", [](Architecture& twin) { twin.centred_norm = false; });
    EXPECT_EQ(error.code, Errc::malformed);
    EXPECT_NE(error.message.find("layer_norm_rms_epsilon"), std::string::npos) << error.message;
}

TEST_F(HeadTest, RefusesRowsThatCannotBe) {
    const OpenFile file(fixture_path("spm"));
    const Result<WholeModel> whole = open_whole(file);
    ASSERT_TRUE(whole) << whole.error().message;
    const auto head = Head::load(*whole, 1);
    ASSERT_TRUE(head) << head.error().message;
    std::vector<float> row(whole->shape().width, 0.5F);
    EXPECT_TRUE((*head)->logits(row));
    EXPECT_FALSE((*head)->logits({}));
    EXPECT_FALSE((*head)->logits(std::span(row).first(row.size() - 1)));
    row[3] = std::nanf("");
    EXPECT_FALSE((*head)->logits(row));
}

TEST_F(HeadTest, OneRowGivesWhatItGivesAmongOthersNearly) {
    const OpenFile file(fixture_path("spm"));
    const Result<WholeModel> whole = open_whole(file);
    ASSERT_TRUE(whole);
    const auto head = Head::load(*whole, 1);
    ASSERT_TRUE(head);
    const std::uint32_t width = whole->shape().width;
    std::vector<float> rows(3 * width);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = std::sin(static_cast<float>(i));
    const auto all = (*head)->logits(rows);
    const auto middle = (*head)->logits(std::span(rows).subspan(width, width));
    ASSERT_TRUE(all && middle);
    ASSERT_EQ(middle->size(), (*head)->vocabulary());
    for (std::size_t k = 0; k < middle->size(); ++k) {
        EXPECT_NEAR((*middle)[k], (*all)[(*head)->vocabulary() + k], 1e-3);
    }
}

}  // namespace
}  // namespace shoal::engine_worker
