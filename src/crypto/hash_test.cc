#include "crypto/hash.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "crypto/test_vectors.h"

namespace shoal::crypto {
namespace {

using test::unhex;
const ByteView abc = as_bytes("abc");

Bytes counting(std::size_t count) {
    Bytes out(count);
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::uint8_t>(i);
    return out;
}

TEST(Hash, Blake2bGivesThePublishedDigestsAtEverySize) {
    EXPECT_EQ(to_hex(blake2b<16>({abc})), "cf4ab791c62b8d2b2109c90275287816");
    EXPECT_EQ(to_hex(blake2b<32>({abc})), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    EXPECT_EQ(to_hex(blake2b<64>({abc})),
              "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
              "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923");
    EXPECT_EQ(to_hex(blake2b<32>(counting(32), {abc})),
              "d63a32d3e44738d7907f964316c241adaba0abfeabc32349677578a15a203f7f");
}

TEST(Hash, AShortDigestIsNoPrefixOfALongOne) {
    EXPECT_NE(to_hex(blake2b<16>({abc})), to_hex(blake2b<32>({abc})).substr(0, 32));
}

TEST(Hash, ShaGivesThePublishedDigests) {
    EXPECT_EQ(to_hex(sha256({abc})), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(to_hex(sha3_256({abc})), "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
    ByteArray<48> out;
    shake256(out, {abc});
    EXPECT_EQ(to_hex(out),
              "483366601360a8771c6863080cc4114d8db44530f8f1e1ee4f94ea37e78b5739d5a15bef186a5386c75744c0527e1faa");
}

// RFC 4231, case 2; RFC 5869, cases 1 and 2.
TEST(Hash, HmacAndHkdfGiveThePublishedOutputs) {
    EXPECT_EQ(to_hex(hmac_sha256(as_bytes("Jefe"), {as_bytes("what do ya want for nothing?")})),
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    const Bytes input(22, 0x0b);
    const Key32 prk = hkdf_extract(counting(13), {input});
    EXPECT_EQ(to_hex(prk.expose()), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    Bytes okm(42);
    hkdf_expand(okm, prk, {unhex("f0f1f2f3f4f5f6f7f8f9")});
    EXPECT_EQ(to_hex(okm), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

TEST(Hash, HkdfExpandsOverSeveralBlocks) {
    Bytes input(80);
    Bytes salt(80);
    Bytes info(80);
    for (std::size_t i = 0; i < 80; ++i) {
        input[i] = static_cast<std::uint8_t>(i);
        salt[i] = static_cast<std::uint8_t>(0x60 + i);
        info[i] = static_cast<std::uint8_t>(0xb0 + i);
    }
    Bytes okm(82);
    hkdf_expand(okm, hkdf_extract(salt, {input}), {info});
    EXPECT_EQ(to_hex(okm),
              "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
              "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87");
}

RC_GTEST_PROP(Hash, PartsHashLikeTheirConcatenation, (const Bytes& a, const Bytes& b)) {
    Bytes both = a;
    both.insert(both.end(), b.begin(), b.end());
    RC_ASSERT(blake2b<32>({a, b}) == blake2b<32>({both}));
    RC_ASSERT(sha256({a, b}) == sha256({both}));
    RC_ASSERT(sha3_256({a, b}) == sha3_256({both}));
    RC_ASSERT(hmac_sha256(abc, {a, b}) == hmac_sha256(abc, {both}));
}

RC_GTEST_PROP(Hash, PiecewiseBlake2bIsTheSameAsAtOnce, (const std::vector<Bytes>& pieces)) {
    Blake2b256 incremental(abc);
    Bytes all;
    for (const Bytes& piece : pieces) {
        incremental.update(piece);
        all.insert(all.end(), piece.begin(), piece.end());
        RC_ASSERT(incremental.digest() == blake2b<32>(abc, {all}));
    }
}

TEST(Hash, ACopyOfAHashGoesItsOwnWay) {
    Blake2b256 one;
    one.update(abc);
    Blake2b256 other = one;
    other.update(abc);
    EXPECT_EQ(one.digest(), blake2b<32>({abc}));
    EXPECT_EQ(other.digest(), blake2b<32>({abc, abc}));
}

TEST(Hash, EqualComparesEveryByteAndTheLength) {
    const Bytes a = counting(40);
    EXPECT_TRUE(equal_constant_time(a, counting(40)));
    EXPECT_TRUE(equal_constant_time({}, {}));
    EXPECT_FALSE(equal_constant_time(a, counting(39)));
    for (std::size_t i = 0; i < a.size(); ++i) {
        Bytes b = a;
        b[i] ^= 0x80;
        EXPECT_FALSE(equal_constant_time(a, b)) << i;
    }
}

}  // namespace
}  // namespace shoal::crypto
