// How prompts share steps, seen from outside: who is answered first, and that nobody is forgotten.
#include <csignal>

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
    }
    void begin_long(std::size_t letters) {
        worker_.send(job_of(long_job, std::string(letters, 'a'), 1));
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
    begin_long(1900);
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
    constexpr std::uint64_t shorts = limits::engine_jobs_queued_max - 8;
    begin_long(600);
    worker_.kill(SIGSTOP);  // it is to find them all at once
    for (std::uint64_t i = 1; i <= shorts; ++i) worker_.send(job_of(long_job + i, "hi", 1));
    worker_.kill(SIGCONT);
    std::uint64_t before = 0;
    for (auto finished = next<Finished>(); finished; finished = next<Finished>(), ++before) {
        if (finished->job.value() == long_job) break;
    }
    EXPECT_GT(before, 5U) << "no short one was answered before the long one";
    EXPECT_LT(before, shorts / 4) << "the long one was read when hardly a short one was left";
}

}  // namespace shoal::engine_worker
