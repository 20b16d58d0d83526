#include "wire/prefix.h"

#include <gtest/gtest.h>

#include "wire/vectors_test.h"

namespace shoal::wire {
namespace {

template <typename Message>
VectorCodec codec(Json (*to_json)(const Message&), Message (*from_json)(const Json&)) {
    return {[=](ByteView in) -> Result<Json> {
                const PrefixMessage message = TRY(decode_prefix_message(in));
                const auto* m = std::get_if<Message>(&message);
                if (m == nullptr) return fail(Errc::malformed, "another message");
                return to_json(*m);
            },
            [=](const Json& f) { return encode_prefix_message(from_json(f)); }};
}

TEST(Prefix, VectorsHold) {
    std::map<std::string, VectorCodec> codecs;
    codecs["fetch"] = codec<PrefixFetch>(
        [](const PrefixFetch& m) -> Json {
            return {{"model", m.model.hex()}, {"chain", to_hex(m.chain)}, {"tokens", m.tokens}};
        },
        [](const Json& f) {
            return PrefixFetch{unhex_id<ModelId>(f["model"]), unhex_array<32>(f["chain"]), f["tokens"]};
        });
    codecs["reading"] = codec<PrefixReading>([](const PrefixReading&) { return Json::object(); },
                                             [](const Json&) { return PrefixReading{}; });
    codecs["piece"] = codec<PrefixBytes>(
        [](const PrefixBytes& m) -> Json {
            return {{"bytes", to_hex(m.bytes)}, {"last", m.last}};
        },
        [](const Json& f) {
            return PrefixBytes{unhex(f["bytes"]), f["last"]};
        });
    codecs["refused"] = codec<PrefixRefused>(
        [](const PrefixRefused& m) -> Json {
            return {{"reason", number(m.reason)}};
        },
        [](const Json& f) { return PrefixRefused{unnumber<PrefixRefusal>(f["reason"])}; });
    check_vectors("prefix", codecs);
}

TEST(Prefix, TheLargestPieceTravelsAndALargerOneIsRefused) {
    Bytes bytes = encode_prefix_message(PrefixBytes{Bytes(limits::prefix_piece_bytes, 7), true});
    ASSERT_LE(bytes.size(), limits::channel_message_bytes_max);
    const auto back = decode_prefix_message(bytes);
    ASSERT_TRUE(back);
    EXPECT_EQ(std::get<PrefixBytes>(*back).bytes.size(), limits::prefix_piece_bytes);
    bytes.push_back(7);
    store_le<std::uint32_t>(bytes.data() + 2, static_cast<std::uint32_t>(limits::prefix_piece_bytes + 1));
    EXPECT_FALSE(decode_prefix_message(bytes));
}

}  // namespace
}  // namespace shoal::wire
