#include "wire/channel.h"

#include "wire/fields.h"

namespace shoal::wire {

Bytes encode(const ChannelOpen& m) {
    return {static_cast<std::uint8_t>(m.protocol)};
}

Result<ChannelOpen> decode_channel_open(ByteView in) {
    Reader reader(in);
    const ChannelOpen m{static_cast<ChannelProtocol>(reader.u8())};
    TRY(reader.finish("channel open"));
    const bool known = m.protocol == ChannelProtocol::stage || m.protocol == ChannelProtocol::prefix;
    if (!known) return fail(Errc::unsupported, "channel open: unknown protocol");
    return m;
}

Bytes encode(const ChannelData& m) {
    const bool first = m.total > 0;
    ASSERT(!m.bytes.empty() && m.bytes.size() <= (first ? channel_first_bytes_max : channel_more_bytes_max));
    ASSERT(!first || (m.total <= limits::channel_message_bytes_max && m.bytes.size() <= m.total));
    Writer out(1 + 4 + m.bytes.size());
    out.u8(first ? 1 : 0);
    if (first) out.u32(m.total);
    out.bytes(m.bytes);
    return out.take();
}

Result<ChannelData> decode_channel_data(ByteView in) {
    Reader reader(in);
    ChannelData m;
    const bool first = TRY(read_bool(reader, "channel data"));
    if (first) m.total = reader.u32();
    m.bytes = reader.rest();
    TRY(reader.check("channel data"));
    if (m.bytes.empty() || m.bytes.size() > (first ? channel_first_bytes_max : channel_more_bytes_max)) {
        return fail(Errc::malformed, "channel data: no piece of a message");
    }
    if (!first) return m;
    if (m.total == 0 || m.total > limits::channel_message_bytes_max) {
        return fail(Errc::invalid, "channel data: a message of an impossible length");
    }
    if (m.bytes.size() > m.total) return fail(Errc::malformed, "channel data: longer than its message");
    return m;
}

Bytes encode(const ChannelCredit& m) {
    Writer out(8);
    out.u64(m.taken);
    return out.take();
}

Result<ChannelCredit> decode_channel_credit(ByteView in) {
    Reader reader(in);
    const ChannelCredit m{reader.u64()};
    TRY(reader.finish("channel credit"));
    return m;
}

Bytes encode(ChannelCloseReason reason) {
    return {static_cast<std::uint8_t>(reason)};
}

Result<ChannelCloseReason> decode_channel_close(ByteView in) {
    Reader reader(in);
    const auto reason = TRY(read_enum<ChannelCloseReason>(reader, channel_close_reason_max, "channel close"));
    TRY(reader.finish("channel close"));
    return reason;
}

}  // namespace shoal::wire
