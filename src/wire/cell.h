// Cells: all that travels on a link between two nodes. Format: protocol/cell.md.
//
// Every frame of a link is one cell of 1400 bytes: an id, a command, flags, a length and a body of 1392. What the body
// does not use is filled with random bytes by the sender (zeros would be visible only to the peer, inside TLS; random
// bytes keep a relay's output free of constant runs).
#pragma once

#include "base/codec.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/rng.h"
#include "base/time.h"

namespace shoal::wire {

enum class CellCommand : std::uint8_t {
    padding = 0,         // ignored
    create = 1,          // a handshake: opens a circuit
    created = 2,         // its answer
    relay = 3,           // one onion layer around 1392 bytes
    relay_early = 4,     // as relay; only these may carry EXTEND
    destroy = 5,         // reason u8
    stream_open = 6,     // proxy to model node
    stream_data = 7,     // 1370 sealed bytes
    stream_end = 8,      // reason u8
    versions = 9,        // first cell of each side
    pad_negotiate = 10,  // client to guard: idle padding of this link on or off
    stream_sendme = 11,  // gives window back, between proxy and model node
    directory = 12,      // one fragment of a directory message
    channel_open = 13,   // these four: protocol/channel.md
    channel_data = 14,
    channel_credit = 15,
    channel_close = 16,
    ping = 17,  // asks for a pong with its token
    pong = 18,
};
inline constexpr std::uint8_t cell_command_max = 18;

enum class DestroyReason : std::uint8_t {
    none = 0,         // the client closes
    protocol = 1,     // a cell that may not come here, or a tag that is not zero at the end of the circuit
    busy = 2,         // a limit is reached
    handshake = 3,    // CREATE does not verify, or was seen before
    unreachable = 4,  // the next hop is unknown or does not answer
    link_lost = 5,
    expired = 6,   // too old, or too many cells
    stopping = 7,  // the relay goes down
};
inline constexpr std::uint8_t destroy_reason_max = 7;

enum class StreamEndReason : std::uint8_t {
    done = 0,         // by the client
    refused = 1,      // the model node takes no stream of this protocol, or too many
    unreachable = 2,  // no link to the node
    link_lost = 3,
    protocol = 4,
    unknown_node = 5,  // not in the directory, or without a role that takes streams
    busy = 6,
    stopping = 7,
};
inline constexpr std::uint8_t stream_end_reason_max = 7;

// One cell, decoded: command and flags are known, length is within the body.
struct Cell {
    // Of a circuit, a stream or a channel, by command. Zero where none applies: padding, versions, pad_negotiate,
    // directory, ping, pong.
    std::uint32_t id = 0;
    CellCommand command = CellCommand::padding;
    std::uint8_t flags = 0;    // none is defined: zero
    std::uint16_t length = 0;  // meaningful bytes of the body
    ByteArray<limits::cell_body_bytes> body{};

    ByteView payload() const { return ByteView(body).first(length); }
};

// Writes the cell into exactly cell_bytes at `out`, without allocating; the cell must be one that decode_cell would
// give (ASSERT). Bytes of the body behind `length` go out as they are: build cells
// with make_cell, which fills them.
void encode_cell(const Cell& cell, std::span<std::uint8_t, limits::cell_bytes> out);
// Errc::malformed: unknown command, flag set, length too large, length other than what the command fixes
// (relay and relay_early 1392, stream_data 1370), an id on a command of the link. No allocation but for an error.
Result<Cell> decode_cell(std::span<const std::uint8_t, limits::cell_bytes> in);
// A cell with this payload (at most cell_body_bytes) and random bytes behind it.
Cell make_cell(CellCommand command, std::uint32_t id, ByteView payload, Rng& rng);

// ---- bodies ------------------------------------------------------------------------------------------------------

inline constexpr std::uint16_t link_version = 1;
// VERSIONS: the first cell in each direction. Another version or network closes the link.
struct Versions {
    std::uint16_t version = link_version;
    NetworkId network;
    UnixTime sent{};  // for a warning about clocks that differ; nothing depends on it
};
Bytes encode(const Versions& m);
// Errc::unsupported: another link version, whatever follows it. Errc::malformed.
Result<Versions> decode_versions(ByteView in);

// CREATE and CREATED: a circuit handshake (crypto/ntor.h). Type 3 is ntor-v3; 4 is reserved for the hybrid.
inline constexpr std::uint16_t handshake_ntor3 = 3;
inline constexpr std::size_t handshake_data_bytes_max = limits::relay_data_bytes - 32 - 4;  // also fits an EXTEND
struct Handshake {
    std::uint16_t type = handshake_ntor3;
    Bytes data;  // 1 to handshake_data_bytes_max
};
Bytes encode(const Handshake& m);
// Errc::malformed; Errc::unsupported: a type other than handshake_ntor3.
Result<Handshake> decode_handshake(ByteView in);

Bytes encode(DestroyReason reason);
Result<DestroyReason> decode_destroy(ByteView in);
Bytes encode(StreamEndReason reason);
Result<StreamEndReason> decode_stream_end(ByteView in);

// STREAM_OPEN: proto and the HPKE encapsulation of the stream that follows (CRYPTO 6.5).
enum class StreamProtocol : std::uint8_t { prompt = 1 };
struct StreamOpen {
    StreamProtocol protocol = StreamProtocol::prompt;
    ByteArray<32> encapsulated{};
};
Bytes encode(const StreamOpen& m);
// Errc::malformed; Errc::unsupported: another protocol.
Result<StreamOpen> decode_stream_open(ByteView in);

// STREAM_SENDME: this many cells more may follow, 1 to link_stream_window_cells.
struct StreamSendme {
    std::uint16_t cells = limits::link_sendme_cells;
};
Bytes encode(const StreamSendme& m);
Result<StreamSendme> decode_stream_sendme(ByteView in);

struct LinkPadNegotiate {
    bool enabled = false;
};
Bytes encode(const LinkPadNegotiate& m);
Result<LinkPadNegotiate> decode_link_pad_negotiate(ByteView in);

// PING and PONG: how long a link takes there and back, and what it carries (link/gauge.h).
struct Ping {
    std::uint64_t token = 0;  // random: nobody has it before it has come
};
Bytes encode(const Ping& m);
Result<Ping> decode_ping(ByteView in);

}  // namespace shoal::wire
