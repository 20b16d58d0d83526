#include "wire/record.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "base/test_rng.h"
#include "wire/request.h"
#include "wire/vectors_test.h"

namespace shoal::wire {
namespace {

struct ToJson {
    Json operator()(const CloveFirst& m) const {
        return {{"kind", 1},
                {"k", m.k},
                {"n", m.n},
                {"index", m.index},
                {"message", m.message.hex()},
                {"total", m.total},
                {"ciphertext_bytes", m.ciphertext_bytes},
                {"share", to_hex(m.share)},
                {"fragment", to_hex(m.fragment)}};
    }
    Json operator()(const CloveMore& m) const {
        return {{"kind", 2}, {"index", m.index}, {"sequence", m.sequence}, {"fragment", to_hex(m.fragment)}};
    }
    Json operator()(const Got& m) const { return {{"kind", 4}, {"index", m.index}}; }
    Json operator()(const Accepted&) const { return {{"kind", 5}}; }
    Json operator()(const Reply& m) const {
        return {{"kind", 6}, {"sequence", m.sequence}, {"last", m.last}, {"sealed", to_hex(m.sealed)}};
    }
    Json operator()(const Resume& m) const {
        return {{"kind", 7}, {"request", m.request.hex()}, {"next", m.next}, {"proof", to_hex(m.proof)}};
    }
    Json operator()(const Cancel& m) const { return {{"kind", 8}, {"request", m.request.hex()}}; }
    Json operator()(const Pad&) const { return {{"kind", 9}}; }
    Json operator()(const RecordError& m) const { return {{"kind", 10}, {"fault", number(m.fault)}, {"text", m.text}}; }
};

Record record_from(const Json& f) {
    switch (f["kind"].get<int>()) {
        case 1:
            return CloveFirst{.k = f["k"],
                              .n = f["n"],
                              .index = f["index"],
                              .message = unhex_id<MessageId>(f["message"]),
                              .total = f["total"],
                              .ciphertext_bytes = f["ciphertext_bytes"],
                              .share = unhex_array<32>(f["share"]),
                              .fragment = unhex(f["fragment"])};
        case 2: return CloveMore{f["index"], f["sequence"], unhex(f["fragment"])};
        case 4: return Got{f["index"]};
        case 5: return Accepted{};
        case 6: return Reply{f["sequence"], f["last"], unhex(f["sealed"])};
        case 7: return Resume{unhex_id<RequestId>(f["request"]), f["next"], unhex_array<32>(f["proof"])};
        case 8: return Cancel{unhex_id<RequestId>(f["request"])};
        case 9: return Pad{};
        default: return RecordError{unnumber<AskFault>(f["fault"]), f["text"]};
    }
}

Result<Json> decode_any(ByteView in) {
    if (in.size() != limits::record_bytes) return fail(Errc::malformed, "not 1354 bytes");
    return std::visit(ToJson{}, TRY(decode_record(first_bytes<limits::record_bytes>(in))));
}

TEST(Record, TheVectorsHoldBothWays) {
    check_vectors("record",
                  {{"record", {decode_any, [](const Json& f) { return to_bytes(encode_record(record_from(f))); }}}});
}

Record arbitrary_record(TestRng& rng) {
    const auto index = static_cast<std::uint8_t>(1 + rng.below(limits::cloves_max));
    switch (rng.below(9)) {
        case 0: {
            CloveFirst m;
            m.n = static_cast<std::uint8_t>(1 + rng.below(limits::cloves_max));
            m.k = static_cast<std::uint8_t>(1 + rng.below(m.n));
            m.index = static_cast<std::uint8_t>(1 + rng.below(m.n));
            m.message = rng.id<MessageId>();
            m.total = limits::bucket_cells[rng.below(limits::bucket_cells.size())];
            m.ciphertext_bytes = static_cast<std::uint32_t>(m.k * clove_bytes(m.total));
            m.share = rng.array<32>();
            m.fragment = rng.bytes(limits::clove_first_fragment_bytes);
            return m;
        }
        case 1:
            return CloveMore{index, static_cast<std::uint16_t>(1 + rng.below(63)),
                             rng.bytes(limits::clove_more_fragment_bytes)};
        case 2: return Got{index};
        case 3: return Accepted{};
        case 4:
            return Reply{static_cast<std::uint32_t>(rng.u64()), rng.below(2) == 1,
                         rng.bytes(16 + rng.below(reply_sealed_bytes_max - 15))};
        case 5: return Resume{rng.id<RequestId>(), static_cast<std::uint32_t>(rng.u64()), rng.array<32>()};
        case 6: return Cancel{rng.id<RequestId>()};
        case 7: return Pad{};
        default: return RecordError{static_cast<AskFault>(rng.below(11)), std::string(rng.below(513), 'e')};
    }
}

RC_GTEST_PROP(Record, EveryRecordComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    const Record record = arbitrary_record(rng);
    const auto back = decode_record(encode_record(record));
    RC_ASSERT(back.has_value());
    RC_ASSERT(std::visit(ToJson{}, *back) == std::visit(ToJson{}, record));
}

TEST(Record, OneRecordFillsOneRelayCell) {
    static_assert(limits::record_bytes + limits::aead_tag_bytes == limits::relay_data_bytes);
    static_assert(reply_text_bytes_max == 1330);
}

TEST(Record, AnErrorSaysWhatItCanOfATextThatDoesNotFit) {
    const auto sent = [](std::string text) {
        const auto back = decode_record(encode_record(RecordError{AskFault::engine_failed, std::move(text)}));
        return std::get<RecordError>(*back).text;
    };
    EXPECT_EQ(sent(std::string(600, 'x')), std::string(512, 'x'));
    EXPECT_EQ(sent(std::string(511, 'x') + "é"), std::string(511, 'x'));  // no half character
    EXPECT_EQ(sent("a\nb\x1b[2J\xff"), "a?b?[2J?");
}

TEST(Record, WhatCouldNotBeDecodedIsNeverSent) {
    CloveFirst m{.k = 1,
                 .n = 1,
                 .index = 1,
                 .message = {},
                 .total = 1,
                 .ciphertext_bytes = 1290,
                 .share = {},
                 .fragment = Bytes(1290)};
    (void)encode_record(m);
    CloveFirst bad = m;
    bad.fragment.pop_back();
    EXPECT_DEATH((void)encode_record(bad), "internal error");
    bad = m;
    bad.ciphertext_bytes = 1289;
    EXPECT_DEATH((void)encode_record(bad), "internal error");
    EXPECT_DEATH((void)encode_record(CloveMore{1, 1, Bytes(1345)}), "internal error");
    EXPECT_DEATH((void)encode_record(Got{0}), "internal error");
    EXPECT_DEATH((void)encode_record(Reply{0, false, Bytes(1347)}), "internal error");
}

}  // namespace
}  // namespace shoal::wire
