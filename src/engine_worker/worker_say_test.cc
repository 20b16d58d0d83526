#include "engine_worker/worker_say.h"

#include <gtest/gtest.h>

namespace shoal::engine_worker {

// A large tensor on a slow disk: the share hardly moves, and the node must hear that it is no hang.
TEST(LoadingShare, IsSaidAtEachHundredthAndWhereThatTakesLong) {
    std::vector<float> said;
    LoadingShare share([&said](const engine::Loading& loading) { said.push_back(loading.share); });
    share(0);
    share(0.005);
    share(0.02);
    EXPECT_EQ(said, (std::vector<float>{0, 0.02F}));
    share(0.01);
    EXPECT_EQ(said.size(), 2U) << "it never goes back";
    const auto before = std::chrono::steady_clock::now();
    while (said.size() == 2) share(0.02);
    EXPECT_GE(std::chrono::steady_clock::now() - before, limits::engine_working_interval / 2);
    EXPECT_EQ(said.back(), 0.02F);
}

}  // namespace shoal::engine_worker
