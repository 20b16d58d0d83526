// What the node says, in its order. While a piece of the model is asked for, what comes before the answer waits.
//
// One thread.
#pragma once

#include <deque>
#include <optional>

#include "engine_worker/channel.h"

namespace shoal::engine_worker {

// Of the messages of one pipe: engine::pipe::ToWorker or engine::stage_pipe::ToStage.
template <typename Message>
class Inbox {
public:
    using Decode = Result<Message> (*)(ByteView);

    // `early` is what came already.
    Inbox(Channel& channel, Decode decode, std::vector<Message> early = {}) : channel_(channel), decode_(decode) {
        keep(std::move(early));
    }
    Inbox(const Inbox&) = delete;
    Inbox& operator=(const Inbox&) = delete;

    // Waits for it.
    Message next() {
        while (waiting_.empty()) keep(channel_.receive(true, decode_));
        return take_front();
    }
    // Waits for so long at most.
    std::optional<Message> next_within(Duration wait) {
        if (waiting_.empty()) keep(channel_.receive_within(wait, decode_));
        return waiting_.empty() ? std::nullopt : std::optional<Message>(take_front());
    }
    // Whether next() would not wait.
    bool any() const { return !waiting_.empty(); }

    // Sends this want, a whole frame, and waits for what it is answered with.
    Bytes ask(ByteView want) {
        channel_.send(want);
        channel_.flush();
        for (;;) {
            std::optional<Bytes> answer;
            for (Message& message : channel_.receive(true, decode_)) {
                auto* piece = std::get_if<engine::pipe::PieceBytes>(&message);
                if (piece == nullptr) {
                    waiting_.push_back(std::move(message));
                } else {
                    if (answer) Channel::end_at_bad_frame();  // one is owed
                    answer = std::move(piece->bytes);
                }
            }
            if (answer) return std::move(*answer);
        }
    }

private:
    void keep(std::vector<Message> messages) {
        for (Message& message : messages) waiting_.push_back(std::move(message));
    }
    Message take_front() {
        Message out = std::move(waiting_.front());
        waiting_.pop_front();
        return out;
    }

    Channel& channel_;
    Decode decode_;
    std::deque<Message> waiting_;  // bounded by the node: what it lets wait for this process
};

}  // namespace shoal::engine_worker
