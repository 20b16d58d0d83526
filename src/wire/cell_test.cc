#include "wire/cell.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "base/test_rng.h"
#include "wire/vectors_test.h"

namespace shoal::wire {
namespace {

Result<Cell> decode_any(ByteView in) {
    if (in.size() != limits::cell_bytes) return fail(Errc::malformed, "not 1400 bytes");
    return decode_cell(in.first<limits::cell_bytes>());
}
Bytes encode(const Cell& cell) {
    ByteArray<limits::cell_bytes> out;
    encode_cell(cell, out);
    return to_bytes(out);
}
Json cell_json(const Cell& m) {
    return {{"id", m.id}, {"command", number(m.command)}, {"length", m.length}, {"body", to_hex(m.body)}};
}
Cell cell_from(const Json& f) {
    return {.id = f["id"],
            .command = unnumber<CellCommand>(f["command"]),
            .flags = 0,
            .length = f["length"],
            .body = unhex_array<limits::cell_body_bytes>(f["body"])};
}

std::map<std::string, VectorCodec> codecs() {
    std::map<std::string, VectorCodec> out;
    out["cell"] = {[](ByteView in) -> Result<Json> { return cell_json(TRY(decode_any(in))); },
                   [](const Json& f) { return encode(cell_from(f)); }};
    out["versions"] = codec_of<Versions>(
        decode_versions,
        [](const Versions& m) -> Json {
            return {{"version", m.version}, {"network", m.network.hex()}, {"sent", unix_seconds(m.sent)}};
        },
        [](const Json& f) {
            return Versions{f["version"], unhex_id<NetworkId>(f["network"]), untime(f["sent"])};
        });
    out["handshake"] = codec_of<Handshake>(
        decode_handshake,
        [](const Handshake& m) -> Json {
            return {{"type", m.type}, {"data", to_hex(m.data)}};
        },
        [](const Json& f) {
            return Handshake{f["type"], unhex(f["data"])};
        });
    out["destroy"] = codec_of<DestroyReason>(
        decode_destroy,
        [](const DestroyReason& m) -> Json {
            return {{"reason", number(m)}};
        },
        [](const Json& f) { return unnumber<DestroyReason>(f["reason"]); });
    out["stream_end"] = codec_of<StreamEndReason>(
        decode_stream_end,
        [](const StreamEndReason& m) -> Json {
            return {{"reason", number(m)}};
        },
        [](const Json& f) { return unnumber<StreamEndReason>(f["reason"]); });
    out["stream_open"] = codec_of<StreamOpen>(
        decode_stream_open,
        [](const StreamOpen& m) -> Json {
            return {{"protocol", number(m.protocol)}, {"encapsulated", to_hex(m.encapsulated)}};
        },
        [](const Json& f) {
            return StreamOpen{unnumber<StreamProtocol>(f["protocol"]), unhex_array<32>(f["encapsulated"])};
        });
    out["stream_sendme"] = codec_of<StreamSendme>(
        decode_stream_sendme,
        [](const StreamSendme& m) -> Json {
            return {{"cells", m.cells}};
        },
        [](const Json& f) { return StreamSendme{f["cells"]}; });
    out["link_pad_negotiate"] = codec_of<LinkPadNegotiate>(
        decode_link_pad_negotiate,
        [](const LinkPadNegotiate& m) -> Json {
            return {{"enabled", m.enabled}};
        },
        [](const Json& f) { return LinkPadNegotiate{f["enabled"]}; });
    out["ping"] = codec_of<Ping>(
        decode_ping,
        [](const Ping& m) -> Json {
            return {{"token", m.token}};
        },
        [](const Json& f) { return Ping{f["token"]}; });
    return out;
}

TEST(Cell, TheVectorsHoldBothWays) {
    check_vectors("cell", codecs());
}

RC_GTEST_PROP(Cell, EveryCellThatCanBeMadeComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    const auto command = static_cast<CellCommand>(rng.below(cell_command_max + 1));
    std::size_t length = rng.below(limits::cell_body_bytes + 1);
    if (command == CellCommand::relay || command == CellCommand::relay_early) length = limits::cell_body_bytes;
    if (command == CellCommand::stream_data) length = limits::sealed_record_bytes;
    const bool of_link = command == CellCommand::padding || command == CellCommand::versions ||
                         command == CellCommand::pad_negotiate || command == CellCommand::directory ||
                         command == CellCommand::ping || command == CellCommand::pong;
    const Bytes payload = rng.bytes(length);
    const auto id = of_link ? 0 : static_cast<std::uint32_t>(rng.u64());
    const Cell cell = make_cell(command, id, payload, rng);
    const auto back = decode_any(encode(cell));
    RC_ASSERT(back.has_value());
    RC_ASSERT(back->id == id);
    RC_ASSERT(back->command == command);
    RC_ASSERT(to_bytes(back->payload()) == payload);
    RC_ASSERT(back->body == cell.body);
}

TEST(Cell, WhatTheBodyDoesNotUseIsRandom) {
    TestRng rng(1);
    const Cell a = make_cell(CellCommand::destroy, 1, encode(DestroyReason::none), rng);
    const Cell b = make_cell(CellCommand::destroy, 1, encode(DestroyReason::none), rng);
    EXPECT_EQ(a.length, 1);
    EXPECT_NE(a.body, b.body);
    std::size_t zeros = 0;
    for (std::size_t i = 1; i < a.body.size(); ++i) zeros += a.body[i] == 0;
    EXPECT_LT(zeros, 30U);  // 5.4 expected
}

TEST(Cell, WhatCouldNotBeDecodedIsNeverSent) {
    TestRng rng(1);
    ByteArray<limits::cell_bytes> out;
    Cell flagged = make_cell(CellCommand::destroy, 1, {}, rng);
    flagged.flags = 1;
    EXPECT_DEATH(encode_cell(flagged, out), "internal error");
    const Cell short_relay = make_cell(CellCommand::relay, 1, Bytes(5), rng);
    EXPECT_DEATH(encode_cell(short_relay, out), "internal error");
    EXPECT_DEATH((void)make_cell(CellCommand::relay, 1, Bytes(1393), rng), "internal error");
}

}  // namespace
}  // namespace shoal::wire
