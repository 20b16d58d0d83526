// Who is decoded next, where not all can be.
#include "engine_worker/batcher.h"

#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"
#include "engine_worker/test_history.h"

namespace shoal::engine_worker {
namespace {

class BatcherTest : public testing::Test {
protected:
    static void SetUpTestSuite() { load_library(); }
    BatcherTest() : file_(fixture_path("spm")) {
        engine::pipe::Load load;
        load.context_tokens = 256;
        load.sequences = 4;
        load.threads = 1;
        auto ends = load_ends(open_whole_model(file_.descriptor(), [](double) {}).value(), load);
        EXPECT_TRUE(ends.has_value());
        model_ = std::make_unique<Model>(std::move(ends->model));
        model_->cells = 1024;
    }
    static engine::Job job(std::uint64_t id, std::uint32_t tokens) {
        engine::Job out;
        out.id = JobId(id);
        out.request.messages.push_back({Role::user, Plaintext("say something")});
        out.request.completion_tokens_max = tokens;
        return out;
    }

    OpenFile file_;
    std::unique_ptr<Model> model_;
};

// While something is moved over the stages a step fewer is under way than there could be, and shares are made for all.
TEST_F(BatcherTest, WhoHasWaitedLongestIsDecodedFirst) {
    constexpr std::size_t steps = 2;
    constexpr std::uint32_t tokens = 40;
    HistoryBackbone backbone(static_cast<std::size_t>(llama_vocab_n_tokens(model_->vocab())), steps, model_->cells);
    std::map<std::uint64_t, std::uint32_t> said;
    std::uint64_t first_to_end = 0;
    Batcher batcher(*model_, backbone, Speculation(), [&](const engine::pipe::FromWorker& event) {
        if (const auto* text = std::get_if<engine::Text>(&event)) said[text->job.value()] = text->completion.value();
        const auto* end = std::get_if<engine::Finished>(&event);
        if (end != nullptr && first_to_end == 0) first_to_end = end->job.value();
    });
    for (std::uint64_t id = 1; id <= 3; ++id) batcher.submit(job(id, tokens));
    while (first_to_end == 0) {
        ASSERT_TRUE(batcher.begin_step());
        backbone.end(batcher);
    }
    for (std::uint64_t id = 1; id <= 3; ++id) EXPECT_GE(said[id] + 3, tokens) << "job " << id << " waited";
}

}  // namespace
}  // namespace shoal::engine_worker
