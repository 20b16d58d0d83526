#include "backend/gpu.h"

#include <gtest/gtest.h>

#include "backend/test_engine.h"

namespace shoal::backend {
namespace {

TEST(GpuChoice, IsOffAutoOrANumber) {
    EXPECT_EQ(parse_gpu("off").value(), std::nullopt);
    EXPECT_EQ(parse_gpu("auto").value(), GpuChoice{});
    EXPECT_EQ(parse_gpu("12").value()->layers, std::uint16_t{12});
    EXPECT_EQ(parse_gpu("512").value()->layers, std::uint16_t{512});
    for (const char* bad : {"", "0", "513", "-1", "8 ", "on", "1.5", "99999999999"}) {
        const auto choice = parse_gpu(bad);
        ASSERT_FALSE(choice) << bad;
        EXPECT_EQ(choice.error().code, Errc::invalid);
    }
}

TEST(GpuChoice, ReadsWhatTheEngineFound) {
    const std::vector<std::string> lines = {"device\tVulkan0\tdiscrete GPU\t1000\t2000\tBig Card",
                                            "device\t\tsoftware renderer\t0\t0\tllvmpipe", "chosen\tVulkan0"};
    const auto found = parse_found_gpus(lines);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->chosen, "Vulkan0");
    ASSERT_EQ(found->devices.size(), 2U);
    EXPECT_EQ(found->devices[0].free_bytes, 1000U);
    EXPECT_EQ(found->devices[0].total_bytes, 2000U);
    EXPECT_EQ(found->devices[0].kind, "discrete GPU");
    EXPECT_EQ(found->devices[1].description, "llvmpipe");
}

// Drivers run in the engine that says it.
TEST(GpuChoice, BelievesNoNonsense) {
    const std::string good = "device\tVulkan0\tdiscrete GPU\t1000\t2000\tCard";
    for (const std::vector<std::string>& lines : std::vector<std::vector<std::string>>{
             {},
             {good},
             {"chosen\tVulkan0"},
             {good, "chosen\tVulkan1"},
             {good, "chosen\t"},
             {"device\tVulkan0\tdiscrete GPU\tmany\t2000\tCard", "chosen\tVulkan0"}}) {
        EXPECT_FALSE(parse_found_gpus(lines));
    }
    const auto escaped = parse_found_gpus({"device\tVulkan0\tdiscrete GPU\t1\t2\tCard\x1b[2J", "chosen\tVulkan0"});
    ASSERT_TRUE(escaped);
    EXPECT_EQ(escaped->devices[0].description.find('\x1b'), std::string::npos);
}

EngineCommand shell(const std::string& script) {
    return {{"/bin/sh", "-c", script}};
}

TEST(GpuSearch, HandsOnTheEnginesOwnReason) {
    const auto found = find_gpus(shell("echo 'looked for a GPU, but found none' >&2; exit 1"), "");
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Errc::not_found);
    EXPECT_EQ(found.error().message, "looked for a GPU, but found none");
}

TEST(GpuSearch, SaysThatADriverCrashed) {
    const auto found = find_gpus(shell("kill -SEGV $$"), "");
    ASSERT_FALSE(found);
    EXPECT_NE(found.error().message.find("killed by signal 11"), std::string::npos) << found.error().message;
    EXPECT_NE(found.error().message.find("leave --gpu out"), std::string::npos);
}

TEST(GpuSearch, TakesNoMoreLinesThanItHolds) {
    const auto found = find_gpus(shell("i=0; while [ $i -lt 2000 ]; do echo 'device\tV\tk\t1\t2\td'; i=$((i+1)); done; "
                                       "echo 'chosen\tV'"),
                                 "");
    EXPECT_FALSE(found);
}

// An engine that nobody gave a GPU, and that says it computes with one, is broken.
TEST(WorkerWithGpu, OnlyWhoWasAskedMayUseOne) {
    // printf of the frame: placed, 2 of 4.
    const EngineCommand liar = shell("printf '\\005\\000\\000\\000\\040\\002\\000\\004\\000' >&3; sleep 60");
    {
        Rig rig(small_engine(fixture("spm"), liar));
        rig.loop.run_until([&] { return rig.engine->health() == engine::Health::down; }, patience);
        EXPECT_NE(rig.engine->down_reason().find("out of order"), std::string::npos) << rig.engine->down_reason();
    }
    WorkerOptions options = small_engine(fixture("spm"), liar);
    options.gpu = GpuChoice{std::uint16_t{2}, "Vulkan0"};
    Rig rig(options);
    rig.loop.run_until([&] { return rig.engine->placed() != nullptr; }, patience);
    ASSERT_NE(rig.engine->placed(), nullptr);
    EXPECT_EQ(rig.engine->placed()->layers, 2);
    EXPECT_EQ(rig.engine->placed()->all, 4);
}

TEST(WorkerWithGpu, ADriverThatTheSandboxEndsIsNotTriedAgain) {
    WorkerOptions options = small_engine(fixture("spm"), shell("kill -SYS $$"));
    options.gpu = GpuChoice{std::nullopt, "Vulkan0"};
    Rig rig(options);
    rig.loop.run_until([&] { return rig.engine->health() == engine::Health::dead; }, patience);
    EXPECT_EQ(rig.engine->health(), engine::Health::dead);
    EXPECT_NE(rig.engine->down_reason().find("sandbox of the engine forbids"), std::string::npos);
}

// The real engine refuses by itself as well: here there is no GPU, or it has no layers for it.
TEST(WorkerWithGpu, TheEngineRefusesADeviceThatIsNotThere) {
    auto command = find_engine(own_folder());
    ASSERT_TRUE(command);
    WorkerOptions options = small_engine(fixture("spm"), *command);
    options.gpu = GpuChoice{std::nullopt, "Vulkan77"};
    Rig rig(options);
    rig.loop.run_until([&] { return rig.engine->health() == engine::Health::dead; }, patience);
    EXPECT_EQ(rig.engine->health(), engine::Health::dead);
    EXPECT_NE(rig.engine->down_reason().find("looked for a GPU, but"), std::string::npos) << rig.engine->down_reason();
}

}  // namespace
}  // namespace shoal::backend
