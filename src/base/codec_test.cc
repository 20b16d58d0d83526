#include "base/codec.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace shoal {
namespace {

RC_GTEST_PROP(Codec, WhatIsWrittenIsRead,
              (std::uint8_t a, std::uint16_t b, std::uint32_t c, std::uint64_t d, float e, const Bytes& f)) {
    Writer out;
    out.u8(a);
    out.u16(b);
    out.u32(c);
    out.u64(d);
    out.f32(e);
    out.bytes_u16(f);
    out.bytes_u32(f);
    out.zeros(3);
    Reader in(out.view());
    RC_ASSERT(in.u8() == a);
    RC_ASSERT(in.u16() == b);
    RC_ASSERT(in.u32() == c);
    RC_ASSERT(in.u64() == d);
    RC_ASSERT(in.f32() == e);
    RC_ASSERT(to_bytes(in.bytes_u16(f.size())) == f);
    RC_ASSERT(to_bytes(in.bytes_u32(f.size())) == f);
    in.expect_zeros(3);
    RC_ASSERT(in.finish("test").has_value());
}

TEST(Codec, IntegersAreLittleEndianAndUnpadded) {
    Writer out;
    out.u8(1);
    out.u16(0x0302);
    out.u32(0x07060504);
    out.u64(0x0F0E0D0C0B0A0908);
    EXPECT_EQ(to_hex(out.view()), "0102030405060708090a0b0c0d0e0f");
}

TEST(Codec, AShortReadGivesZerosAndIsRememberedToTheEnd) {
    const Bytes three = {1, 2, 3};
    Reader in(three);
    EXPECT_EQ(in.u32(), 0U);
    EXPECT_TRUE(in.failed());
    EXPECT_EQ(in.u8(), 1U);  // what is there can still be read; the failure stays
    const auto status = in.finish("thing");
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::malformed);
    EXPECT_NE(status.error().message.find("thing"), std::string::npos);
}

TEST(Codec, AnArrayThatIsNotWholeIsZero) {
    const Bytes three = {1, 2, 3};
    Reader in(three);
    EXPECT_EQ(in.array<4>(), ByteArray<4>{});
    EXPECT_TRUE(in.failed());
}

TEST(Codec, ALengthAboveItsLimitIsRefusedThoughTheBytesAreThere) {
    Writer out;
    out.bytes_u16(Bytes(5));
    Reader in(out.view());
    EXPECT_TRUE(in.bytes_u16(4).empty());
    EXPECT_TRUE(in.failed());
}

TEST(Codec, ALengthBeyondTheInputIsRefused) {
    Writer out;
    out.u32(UINT32_MAX);
    Reader in(out.view());
    EXPECT_TRUE(in.bytes_u32(SIZE_MAX).empty());
    EXPECT_TRUE(in.failed());
}

TEST(Codec, ReservedBytesMustBeZeroAndThere) {
    const Bytes set = {0, 1};
    Reader flipped(set);
    flipped.expect_zeros(2);
    EXPECT_TRUE(flipped.failed());
    Reader missing(set);
    missing.expect_zeros(3);
    EXPECT_TRUE(missing.failed());
}

TEST(Codec, BytesLeftOverAreRefusedByFinishAndAllowedByCheck) {
    const Bytes two = {1, 2};
    Reader in(two);
    in.u8();
    EXPECT_TRUE(in.check("test"));
    EXPECT_FALSE(in.finish("test"));
    EXPECT_EQ(in.remaining(), 1U);
}

}  // namespace
}  // namespace shoal
