#include "backend/stage_workers.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstring>

#include "backend/test_engine.h"

namespace shoal::backend {

using engine::StageComputed;
using engine::StageFailed;
using engine::StageHandle;
using engine::StageReady;
using wire::StageFaultCode;

namespace {

constexpr std::uint32_t width = 64;  // of the small fixtures, which have two layers
constexpr wire::ActivationType type = wire::ActivationType::f32;

// Numbers of about the size that an embedding has.
wire::StageRows rows_of(std::uint32_t position, std::uint16_t count, std::uint16_t sequence = 0,
                        std::uint32_t columns = width) {
    wire::StageRows out;
    out.parts.push_back({sequence, position, count});
    out.tensor.resize(std::size_t{count} * columns * sizeof(float));
    for (std::size_t i = 0; i < std::size_t{count} * columns; ++i) {
        const auto number = static_cast<float>((position * columns + i) * 7919 % 2001) / 1000.0F - 1.0F;
        std::memcpy(out.tensor.data() + i * sizeof number, &number, sizeof number);
    }
    return out;
}

struct StageRig {
    NullLog log;
    net::Loop loop;
    int woken = 0;
    StageWorkers workers;
    std::vector<engine::StageEvent> events;

    StageRig(std::string model, EngineCommand command, Duration silence_min = 5s)
        : workers(loop, log, options_of(std::move(model), std::move(command), silence_min), [this] { ++woken; }) {}
    static StageWorkersOptions options_of(std::string model, EngineCommand command, Duration silence_min) {
        StageWorkersOptions out{std::move(model), std::move(command), 1};
        out.silence_min = silence_min;
        return out;
    }

    void open(std::uint64_t handle, const ModelId& model, wire::LayerRange layers = {0, 2},
              std::uint32_t columns = width) {
        workers.open(loop.now(), StageHandle(handle), {model, layers, type, columns, 128, 2});
    }
    void compute(std::uint64_t handle, const wire::StageRows& rows) {
        workers.compute(loop.now(), StageHandle(handle), rows);
    }
    template <typename Kind>
    std::vector<const Kind*> of(std::uint64_t handle) const {
        std::vector<const Kind*> out;
        for (const engine::StageEvent& event : events) {
            const auto* one = std::get_if<Kind>(&event);
            if (one != nullptr && one->handle == StageHandle(handle)) out.push_back(one);
        }
        return out;
    }
    bool until(const std::function<bool()>& done) {
        return loop.run_until(
            [&] {
                while (auto event = workers.poll()) events.push_back(std::move(*event));
                return done();
            },
            patience);
    }
    bool until_ready(std::uint64_t handle) {
        return until([&] { return !of<StageReady>(handle).empty() || !of<StageFailed>(handle).empty(); }) &&
               of<StageFailed>(handle).empty();
    }
    // Empty: it failed.
    Bytes result_of(std::uint64_t handle, const wire::StageRows& rows) {
        const std::size_t before = of<StageComputed>(handle).size();
        compute(handle, rows);
        const bool came =
            until([&] { return of<StageComputed>(handle).size() > before || !of<StageFailed>(handle).empty(); });
        return came && of<StageFailed>(handle).empty() ? of<StageComputed>(handle).back()->tensor : Bytes();
    }
    const StageFailed* failure_of(std::uint64_t handle) {
        return until([&] { return !of<StageFailed>(handle).empty(); }) ? of<StageFailed>(handle)[0] : nullptr;
    }
};

class StageWorkersTest : public WithEngine {
protected:
    // As the whole model's engine names it.
    ModelId id_of(const std::string& name) {
        Rig rig(fixture(name), command);
        EXPECT_TRUE(rig.until_ready());
        return rig.engine->model() == nullptr ? ModelId() : rig.engine->model()->id;
    }
    void SetUp() override {
        WithEngine::SetUp();
        if (!IsSkipped()) model = id_of("spm");
    }
    ModelId model;
};

TEST_F(StageWorkersTest, ARangeLoadsAndComputesAsManyRowsAsCame) {
    StageRig rig(fixture("spm"), command);
    rig.open(1, model, {0, 1});
    ASSERT_TRUE(rig.until_ready(1));
    EXPECT_GT(rig.woken, 0);
    const wire::StageRows rows = rows_of(0, 5);
    const Bytes result = rig.result_of(1, rows);
    EXPECT_EQ(result.size(), rows.tensor.size());
    EXPECT_NE(result, rows.tensor);
    EXPECT_GT(rig.of<StageComputed>(1)[0]->busy, Duration::zero());
}

TEST_F(StageWorkersTest, TheSameRowsGiveTheSameBytesInEverySession) {
    StageRig rig(fixture("spm"), command);
    for (const std::uint64_t handle : {1U, 2U}) rig.open(handle, model);
    ASSERT_TRUE(rig.until_ready(1) && rig.until_ready(2));
    EXPECT_EQ(rig.workers.pids().size(), 2U) << "a process each";
    const Bytes first = rig.result_of(1, rows_of(0, 7));
    ASSERT_FALSE(first.empty());
    EXPECT_EQ(first, rig.result_of(2, rows_of(0, 7)));
    EXPECT_EQ(rig.result_of(1, rows_of(7, 1)), rig.result_of(2, rows_of(7, 1)));
}

// Handles 1 and 2 are two ranks; what the one gives for the next rank is the other's.
void open_ranks(StageRig& rig, const ModelId& model) {
    for (std::uint8_t rank = 0; rank < 2; ++rank) {
        engine::StageShape shape{model, {0, 2}, type, width, 128, 2};
        shape.group = engine::StageGroup{{}, 1, rank, {NodeId(), NodeId()}};
        rig.workers.open(rig.loop.now(), StageHandle(rank + 1U), shape);
    }
}
bool results_of_ranks(StageRig& rig, const wire::StageRows& rows, std::size_t& bytes) {
    const std::size_t wanted = rig.of<StageComputed>(1).size() + 1;
    for (const std::uint64_t handle : {1U, 2U}) rig.compute(handle, rows);
    return rig.until([&] {
        while (auto part = rig.workers.poll_part()) {
            if (part->handle == StageHandle(1)) bytes += part->part.data.size();
            rig.workers.reduce(rig.loop.now(), StageHandle(3U - part->handle.value()), std::move(part->part));
        }
        return rig.of<StageComputed>(1).size() == wanted && rig.of<StageComputed>(2).size() == wanted;
    });
}

TEST_F(StageWorkersTest, TwoRanksGiveTheSameBytesAndNearlyThoseOfOneStage) {
    StageRig rig(fixture("spm"), command);
    open_ranks(rig, model);
    rig.open(3, model);
    ASSERT_TRUE(rig.until_ready(1) && rig.until_ready(2) && rig.until_ready(3));
    std::size_t bytes = 0, rows = 0;
    for (const wire::StageRows& asked : {rows_of(0, 5), rows_of(5, 1), rows_of(6, 3)}) {
        rows += asked.parts[0].rows;
        ASSERT_TRUE(results_of_ranks(rig, asked, bytes));
        const Bytes one = rig.of<StageComputed>(1).back()->tensor;
        EXPECT_EQ(one, rig.of<StageComputed>(2).back()->tensor);
        const Bytes whole = rig.result_of(3, asked);
        ASSERT_EQ(whole.size(), one.size());
        for (std::size_t i = 0; i < one.size(); i += sizeof(float)) {
            float a = 0, b = 0;
            std::memcpy(&a, one.data() + i, sizeof a);
            std::memcpy(&b, whole.data() + i, sizeof b);
            ASSERT_NEAR(a, b, 0.05) << i;
        }
    }
    // Two sums for each of two layers, of which a rank sends 2 (N - 1) / N.
    EXPECT_EQ(bytes, 2 * 2 * rows * width * sizeof(float));
}

TEST_F(StageWorkersTest, APartThatDoesNotFitEndsItsRank) {
    for (const wire::ReducePart& part :
         {wire::ReducePart{2, 0, Bytes(width * 2)}, wire::ReducePart{1, 1, Bytes(width * 2)},
          wire::ReducePart{1, 0, Bytes(width * 2 - 4)}}) {
        StageRig rig(fixture("spm"), command);
        open_ranks(rig, model);
        ASSERT_TRUE(rig.until_ready(1));
        rig.compute(1, rows_of(0, 1));
        rig.workers.reduce(rig.loop.now(), StageHandle(1), part);
        const StageFailed* failed = rig.failure_of(1);
        ASSERT_NE(failed, nullptr);
        EXPECT_EQ(failed->code, StageFaultCode::protocol) << failed->text;
        EXPECT_NE(failed->text.find("a part of a reduction"), std::string::npos) << failed->text;
    }
}

TEST_F(StageWorkersTest, TwoRangesInARowGiveWhatOneDoes) {
    StageRig rig(fixture("spm"), command);
    rig.open(1, model, {0, 2});
    rig.open(2, model, {0, 1});
    rig.open(3, model, {1, 2});
    ASSERT_TRUE(rig.until_ready(1) && rig.until_ready(2) && rig.until_ready(3));
    wire::StageRows rows = rows_of(0, 4);
    const Bytes whole = rig.result_of(1, rows);
    rows.tensor = rig.result_of(2, rows);
    ASSERT_FALSE(rows.tensor.empty());
    EXPECT_EQ(rig.result_of(3, rows), whole);
}

TEST_F(StageWorkersTest, WhatIsAskedBeforeTheLayersAreLoadedWaits) {
    StageRig rig(fixture("spm"), command);
    rig.open(1, model);
    rig.compute(1, rows_of(0, 3));
    rig.workers.truncate(rig.loop.now(), StageHandle(1), 0, 2);
    rig.compute(1, rows_of(2, 1));
    ASSERT_TRUE(rig.until([&] { return rig.of<StageComputed>(1).size() == 2 || !rig.of<StageFailed>(1).empty(); }));
    ASSERT_TRUE(rig.of<StageFailed>(1).empty()) << rig.of<StageFailed>(1)[0]->text;
    EXPECT_TRUE(std::holds_alternative<StageReady>(rig.events[0]));
}

TEST_F(StageWorkersTest, AfterATruncationTheSameRowsGiveTheSameBytes) {
    StageRig rig(fixture("spm"), command);
    rig.open(1, model);
    ASSERT_TRUE(rig.until_ready(1));
    ASSERT_FALSE(rig.result_of(1, rows_of(0, 4)).empty());
    ASSERT_FALSE(rig.result_of(1, rows_of(0, 2, 1)).empty());  // of another sequence, which stays
    const Bytes first = rig.result_of(1, rows_of(4, 3));
    ASSERT_FALSE(first.empty());
    rig.workers.truncate(rig.loop.now(), StageHandle(1), 0, 4);
    EXPECT_EQ(rig.result_of(1, rows_of(4, 3)), first);
    EXPECT_FALSE(rig.result_of(1, rows_of(2, 1, 1)).empty());
}

TEST_F(StageWorkersTest, ResultsComeInTheOrderOfAsking) {
    StageRig rig(fixture("spm"), command);
    for (const std::uint64_t handle : {1U, 2U}) rig.open(handle, model);
    ASSERT_TRUE(rig.until_ready(1) && rig.until_ready(2));
    std::vector<Bytes> one_by_one;
    for (std::uint32_t i = 0; i < 20; ++i) one_by_one.push_back(rig.result_of(1, rows_of(i, 1)));
    for (std::uint32_t i = 0; i < 20; ++i) rig.compute(2, rows_of(i, 1));
    ASSERT_TRUE(rig.until([&] { return rig.of<StageComputed>(2).size() == 20; }));
    for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(rig.of<StageComputed>(2)[i]->tensor, one_by_one[i]) << i;
}

TEST_F(StageWorkersTest, AKilledWorkerFailsItsSessionAndNoOther) {
    StageRig rig(fixture("spm"), command);
    rig.open(1, model);
    ASSERT_EQ(rig.workers.pids().size(), 1U);
    const int pid = rig.workers.pids()[0];
    rig.open(2, model);
    ASSERT_TRUE(rig.until_ready(1) && rig.until_ready(2));
    const Bytes before = rig.result_of(2, rows_of(0, 3));
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    const StageFailed* failed = rig.failure_of(1);
    ASSERT_NE(failed, nullptr);
    EXPECT_EQ(failed->code, StageFaultCode::engine);
    EXPECT_NE(failed->text.find("killed by signal 9"), std::string::npos) << failed->text;
    rig.compute(1, rows_of(0, 3));  // nobody is there
    rig.workers.truncate(rig.loop.now(), StageHandle(2), 0, 0);
    EXPECT_EQ(rig.result_of(2, rows_of(0, 3)), before);
    EXPECT_TRUE(rig.of<StageFailed>(2).empty());
    EXPECT_EQ(rig.of<StageFailed>(1).size(), 1U);
    EXPECT_EQ(rig.workers.pids().size(), 1U) << "it is not started again";
}

TEST_F(StageWorkersTest, AnotherModelIsRefused) {
    StageRig rig(fixture("spm"), command);
    rig.open(1, ModelId(ByteArray<32>{1}));
    const StageFailed* failed = rig.failure_of(1);
    ASSERT_NE(failed, nullptr);
    EXPECT_EQ(failed->code, StageFaultCode::refused);
    EXPECT_NE(failed->text.find("another model"), std::string::npos) << failed->text;
    EXPECT_TRUE(rig.of<StageReady>(1).empty());
}

TEST_F(StageWorkersTest, AWrongWidthIsRefusedWithTheReason) {
    StageRig rig(fixture("spm"), command);
    rig.open(1, model, {0, 2}, 2 * width);
    const StageFailed* failed = rig.failure_of(1);
    ASSERT_NE(failed, nullptr);
    EXPECT_EQ(failed->code, StageFaultCode::refused);
    EXPECT_NE(failed->text.find("width is 64, not 128"), std::string::npos) << failed->text;
}

TEST_F(StageWorkersTest, ARangeBeyondTheModelIsRefusedWithTheReason) {
    StageRig rig(fixture("spm"), command);
    rig.open(1, model, {1, 3});
    const StageFailed* failed = rig.failure_of(1);
    ASSERT_NE(failed, nullptr);
    EXPECT_EQ(failed->code, StageFaultCode::refused);
    EXPECT_NE(failed->text.find("it has the blocks 0 to 2"), std::string::npos) << failed->text;
}

TEST_F(StageWorkersTest, NumbersThatAreNoneEndTheSession) {
    StageRig rig(fixture("spm"), command);
    rig.open(1, model);
    ASSERT_TRUE(rig.until_ready(1));
    wire::StageRows rows = rows_of(0, 2);
    const float none = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(rows.tensor.data() + 100 * sizeof none, &none, sizeof none);
    rig.compute(1, rows);
    const StageFailed* failed = rig.failure_of(1);
    ASSERT_NE(failed, nullptr);
    EXPECT_EQ(failed->code, StageFaultCode::not_finite) << failed->text;
    EXPECT_TRUE(rig.of<StageComputed>(1).empty());
}

TEST_F(StageWorkersTest, RowsThatDoNotFollowOnEndTheSession) {
    StageRig rig(fixture("spm"), command);
    rig.open(1, model);
    ASSERT_TRUE(rig.until_ready(1));
    ASSERT_FALSE(rig.result_of(1, rows_of(0, 4)).empty());
    rig.compute(1, rows_of(6, 1));
    const StageFailed* failed = rig.failure_of(1);
    ASSERT_NE(failed, nullptr);
    EXPECT_EQ(failed->code, StageFaultCode::protocol) << failed->text;
    EXPECT_NE(failed->text.find("do not follow"), std::string::npos) << failed->text;
}

TEST_F(StageWorkersTest, NothingIsHeardOfAClosedSession) {
    StageRig rig(fixture("spm"), command);
    for (const std::uint64_t handle : {1U, 2U}) rig.open(handle, model);
    ASSERT_TRUE(rig.until_ready(1) && rig.until_ready(2));
    // One of them has failed, which nobody has polled.
    const int pid = rig.workers.pids()[0];
    const int woken = rig.woken;
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    ASSERT_TRUE(rig.loop.run_until([&] { return rig.woken > woken; }, patience));
    rig.workers.close(rig.loop.now(), StageHandle(1));
    EXPECT_FALSE(rig.workers.poll().has_value());
    // The other one is computing.
    const int computing = rig.workers.pids()[0];
    rig.compute(2, rows_of(0, 100));
    rig.workers.close(rig.loop.now(), StageHandle(2));
    rig.open(3, model);
    ASSERT_TRUE(rig.until_ready(3));
    ASSERT_FALSE(rig.result_of(3, rows_of(0, 3)).empty());
    EXPECT_TRUE(rig.of<StageFailed>(1).empty() && rig.of<StageFailed>(2).empty());
    EXPECT_TRUE(rig.of<StageComputed>(2).empty());
    ASSERT_EQ(rig.workers.pids().size(), 1U);
    EXPECT_NE(rig.workers.pids()[0], computing);
}

TEST(StageWorkers, AMissingModelFailsAndIsNamed) {
    StageRig rig("/nonexistent/model.gguf", shell("exit 0"));
    rig.open(1, ModelId(ByteArray<32>{1}));
    const StageFailed* failed = rig.failure_of(1);
    ASSERT_NE(failed, nullptr);
    EXPECT_EQ(failed->code, StageFaultCode::engine);
    EXPECT_NE(failed->text.find("/nonexistent/model.gguf"), std::string::npos) << failed->text;
}

TEST(StageWorkers, AProgramThatIsNoEngineFails) {
    for (const auto& [script, reason] : std::vector<std::pair<std::string, std::string>>{
             {"printf '\\377\\377\\377\\377' >&3; exec cat <&3 >/dev/null", "malformed"},
             {"printf '\\001\\0\\0\\0\\143' >&3; exec cat <&3 >/dev/null", "malformed"},
             {"exit 7", "exit code 7"}}) {
        StageRig rig("/dev/null", shell(script));
        rig.open(1, ModelId(ByteArray<32>{1}));
        const StageFailed* failed = rig.failure_of(1);
        ASSERT_NE(failed, nullptr) << script;
        EXPECT_EQ(failed->code, StageFaultCode::engine);
        EXPECT_NE(failed->text.find(reason), std::string::npos) << failed->text;
        EXPECT_TRUE(rig.until([&] { return rig.workers.pids().empty(); })) << "it is ended";
    }
}

TEST(StageWorkers, AWorkerThatSpeaksOutOfOrderFails) {
    namespace pipe = engine::stage_pipe;
    const ModelId model(ByteArray<32>{1});
    const Bytes loaded = pipe::encode(pipe::FromStage(pipe::Loaded{model}));
    const Bytes computed = pipe::encode(pipe::FromStage(pipe::Computed{1, Bytes(width * sizeof(float))}));
    const Bytes working = pipe::encode(pipe::FromStage(engine::pipe::Working{}));
    const auto both = [](Bytes a, const Bytes& b) {
        append(a, b);
        return a;
    };
    // Loaded twice; a result that nobody asked for; that it computes before it has loaded.
    // A part of a sum that nobody asked for.
    const Bytes part = pipe::encode(pipe::FromStage(wire::ReducePart{1, 0, Bytes(4)}));
    // Layers on a GPU that nobody gave it.
    const Bytes placed = pipe::encode(pipe::FromStage(engine::pipe::Placed{1, 2}));
    for (const Bytes& said : {both(loaded, loaded), both(loaded, computed), working, both(loaded, part), placed}) {
        StageRig rig("/dev/null", shell("printf '" + octal_of(said) + "' >&3; exec cat <&3 >/dev/null"));
        rig.open(1, model);
        const StageFailed* failed = rig.failure_of(1);
        ASSERT_NE(failed, nullptr);
        EXPECT_NE(failed->text.find("out of order"), std::string::npos) << failed->text;
    }
}

// A worker cannot go on with a sum before it has been answered; one that does is broken.
TEST(StageWorkers, AWorkerThatSendsPartsWithoutAnAnswerFails) {
    namespace pipe = engine::stage_pipe;
    const ModelId model(ByteArray<32>{1});
    const Bytes loaded = pipe::encode(pipe::FromStage(pipe::Loaded{model}));
    Bytes parts;
    for (std::uint8_t step = 0; step < 2; ++step) {
        append(parts, pipe::encode(pipe::FromStage(wire::ReducePart{1, step, Bytes(4)})));
    }
    StageRig rig("/dev/null", shell("printf '" + octal_of(loaded) + "' >&3; head -c 24 <&3 >/dev/null; printf '" +
                                    octal_of(parts) + "' >&3; exec cat <&3 >/dev/null"));
    rig.open(1, model);
    ASSERT_TRUE(rig.until_ready(1));
    rig.compute(1, rows_of(0, 1));
    const StageFailed* failed = rig.failure_of(1);
    ASSERT_NE(failed, nullptr);
    EXPECT_NE(failed->text.find("out of order"), std::string::npos) << failed->text;
}

TEST(StageWorkers, AResultOfAnotherSizeFails) {
    namespace pipe = engine::stage_pipe;
    const ModelId model(ByteArray<32>{1});
    const Bytes loaded = pipe::encode(pipe::FromStage(pipe::Loaded{model}));
    const Bytes computed = pipe::encode(pipe::FromStage(pipe::Computed{1, Bytes(width * sizeof(float))}));
    // The load has 23 bytes; whatever comes behind it is the rows.
    StageRig rig("/dev/null", shell("printf '" + octal_of(loaded) + "' >&3; head -c 24 <&3 >/dev/null; printf '" +
                                    octal_of(computed) + "' >&3; exec cat <&3 >/dev/null"));
    rig.open(1, model);
    ASSERT_TRUE(rig.until_ready(1));
    rig.compute(1, rows_of(0, 2));
    const StageFailed* failed = rig.failure_of(1);
    ASSERT_NE(failed, nullptr);
    EXPECT_EQ(failed->code, StageFaultCode::engine);
    EXPECT_NE(failed->text.find("another shape"), std::string::npos) << failed->text;
    EXPECT_TRUE(rig.of<StageComputed>(1).empty());
}

// Bytes that stand for what is none, wherever they are among the rows.
TEST(StageWorkers, AResultThatIsNoNumbersFailsHereAndNotAtTheNextHop) {
    namespace pipe = engine::stage_pipe;
    const ModelId model(ByteArray<32>{1});
    const Bytes loaded = pipe::encode(pipe::FromStage(pipe::Loaded{model}));
    struct Case {
        wire::ActivationType as;
        std::size_t at;
        Bytes none;
    };
    for (const Case& each :
         {Case{wire::ActivationType::f32, width * 4 - 4, {0, 0, 0x80, 0x7f}},
          Case{wire::ActivationType::f32, 0, {1, 0, 0xc0, 0xff}}, Case{wire::ActivationType::f16, 6, {0, 0x7c}},
          Case{wire::ActivationType::f16, width * 2 - 2, {1, 0xfe}}, Case{wire::ActivationType::q8_0, 34, {0, 0xfc}}}) {
        Bytes tensor(wire::activation_row_bytes(each.as, width));
        const wire::StageRows rows{{{0, 0, 1}}, tensor};
        std::copy(each.none.begin(), each.none.end(), tensor.begin() + static_cast<std::ptrdiff_t>(each.at));
        const Bytes computed = pipe::encode(pipe::FromStage(pipe::Computed{1, tensor}));
        StageRig rig("/dev/null", shell("printf '" + octal_of(loaded) + "' >&3; head -c 24 <&3 >/dev/null; printf '" +
                                        octal_of(computed) + "' >&3; exec cat <&3 >/dev/null"));
        rig.workers.open(rig.loop.now(), StageHandle(1), {model, {0, 2}, each.as, width, 128, 2});
        ASSERT_TRUE(rig.until_ready(1));
        rig.compute(1, rows);
        const StageFailed* failed = rig.failure_of(1);
        ASSERT_NE(failed, nullptr);
        EXPECT_EQ(failed->code, StageFaultCode::not_finite);
        EXPECT_NE(failed->text.find("numbers that are none"), std::string::npos) << failed->text;
        EXPECT_TRUE(rig.of<StageComputed>(1).empty());
    }
}

// Before it was measured nobody knows how long a call may take.
TEST(StageWorkers, AWorkerThatHangsIsFoundByWhatItsCallsTook) {
    namespace pipe = engine::stage_pipe;
    const ModelId model(ByteArray<32>{1});
    const Bytes loaded = pipe::encode(pipe::FromStage(pipe::Loaded{model}));
    const Bytes computed = pipe::encode(pipe::FromStage(pipe::Computed{1000, Bytes(width * sizeof(float))}));
    StageRig rig("/dev/null",
                 shell("printf '" + octal_of(loaded) + "' >&3; head -c 24 <&3 >/dev/null; printf '" +
                       octal_of(computed) + "' >&3; exec sleep 1000"),
                 200ms);
    rig.open(1, model);
    ASSERT_TRUE(rig.until_ready(1));
    ASSERT_FALSE(rig.result_of(1, rows_of(0, 1)).empty());
    rig.compute(1, rows_of(1, 1));
    const StageFailed* failed = rig.failure_of(1);
    ASSERT_NE(failed, nullptr);
    EXPECT_NE(failed->text.find("hangs"), std::string::npos) << failed->text;
}

TEST(StageWorkers, AWorkerThatSaysThatItComputesIsLeftAlone) {
    namespace pipe = engine::stage_pipe;
    const ModelId model(ByteArray<32>{1});
    const Bytes loaded = pipe::encode(pipe::FromStage(pipe::Loaded{model}));
    const Bytes working = pipe::encode(pipe::FromStage(engine::pipe::Working{}));
    const std::string computed =
        "printf '" + octal_of(pipe::encode(pipe::FromStage(pipe::Computed{1000, Bytes(width * sizeof(float))}))) +
        "' >&3; ";
    // Many times as long as it might be silent.
    StageRig rig("/dev/null",
                 shell("printf '" + octal_of(loaded) + "' >&3; head -c 24 <&3 >/dev/null; " + computed +
                       "i=0; while [ $i -lt 60 ]; do printf '" + octal_of(working) +
                       "' >&3; sleep 0.05; i=$((i+1)); done; " + computed + "exec cat <&3 >/dev/null"),
                 1s);
    rig.open(1, model);
    ASSERT_TRUE(rig.until_ready(1));
    ASSERT_FALSE(rig.result_of(1, rows_of(0, 1)).empty());
    EXPECT_FALSE(rig.result_of(1, rows_of(1, 1)).empty());
}

}  // namespace
}  // namespace shoal::backend
