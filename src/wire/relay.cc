#include "wire/relay.h"

#include <algorithm>

#include "wire/fields.h"

namespace shoal::wire {
namespace {

constexpr std::size_t recognised_bytes = 16;
constexpr std::size_t command_at = 16;
constexpr std::size_t flags_at = 17;
constexpr std::size_t stream_at = 18;
constexpr std::size_t length_at = 20;
static_assert(length_at + 2 == limits::relay_header_bytes);

bool names_stream(RelayCommand command) {
    switch (command) {
        case RelayCommand::connect:
        case RelayCommand::data:
        case RelayCommand::end:
        case RelayCommand::sendme: return true;
        default: return false;
    }
}

// Empty: the header is one that this version knows.
std::string_view header_fault(RelayCommand command, std::uint8_t flags, StreamId stream, std::size_t length) {
    const auto number = static_cast<std::uint8_t>(command);
    if (number == 0 || number > relay_command_max) return "relay: unknown command";
    if (flags != 0) return "relay: a reserved flag is set";
    if (length > limits::relay_data_bytes) return "relay: length beyond the data";
    if (names_stream(command) != (stream.value() != 0))
        return "relay: a stream is missing, or named where none is meant";
    if (command == RelayCommand::data && length != limits::sealed_record_bytes) return "relay: DATA is no whole record";
    return {};
}

}  // namespace

bool relay_recognised(const RelayBlock& block) {
    std::uint8_t any = 0;
    for (std::size_t i = 0; i < recognised_bytes; ++i) any |= block[i];
    return any == 0;
}

RelayBlock encode_relay(RelayCommand command, StreamId stream, ByteView data) {
    ASSERT(header_fault(command, 0, stream, data.size()).empty());
    RelayBlock block{};
    block[command_at] = static_cast<std::uint8_t>(command);
    store_le<std::uint16_t>(block.data() + stream_at, stream.value());
    store_le<std::uint16_t>(block.data() + length_at, static_cast<std::uint16_t>(data.size()));
    std::copy(data.begin(), data.end(), block.begin() + limits::relay_header_bytes);
    return block;
}

Result<RelayPayload> decode_relay(const RelayBlock& block) {
    const auto command = static_cast<RelayCommand>(block[command_at]);
    const StreamId stream(load_le<std::uint16_t>(block.data() + stream_at));
    const auto length = load_le<std::uint16_t>(block.data() + length_at);
    if (!relay_recognised(block)) return fail(Errc::malformed, "relay: not for this hop");
    const std::string_view fault = header_fault(command, block[flags_at], stream, length);
    if (!fault.empty()) return fail(Errc::malformed, std::string(fault));
    const ByteView behind = ByteView(block).subspan(limits::relay_header_bytes + length);
    if (std::any_of(behind.begin(), behind.end(), [](std::uint8_t byte) { return byte != 0; })) {
        return fail(Errc::malformed, "relay: padding that is not zero");
    }
    Result<RelayPayload> out = RelayPayload{};
    out->command = command;
    out->stream = stream;
    out->length = length;
    std::memcpy(out->data.data(), block.data() + limits::relay_header_bytes, out->data.size());
    return out;
}

Bytes encode(const Connect& m) {
    Bytes out = to_bytes(m.node.view());
    append(out, encode(m.open));
    return out;
}

Result<Connect> decode_connect(ByteView in) {
    Reader reader(in);
    Connect m;
    m.node = NodeId(reader.array<32>());
    TRY(reader.check("connect"));
    m.open = TRY(decode_stream_open(reader.rest()));
    return m;
}

Bytes encode(const Extend& m) {
    Bytes out = to_bytes(m.node.view());
    append(out, encode(m.handshake));
    return out;
}

Result<Extend> decode_extend(ByteView in) {
    Reader reader(in);
    Extend m;
    m.node = NodeId(reader.array<32>());
    TRY(reader.check("extend"));
    m.handshake = TRY(decode_handshake(reader.rest()));
    return m;
}

Bytes encode(const Sendme& m) {
    return to_bytes(m.tweak);
}

Result<Sendme> decode_sendme(ByteView in) {
    Reader reader(in);
    Sendme m;
    m.tweak = reader.array<16>();
    TRY(reader.finish("sendme"));
    return m;
}

Bytes encode(const PadNegotiate& m) {
    return {static_cast<std::uint8_t>(m.mode), static_cast<std::uint8_t>(m.rate)};
}

Result<PadNegotiate> decode_pad_negotiate(ByteView in) {
    Reader reader(in);
    PadNegotiate m;
    m.mode = TRY(read_enum<PacerMode>(reader, static_cast<std::uint8_t>(PacerMode::shaped), "pad negotiate"));
    m.rate = static_cast<PacerClass>(reader.u8());
    TRY(reader.finish("pad negotiate"));
    switch (m.rate) {
        case PacerClass::five:
        case PacerClass::ten:
        case PacerClass::twenty: return m;
    }
    return fail(Errc::malformed, "pad negotiate: a rate other than 5, 10 and 20 cells a second");
}

}  // namespace shoal::wire
