#include "crypto/sida.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <numeric>

#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/rng.h"
#include "crypto/test_vectors.h"

namespace shoal::crypto {
namespace {

using test::unhex;
using test::unhex_array;

const MessageId message(ByteArray<16>{9});

Bytes random_bytes(std::size_t size, std::uint64_t seed) {
    Bytes out(size);
    SeededRng(seed).fill(out);
    return out;
}

SidaSplit some_split(std::size_t size, std::uint8_t k, std::uint8_t n, std::uint64_t seed = 1) {
    SeededRng rng(seed);
    return sida_split(random_bytes(size, seed), k, n, message, rng);
}

void damage(Fragment& fragment) {
    fragment.bytes[fragment.bytes.size() / 2] ^= 1;
}

TEST(Sida, TheKnownAnswerOfSharesAndFragments) {
    const std::string text = test::own_vectors("crypto-onion.json");
    const auto clove = test::objects_with(text, {"ciphertext", "K", "msg_id"}).at(0);
    const auto numbered = test::objects_with(text, {"1", "2", "3", "4"});  // shares, then fragments
    ASSERT_EQ(numbered.size(), 2U);
    Bytes stream(32 + 16 + 2 * 32);
    shake256(stream, {as_bytes("sc1-kat-clove")});
    const Key32 key(first_bytes<32>(stream));
    EXPECT_EQ(to_hex(key.expose()), clove.at("K"));

    const auto shares = shamir_split(key, 3, 4, ByteView(stream).subspan(48));
    const Bytes ciphertext = unhex(clove.at("ciphertext"));
    const auto fragments = ida_encode(ciphertext, 3, 4);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(to_hex(shares[i]), numbered[0].at(std::to_string(i + 1)));
        EXPECT_EQ(to_hex(fragments[i]), numbered[1].at(std::to_string(i + 1)));
    }
    const Bytes points = {4, 2, 3};
    const std::vector<ByteArray<32>> chosen = {shares[3], shares[1], shares[2]};
    const std::vector<ByteView> parts = {fragments[3], fragments[1], fragments[2]};
    EXPECT_EQ(shamir_combine(points, chosen).expose(), key.expose());
    EXPECT_EQ(ida_decode(points, parts, ciphertext.size()), ciphertext);
}

TEST(Sida, KnownAnswersOfWholeSplits) {
    const auto vectors = test::objects_with(test::own_vectors("crypto-constructions.json"), {"plaintext_bytes"});
    ASSERT_EQ(vectors.size(), 5U);
    for (const auto& v : vectors) {
        Bytes plaintext(std::stoul(v.at("plaintext_bytes")));
        for (std::size_t i = 0; i < plaintext.size(); ++i) plaintext[i] = static_cast<std::uint8_t>(7 * i + 1);
        test::ReplayRng rng(unhex(v.at("key") + v.at("coefficients")));
        const auto split = sida_split(plaintext, static_cast<std::uint8_t>(std::stoul(v.at("k"))),
                                      static_cast<std::uint8_t>(std::stoul(v.at("n"))),
                                      MessageId(unhex_array<16>(v.at("message_id"))), rng);
        EXPECT_TRUE(rng.spent());
        EXPECT_EQ(std::to_string(split.geometry.ciphertext_bytes), v.at("ciphertext_bytes"));
        for (const Fragment& fragment : split.fragments) {
            const std::string index = "." + std::to_string(fragment.index - 1);
            EXPECT_EQ(to_hex(fragment.share), v.at("shares" + index));
            EXPECT_EQ(to_hex(sha256({fragment.bytes})), v.at("fragments_sha256" + index));
        }
        EXPECT_EQ(sida_combine(split.geometry, split.fragments)->plaintext, plaintext);
    }
}

RC_GTEST_PROP(Sida, AnyKFragmentsInAnyOrderGiveTheMessage, (const Bytes& plaintext, std::uint64_t seed)) {
    const auto n = *rc::gen::inRange<std::uint8_t>(1, limits::cloves_max + 1);
    const auto k = *rc::gen::inRange<std::uint8_t>(1, static_cast<std::uint8_t>(n + 1));
    SeededRng rng(seed);
    auto split = sida_split(plaintext, k, n, message, rng);
    for (std::size_t i = n; i-- > 1;) std::swap(split.fragments[i], split.fragments[rng.below(i + 1)]);
    const auto combined = sida_combine(split.geometry, std::span(split.fragments).first(k));
    RC_ASSERT(bool(combined));
    RC_ASSERT(combined->plaintext == plaintext);
    RC_ASSERT(combined->wrong.empty());
    const auto too_few = sida_combine(split.geometry, std::span(split.fragments).first(k - 1U));
    RC_ASSERT(!too_few);
    RC_ASSERT(too_few.error().code == Errc::unavailable);
}

TEST(Sida, TheLargestMessageFits) {
    const std::size_t size = 2 * limits::fragment_bytes_max - limits::aead_tag_bytes;
    const auto split = some_split(size, 2, 4);
    EXPECT_EQ(split.fragments[3].bytes.size(), limits::fragment_bytes_max);
    EXPECT_EQ(sida_combine(split.geometry, std::span(split.fragments).last(2))->plaintext, random_bytes(size, 1));
}

TEST(Sida, WrongFragmentsAreOutvotedAndNamed) {
    for (const bool in_share : {false, true}) {
        for (std::size_t wrong = 0; wrong < 4; ++wrong) {
            auto split = some_split(6000, 3, 4);
            in_share ? void(split.fragments[wrong].share[5] ^= 1) : damage(split.fragments[wrong]);
            const auto combined = sida_combine(split.geometry, split.fragments);
            ASSERT_TRUE(combined) << wrong;
            EXPECT_EQ(combined->plaintext, random_bytes(6000, 1));
            EXPECT_EQ(combined->wrong, Bytes{static_cast<std::uint8_t>(wrong + 1)});
        }
    }
    auto split = some_split(500, 2, 6);
    for (const std::size_t i : {0U, 1U, 3U, 4U}) damage(split.fragments[i]);
    const auto combined = sida_combine(split.geometry, split.fragments);
    ASSERT_TRUE(combined);
    EXPECT_EQ(combined->wrong, (Bytes{1, 2, 4, 5}));
}

// The zeros behind the ciphertext in the last data fragment are not under its tag, but the fragment must be right.
TEST(Sida, AChangeInThePaddingIsNamed) {
    auto split = some_split(600, 3, 4);  // 616 bytes in three fragments of 206: two of padding
    split.fragments[2].bytes.back() ^= 1;
    const auto combined = sida_combine(split.geometry, split.fragments);
    ASSERT_TRUE(combined);
    EXPECT_EQ(combined->wrong, Bytes{3});
}

TEST(Sida, FewerThanKRightOnesGiveNothing) {
    auto split = some_split(6000, 3, 4);
    damage(split.fragments[0]);
    damage(split.fragments[2]);
    const auto combined = sida_combine(split.geometry, split.fragments);
    ASSERT_FALSE(combined);
    EXPECT_EQ(combined.error().code, Errc::unauthenticated);
}

TEST(Sida, EveryFieldOfTheGeometryIsBound) {
    const auto split = some_split(600, 2, 4);
    const auto combines = [&](auto change) {
        SidaGeometry geometry = split.geometry;
        change(geometry);
        return bool(sida_combine(geometry, split.fragments));
    };
    EXPECT_TRUE(combines([](SidaGeometry&) {}));
    EXPECT_FALSE(combines([](SidaGeometry& g) { g.n = 5; }));
    EXPECT_FALSE(combines([](SidaGeometry& g) { g.message = MessageId(); }));
    EXPECT_FALSE(combines([](SidaGeometry& g) { g.ciphertext_bytes -= 1; })) << "same fragment length";
    EXPECT_FALSE(combines([](SidaGeometry& g) { g.k = 1; }));
}

TEST(Sida, WhatCannotBeAMessageIsRefused) {
    const auto split = some_split(600, 2, 4);
    const auto code = [&](auto change) {
        SidaGeometry geometry = split.geometry;
        std::vector<Fragment> fragments = split.fragments;
        change(geometry, fragments);
        const auto combined = sida_combine(geometry, fragments);
        return combined ? Errc::internal : combined.error().code;
    };
    using G = SidaGeometry;
    using F = std::vector<Fragment>;
    EXPECT_EQ(code([](G& g, F&) { g.k = 0; }), Errc::malformed);
    EXPECT_EQ(code([](G& g, F&) { g.k = 5; }), Errc::malformed);
    EXPECT_EQ(code([](G& g, F&) { g.n = limits::cloves_max + 1; }), Errc::malformed);
    EXPECT_EQ(code([](G& g, F&) { g.ciphertext_bytes = 0; }), Errc::malformed);
    EXPECT_EQ(code([](G& g, F&) { g.ciphertext_bytes = 15; }), Errc::malformed);
    EXPECT_EQ(code([](G& g, F&) { g.ciphertext_bytes = UINT32_MAX; }), Errc::malformed);
    EXPECT_EQ(code([](G& g, F&) { g.ciphertext_bytes += 2; }), Errc::malformed);
    EXPECT_EQ(code([](G&, F& f) { f[2].bytes.pop_back(); }), Errc::malformed);
    EXPECT_EQ(code([](G&, F& f) { f[2].index = 0; }), Errc::malformed);
    EXPECT_EQ(code([](G&, F& f) { f[2].index = 5; }), Errc::malformed);
    EXPECT_EQ(code([](G&, F& f) { f[2].index = 1; }), Errc::malformed);
    EXPECT_EQ(code([](G& g, F& f) {
                  g.ciphertext_bytes = static_cast<std::uint32_t>(2 * limits::fragment_bytes_max + 2);
                  for (Fragment& x : f) x.bytes.resize(limits::fragment_bytes_max + 1);
              }),
              Errc::malformed);
    EXPECT_EQ(code([](G&, F& f) { f.clear(); }), Errc::unavailable);
}

// Eight of sixteen have 12,870 subsets. With the wrong ones in front the right subset comes late, and is not waited
// for.
TEST(Sida, TheSearchForTheRightSubsetIsBounded) {
    auto split = some_split(100, 8, 16);
    for (std::size_t i = 0; i < 8; ++i) damage(split.fragments[i]);
    const auto combined = sida_combine(split.geometry, split.fragments);
    ASSERT_FALSE(combined);
    EXPECT_EQ(combined.error().code, Errc::unauthenticated);

    split = some_split(100, 2, 16);  // 120 subsets: within the bound, the last one is found
    for (std::size_t i = 0; i < 14; ++i) damage(split.fragments[i]);
    EXPECT_TRUE(sida_combine(split.geometry, split.fragments));
}

// ---- secrecy: fewer than k shares are uniform --------------------------------------------------------------------

// Pearson's statistic of byte counts against the uniform distribution; 255 degrees of freedom: mean 255,
// deviation 22.6.
double chi_square(const Bytes& sample) {
    std::array<double, 256> counts{};
    for (const std::uint8_t byte : sample) counts[byte] += 1;
    const double expected = static_cast<double>(sample.size()) / 256;
    double sum = 0;
    for (const double count : counts) sum += (count - expected) * (count - expected) / expected;
    return sum;
}
constexpr double chi_square_max = 255 + 6 * 22.6;

// What k - 1 = 2 holders see of many sharings of one secret, combined in every way a line can be drawn through it.
template <typename Draw>
double worst_chi_square_of_two_shares(Draw draw) {
    const Key32 secret(ByteArray<32>{0x53, 0x65});
    Bytes one, two, sum, line;
    for (int round = 0; round < 8000; ++round) {
        Bytes coefficients(64);
        draw(coefficients);
        const auto shares = shamir_split(secret, 3, 4, coefficients);
        for (std::size_t i = 0; i < 32; ++i) {
            one.push_back(shares[0][i] ^ secret.expose()[i]);
            two.push_back(shares[3][i] ^ secret.expose()[i]);
            sum.push_back(shares[0][i] ^ shares[3][i]);
        }
        // The line through (1, y1) and (4, y4), at 0: what two colluders would guess the secret to be.
        const auto guess = shamir_combine(Bytes{1, 4}, std::vector<ByteArray<32>>{shares[0], shares[3]});
        for (std::size_t i = 0; i < 32; ++i) line.push_back(guess.expose()[i] ^ secret.expose()[i]);
    }
    return std::max({chi_square(one), chi_square(two), chi_square(sum), chi_square(line)});
}

TEST(Sida, TwoOfThreeNeededSharesSayNothingAboutTheKey) {
    SeededRng rng(20);
    EXPECT_LT(worst_chi_square_of_two_shares([&](Bytes& out) { rng.fill(out); }), chi_square_max);
}

// The twin: leaving zero out, as a public implementation does, is seen by the same test.
TEST(Sida, CoefficientsWithoutZeroWouldFailThatTest) {
    SeededRng rng(20);
    const auto draw = [&](Bytes& out) {
        for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(1 + rng.below(255));
    };
    EXPECT_GT(worst_chi_square_of_two_shares(draw), chi_square_max);
}

// And the coefficients that a split really uses: with k = 2 the only one is share 1 XOR key.
TEST(Sida, ASplitDrawsItsCoefficientsUniformlyWithZero) {
    SeededRng rng(21);
    Bytes coefficients;
    for (int round = 0; round < 8000; ++round) {
        const auto split = sida_split(as_bytes("p"), 2, 3, message, rng);
        const std::vector<ByteArray<32>> shares = {split.fragments[0].share, split.fragments[1].share};
        const Key32 key = shamir_combine(Bytes{1, 2}, shares);
        for (std::size_t i = 0; i < 32; ++i) coefficients.push_back(shares[0][i] ^ key.expose()[i]);
    }
    EXPECT_NE(std::count(coefficients.begin(), coefficients.end(), 0), 0);
    EXPECT_LT(chi_square(coefficients), chi_square_max);
}

TEST(Sida, TwoSplitsOfOneMessageHaveNothingInCommon) {
    SeededRng rng(22);
    const auto one = sida_split(Bytes(3000), 3, 4, message, rng);
    const auto two = sida_split(Bytes(3000), 3, 4, message, rng);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_NE(one.fragments[i].share, two.fragments[i].share);
        std::size_t equal = 0;
        for (std::size_t b = 0; b < one.fragments[i].bytes.size(); ++b) {
            equal += one.fragments[i].bytes[b] == two.fragments[i].bytes[b] ? 1U : 0U;
        }
        EXPECT_LT(equal, 30U);  // four by chance
    }
}

}  // namespace
}  // namespace shoal::crypto
