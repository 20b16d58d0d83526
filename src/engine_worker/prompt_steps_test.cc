// How prompts share steps, seen from outside: who is answered first, and that nobody is forgotten.
#include "engine_worker/test_files.h"
#include "engine_worker/test_worker.h"

namespace shoal::engine_worker {

using engine::Finished;
using engine::Started;
using engine::pipe::FromWorker;

namespace {

constexpr std::uint64_t long_job = 1;

class BesideALongPrompt : public testing::Test {
protected:
    void SetUp() override {
        engine::pipe::Load load;
        load.context_tokens = 2048;
        load.sequences = 6;
        load.threads = 1;
        const auto ready = worker_.load(load);
        ASSERT_TRUE(ready && std::holds_alternative<engine::Ready>(*ready));
        worker_.send(job_of(long_job, std::string(1900, 'a'), 1));
        ASSERT_TRUE(next<Started>());
    }
    // The next message of this kind.
    template <typename Kind>
    std::optional<Kind> next() {
        while (const auto message = worker_.next()) {
            if (const auto* kind = std::get_if<Kind>(&*message)) return *kind;
        }
        return std::nullopt;
    }

    TestWorker worker_{fixture_path("slow")};
};

}  // namespace

TEST_F(BesideALongPrompt, AShortRequestIsAnsweredFirst) {
    worker_.send(job_of(2, "hi", 1));
    const auto first = next<Finished>();
    ASSERT_TRUE(first);
    EXPECT_EQ(first->job.value(), 2U);
    const auto second = next<Finished>();
    ASSERT_TRUE(second);
    EXPECT_EQ(second->job.value(), long_job);
}

// Short ones wait at any time: without a step in between they would take every one.
TEST_F(BesideALongPrompt, ShortRequestsWithoutEndDoNotStarveTheLongOne) {
    constexpr std::uint64_t shorts_max = 400;
    std::uint64_t sent = long_job;
    for (int i = 0; i < 4; ++i) worker_.send(job_of(++sent, "hi", 1));
    for (auto finished = next<Finished>(); finished; finished = next<Finished>()) {
        if (finished->job.value() == long_job) break;
        ASSERT_LT(sent, shorts_max) << "the long prompt is not read to its end";
        worker_.send(job_of(++sent, "hi", 1));
    }
    EXPECT_GT(sent, 5U) << "no short one was answered before the long one";
}

}  // namespace shoal::engine_worker
