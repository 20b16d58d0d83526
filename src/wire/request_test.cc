#include "wire/request.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "base/test_rng.h"
#include "wire/record.h"
#include "wire/vectors_test.h"

namespace shoal::wire {
namespace {

Json request_json(const Request& m) {
    return {{"unpaid", m.unpaid},
            {"no_hand_over", m.no_hand_over},
            {"pipelines_allowed", m.pipelines_allowed},
            {"id", m.id.hex()},
            {"expires", unix_seconds(m.expires)},
            {"model", m.model.hex()},
            {"hold", to_hex(m.hold)},
            {"session_key", to_hex(m.session_key)},
            {"affinity", to_hex(m.affinity)},
            {"client_seed", to_hex(m.client_seed)},
            {"reply_key", to_hex(m.reply_key.expose())},
            {"hold_certificate", to_hex(m.hold_certificate)},
            {"body", m.body.expose()}};
}

Request request_from(const Json& f) {
    Request m;
    m.unpaid = f["unpaid"];
    m.no_hand_over = f["no_hand_over"];
    m.pipelines_allowed = f["pipelines_allowed"];
    m.id = unhex_id<RequestId>(f["id"]);
    m.expires = untime(f["expires"]);
    m.model = unhex_id<ModelId>(f["model"]);
    m.hold = unhex_array<32>(f["hold"]);
    m.session_key = unhex_array<32>(f["session_key"]);
    m.affinity = unhex_array<32>(f["affinity"]);
    m.client_seed = unhex_array<32>(f["client_seed"]);
    m.reply_key = Key32(unhex_array<32>(f["reply_key"]));
    m.hold_certificate = unhex(f["hold_certificate"]);
    m.body = Plaintext(f["body"].get<std::string>());
    return m;
}

// Padding is no field of a request: what was behind it is counted, so that the bytes can be made again.
Result<Json> decode_padded(ByteView in) {
    const Request m = TRY(decode_request(in));
    Json out = request_json(m);
    out["padding"] = in.size() - request_header_bytes - m.hold_certificate.size() - m.body.size();
    return out;
}
Bytes encode_padded(const Json& f) {
    Bytes out = encode_request(request_from(f));
    out.resize(out.size() + f["padding"].get<std::size_t>());
    return out;
}

TEST(Request, TheVectorsHoldBothWays) {
    check_vectors("request", {{"request", {decode_padded, encode_padded, false}}}, {"bucket"});
}

TEST(Request, EveryPrefixWithoutItsBodyIsRefused) {
    for (const Json& entry : load_vectors("request")) {
        if (!entry.contains("fields") || entry["fields"]["padding"] != 0) continue;
        check_prefixes({decode_padded, encode_padded}, unhex(entry["hex"]), entry["name"]);
    }
}

RC_GTEST_PROP(Request, EveryRequestComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    Request m;
    m.unpaid = rng.below(2) == 0;
    m.no_hand_over = rng.below(2) == 0;
    m.pipelines_allowed = rng.below(2) == 0;
    m.id = rng.id<RequestId>();
    m.expires = from_unix_seconds(rng.below(unix_seconds_max + 1));
    m.model = rng.id<ModelId>();
    if (!m.unpaid) {
        m.hold = rng.array<32>();
        m.session_key = rng.array<32>();
        m.hold_certificate = rng.bytes(rng.below(request_qc_bytes_max + 1));
    }
    m.affinity = rng.array<32>();
    m.client_seed = rng.array<32>();
    m.reply_key = Key32(rng.array<32>());
    m.body = Plaintext(std::string(as_text(rng.bytes(rng.below(3000)))));
    Bytes bytes = encode_request(m);
    RC_ASSERT(bytes.size() == request_header_bytes + m.hold_certificate.size() + m.body.size());
    bytes.resize(bytes.size() + rng.below(100));
    const auto back = decode_request(bytes);
    RC_ASSERT(back.has_value());
    RC_ASSERT(request_json(*back) == request_json(m));
}

TEST(Request, ABodyAboveItsLimitIsRefusedThoughItIsThere) {
    Request m;
    m.body = Plaintext(std::string(limits::chat_body_bytes_max, 'x'));
    Bytes bytes = encode_request(m);
    ASSERT_TRUE(decode_request(bytes));
    store_le<std::uint32_t>(bytes.data() + request_header_bytes - 4, limits::chat_body_bytes_max + 1);
    bytes.push_back('x');
    EXPECT_FALSE(decode_request(bytes));
}

TEST(Request, AHoldOnAnUnpaidRequestIsNeverSent) {
    Request m;
    m.unpaid = true;
    m.hold[31] = 1;
    EXPECT_DEATH((void)encode_request(m), "internal error");
}

// ---- buckets -----------------------------------------------------------------------------------------------------

TEST(Bucket, TheTableHolds) {
    for (const Json& entry : load_vectors("request")) {
        if (entry["type"] != "bucket") continue;
        const std::size_t padded = entry["padded_request_bytes"];
        const unsigned k = entry["k"];
        const auto full = choose_bucket(padded, k);
        ASSERT_TRUE(full) << entry["name"];
        EXPECT_EQ(full->cells, entry["cells"].get<unsigned>());
        EXPECT_EQ(full->fragment_bytes, entry["fragment_bytes"].get<std::size_t>());
        EXPECT_EQ(full->padded_request_bytes, padded);
        const auto over = choose_bucket(padded + 1, k);
        if (full->cells == limits::bucket_cells.back()) {
            ASSERT_FALSE(over);
            EXPECT_EQ(over.error().code, Errc::exhausted);
        } else {
            EXPECT_GT(over->cells, full->cells);
        }
    }
}

RC_GTEST_PROP(Bucket, IsTheSmallestThatHoldsTheRequestAndIsFilledExactly, ()) {
    const auto k = *rc::gen::inRange(1U, 17U);
    const auto bytes = *rc::gen::inRange<std::size_t>(0, k * limits::fragment_bytes_max - limits::aead_tag_bytes + 1);
    const auto bucket = choose_bucket(bytes, k);
    RC_ASSERT(bucket.has_value());
    RC_ASSERT(bucket->padded_request_bytes >= bytes);
    RC_ASSERT(bucket->padded_request_bytes + limits::aead_tag_bytes == k * clove_bytes(bucket->cells));
    const auto at = std::find(limits::bucket_cells.begin(), limits::bucket_cells.end(), bucket->cells);
    RC_ASSERT(at != limits::bucket_cells.end());
    if (at != limits::bucket_cells.begin()) {
        RC_ASSERT(k * clove_bytes(*(at - 1)) < bytes + limits::aead_tag_bytes);
    }
}

TEST(Bucket, AThresholdOutOfRangeIsRefused) {
    EXPECT_FALSE(choose_bucket(1, 0));
    EXPECT_FALSE(choose_bucket(1, limits::cloves_max + 1));
}

TEST(Bucket, TheLargestBodyFitsTheDefaultProfile) {
    EXPECT_TRUE(choose_bucket(request_header_bytes + request_qc_bytes_max + limits::chat_body_bytes_max,
                              limits::cloves_needed_default));
}

}  // namespace
}  // namespace shoal::wire
