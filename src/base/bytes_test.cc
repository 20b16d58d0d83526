#include "base/bytes.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "base/ids.h"
#include "base/time.h"

namespace shoal {
namespace {

RC_GTEST_PROP(Bytes, HexadecimalGoesThereAndBack, (const Bytes& bytes)) {
    const std::string text = to_hex(bytes);
    RC_ASSERT(text.size() == 2 * bytes.size());
    RC_ASSERT(from_hex(text) == bytes);
}

TEST(Bytes, HexadecimalReadsBothCasesAndRefusesTheRest) {
    EXPECT_EQ(from_hex("0aFf"), (Bytes{0x0A, 0xFF}));
    EXPECT_EQ(from_hex(""), Bytes{});
    for (const char* bad : {"0", "0g", "g0", " 0", "0x", "00 "}) EXPECT_FALSE(from_hex(bad)) << bad;
    EXPECT_FALSE(from_hex(std::string_view("0\0", 2)));
}

RC_GTEST_PROP(Bytes, LittleEndianGoesThereAndBack, (std::uint64_t v)) {
    std::uint8_t raw[8];
    store_le<std::uint64_t>(raw, v);
    RC_ASSERT(raw[0] == static_cast<std::uint8_t>(v));
    RC_ASSERT(raw[7] == static_cast<std::uint8_t>(v >> 56));
    RC_ASSERT(load_le<std::uint64_t>(raw) == v);
    RC_ASSERT(load_le<std::uint16_t>(raw) == static_cast<std::uint16_t>(v));
}

TEST(Bytes, AnIdKnowsItsZeroItsOrderAndItsShortName) {
    NodeId zero;
    ByteArray<32> raw{};
    raw[0] = 0xAB;
    raw[3] = 0x01;
    const NodeId id(raw);
    EXPECT_TRUE(zero.is_zero());
    EXPECT_FALSE(id.is_zero());
    EXPECT_LT(zero, id);
    EXPECT_EQ(id.brief(), "ab000001");
    EXPECT_EQ(id.hex().size(), 64U);
}

TEST(Time, AWireValueBeyondTheYear2200IsPinnedSoThatNanosecondsHoldIt) {
    EXPECT_EQ(unix_seconds(from_unix_seconds(1'700'000'000)), 1'700'000'000U);
    EXPECT_EQ(unix_seconds(from_unix_seconds(UINT64_MAX)), unix_seconds_max);
    // So that adding what a protocol adds cannot overflow.
    const UnixTime last = from_unix_seconds(UINT64_MAX);
    EXPECT_GT(last + Duration(24h), last);
    EXPECT_GT(Duration(last - from_unix_seconds(0)), Duration(24h));
}

}  // namespace
}  // namespace shoal
