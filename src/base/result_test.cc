#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>

namespace shoal {
namespace {

Result<int> half(int v) {
    if (v % 2 != 0) return fail(Errc::invalid, "odd");
    return v / 2;
}
Result<std::string> quarter(int v) {
    const int h = TRY(half(v));
    return std::to_string(TRY(half(h)));
}
Status both_even(int a, int b) {
    TRY(half(a));
    TRY(half(b));
    return ok();
}

TEST(Result, TryGivesTheValue) {
    EXPECT_EQ(*quarter(8), "2");
}

TEST(Result, TryReturnsTheErrorWithItsCodeAndMessage) {
    const auto outcome = quarter(6);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, Errc::invalid);
    EXPECT_EQ(outcome.error().message, "odd");
}

TEST(Result, AStatusStopsAtTheFirstFailure) {
    EXPECT_TRUE(both_even(2, 4));
    EXPECT_FALSE(both_even(3, 4));
    EXPECT_FALSE(both_even(2, 5));
}

TEST(Result, CarriesWhatCanOnlyBeMoved) {
    const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(7); };
    const auto use = [&]() -> Result<int> {
        const std::unique_ptr<int> p = TRY(make());
        return *p;
    };
    EXPECT_EQ(*use(), 7);
}

TEST(Result, AskingForWhatIsNotThereStopsTheProcess) {
    const Result<int> bad = fail(Errc::io, "disk");
    const Result<int> good = 1;
    EXPECT_DEATH((void)bad.value(), "internal error");
    EXPECT_DEATH((void)good.error(), "internal error");
}

TEST(Result, EveryCodeHasANameOfItsOwn) {
    std::set<std::string> names;
    for (int code = 0; code <= static_cast<int>(Errc::internal); ++code)
        names.insert(errc_name(static_cast<Errc>(code)));
    EXPECT_EQ(names.size(), static_cast<std::size_t>(Errc::internal) + 1);
    EXPECT_FALSE(names.contains("unknown"));
}

}  // namespace
}  // namespace shoal
