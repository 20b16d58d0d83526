#include "backend/worker_engine.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "backend/test_engine.h"

namespace shoal::backend {

using engine::Down;
using engine::Failed;
using engine::Finished;
using engine::Health;
using engine::Ready;
using engine::Text;

namespace {

TEST_F(WithEngine, ServesAModel) {
    Rig rig(fixture("spm"), command);
    rig.engine->submit(rig.loop.now(), job_of(1, "hello"));  // waits while the model is loaded
    ASSERT_TRUE(rig.until([&] { return !rig.all<Finished>().empty(); }));
    EXPECT_EQ(rig.all<Ready>().size(), 1U);
    EXPECT_FALSE(rig.all<Text>().empty());
    EXPECT_EQ(rig.engine->model()->architecture, "llama");
}

TEST_F(WithEngine, AKilledWorkerFailsItsJobsAndComesBack) {
    Rig rig(fixture("slow"), command);
    ASSERT_TRUE(rig.until_ready());
    for (std::uint64_t i = 0; i < 6; ++i) rig.engine->submit(rig.loop.now(), job_of(i, "a long story", 1500));
    ASSERT_TRUE(rig.until([&] { return !rig.all<Text>().empty(); }));
    ASSERT_EQ(::kill(rig.engine->pid(), SIGKILL), 0);
    ASSERT_TRUE(rig.until([&] { return !rig.all<Down>().empty(); }));
    EXPECT_NE(rig.all<Down>()[0]->reason.find("killed by signal 9"), std::string::npos) << rig.all<Down>()[0]->reason;
    EXPECT_FALSE(rig.all<Down>()[0]->permanent);
    ASSERT_EQ(rig.all<Failed>().size(), 6U);
    for (const Failed* failed : rig.all<Failed>()) EXPECT_EQ(failed->fault, AskFault::engine_failed);
    EXPECT_GT(rig.all<Failed>()[0]->usage.prompt.value() + rig.all<Failed>()[1]->usage.prompt.value(), 0U);

    rig.engine->submit(rig.loop.now(), job_of(50, "too soon"));
    rig.drain();
    EXPECT_EQ(rig.all<Failed>().size(), 7U) << "refused at once, so that another node can serve it";

    ASSERT_TRUE(rig.until([&] { return rig.all<Ready>().size() == 2; }));
    rig.engine->submit(rig.loop.now(), job_of(60, "hello"));
    ASSERT_TRUE(rig.until([&] { return !rig.all<Finished>().empty(); }));
    EXPECT_EQ(rig.all<Finished>()[0]->job, JobId(60));
}

TEST_F(WithEngine, AWorkerThatHangsIsKilledAndReplaced) {
    Rig rig(fixture("slow"), command, 4s);
    ASSERT_TRUE(rig.until_ready());
    rig.engine->submit(rig.loop.now(), job_of(1, "a long story", 1500));
    ASSERT_TRUE(rig.until([&] { return !rig.all<Text>().empty(); }));
    const int hanging = rig.engine->pid();
    ASSERT_EQ(::kill(hanging, SIGSTOP), 0);
    ASSERT_TRUE(rig.until([&] { return !rig.all<Down>().empty(); }));
    EXPECT_NE(rig.all<Down>()[0]->reason.find("hangs"), std::string::npos) << rig.all<Down>()[0]->reason;
    EXPECT_FALSE(rig.all<Down>()[0]->permanent);
    ASSERT_EQ(rig.all<Failed>().size(), 1U);
    EXPECT_EQ(rig.all<Failed>()[0]->fault, AskFault::engine_failed);
    EXPECT_NE(rig.all<Failed>()[0]->message.find("hangs"), std::string::npos);
    EXPECT_NE(::kill(hanging, 0), 0) << "the stopped process is still there";
    ASSERT_TRUE(rig.until([&] { return rig.all<Ready>().size() == 2; }));
}

TEST_F(WithEngine, CancelReachesTheWorker) {
    Rig rig(fixture("slow"), command);
    ASSERT_TRUE(rig.until_ready());
    rig.engine->submit(rig.loop.now(), job_of(1, "a long story", 1900));
    ASSERT_TRUE(rig.until([&] { return !rig.all<Text>().empty(); }));
    rig.engine->cancel(rig.loop.now(), JobId(1));
    rig.engine->cancel(rig.loop.now(), JobId(77));
    ASSERT_TRUE(rig.until([&] { return !rig.all<Failed>().empty() || !rig.all<Finished>().empty(); }));
    ASSERT_EQ(rig.all<Failed>().size(), 1U);
    EXPECT_EQ(rig.all<Failed>()[0]->fault, AskFault::cancelled);
}

TEST_F(WithEngine, ABrokenModelIsDeadWithOneLine) {
    const std::string path = testing::TempDir() + "shoal-broken-" + std::to_string(getpid());
    std::filesystem::copy_file(fixture("spm"), path, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
    Rig rig(path, command);
    ASSERT_TRUE(rig.until([&] { return rig.engine->health() == Health::dead; }));
    ASSERT_EQ(rig.all<Down>().size(), 1U);
    EXPECT_TRUE(rig.all<Down>()[0]->permanent);
    EXPECT_NE(rig.all<Down>()[0]->reason.find("cut short"), std::string::npos);
    EXPECT_FALSE(rig.engine->next_deadline().has_value());
    std::filesystem::remove(path);
}

TEST(WorkerEngine, AMissingModelIsDeadAndNamed) {
    Rig rig("/nonexistent/model.gguf", shell("exit 0"));
    ASSERT_EQ(rig.all<Down>().size(), 1U);
    EXPECT_TRUE(rig.all<Down>()[0]->permanent);
    EXPECT_NE(rig.all<Down>()[0]->reason.find("/nonexistent/model.gguf"), std::string::npos);
}

TEST(WorkerEngine, AWorkerThatSendsNoiseIsKilledAndReplaced) {
    Rig rig("/dev/null", shell("printf '\\377\\377\\377\\377' >&3; exec cat <&3 >/dev/null"));
    rig.engine->submit(rig.loop.now(), job_of(1, "hello"));
    ASSERT_TRUE(rig.until([&] { return rig.all<Down>().size() == 2; }));
    EXPECT_NE(rig.all<Down>()[0]->reason.find("malformed"), std::string::npos);
    EXPECT_FALSE(rig.all<Down>()[0]->permanent);
    EXPECT_EQ(rig.all<Failed>().size(), 1U);
}

TEST(WorkerEngine, AWorkerThatSpeaksOutOfOrderIsReplaced) {
    // Started of job 0 before Ready: length 13, kind 18, twelve zeros.
    Rig rig("/dev/null",
            shell("printf '\\015\\0\\0\\0\\022\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0' >&3; exec cat <&3 >/dev/null"));
    ASSERT_TRUE(rig.until([&] { return !rig.all<Down>().empty(); }));
    EXPECT_NE(rig.all<Down>()[0]->reason.find("out of order"), std::string::npos) << rig.all<Down>()[0]->reason;
}

// A worker in shell: Ready, then `rest` with the socket as descriptor 3. Nothing is expected of an idle one.
EngineCommand ready_and_then(const std::string& rest) {
    engine::ModelInfo model;
    model.id = ModelId(ByteArray<32>{1});
    model.architecture = "shell";
    model.context_tokens = 64;
    model.sequences = 1;
    const Bytes frame = *engine::pipe::encode(engine::pipe::FromWorker(Ready{model}));
    return shell("printf '" + octal_of(frame) + "' >&3; " + rest);
}

TEST(WorkerEngine, AWorkerThatHasJobsAndSaysNothingIsReplaced) {
    Rig rig("/dev/null", ready_and_then("exec sleep 1000"), 200ms);
    ASSERT_TRUE(rig.until_ready());
    rig.engine->submit(rig.loop.now(), job_of(1, "hello"));
    rig.drain();
    ASSERT_TRUE(rig.until([&] { return !rig.all<Failed>().empty(); }));
    EXPECT_NE(rig.all<Failed>()[0]->message.find("hangs"), std::string::npos) << rig.all<Failed>()[0]->message;
}

TEST(WorkerEngine, AWorkerThatHasNoJobsMayBeSilent) {
    Rig rig("/dev/null", ready_and_then("exec sleep 1000"), 100ms);
    ASSERT_TRUE(rig.until_ready());
    EXPECT_FALSE(rig.engine->next_deadline().has_value()) << "an idle worker is watched";
}

TEST(WorkerEngine, AWorkerThatSaysThatItWorksIsLeftAlone) {
    // Many times as long as it might be silent; the last frame is Finished of job 1, kind 20: counts 1, 1 and 0, no
    // prefix.
    Rig rig(
        "/dev/null",
        ready_and_then("i=0; while [ $i -lt 60 ]; do printf '\\001\\0\\0\\0\\027' >&3; sleep 0.05; i=$((i+1)); done; "
                       "printf '\\027\\0\\0\\0\\024\\001\\0\\0\\0\\0\\0\\0\\0\\0"
                       "\\001\\0\\0\\0\\001\\0\\0\\0\\0\\0\\0\\0\\0' >&3; exec cat <&3 >/dev/null"),
        1s);
    ASSERT_TRUE(rig.until_ready());
    rig.engine->submit(rig.loop.now(), job_of(1, "hello"));
    rig.drain();
    ASSERT_TRUE(rig.until([&] { return !rig.all<Finished>().empty() || !rig.all<Failed>().empty(); }));
    EXPECT_TRUE(rig.all<Failed>().empty());
    EXPECT_TRUE(rig.all<Down>().empty());
}

TEST(WorkerEngine, ANodeThatStoodStillItselfBlamesNobody) {
    Rig rig("/dev/null", ready_and_then("exec cat <&3 >/dev/null"), 1000s);
    ASSERT_TRUE(rig.until_ready());
    rig.engine->submit(rig.loop.now(), job_of(1, "hello"));
    // The clock has moved on by hours when the node is called again.
    Now late = rig.loop.now();
    late.mono += 10'000s;
    rig.engine->on_tick(late);
    rig.engine->on_tick(late);
    rig.drain();
    EXPECT_TRUE(rig.all<Down>().empty());
    for (int i = 0; i < 2; ++i) {
        late.mono += 500s;
        rig.engine->on_tick(late);
    }
    ASSERT_TRUE(rig.until([&] { return !rig.all<Down>().empty(); })) << "a worker that really is silent";
}

// A lead in shell that asks for bytes of a piece so often, and reads each answer or none.
struct AskingLead {
    std::filesystem::path folder = testing::TempDir() + "shoal-pieces-" + std::to_string(getpid());
    wire::PieceId piece{ByteArray<32>{7}};

    AskingLead() {
        std::filesystem::create_directories(folder / "pieces");
        std::ofstream(folder / "model.manifest") << "read by the worker alone";
        std::ofstream(folder / "pieces" / piece.hex()) << std::string(engine::pipe::piece_bytes_max, 'x');
    }
    ~AskingLead() { std::filesystem::remove_all(folder); }
    AskingLead(const AskingLead&) = delete;
    AskingLead& operator=(const AskingLead&) = delete;

    WorkerOptions options(int asks, bool reads = false) const {
        const engine::pipe::Want want{piece, 0, engine::pipe::piece_bytes_max};
        const Bytes frame = *engine::pipe::encode(engine::pipe::FromWorker(want));
        const engine::pipe::PieceBytes piece_bytes{Bytes(engine::pipe::piece_bytes_max)};
        const auto read = [reads](const engine::pipe::ToWorker& one) {
            const std::size_t bytes = engine::pipe::encode(one)->size();
            return reads ? "head -c " + std::to_string(bytes) + " <&3 >/dev/null; " : std::string();
        };
        const std::string each = "printf '" + octal_of(frame) + "' >&3; " + read(piece_bytes);
        WorkerOptions out =
            small_engine(folder.string(), shell(read(engine::pipe::Lead{}) + "i=0; while [ $i -lt " +
                                                std::to_string(asks) + " ]; do " + each + "i=$((i+1)); done; exit 9"));
        out.lead = WorkerOptions::Lead{};
        return out;
    }
};

TEST(WorkerEngine, ALeadInPiecesIsGivenThem) {
    const AskingLead lead;
    Rig rig(lead.options(20, true));
    ASSERT_TRUE(rig.until([&] { return !rig.all<Down>().empty(); }));
    EXPECT_NE(rig.all<Down>()[0]->reason.find("exit code 9"), std::string::npos) << rig.all<Down>()[0]->reason;
}

TEST(WorkerEngine, ALeadThatAsksForMoreThanItReadsIsReplaced) {
    const AskingLead lead;
    Rig rig(lead.options(1000));  // four times what is held for a worker
    ASSERT_TRUE(rig.until([&] { return !rig.all<Down>().empty(); }));
    EXPECT_NE(rig.all<Down>()[0]->reason.find("out of order"), std::string::npos) << rig.all<Down>()[0]->reason;
}

TEST(WorkerEngine, AWorkerThatHasTheModelIsGivenNoPieces) {
    const AskingLead lead;
    WorkerOptions options = lead.options(1);
    options.model_path = "/dev/null";
    Rig rig(options);
    ASSERT_TRUE(rig.until([&] { return !rig.all<Down>().empty(); }));
    EXPECT_NE(rig.all<Down>()[0]->reason.find("out of order"), std::string::npos) << rig.all<Down>()[0]->reason;
}

TEST(WorkerEngine, AFolderWithPiecesOfTwoModelsIsNamed) {
    const AskingLead lead;
    std::ofstream(lead.folder / "other.manifest") << "of another model";
    Rig rig(lead.options(1));
    ASSERT_TRUE(rig.until([&] { return !rig.all<Down>().empty(); }));
    EXPECT_TRUE(rig.all<Down>()[0]->permanent);
    EXPECT_NE(rig.all<Down>()[0]->reason.find("pieces of 2 models"), std::string::npos) << rig.all<Down>()[0]->reason;
}

TEST(WorkerEngine, AModelThatCrashesEveryWorkerIsGivenUp) {
    Rig rig("/dev/null", shell("kill -SEGV $$"));
    ASSERT_TRUE(rig.until([&] { return rig.engine->health() == Health::dead; }));
    EXPECT_EQ(rig.all<Down>().size(), WorkerEngine::crashes_max);
    EXPECT_NE(rig.all<Down>().back()->reason.find("crash"), std::string::npos);
}

TEST(WorkerEngine, RestartsWaitLongerEachTime) {
    Rig rig("/dev/null", shell("exit 7"));
    std::vector<Duration> waits;
    for (std::size_t i = 1; i <= 3; ++i) {
        ASSERT_TRUE(rig.until([&] { return rig.all<Down>().size() == i; }));
        waits.push_back(*rig.engine->next_deadline() - rig.loop.now().mono);
    }
    EXPECT_LE(waits[0], limits::engine_restart_min);
    EXPECT_GT(waits[1], limits::engine_restart_min);
    EXPECT_GT(waits[2], waits[1]);
    EXPECT_NE(rig.all<Down>()[0]->reason.find("exit code 7"), std::string::npos);
}

TEST(WorkerEngine, RefusesABadRequestItself) {
    Rig rig("/dev/null", shell("exec cat <&3 >/dev/null"));
    engine::Job job = job_of(1, "hello");
    job.request.sampling.temperature = 99;
    rig.engine->submit(rig.loop.now(), std::move(job));
    rig.drain();
    ASSERT_EQ(rig.all<Failed>().size(), 1U);
    EXPECT_EQ(rig.all<Failed>()[0]->fault, AskFault::bad_request);
    EXPECT_NE(rig.all<Failed>()[0]->message.find("temperature"), std::string::npos);
}

TEST(WorkerEngine, AQueueThatIsFullAnswersOverloaded) {
    Rig rig("/dev/null", shell("exec sleep 1000"));
    const std::size_t room = limits::engine_jobs_queued_max + limits::engine_sequences_max;
    for (std::uint64_t i = 0; i <= room; ++i) rig.engine->submit(rig.loop.now(), job_of(i, "hello"));
    rig.drain();
    ASSERT_EQ(rig.all<Failed>().size(), 1U);
    EXPECT_EQ(rig.all<Failed>()[0]->fault, AskFault::overloaded);
}

TEST(EngineFiles, SaysWhereItLooked) {
    const auto found = find_engine("/nonexistent");
    if (std::getenv("SHOAL_ENGINE") != nullptr) GTEST_SKIP();
    ASSERT_FALSE(found.has_value());
    EXPECT_NE(found.error().message.find("/nonexistent"), std::string::npos);
}

}  // namespace
}  // namespace shoal::backend
