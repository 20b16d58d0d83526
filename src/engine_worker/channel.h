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
    explicit Channel(int descriptor) : descriptor_(descriptor) {}

    // What has arrived; with `wait`, at least one message. Ends the process at the end of the stream.
    std::vector<engine::pipe::ToWorker> receive(bool wait);
    // Kept until flush(), so that a step's messages leave in one write.
    void send(const engine::pipe::FromWorker& message);
    // Returns when the socket has taken everything.
    void flush();

private:
    int descriptor_;
    engine::pipe::Frames frames_;
    Bytes unsent_;
};

}  // namespace shoal::engine_worker
