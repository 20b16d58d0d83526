#include "wire/text.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace shoal::wire {
namespace {

// The definition, by decoding and encoding again: slow, and a twin of nothing in text.cc.
std::string encode_code_point(std::uint32_t c) {
    const auto byte = [](std::uint32_t v) { return static_cast<char>(static_cast<unsigned char>(v)); };
    if (c < 0x80) return {byte(c)};
    if (c < 0x800) return {byte(0xC0 | c >> 6), byte(0x80 | (c & 63))};
    if (c < 0x10000) return {byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
    return {byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 63)), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
}

TEST(Utf8, ExactlyTheScalarValuesAreWellFormed) {
    for (std::uint32_t c = 0; c < 0x200000; ++c) {
        const bool scalar = c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
        ASSERT_EQ(is_utf8(encode_code_point(c)), scalar) << c;
    }
}

TEST(Utf8, OverlongFormsAreRefused) {
    for (const char* bad : {"\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xF0\x80\x80\x80",
                            "\xF0\x8F\xBF\xBF", "\xF8\x88\x80\x80\x80", "\xFE", "\xFF", "\x80", "a\xBF"}) {
        EXPECT_FALSE(is_utf8(bad));
    }
}

RC_GTEST_PROP(Utf8, TextCutAnywhereHasTheTailThatCompletesIt, ()) {
    std::string text;
    const auto points = *rc::gen::container<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(0, 0x110000));
    for (const std::uint32_t c : points) {
        if (c < 0xD800 || c > 0xDFFF) text += encode_code_point(c);
    }
    const auto cut = *rc::gen::inRange<std::size_t>(0, text.size() + 1);
    const std::string head = text.substr(0, cut);
    const std::size_t tail = utf8_incomplete_tail(head);
    RC_ASSERT(tail <= 3U);
    RC_ASSERT(is_utf8(std::string_view(head).substr(0, head.size() - tail)));
    // No byte is held back that was complete already.
    RC_ASSERT(tail == 0U || !is_utf8(head));
}

TEST(Utf8, ATailThatNothingCanCompleteIsNotHeldBack) {
    for (const char* bad :
         {"\x80", "\xC0", "\xFF", "\xE0\x80", "\xED\xA0", "\xF4\x90", "\xF0\x80\x80", "\xC2\xC2\x80"}) {
        EXPECT_EQ(utf8_incomplete_tail(bad), 0U);
    }
    EXPECT_EQ(utf8_incomplete_tail("x\xC2"), 1U);
    EXPECT_EQ(utf8_incomplete_tail("\xE2\x82"), 2U);
    EXPECT_EQ(utf8_incomplete_tail("\xF0\x9F\x90"), 3U);
    EXPECT_EQ(utf8_incomplete_tail(""), 0U);
}

TEST(PlainText, HasNoControls) {
    EXPECT_TRUE(is_plain_text("Größe 日本 🐟 \u00A0"));
    for (const char* bad : {"\n", "\t", "\x1b[0m", "\x7f", "\u0080", "\u009f", "\xff"})
        EXPECT_FALSE(is_plain_text(bad));
    EXPECT_FALSE(is_plain_text(std::string_view("\0", 1)));
}

RC_GTEST_PROP(PlainText, IsWhatAnyTextBecomesWithinItsLimit, (const std::string& text)) {
    const auto max = *rc::gen::inRange<std::size_t>(0, 64);
    const std::string plain = plain_text(text, max);
    RC_ASSERT(plain.size() <= max);
    RC_ASSERT(is_plain_text(plain));
    RC_ASSERT(plain_text(plain, max) == plain);
    if (is_plain_text(text) && text.size() <= max) RC_ASSERT(plain == text);
}

}  // namespace
}  // namespace shoal::wire
