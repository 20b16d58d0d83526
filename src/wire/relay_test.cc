#include "wire/relay.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "base/test_rng.h"
#include "wire/vectors_test.h"

namespace shoal::wire {
namespace {

Result<RelayPayload> decode_any(ByteView in) {
    if (in.size() != limits::cell_body_bytes) return fail(Errc::malformed, "not 1392 bytes");
    return decode_relay(first_bytes<limits::cell_body_bytes>(in));
}

std::map<std::string, VectorCodec> codecs() {
    std::map<std::string, VectorCodec> out;
    out["relay"] = {
        [](ByteView in) -> Result<Json> {
            const RelayPayload m = TRY(decode_any(in));
            return Json{{"command", number(m.command)}, {"stream", m.stream.value()}, {"data", to_hex(m.payload())}};
        },
        [](const Json& f) {
            return to_bytes(encode_relay(unnumber<RelayCommand>(f["command"]),
                                         StreamId(f["stream"].get<std::uint16_t>()), unhex(f["data"])));
        }};
    out["connect"] = codec_of<Connect>(
        decode_connect,
        [](const Connect& m) -> Json {
            return {{"node", m.node.hex()},
                    {"protocol", number(m.open.protocol)},
                    {"encapsulated", to_hex(m.open.encapsulated)}};
        },
        [](const Json& f) {
            return Connect{unhex_id<NodeId>(f["node"]),
                           {unnumber<StreamProtocol>(f["protocol"]), unhex_array<32>(f["encapsulated"])}};
        });
    out["extend"] = codec_of<Extend>(
        decode_extend,
        [](const Extend& m) -> Json {
            return {{"node", m.node.hex()}, {"type", m.handshake.type}, {"data", to_hex(m.handshake.data)}};
        },
        [](const Json& f) {
            return Extend{unhex_id<NodeId>(f["node"]), {f["type"], unhex(f["data"])}};
        });
    out["sendme"] = codec_of<Sendme>(
        decode_sendme,
        [](const Sendme& m) -> Json {
            return {{"tweak", to_hex(m.tweak)}};
        },
        [](const Json& f) { return Sendme{unhex_array<16>(f["tweak"])}; });
    out["pad_negotiate"] = codec_of<PadNegotiate>(
        decode_pad_negotiate,
        [](const PadNegotiate& m) -> Json {
            return {{"mode", number(m.mode)}, {"rate", number(m.rate)}};
        },
        [](const Json& f) {
            return PadNegotiate{unnumber<PacerMode>(f["mode"]), unnumber<PacerClass>(f["rate"])};
        });
    return out;
}

TEST(Relay, TheVectorsHoldBothWays) {
    check_vectors("relay", codecs());
}

RC_GTEST_PROP(Relay, EveryPayloadComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    const auto command = static_cast<RelayCommand>(1 + rng.below(relay_command_max));
    const bool of_stream = command == RelayCommand::connect || command == RelayCommand::data ||
                           command == RelayCommand::end || command == RelayCommand::sendme;
    const StreamId stream(of_stream ? static_cast<std::uint16_t>(1 + rng.below(0xFFFF)) : std::uint16_t{0});
    const std::size_t length =
        command == RelayCommand::data ? limits::sealed_record_bytes : rng.below(limits::relay_data_bytes + 1);
    const Bytes data = rng.bytes(length);
    const RelayBlock block = encode_relay(command, stream, data);
    RC_ASSERT(relay_recognised(block));
    const auto back = decode_relay(block);
    RC_ASSERT(back.has_value());
    RC_ASSERT(back->command == command);
    RC_ASSERT(back->stream == stream);
    RC_ASSERT(to_bytes(back->payload()) == data);
}

TEST(Relay, EachOfTheSixteenBytesCountsForRecognition) {
    const RelayBlock block = encode_relay(RelayCommand::drop, StreamId(0), {});
    for (std::size_t at = 0; at < 16; ++at) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            RelayBlock flipped = block;
            flipped[at] = static_cast<std::uint8_t>(1U << bit);
            EXPECT_FALSE(relay_recognised(flipped)) << at;
        }
    }
    RelayBlock behind = block;
    behind[16] = 0xFF;
    EXPECT_TRUE(relay_recognised(behind));
}

TEST(Relay, WhatCouldNotBeDecodedIsNeverSent) {
    EXPECT_DEATH((void)encode_relay(RelayCommand::data, StreamId(1), Bytes(1369)), "internal error");
    EXPECT_DEATH((void)encode_relay(RelayCommand::connect, StreamId(0), Bytes(65)), "internal error");
    EXPECT_DEATH((void)encode_relay(RelayCommand::extend, StreamId(1), Bytes(65)), "internal error");
    EXPECT_DEATH((void)encode_relay(RelayCommand::drop, StreamId(0), Bytes(1371)), "internal error");
}

TEST(Relay, TheLongestHandshakeFitsAnExtend) {
    const Extend extend{NodeId(), {handshake_ntor3, Bytes(handshake_data_bytes_max)}};
    EXPECT_EQ(encode(extend).size(), limits::relay_data_bytes);
}

}  // namespace
}  // namespace shoal::wire
