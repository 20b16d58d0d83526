#include "net/endpoint.h"

#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>

namespace shoal::net {
namespace {

TEST(EndpointTest, NumericAddressesOfBothFamiliesAreRead) {
    const Endpoint v4 = Endpoint::parse("192.0.2.7:8642").value();
    EXPECT_TRUE(v4.is_v4());
    EXPECT_EQ(v4, Endpoint::v4(192, 0, 2, 7, 8642));
    EXPECT_EQ(v4.text(), "192.0.2.7:8642");
    const Endpoint v6 = Endpoint::parse("[2001:db8::7]:1").value();
    EXPECT_FALSE(v6.is_v4());
    EXPECT_EQ(v6.text(), "[2001:db8::7]:1");
}

TEST(EndpointTest, AMappedAddressIsItsDottedForm) {
    EXPECT_EQ(Endpoint::parse("[::ffff:192.0.2.7]:80").value(), Endpoint::parse("192.0.2.7:80").value());
}

TEST(EndpointTest, WhatIsNoEndpointIsRefused) {
    for (const char* text :
         {"",           ":",          "1.2.3.4", "1.2.3.4:",    "1.2.3.4:65536", "1.2.3.4:-1",  "1.2.3.4:+1",
          "1.2.3.4: 1", "1.2.3.4:1 ", "1.2.3:1", "1.2.3.4.5:1", "01.2.3.4:1",    "[1.2.3.4]:1", "::1:1",
          "[::1]",      "[::1:1",     "[]:1",    "[:::]:1",     "localhost:1",   "[::1%lo]:1",  "1.2.3.4:000080"}) {
        const auto parsed = Endpoint::parse(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().code, Errc::malformed);
    }
    EXPECT_FALSE(Endpoint::parse(std::string_view("[::1\0]:1", 8)));
}

TEST(EndpointTest, LoopbackAndAnyAreKnownInBothFamilies) {
    EXPECT_TRUE(Endpoint::parse("127.3.0.1:1")->is_loopback());
    EXPECT_TRUE(Endpoint::parse("[::1]:1")->is_loopback());
    EXPECT_FALSE(Endpoint::parse("128.0.0.1:1")->is_loopback());
    EXPECT_FALSE(Endpoint::parse("[::127.0.0.1]:1")->is_loopback());
    EXPECT_TRUE(Endpoint::parse("0.0.0.0:1")->is_any());
    EXPECT_TRUE(Endpoint::parse("[::]:1")->is_any());
    EXPECT_FALSE(Endpoint::parse("0.0.0.1:1")->is_any());
}

RC_GTEST_PROP(EndpointTest, ItsTextIsReadBackAsItself, ()) {
    Endpoint endpoint;
    endpoint.ip = *rc::gen::container<ByteArray<16>>(rc::gen::arbitrary<std::uint8_t>());
    endpoint.port = *rc::gen::arbitrary<std::uint16_t>();
    RC_ASSERT(Endpoint::parse(endpoint.text()).value() == endpoint);
}

}  // namespace
}  // namespace shoal::net
