#include "engine_worker/devices.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <functional>

#include "engine_worker/sandbox.h"
#include "engine_worker/test_chain.h"

namespace shoal::engine_worker {
namespace {

// Handles are never followed by what chooses.
ggml_backend_dev_t handle(std::uintptr_t number) {
    return reinterpret_cast<ggml_backend_dev_t>(number);
}
const Device small{handle(1), "Vulkan0", "Small 4", DeviceKind::integrated, 4ULL << 30, 4ULL << 30};
const Device large{handle(2), "Vulkan1", "Large 24", DeviceKind::discrete, 20ULL << 30, 24ULL << 30};
const Device software{handle(3), "Vulkan2", "llvmpipe", DeviceKind::software, 64ULL << 30, 64ULL << 30};
const Device unused{nullptr, "", "llvmpipe (LLVM 15.0.6, 256 bits)", DeviceKind::software, 0, 0};
const Device old{nullptr, "", "Old 1", DeviceKind::discrete, 0, 0};

std::string refusal(const DeviceSearch& search, const std::string& name = "") {
    const auto chosen = choose_gpu(search, name);
    EXPECT_FALSE(chosen);
    if (chosen) return "";
    EXPECT_EQ(chosen.error().code, Errc::unsupported);
    EXPECT_NE(chosen.error().message.find("leave --gpu out"), std::string::npos);
    return chosen.error().message;
}
bool says(const std::string& text, const std::string& words) {
    return text.find(words) != std::string::npos;
}

TEST(Devices, TheGpuWithTheMostFreeMemoryUnlessOneIsNamed) {
    EXPECT_EQ(choose_gpu({{small, large, software}, ""}, "")->name, "Vulkan1");
    EXPECT_EQ(choose_gpu({{large, small}, ""}, "")->name, "Vulkan1");
    EXPECT_EQ(choose_gpu({{small, large}, ""}, "Vulkan0")->name, "Vulkan0");
    EXPECT_EQ(choose_gpu({{old, small}, ""}, "")->name, "Vulkan0");
}

TEST(Devices, SoftwareIsNoGpuByItselfNorByItsName) {
    EXPECT_TRUE(says(refusal({{software}, ""}), "found only Vulkan2 (llvmpipe), a software renderer, which is no GPU"));
    EXPECT_TRUE(says(refusal({{software}, ""}, "Vulkan2"), "which is no GPU"));
    EXPECT_TRUE(says(refusal({{unused}, ""}), "found only llvmpipe (LLVM 15.0.6, 256 bits), a software renderer"));
    EXPECT_TRUE(says(refusal({{small, software}, ""}, "Vulkan2"), "none is called Vulkan2: choose one of Vulkan0"));
    EXPECT_EQ(choose_gpu({{software}, ""}, "", Software::taken)->name, "Vulkan2");
}

TEST(Devices, SaysHowFarItCame) {
    EXPECT_TRUE(says(refusal({{}, "no Vulkan driver is installed"}), "looked for a GPU, but no Vulkan driver"));
    EXPECT_TRUE(says(refusal({{old, unused}, ""}), "the Vulkan back end does not use Old 1"));
    EXPECT_TRUE(says(refusal({{small, large}, ""}, "Vulkan9"),
                     "none is called Vulkan9: choose one of Vulkan0 (Small 4), Vulkan1 (Large 24)"));
}

TEST(Devices, AFolderWithoutTheBackEndIsNamedAndNoDriverLoaded) {
    const DeviceSearch search = find_devices("/nonexistent");
    EXPECT_TRUE(search.devices.empty());
    EXPECT_TRUE(says(search.missing, "libggml-vulkan.so) is not installed"));
}

bool is_mapped(const std::string& name) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (says(line, name)) return true;
    }
    return false;
}

// Who computes with the processor runs no code of a driver, although the back end lies in the same folder.
TEST(Devices, TheProcessorsBackEndIsLoadedAlone) {
    load_library();
    EXPECT_TRUE(is_mapped("libggml-cpu"));
    for (const char* other : {"libvulkan", "libggml-vulkan", "libggml-rpc"}) EXPECT_FALSE(is_mapped(other)) << other;
    for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        EXPECT_EQ(ggml_backend_dev_type(ggml_backend_dev_get(i)), GGML_BACKEND_DEVICE_TYPE_CPU);
    }
}

// ---- the walls with a door ------------------------------------------------------------------------------------------

// Behind the walls, in a child: its exit code, or minus the signal that ended it.
int behind(const Walls& walls, const std::function<void()>& attempt) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        if (!enter_sandbox(walls)) _exit(2);
        attempt();
        _exit(0);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// /dev/null in the place of a device: what its driver would answer does not matter here.
class GpuWalls : public testing::Test {
protected:
    void SetUp() override {
        node_ = open("/dev/null", O_RDWR | O_CLOEXEC);
        other_ = open("/dev/null", O_RDWR | O_CLOEXEC);
        ASSERT_TRUE(node_ >= 0 && other_ >= 0);
    }
    void TearDown() override {
        close(node_);
        close(other_);
    }
    Walls walls() const { return {{{node_, 'd'}}}; }
    static constexpr unsigned long drm_request = _IOWR('d', 0x41, std::uint64_t);
    int node_ = -1;
    int other_ = -1;
};

TEST_F(GpuWalls, LetTheDriversRequestsThroughOnItsNode) {
    EXPECT_EQ(behind(walls(), [this] { (void)ioctl(node_, drm_request, nullptr); }), 0);
    EXPECT_EQ(behind(walls(), [] { (void)prctl(PR_SET_NAME, "driver"); }), 0);
    EXPECT_EQ(behind(walls(), [] { usleep(1); }), 0);
}

TEST_F(GpuWalls, NoOtherRequestAndNoOtherDescriptor) {
    EXPECT_EQ(behind(walls(), [this] { (void)ioctl(node_, FIONREAD, nullptr); }), -SIGSYS);
    EXPECT_EQ(behind(walls(), [this] { (void)ioctl(node_, _IOWR('F', 0x41, std::uint64_t), nullptr); }), -SIGSYS);
    EXPECT_EQ(behind(walls(), [this] { (void)ioctl(other_, drm_request, nullptr); }), -SIGSYS);
    EXPECT_EQ(behind(walls(), [] { (void)ioctl(0, drm_request, nullptr); }), -SIGSYS);
}

TEST_F(GpuWalls, EverythingElseStaysForbidden) {
    for (const char* const* name = forbidden_names(); *name != nullptr; ++name) {
        if (std::string_view(*name).starts_with("open-")) continue;
        EXPECT_EQ(behind(walls(), [name] { (void)try_forbidden(*name); }), -SIGSYS) << *name;
    }
    EXPECT_EQ(behind(walls(), [] { (void)syscall(SYS_dup, 0); }), -SIGSYS);
}

// A driver looks for settings and would not survive the end of its process.
TEST_F(GpuWalls, OpeningFailsAndNothingIsOpened) {
    for (const int flags : {O_RDONLY, O_WRONLY, O_RDWR}) {
        const auto attempt = [flags] { _exit(open("/dev/null", flags | O_CLOEXEC) == -1 && errno == EACCES ? 7 : 8); };
        EXPECT_EQ(behind(walls(), attempt), 7);
        EXPECT_EQ(behind({}, attempt), -SIGSYS);
    }
}

// The door is there for a GPU alone.
TEST_F(GpuWalls, WithoutAGpuThereIsNone) {
    EXPECT_EQ(behind({}, [this] { (void)ioctl(node_, drm_request, nullptr); }), -SIGSYS);
    EXPECT_EQ(behind({}, [] { (void)prctl(PR_SET_NAME, "driver"); }), -SIGSYS);
    EXPECT_EQ(behind({}, [] { usleep(1); }), -SIGSYS);
}

TEST_F(GpuWalls, AreForNodesOfGraphicsDrivers) {
    const auto nodes = open_device_nodes();
    ASSERT_FALSE(nodes);  // /dev/null is none
    EXPECT_EQ(nodes.error().code, Errc::unsupported);
}

}  // namespace
}  // namespace shoal::engine_worker
