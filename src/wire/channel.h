// Channels: whole messages of any length between two nodes, in the cells of one link. Format: protocol/channel.md.
#pragma once

#include "base/codec.h"
#include "base/limits.h"

namespace shoal::wire {

enum class ChannelProtocol : std::uint8_t { stage = 1, prefix = 2 };

enum class ChannelCloseReason : std::uint8_t {
    done = 0,
    refused = 1,   // nobody here speaks the protocol
    busy = 2,      // a limit is reached
    protocol = 3,  // a cell that does not fit
};
inline constexpr std::uint8_t channel_close_reason_max = 3;

struct ChannelOpen {
    ChannelProtocol protocol = ChannelProtocol::stage;
};
Bytes encode(const ChannelOpen& m);
// Errc::malformed; Errc::unsupported: another protocol.
Result<ChannelOpen> decode_channel_open(ByteView in);

// A piece of a message. The view is into what was decoded.
struct ChannelData {
    std::uint32_t total = 0;  // bytes of the message, in its first piece; 0: one more piece
    ByteView bytes;           // never empty
};
inline constexpr std::size_t channel_first_bytes_max = limits::cell_body_bytes - 1 - 4;
inline constexpr std::size_t channel_more_bytes_max = limits::cell_body_bytes - 1;
Bytes encode(const ChannelData& m);
// Errc::malformed: no piece, or longer than the total; Errc::invalid: a total out of range.
Result<ChannelData> decode_channel_data(ByteView in);

// Messages taken since the channel was opened.
struct ChannelCredit {
    std::uint64_t taken = 0;
};
Bytes encode(const ChannelCredit& m);
Result<ChannelCredit> decode_channel_credit(ByteView in);

Bytes encode(ChannelCloseReason reason);
Result<ChannelCloseReason> decode_channel_close(ByteView in);

}  // namespace shoal::wire
