// The worker's end of the socket pair. Blocking where it may be: the worker has nothing else to do.
//
// When the node is gone or sends a frame that does not parse, the process ends here: nothing that it could compute has
// a reader any more. One thread.
#pragma once

#include <vector>

#include "engine/pipe.h"

namespace shoal::engine_worker {

class Channel {
public:
    explicit Channel(int descriptor, std::size_t frame_bytes_max = limits::engine_frame_bytes_max)
        : descriptor_(descriptor), frames_(frame_bytes_max) {}

    // What has arrived, each frame given to `decode`; with `wait`, at least one message. Ends the process at the end of
    // the stream.
    template <typename Message>
    std::vector<Message> receive(bool wait, Result<Message> (*decode)(ByteView)) {
        return receive_within(wait ? forever : Duration::zero(), decode);
    }
    // The same with `wait` for so long; nothing comes out when nothing has come.
    template <typename Message>
    std::vector<Message> receive_within(Duration wait, Result<Message> (*decode)(ByteView)) {
        std::vector<Message> out;
        for (Bytes& frame : receive_frames(wait)) {
            auto message = decode(frame);
            wipe(frame.data(), frame.size());
            if (!message) end_at_bad_frame();
            out.push_back(std::move(*message));
        }
        return out;
    }
    // A whole frame; kept until flush(), so that a step's messages leave in one write.
    void send(ByteView frame) { append(unsent_, frame); }
    // Returns when the socket has taken everything.
    void flush();

    // The node speaks out of order.
    [[noreturn]] static void end_at_bad_frame();

private:
    static constexpr Duration forever = Duration::max();
    std::vector<Bytes> receive_frames(Duration wait);

    int descriptor_;
    engine::pipe::Frames frames_;
    Bytes unsent_;
};

}  // namespace shoal::engine_worker
