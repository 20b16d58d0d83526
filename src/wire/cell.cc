#include "wire/cell.h"

#include <algorithm>

#include "wire/fields.h"

namespace shoal::wire {
namespace {

constexpr std::size_t id_at = 0;
constexpr std::size_t command_at = 4;
constexpr std::size_t flags_at = 5;
constexpr std::size_t length_at = 6;
static_assert(length_at + 2 == limits::cell_header_bytes);

// The length that a command fixes; others carry what their body says.
std::optional<std::size_t> fixed_length(CellCommand command) {
    switch (command) {
        case CellCommand::relay:
        case CellCommand::relay_early: return limits::cell_body_bytes;
        case CellCommand::stream_data: return limits::sealed_record_bytes;
        default: return std::nullopt;
    }
}

// Commands that concern the link itself, not one circuit or stream of it.
bool concerns_link(CellCommand command) {
    switch (command) {
        case CellCommand::padding:
        case CellCommand::versions:
        case CellCommand::pad_negotiate:
        case CellCommand::directory:
        case CellCommand::ping:
        case CellCommand::pong: return true;
        default: return false;
    }
}

// Empty: the header is one that this version knows.
std::string_view header_fault(CellCommand command, std::uint8_t flags, std::uint32_t id, std::size_t length) {
    if (static_cast<std::uint8_t>(command) > cell_command_max) return "cell: unknown command";
    if (flags != 0) return "cell: a reserved flag is set";
    if (length > limits::cell_body_bytes) return "cell: length beyond the body";
    if (concerns_link(command) && id != 0) return "cell: an id on a command of the link";
    const auto fixed = fixed_length(command);
    if (fixed && length != *fixed) return "cell: not the length that the command fixes";
    return {};
}

}  // namespace

void encode_cell(const Cell& cell, std::span<std::uint8_t, limits::cell_bytes> out) {
    ASSERT(header_fault(cell.command, cell.flags, cell.id, cell.length).empty());
    store_le<std::uint32_t>(out.data() + id_at, cell.id);
    out[command_at] = static_cast<std::uint8_t>(cell.command);
    out[flags_at] = cell.flags;
    store_le<std::uint16_t>(out.data() + length_at, cell.length);
    std::memcpy(out.data() + limits::cell_header_bytes, cell.body.data(), cell.body.size());
}

Result<Cell> decode_cell(std::span<const std::uint8_t, limits::cell_bytes> in) {
    const auto command = static_cast<CellCommand>(in[command_at]);
    const auto id = load_le<std::uint32_t>(in.data() + id_at);
    const auto length = load_le<std::uint16_t>(in.data() + length_at);
    const std::string_view fault = header_fault(command, in[flags_at], id, length);
    if (!fault.empty()) return fail(Errc::malformed, std::string(fault));
    Result<Cell> out = Cell{};
    out->id = id;
    out->command = command;
    out->length = length;
    std::memcpy(out->body.data(), in.data() + limits::cell_header_bytes, out->body.size());
    return out;
}

Cell make_cell(CellCommand command, std::uint32_t id, ByteView payload, Rng& rng) {
    ASSERT(payload.size() <= limits::cell_body_bytes);
    Cell cell;
    cell.id = id;
    cell.command = command;
    cell.length = static_cast<std::uint16_t>(payload.size());
    std::copy(payload.begin(), payload.end(), cell.body.begin());
    const ByteSpan rest = ByteSpan(cell.body).subspan(payload.size());
    if (!rest.empty()) rng.fill(rest);
    return cell;
}

Bytes encode(const Versions& m) {
    Writer out(2 + 32 + 8);
    out.u16(m.version);
    out.bytes(m.network.view());
    out.u64(unix_seconds(m.sent));
    return out.take();
}

Result<Versions> decode_versions(ByteView in) {
    Reader reader(in);
    Versions m;
    m.version = reader.u16();
    // Before anything else: what another version puts behind its number is not for us to judge.
    if (!reader.failed() && m.version != link_version) {
        return fail(Errc::unsupported, "versions: the peer speaks link version " + std::to_string(m.version) +
                                           ", this node " + std::to_string(link_version) + "; update the older one");
    }
    m.network = NetworkId(reader.array<32>());
    m.sent = TRY(read_time(reader, "versions"));
    TRY(reader.finish("versions"));
    return m;
}

Bytes encode(const Handshake& m) {
    ASSERT(!m.data.empty() && m.data.size() <= handshake_data_bytes_max);
    Writer out(4 + m.data.size());
    out.u16(m.type);
    out.bytes_u16(m.data);
    return out.take();
}

Result<Handshake> decode_handshake(ByteView in) {
    Reader reader(in);
    Handshake m;
    m.type = reader.u16();
    m.data = to_bytes(reader.bytes_u16(handshake_data_bytes_max));
    TRY(reader.finish("handshake"));
    if (m.type != handshake_ntor3) {
        return fail(Errc::unsupported, "handshake: type " + std::to_string(m.type) + " is not known to this node");
    }
    if (m.data.empty()) return fail(Errc::malformed, "handshake: empty");
    return m;
}

Bytes encode(DestroyReason reason) {
    return {static_cast<std::uint8_t>(reason)};
}

Result<DestroyReason> decode_destroy(ByteView in) {
    Reader reader(in);
    const auto reason = TRY(read_enum<DestroyReason>(reader, destroy_reason_max, "destroy"));
    TRY(reader.finish("destroy"));
    return reason;
}

Bytes encode(StreamEndReason reason) {
    return {static_cast<std::uint8_t>(reason)};
}

Result<StreamEndReason> decode_stream_end(ByteView in) {
    Reader reader(in);
    const auto reason = TRY(read_enum<StreamEndReason>(reader, stream_end_reason_max, "stream end"));
    TRY(reader.finish("stream end"));
    return reason;
}

Bytes encode(const StreamOpen& m) {
    Writer out(1 + 32);
    out.u8(static_cast<std::uint8_t>(m.protocol));
    out.bytes(m.encapsulated);
    return out.take();
}

Result<StreamOpen> decode_stream_open(ByteView in) {
    Reader reader(in);
    StreamOpen m;
    m.protocol = static_cast<StreamProtocol>(reader.u8());
    m.encapsulated = reader.array<32>();
    TRY(reader.finish("stream open"));
    if (m.protocol != StreamProtocol::prompt) return fail(Errc::unsupported, "stream open: unknown protocol");
    return m;
}

Bytes encode(const StreamSendme& m) {
    ASSERT(m.cells >= 1 && m.cells <= limits::link_stream_window_cells);
    Writer out(2);
    out.u16(m.cells);
    return out.take();
}

Result<StreamSendme> decode_stream_sendme(ByteView in) {
    Reader reader(in);
    StreamSendme m;
    m.cells = reader.u16();
    TRY(reader.finish("stream sendme"));
    if (m.cells < 1 || m.cells > limits::link_stream_window_cells) {
        return fail(Errc::malformed, "stream sendme: gives back nothing, or more than the window");
    }
    return m;
}

Bytes encode(const LinkPadNegotiate& m) {
    return {static_cast<std::uint8_t>(m.enabled ? 1 : 0)};
}

Result<LinkPadNegotiate> decode_link_pad_negotiate(ByteView in) {
    Reader reader(in);
    LinkPadNegotiate m;
    m.enabled = TRY(read_bool(reader, "pad negotiate"));
    TRY(reader.finish("pad negotiate"));
    return m;
}

Bytes encode(const Ping& m) {
    Writer out(8);
    out.u64(m.token);
    return out.take();
}

Result<Ping> decode_ping(ByteView in) {
    Reader reader(in);
    const Ping m{reader.u64()};
    TRY(reader.finish("ping"));
    return m;
}

}  // namespace shoal::wire
