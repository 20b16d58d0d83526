#include "wire/descriptor.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "base/test_rng.h"
#include "wire/descriptor_json_test.h"

namespace shoal::wire {
namespace {

TEST(Descriptor, TheVectorsHoldBothWays) {
    const VectorCodec codec = {[](ByteView in) -> Result<Json> {
                                   const SignedDescriptor m = TRY(decode_signed_descriptor(in));
                                   Json out = descriptor_json(m.descriptor);
                                   out["signature"] = to_hex(m.signature);
                                   return out;
                               },
                               [](const Json& f) {
                                   return encode(SignedDescriptor{descriptor_from(f), unhex_array<64>(f["signature"])});
                               }};
    check_vectors("descriptor", {{"signed_descriptor", codec}});
}

Descriptor arbitrary_descriptor(TestRng& rng) {
    Descriptor d;
    d.node = rng.id<NodeId>();
    d.onion_key = rng.array<32>();
    d.hpke_key = rng.array<32>();
    d.roles = static_cast<std::uint16_t>(1 + rng.below(7));
    if ((d.roles & role_relay) != 0 && rng.below(2) == 0) d.roles |= role_guard;
    while (d.addresses.size() < 1 + rng.below(limits::addresses_per_node_max)) {
        Address a{rng.array<16>(), static_cast<std::uint16_t>(1 + rng.below(0xFFFF))};
        if (is_dialable(a)) d.addresses.push_back(a);
    }
    std::sort(d.addresses.begin(), d.addresses.end());
    d.sequence = rng.u64();
    d.valid_after = from_unix_seconds(rng.below(7'000'000'000));
    d.valid_until = d.valid_after + std::chrono::seconds(1 + rng.below(86'400));
    d.bond = rng.u64();
    d.family = rng.id<FamilyId>();
    if ((d.roles & role_model) != 0) {
        for (std::size_t i = rng.below(limits::models_per_node_max + 1); i > 0; --i) {
            d.models.push_back({.model = rng.id<ModelId>(),
                                .quantisation = static_cast<std::uint8_t>(rng.below(256)),
                                .context_tokens = static_cast<std::uint32_t>(1 + rng.below(limits::context_tokens_max)),
                                .price = rng.array<32>(),
                                .name = std::string(1 + rng.below(model_name_bytes_max), 'm')});
        }
        std::sort(d.models.begin(), d.models.end(), [](const auto& a, const auto& b) { return a.model < b.model; });
    }
    return d;
}

RC_GTEST_PROP(Descriptor, EveryDescriptorComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    const SignedDescriptor m{arbitrary_descriptor(rng), rng.array<64>()};
    const Bytes bytes = encode(m);
    RC_ASSERT(bytes.size() <= limits::descriptor_bytes_max);
    const auto back = decode_signed_descriptor(bytes);
    RC_ASSERT(back.has_value());
    RC_ASSERT(back->descriptor == m.descriptor);
    RC_ASSERT(back->signature == m.signature);
}

TEST(Descriptor, OneThatIsTooLongIsNotEvenRead) {
    const auto read = decode_signed_descriptor(Bytes(limits::descriptor_bytes_max + 1));
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().message, "descriptor: too long");
}

TEST(Descriptor, ReadingOneLeavesTheRest) {
    TestRng rng(1);
    Bytes bytes = encode_descriptor_body(arbitrary_descriptor(rng));
    bytes.push_back(7);
    Reader in(bytes);
    ASSERT_TRUE(decode_descriptor_body(in));
    EXPECT_EQ(in.remaining(), 1U);
}

TEST(Descriptor, OneThatNobodyWouldTakeIsNeverSent) {
    TestRng rng(1);
    Descriptor d = arbitrary_descriptor(rng);
    d.addresses.clear();
    EXPECT_FALSE(check_descriptor(d));
    EXPECT_DEATH((void)encode_descriptor_body(d), "internal error");
}

TEST(ModelName, HasOnlyLettersDigitsAndFourSigns) {
    for (const char* good : {"a", "shoal-mini", "Llama-3.1_8B:q4", "0"}) EXPECT_TRUE(is_model_name(good)) << good;
    for (const char* bad : {"", "a b", "a/b", "ä", "a\n", "<x>"}) EXPECT_FALSE(is_model_name(bad)) << bad;
    EXPECT_TRUE(is_model_name(std::string(64, 'm')));
    EXPECT_FALSE(is_model_name(std::string(65, 'm')));
}

// ---- addresses ---------------------------------------------------------------------------------------------------

TEST(Address, TextIsReadAndWrittenInItsShortestForm) {
    const std::pair<const char*, const char*> forms[] = {
        {"127.1.2.3:9000", "127.1.2.3:9000"},
        {"0.0.0.0:0", "0.0.0.0:0"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"[2001:DB8::1]:9000", "[2001:db8::1]:9000"},
        {"[::]:1", "[::]:1"},
        {"[::1]:1", "[::1]:1"},
        {"[1::]:1", "[1::]:1"},
        {"[2001:0db8:0000:0000:0001:0000:0000:0001]:1", "[2001:db8::1:0:0:1]:1"},  // the first of two equal runs
        {"[2001:db8:0:1:1:1:1:1]:1", "[2001:db8:0:1:1:1:1:1]:1"},                  // one zero group is not shortened
        {"[1:0:0:2:0:0:0:3]:1", "[1:0:0:2::3]:1"},                                 // the longest run
        {"[1:2:3:4:5:6:7::]:1", "[1:2:3:4:5:6:7:0]:1"},
        {"[::ffff:7f01:203]:9000", "127.1.2.3:9000"},  // one address, one form
    };
    for (const auto& [in, out] : forms) {
        const auto a = parse_address(in);
        ASSERT_TRUE(a) << in;
        EXPECT_EQ(a->text(), out);
    }
}

TEST(Address, WhatIsNoAddressIsRefusedWithAnExample) {
    for (const char* bad : {"",
                            ":",
                            "1.2.3.4",
                            "1.2.3.4:",
                            "1.2.3.4:65536",
                            "1.2.3.4:-1",
                            "1.2.3.4:+1",
                            "1.2.3.4:01",
                            "1.2.3:1",
                            "1.2.3.4.5:1",
                            "1.2.3.256:1",
                            "01.2.3.4:1",
                            "1.2.3.4 :1",
                            "localhost:1",
                            "2001:db8::1:9000",
                            "[::1]",
                            "[::1:1",
                            "::1]:1",
                            "[]:1",
                            "[1:2:3:4:5:6:7]:1",
                            "[1:2:3:4:5:6:7:8:9]:1",
                            "[1::2::3]:1",
                            "[:1:2]:1",
                            "[12345::]:1",
                            "[g::]:1",
                            "[1:2:3:4:5:6:7:8::]:1",
                            "[::1%lo]:1",
                            "[::ffff:1.2.3.4]:1",
                            "0x1.2.3.4:1"}) {
        const auto a = parse_address(bad);
        ASSERT_FALSE(a) << bad;
        EXPECT_EQ(a.error().code, Errc::malformed);
        EXPECT_NE(a.error().message.find("127.0.0.1:9000"), std::string::npos);
    }
}

RC_GTEST_PROP(Address, EveryAddressSurvivesItsText, (std::uint64_t seed)) {
    TestRng rng(seed);
    Address a{rng.array<16>(), static_cast<std::uint16_t>(rng.u64())};
    // Zero groups are what the text form is about.
    for (std::size_t group = 0; group < 8; ++group) {
        if (rng.below(2) == 0) a.ip[2 * group] = a.ip[2 * group + 1] = 0;
    }
    const auto back = parse_address(a.text());
    RC_ASSERT(back.has_value());
    RC_ASSERT(*back == a);
}

TEST(Address, SubnetsAreSlash16OfV4AndSlash32OfV6) {
    const auto subnet = [](const char* text) { return parse_address(text)->subnet(); };
    EXPECT_EQ(subnet("127.1.2.3:1"), subnet("127.1.99.99:2"));
    EXPECT_NE(subnet("127.1.2.3:1"), subnet("127.2.2.3:1"));
    EXPECT_NE(subnet("127.1.2.3:1"), subnet("126.1.2.3:1"));
    EXPECT_EQ(subnet("[2001:db8:1::]:1"), subnet("[2001:db8:2::]:1"));
    EXPECT_NE(subnet("[2001:db8::]:1"), subnet("[2001:db9::]:1"));
    // An IPv6 network can never pass for an IPv4 one.
    EXPECT_NE(subnet("127.1.0.0:1"), subnet("[0:7f01::1]:1"));
}

TEST(Address, OnlyWhatCanBeDialledMayBeAdvertised) {
    for (const char* good : {"127.0.0.1:1", "10.0.0.1:1", "1.1.1.1:1", "[::1]:1", "[fe80::1]:1", "[2001:db8::1]:1"}) {
        EXPECT_TRUE(is_dialable(*parse_address(good))) << good;
    }
    for (const char* bad : {"1.1.1.1:0", "0.0.0.0:1", "0.1.2.3:1", "224.0.0.1:1", "239.1.1.1:1", "240.0.0.1:1",
                            "255.255.255.255:1", "[::]:1", "[ff02::1]:1"}) {
        EXPECT_FALSE(is_dialable(*parse_address(bad))) << bad;
    }
}

}  // namespace
}  // namespace shoal::wire
