#include "base/comparison.h"

#include <gtest/gtest.h>

namespace shoal {
namespace {

TEST(Comparison, WhatIsWrittenIsRead) {
    for (const char* text : {"1/1", "2/2", "2/3", "3/3", "3/4", "4/4", "3/5", "4/5", "5/5"}) {
        const auto read = Comparison::parse(text);
        ASSERT_TRUE(read) << text;
        EXPECT_EQ(read->text(), text);
        EXPECT_EQ(read->compares(), std::string(text) != "1/1");
    }
    EXPECT_EQ(*Comparison::parse("1/1"), Comparison());
}

TEST(Comparison, HalfIsNotEnough) {
    for (const char* text : {"1/2", "1/3", "2/4", "2/5"}) EXPECT_FALSE(Comparison::parse(text)) << text;
}

TEST(Comparison, NothingElseIsOne) {
    for (const char* text : {"", "2", "/", "2/", "/3", "3/2", "0/1", "0/0", "1/0", "6/6", "3/6", "2/3 ", " 2/3", "-1/1",
                             "2/03", "2:3", "a/b", "2/3/4", "9/9"}) {
        EXPECT_FALSE(Comparison::parse(text)) << text;
    }
}

}  // namespace
}  // namespace shoal
