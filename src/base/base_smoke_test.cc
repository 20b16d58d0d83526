#include <gtest/gtest.h>
#include "base/bounded.h"
#include "base/chat.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/pacer.h"
#include "base/result.h"
#include "wire/cell.h"
#include "wire/relay.h"
#include "wire/record.h"
#include "wire/request.h"
#include "wire/chat.h"
#include "wire/snapshot.h"
namespace shoal {
Result<int> half(int v) { if (v % 2) return fail(Errc::invalid, "odd"); return v / 2; }
Result<std::string> quarter(int v) { const int h = TRY(half(v)); return std::to_string(TRY(half(h))); }
TEST(Result, TryGivesTheValueOrReturnsTheError) { EXPECT_EQ(*quarter(8), "2"); EXPECT_FALSE(quarter(6)); }
}
