#include "prompt/cloves.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "crypto/rng.h"

namespace shoal::prompt {
namespace {

const Now now{Instant(1h), from_unix_seconds(1'800'000'000)};

wire::Request request(Rng& rng, std::size_t bytes) {
    wire::Request out;
    out.unpaid = true;
    out.id = rng.id<RequestId>();
    out.expires = now.wall + std::chrono::seconds(300);
    out.reply_key = Key32(rng.array<32>());
    out.body = Plaintext(std::string(bytes, 'x'));
    return out;
}

// The clove that these records carry, as its reader gives it.
Result<crypto::Fragment> read(std::span<const wire::RecordBytes> records, CloveReader& reader) {
    for (const wire::RecordBytes& bytes : records) {
        const wire::Record record = TRY(wire::decode_record(bytes));
        if (const auto* first = std::get_if<wire::CloveFirst>(&record)) TRY(reader.feed(*first));
        if (const auto* more = std::get_if<wire::CloveMore>(&record)) TRY(reader.feed(*more));
    }
    if (!reader.complete()) return fail(Errc::malformed, "not complete");
    return reader.take();
}

RC_GTEST_PROP(Cloves, AnyKOfThemGiveTheRequestBack, ()) {
    crypto::SeededRng rng(*rc::gen::arbitrary<std::uint32_t>());
    const auto k = *rc::gen::inRange<std::uint8_t>(1, 6);
    const auto n = static_cast<std::uint8_t>(k + *rc::gen::inRange(0, 4));
    const auto bytes =
        *rc::gen::inRange<std::size_t>(0, std::min<std::size_t>(k * 40'000U, limits::chat_body_bytes_max));
    const wire::Request sent = request(rng, bytes);
    const Cloves cloves = *make_cloves(sent, k, n, rng);
    std::vector<std::size_t> order(n);
    for (std::size_t i = 0; i < n; ++i) std::swap(order[i] = i, order[rng.below(i + 1)]);
    std::optional<Gathering> gathering;
    for (std::size_t i = 0; i < k; ++i) {
        RC_ASSERT(cloves.records[order[i]].size() == cloves.bucket.cells);
        CloveReader reader;
        auto fragment = read(cloves.records[order[i]], reader);
        RC_ASSERT(bool(fragment));
        if (!gathering) gathering.emplace(reader.first(), now.mono);
        RC_ASSERT(gathering->fits(reader.first()));
        RC_ASSERT(!gathering->enough());
        gathering->add(std::move(*fragment));
    }
    RC_ASSERT(gathering->enough());
    RC_ASSERT(gathering->held_bytes() == k * cloves.bucket.fragment_bytes);
    const auto got = gathering->open();
    RC_ASSERT(bool(got));
    RC_ASSERT(got->id == sent.id);
    RC_ASSERT(got->body == sent.body);
    RC_ASSERT(got->reply_key.expose() == sent.reply_key.expose());
}

TEST(Cloves, OneIndexTwiceCountsOnce) {
    crypto::SeededRng rng(1);
    const Cloves cloves = *make_cloves(request(rng, 10), 2, 4, rng);
    std::optional<Gathering> gathering;
    for (int i = 0; i < 3; ++i) {
        CloveReader reader;
        auto fragment = read(cloves.records[0], reader);
        if (!gathering) gathering.emplace(reader.first(), now.mono);
        gathering->add(std::move(*fragment));
    }
    EXPECT_FALSE(gathering->enough());
    EXPECT_EQ(gathering->held_bytes(), cloves.bucket.fragment_bytes);
}

TEST(Cloves, AnotherGeometryDoesNotFit) {
    crypto::SeededRng rng(2);
    const auto first = [&](const Cloves& cloves) {
        return std::get<wire::CloveFirst>(*wire::decode_record(cloves.records[0][0]));
    };
    const auto mine = first(*make_cloves(request(rng, 10), 2, 4, rng));
    const Gathering gathering(mine, now.mono);
    EXPECT_TRUE(gathering.fits(mine));
    auto other = mine;
    other.n = 5;
    EXPECT_FALSE(gathering.fits(other));
    other = mine;
    other.k = 1;
    EXPECT_FALSE(gathering.fits(other));
    other = mine;
    other.total = 2;
    EXPECT_FALSE(gathering.fits(other));
    other = mine;
    other.message = rng.id<MessageId>();
    EXPECT_FALSE(gathering.fits(other));
}

TEST(Cloves, PiecesOutOfOrderAreRefused) {
    crypto::SeededRng rng(3);
    const Cloves cloves = *make_cloves(request(rng, 20'000), 2, 4, rng);
    ASSERT_GE(cloves.bucket.cells, 3U);
    const auto record = [&](std::size_t clove, std::size_t i) {
        return *wire::decode_record(cloves.records[clove][i]);
    };
    const auto first = std::get<wire::CloveFirst>(record(0, 0));
    const auto second = std::get<wire::CloveMore>(record(0, 1));
    {
        CloveReader reader;
        EXPECT_FALSE(reader.feed(second)) << "before the first";
    }
    {
        CloveReader reader;
        ASSERT_TRUE(reader.feed(first));
        EXPECT_FALSE(reader.feed(first)) << "the first twice";
    }
    {
        CloveReader reader;
        ASSERT_TRUE(reader.feed(first));
        EXPECT_FALSE(reader.feed(std::get<wire::CloveMore>(record(0, 2)))) << "one left out";
    }
    {
        CloveReader reader;
        ASSERT_TRUE(reader.feed(first));
        EXPECT_FALSE(reader.feed(std::get<wire::CloveMore>(record(1, 1)))) << "of another clove";
    }
    {
        CloveReader reader;
        ASSERT_TRUE(bool(read(cloves.records[0], reader)));
        EXPECT_FALSE(reader.feed(second)) << "behind the last";
    }
}

TEST(Cloves, WhatIsTooLongForTheLargestBucketIsRefused) {
    crypto::SeededRng rng(4);
    const auto made = make_cloves(request(rng, limits::chat_body_bytes_max), 1, 2, rng);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Errc::exhausted);
}

TEST(Cloves, RequestsOfOneBucketLookAlike) {
    crypto::SeededRng rng(5);
    const Cloves shorter = *make_cloves(request(rng, 1), 2, 4, rng);
    const Cloves longer = *make_cloves(request(rng, 1500), 2, 4, rng);
    ASSERT_EQ(shorter.records.size(), longer.records.size());
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(shorter.records[i].size(), longer.records[i].size());
}

}  // namespace
}  // namespace shoal::prompt
