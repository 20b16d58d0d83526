#include "crypto/rng.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "crypto/init.h"

namespace shoal::crypto {
namespace {

TEST(Rng, InitMayBeCalledAgain) {
    init();
    init();
}

TEST(Rng, TheOperatingSystemDoesNotRepeatItself) {
    OsRng rng;
    std::set<ByteArray<16>> seen;
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(seen.insert(rng.array<16>()).second);
    Bytes long_one(5000);
    rng.fill(long_one);
    EXPECT_NE(Bytes(long_one.begin(), long_one.begin() + 2500), Bytes(long_one.begin() + 2500, long_one.end()));
    rng.fill({});
}

TEST(Rng, AChildProcessDrawsOtherBytesThanItsParent) {
    OsRng rng;
    (void)rng.array<16>();  // the buffer is filled before the fork
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        const auto drawn = rng.array<32>();
        _exit(write(ends[1], drawn.data(), drawn.size()) == 32 ? 0 : 1);
    }
    ByteArray<32> of_child{};
    ASSERT_EQ(read(ends[0], of_child.data(), of_child.size()), 32);
    int status = 1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_NE(rng.array<32>(), of_child);
    close(ends[0]);
    close(ends[1]);
}

TEST(Rng, ASeedGivesTheSameBytesForEver) {
    SeededRng rng(ByteArray<32>{});
    // The ChaCha20 key stream of an all-zero key and nonce (RFC 8439, A.1, test vector 1).
    EXPECT_EQ(to_hex(rng.array<32>()), "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7");
    EXPECT_NE(SeededRng(1).array<32>(), SeededRng(2).array<32>());
    ByteArray<32> seed{};
    seed[0] = 7;
    EXPECT_EQ(SeededRng(7).array<32>(), SeededRng(seed).array<32>());
}

RC_GTEST_PROP(Rng, HowASeededStreamIsCutDoesNotMatter, (std::uint64_t seed)) {
    const auto sizes = *rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, 700));
    SeededRng cut(seed);
    SeededRng whole(seed);
    Bytes pieces;
    for (const std::size_t size : sizes) {
        Bytes piece(size);
        cut.fill(piece);
        pieces.insert(pieces.end(), piece.begin(), piece.end());
    }
    Bytes all(pieces.size());
    whole.fill(all);
    RC_ASSERT(pieces == all);
}

}  // namespace
}  // namespace shoal::crypto
