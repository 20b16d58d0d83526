#include "link/channels.h"

#include "crypto/rng.h"

// Cells of a hostile peer: the command and a small number choose, the rest is the payload. Whatever comes, the object
// stays whole and holds no more than it may.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    using wire::CellCommand;
    crypto::SeededRng rng(1);
    link::Channels channels(false, rng);
    ByteView in(data, size);
    while (in.size() >= 3) {
        const std::size_t length = std::min<std::size_t>(in.size() - 3, std::min<std::size_t>(in[2] * 6, 1392));
        const auto command = static_cast<CellCommand>(static_cast<int>(CellCommand::channel_open) + in[0] % 4);
        const std::uint32_t id = (in[1] & 1 ? 0x8000'0000 : 0) | (in[1] >> 4);
        channels.on_cell(wire::make_cell(command, id, in.subspan(3, length), rng));
        if ((in[0] & 0x80) != 0 && channels.has_cell()) (void)channels.next_cell();
        if ((in[0] & 0x40) != 0) (void)channels.send(id, Bytes(1 + in[2] * 20));
        while (auto event = channels.poll()) {
            const auto* message = std::get_if<link::Channels::Message>(&*event);
            if (message != nullptr && (in[0] & 0x20) != 0) channels.took(message->channel);
        }
        ASSERT(channels.check());
        ASSERT(channels.count() <= 2 * limits::channels_per_link_max);
        in = in.subspan(3 + length);
    }
    return 0;
}
