// Relay payloads: what a hop finds inside the onion, and the commands of a circuit. Format: protocol/relay.md.
//
// The 1392 bytes that remain after the last layer: sixteen zeros (they authenticate the cell: a flipped bit anywhere
// makes them noise, with 2^-128 odds of being missed), command, flags, stream, length, and 1370 bytes of data.
#pragma once

#include <variant>

#include "base/pacer.h"
#include "wire/cell.h"

namespace shoal::wire {

enum class RelayCommand : std::uint8_t {
    connect = 1,  // client to proxy: open a stream to a node
    data = 2,     // 1370 sealed bytes
    end = 3,      // StreamEndReason u8
    extend = 4,   // in RELAY_EARLY only
    extended = 5,
    drop = 6,           // padding
    sendme = 7,         // window back, with the tweak as an authenticated acknowledgement
    error = 8,          // extend failed: DestroyReason u8
    pad_negotiate = 9,  // client to proxy: pacer mode and class of the backward direction
};
inline constexpr std::uint8_t relay_command_max = 9;

using RelayBlock = ByteArray<limits::cell_body_bytes>;

struct RelayPayload {
    RelayCommand command = RelayCommand::drop;
    StreamId stream;           // not zero with connect, data, end and sendme; zero with all others
    std::uint16_t length = 0;  // at most relay_data_bytes
    ByteArray<limits::relay_data_bytes> data{};

    ByteView payload() const { return ByteView(data).first(length); }
};

// Whether the first sixteen bytes are zero: the cell is for this hop (constant time).
bool relay_recognised(const RelayBlock& block);
// `data` is at most relay_data_bytes, for data exactly sealed_record_bytes, and `stream` as RelayPayload says (ASSERT).
RelayBlock encode_relay(RelayCommand command, StreamId stream, ByteView data);
// Errc::malformed: not recognised, unknown command, flags, length, a stream where none is meant or none where one is,
// bytes behind the length not zero.
Result<RelayPayload> decode_relay(const RelayBlock& block);

// ---- data of the commands ----------------------------------------------------------------------------------------

struct Connect {
    NodeId node;
    StreamOpen open;
};
Bytes encode(const Connect& m);
Result<Connect> decode_connect(ByteView in);

// Names the next hop by identity only: its address comes from the directory, so a relay is no port scanner.
struct Extend {
    NodeId node;
    Handshake handshake;
};
Bytes encode(const Extend& m);
Result<Extend> decode_extend(ByteView in);

struct Sendme {
    ByteArray<16> tweak{};  // of the receiver's side after the last counted cell
};
Bytes encode(const Sendme& m);
Result<Sendme> decode_sendme(ByteView in);

struct PadNegotiate {
    PacerMode mode = PacerMode::shaped;
    PacerClass rate = PacerClass::ten;
};
Bytes encode(const PadNegotiate& m);
Result<PadNegotiate> decode_pad_negotiate(ByteView in);

}  // namespace shoal::wire
