#include "engine_worker/head.h"

#include <arch_fixture.h>

#include <filesystem>
#include <fstream>

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

// Of a whole model the library compares them: of a lead's it sees the tokenizer only.
TEST_F(HeadTest, AModelNamesNoMoreTokensThanItHasRowsFor) {
    Bytes bytes = fixture_bytes("spm");
    const auto read = [&bytes](std::uint64_t offset, ByteSpan out) {
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
        return true;
    };
    Gguf gguf = read_gguf(read, bytes.size(), library_block).value();
    std::sort(gguf.tensors.begin(), gguf.tensors.end(), [](auto& a, auto& b) { return a.offset < b.offset; });
    std::uint64_t place = 0;
    for (const GgufTensor& tensor : gguf.tensors) {
        const bool halved = tensor.name == "token_embd.weight" || tensor.name == "output.weight";
        // Its name, the number of dimensions, these, the type, the place.
        const auto at = std::search(bytes.begin(), bytes.end(), tensor.name.begin(), tensor.name.end());
        std::uint8_t* const dims = &*at + tensor.name.size() + 4;
        if (halved) store_le<std::uint64_t>(dims + 8, 256);
        store_le<std::uint64_t>(dims + 8 * tensor.dims.size() + 4, place);
        place += ((halved ? tensor.bytes / 2 : tensor.bytes) + 31) / 32 * 32;
    }
    const std::string path = fixture_path("head-test-rows");
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
    const OpenFile file(path);
    std::filesystem::remove(path);
    engine::pipe::Load load;
    load.threads = 1;
    const auto ends = load_ends(open_whole_model(file.descriptor(), [](double) {}).value(), load);
    ASSERT_FALSE(ends);
    EXPECT_EQ(ends.error().code, Errc::malformed);
    EXPECT_NE(ends.error().message.find("has rows for 256"), std::string::npos) << ends.error().message;
}

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
