#include "wire/snapshot.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "base/test_rng.h"
#include "wire/descriptor_json_test.h"

namespace shoal::wire {
namespace {

Json snapshot_json(const SignedSnapshot& m) {
    Json entries = Json::array();
    for (const auto& e : m.snapshot.entries) {
        entries.push_back(
            {{"descriptor", descriptor_json(e.descriptor)}, {"weight", e.weight}, {"reputation", e.reputation}});
    }
    Json signatures = Json::array();
    for (const auto& s : m.signatures) {
        signatures.push_back({{"index", s.index}, {"signature", to_hex(s.signature)}});
    }
    return {{"network", m.snapshot.network.hex()},
            {"epoch", m.snapshot.epoch.value()},
            {"valid_after", unix_seconds(m.snapshot.valid_after)},
            {"fresh_until", unix_seconds(m.snapshot.fresh_until)},
            {"valid_until", unix_seconds(m.snapshot.valid_until)},
            {"previous", to_hex(m.snapshot.previous)},
            {"entries", entries},
            {"signatures", signatures}};
}

SignedSnapshot snapshot_from(const Json& f) {
    SignedSnapshot m;
    m.snapshot.network = unhex_id<NetworkId>(f["network"]);
    m.snapshot.epoch = Epoch(f["epoch"].get<std::uint64_t>());
    m.snapshot.valid_after = untime(f["valid_after"]);
    m.snapshot.fresh_until = untime(f["fresh_until"]);
    m.snapshot.valid_until = untime(f["valid_until"]);
    m.snapshot.previous = unhex_array<32>(f["previous"]);
    for (const Json& e : f["entries"]) {
        m.snapshot.entries.push_back({descriptor_from(e["descriptor"]), e["weight"], e["reputation"]});
    }
    for (const Json& s : f["signatures"]) m.signatures.push_back({s["index"], unhex_array<64>(s["signature"])});
    m.body = encode_snapshot_body(m.snapshot);
    return m;
}

Result<Json> decode_signed(ByteView in) {
    const SignedSnapshot m = TRY(decode_signed_snapshot(in));
    EXPECT_EQ(m.body, to_bytes(in.first(m.body.size())));
    EXPECT_EQ(m.body, encode_snapshot_body(m.snapshot));
    return snapshot_json(m);
}

struct MessageJson {
    Json operator()(const GetSnapshot& m) const { return {{"kind", 1}, {"epoch", m.newer_than.value()}}; }
    Json operator()(const NotNewer& m) const { return {{"kind", 2}, {"epoch", m.have.value()}}; }
    Json operator()(const SignedSnapshot& m) const {
        return {{"kind", 3}, {"body", to_hex(m.body)}, {"signatures", m.signatures.size()}};
    }
    Json operator()(const PublishDescriptor& m) const {
        return {{"kind", 4}, {"descriptor", to_hex(encode(m.descriptor))}};
    }
    Json operator()(const PublishResult& m) const {
        return {{"kind", 5}, {"accepted", m.accepted}, {"reason", m.reason}};
    }
};

TEST(Snapshot, TheVectorsHoldBothWays) {
    // A message's fields do not spell the snapshot out a second time, so it is kept from decoding for encoding.
    std::optional<DirectoryMessage> last;
    const VectorCodec message = {[&](ByteView in) -> Result<Json> {
                                     last = TRY(decode_directory_message(in));
                                     return std::visit(MessageJson{}, *last);
                                 },
                                 [&](const Json& f) {
                                     EXPECT_EQ(std::visit(MessageJson{}, *last), f);
                                     return encode_directory_message(*last);
                                 }};
    const VectorCodec snapshot = {decode_signed, [](const Json& f) { return encode(snapshot_from(f)); }};
    check_vectors("snapshot", {{"signed_snapshot", snapshot}, {"message", message}});
}

SnapshotEntry entry_of(TestRng& rng) {
    SnapshotEntry e;
    e.descriptor.node = rng.id<NodeId>();
    e.descriptor.roles = role_relay;
    e.descriptor.addresses = {*parse_address("127.0.0.1:1")};
    e.descriptor.valid_until = from_unix_seconds(3600);
    e.weight = static_cast<std::uint32_t>(rng.u64());
    e.reputation = static_cast<std::uint16_t>(rng.below(1001));
    return e;
}

SignedSnapshot arbitrary_snapshot(TestRng& rng, std::size_t nodes) {
    SignedSnapshot m;
    m.snapshot.network = rng.id<NetworkId>();
    m.snapshot.epoch = Epoch(2 + rng.below(1'000'000));
    m.snapshot.valid_after = from_unix_seconds(rng.below(2'000'000'000));
    m.snapshot.fresh_until = m.snapshot.valid_after + std::chrono::seconds(1 + rng.below(3600));
    m.snapshot.valid_until = m.snapshot.fresh_until + std::chrono::seconds(rng.below(7200));
    m.snapshot.previous = rng.array<32>();
    for (std::size_t i = 0; i < nodes; ++i) m.snapshot.entries.push_back(entry_of(rng));
    std::sort(m.snapshot.entries.begin(), m.snapshot.entries.end(),
              [](const auto& a, const auto& b) { return a.descriptor.node < b.descriptor.node; });
    for (std::uint8_t i = 0; i < limits::committee_max; ++i) {
        if (rng.below(2) == 0) m.signatures.push_back({i, rng.array<64>()});
    }
    m.body = encode_snapshot_body(m.snapshot);
    return m;
}

RC_GTEST_PROP(Snapshot, EverySnapshotComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    const SignedSnapshot m = arbitrary_snapshot(rng, rng.below(20));
    const auto back = decode_signed_snapshot(encode(m));
    RC_ASSERT(back.has_value());
    RC_ASSERT(back->snapshot == m.snapshot);
    RC_ASSERT(back->body == m.body);
    RC_ASSERT(snapshot_json(*back) == snapshot_json(m));
}

TEST(Snapshot, TheLargestNumberOfNodesFits) {
    TestRng rng(1);
    const SignedSnapshot m = arbitrary_snapshot(rng, limits::snapshot_nodes_max);
    const Bytes bytes = encode(m);
    EXPECT_LE(bytes.size(), limits::snapshot_bytes_max);
    const auto back = decode_signed_snapshot(bytes);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->snapshot.entries.size(), limits::snapshot_nodes_max);
}

TEST(Snapshot, OneThatIsTooLongIsNotEvenRead) {
    const auto read = decode_signed_snapshot(Bytes(limits::snapshot_bytes_max + 1));
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().message, "snapshot: too long");
}

TEST(Snapshot, EntriesOutOfOrderAreNeverSent) {
    TestRng rng(1);
    Snapshot s = arbitrary_snapshot(rng, 2).snapshot;
    std::swap(s.entries[0], s.entries[1]);
    EXPECT_DEATH((void)encode_snapshot_body(s), "internal error");
}

// ---- fragments ---------------------------------------------------------------------------------------------------

RC_GTEST_PROP(DirectoryAssembler, PutsTogetherWhatWasCut, (std::uint64_t seed)) {
    TestRng rng(seed);
    DirectoryAssembler assembler(10'000);
    for (int message = 0; message < 3; ++message) {
        const Bytes bytes = rng.bytes(1 + rng.below(10'000));
        const auto payloads = fragment_directory(bytes);
        for (std::size_t i = 0; i < payloads.size(); ++i) {
            RC_ASSERT(payloads[i].size() <= limits::cell_body_bytes);
            const auto got = assembler.feed(payloads[i]);
            RC_ASSERT(got.has_value());
            RC_ASSERT(got->has_value() == (i + 1 == payloads.size()));
            if (got->has_value()) RC_ASSERT(**got == bytes);
        }
    }
}

TEST(DirectoryAssembler, TheBoundariesOfAFragmentHold) {
    for (const std::size_t size :
         {directory_first_bytes, directory_first_bytes + 1, directory_first_bytes + directory_more_bytes,
          directory_first_bytes + directory_more_bytes + 1}) {
        const Bytes message(size, 7);
        DirectoryAssembler assembler(size);
        Result<std::optional<Bytes>> got = std::optional<Bytes>();
        for (const Bytes& payload : fragment_directory(message)) got = assembler.feed(payload);
        ASSERT_TRUE(got);
        EXPECT_EQ(**got, message);
    }
}

class BrokenFragments : public testing::Test {
protected:
    static Bytes first(std::uint32_t total, std::size_t bytes) {
        Writer out;
        out.u8(1);
        out.u32(total);
        out.zeros(bytes);
        return out.take();
    }
    static Bytes more(std::size_t bytes) { return Bytes(1 + bytes); }
    void expect_refused(const Bytes& payload, Errc code = Errc::malformed) {
        const auto got = assembler_.feed(payload);
        ASSERT_FALSE(got);
        EXPECT_EQ(got.error().code, code);
    }
    DirectoryAssembler assembler_{100'000};
};

TEST_F(BrokenFragments, AMessageAboveTheLimitIsRefusedWhenItIsAnnounced) {
    expect_refused(first(100'001, directory_first_bytes), Errc::exhausted);
    EXPECT_TRUE(assembler_.feed(first(100'000, directory_first_bytes)));
}
TEST_F(BrokenFragments, AnAnnouncedLengthIsNotReserved) {
    DirectoryAssembler assembler(limits::snapshot_bytes_max);
    const auto got = assembler.feed(first(limits::snapshot_bytes_max, directory_first_bytes));
    ASSERT_TRUE(got);
    EXPECT_LE(assembler.bytes_held(), 4 * limits::cell_body_bytes);
}
TEST_F(BrokenFragments, TheRestOfNothingIsRefused) {
    expect_refused(more(10));
}
TEST_F(BrokenFragments, ASecondBeginningIsRefused) {
    ASSERT_TRUE(assembler_.feed(first(5000, directory_first_bytes)));
    expect_refused(first(5000, directory_first_bytes));
}
TEST_F(BrokenFragments, OneThatIsNotFullIsRefusedUnlessItIsTheLast) {
    expect_refused(first(5000, directory_first_bytes - 1));
    ASSERT_TRUE(assembler_.feed(first(5000, directory_first_bytes)));
    expect_refused(more(directory_more_bytes - 1));
}
TEST_F(BrokenFragments, BytesBeyondTheAnnouncedAreRefused) {
    expect_refused(first(10, 11));
    ASSERT_TRUE(assembler_.feed(first(directory_first_bytes + 10, directory_first_bytes)));
    expect_refused(more(11));
}
TEST_F(BrokenFragments, EmptyOnesAndUnknownMarksAreRefused) {
    expect_refused({});
    expect_refused(first(0, 0));
    expect_refused(first(10, 0));
    expect_refused({2, 10, 0, 0, 0, 1});
    expect_refused({1, 10, 0, 0});
}
TEST_F(BrokenFragments, ABrokenMessageLeavesNothingBehind) {
    ASSERT_TRUE(assembler_.feed(first(5000, directory_first_bytes)));
    expect_refused(more(5));
    EXPECT_EQ(assembler_.bytes_held(), 0U);
    // A fresh message begins as if nothing had been.
    const auto got = assembler_.feed(first(3, 3));
    ASSERT_TRUE(got);
    EXPECT_TRUE(got->has_value());
}

}  // namespace
}  // namespace shoal::wire
