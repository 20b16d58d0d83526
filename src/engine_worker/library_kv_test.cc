// Which models' sequences can be moved, and that a moved one goes on bit by bit as it would have.
#include "engine_worker/library_kv.h"

#include <arch_fixture.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "engine_worker/model.h"
#include "engine_worker/test_chain.h"

namespace shoal::engine_worker {
namespace {

using fixtures::Variant;

// Sliding windows are a cache of their own, and so is the state of recurrent layers.
const std::set<std::string_view> cannot = {"gemma2", "gemma3", "mamba", "mamba2"};

struct Context {
    explicit Context(llama_model* model) {
        llama_context_params params = llama_context_default_params();
        params.n_ctx = 256;
        params.n_seq_max = 4;
        params.n_batch = params.n_ubatch = 64;
        params.n_threads = params.n_threads_batch = 1;
        params.kv_unified = true;
        context.reset(llama_init_from_model(model, params));
    }
    // Reads tokens of a sequence from a position on; the logits of the last.
    std::vector<float> read(std::uint32_t vocabulary, llama_seq_id sequence, std::uint32_t from, std::uint32_t count) {
        llama_batch batch = llama_batch_init(static_cast<std::int32_t>(count), 0, 1);
        batch.n_tokens = static_cast<std::int32_t>(count);
        for (std::uint32_t i = 0; i < count; ++i) {
            batch.token[i] = static_cast<llama_token>(((from + i) * 7919 + 11) % vocabulary);
            batch.pos[i] = static_cast<llama_pos>(from + i);
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = sequence;
            batch.logits[i] = i + 1 == count ? 1 : 0;
        }
        EXPECT_EQ(llama_decode(context.get(), batch), 0);
        llama_batch_free(batch);
        const float* logits = llama_get_logits_ith(context.get(), -1);
        return std::vector<float>(logits, logits + vocabulary);
    }
    std::unique_ptr<llama_context, LlamaDelete> context;
};

class LibraryKv : public testing::TestWithParam<std::size_t> {
protected:
    static void SetUpTestSuite() { load_library(); }
};

TEST_P(LibraryKv, AMovedSequenceGoesOnAsItWouldHave) {
    const Variant& variant = fixtures::variants()[GetParam()];
    const std::string path = testing::TempDir() + "shoal-kv-" + std::to_string(getpid()) + ".gguf";
    ASSERT_TRUE(fixtures::make_model(variant, fixtures::Quantisation::f16, path));
    static ggml_backend_dev_t processor_only[] = {nullptr};
    llama_model_params params = llama_model_default_params();
    params.devices = processor_only;
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    const std::unique_ptr<llama_model, LlamaDelete> model(llama_model_load_from_file(path.c_str(), params));
    std::filesystem::remove(path);
    ASSERT_NE(model, nullptr) << last_library_error();

    Context one(model.get()), two(model.get());
    ASSERT_TRUE(one.context && two.context);
    (void)one.read(variant.vocabulary, 0, 0, 1);
    const std::optional<KvShape> shape = learn_kv_shape(model.get(), one.context.get());
    EXPECT_EQ(shape.has_value(), !cannot.contains(variant.name)) << variant.name;
    if (!shape) return;
    EXPECT_EQ(shape->layers.size(), variant.layers);
    llama_memory_clear(llama_get_memory(one.context.get()), true);

    (void)one.read(variant.vocabulary, 0, 0, 48);
    const Result<KvCopy> copy = copy_sequence(one.context.get(), 0);
    ASSERT_TRUE(copy.has_value()) << copy.error().message;
    EXPECT_EQ(copy->shape(), *shape);
    KvCopy moved = KvCopy::blank(*shape, copy->tokens());
    for (std::size_t layer = 0; layer < shape->layers.size(); ++layer) {
        for (const KvSide side : {KvSide::keys, KvSide::values}) {
            const ByteView rows = copy->rows(layer, side, 0);
            const ByteSpan place = moved.rows_to_fill(layer, side);
            ASSERT_EQ(rows.size(), place.size());
            std::copy(rows.begin(), rows.end(), place.begin());
        }
    }
    (void)two.read(variant.vocabulary, 3, 0, 7);  // it held something else
    ASSERT_TRUE(place_sequence(two.context.get(), 3, moved).has_value());
    EXPECT_EQ(llama_memory_seq_pos_max(llama_get_memory(two.context.get()), 3), 47);
    for (std::uint32_t position = 48; position < 52; ++position) {
        EXPECT_EQ(one.read(variant.vocabulary, 0, position, 1), two.read(variant.vocabulary, 3, position, 1))
            << variant.name << " at " << position;
    }
}

INSTANTIATE_TEST_SUITE_P(Architectures, LibraryKv, testing::Range<std::size_t>(0, fixtures::variants().size()),
                         [](const testing::TestParamInfo<std::size_t>& each) {
                             std::string name(fixtures::variants()[each.param].name);
                             std::erase(name, '-');
                             return name;
                         });

}  // namespace
}  // namespace shoal::engine_worker
