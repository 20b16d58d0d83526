// The two ends of a stream's flow control: at most stream_window_cells DATA cells without an answer, and an answer
// (SENDME) for every sendme_cells that names the tweak of the cipher after the last of them.
//
// Rationale for the tweak: it depends on every cell of the circuit so far, so a client that has not received the cells
// cannot ask for more, and a relay cannot be made to buffer without end (Tor's authenticated SENDME).
// Value types; pure.
#pragma once

#include <deque>
#include <optional>

#include "base/bytes.h"
#include "base/limits.h"

namespace shoal::circuit {

using Tweak = ByteArray<16>;

class SendWindow {
public:
    bool open() const { return in_flight_ < limits::stream_window_cells; }
    // A DATA cell left; `after` is the tweak then.
    void sent(const Tweak& after) {
        ++in_flight_;
        if (++since_mark_ == limits::sendme_cells) {
            since_mark_ = 0;
            marks_.push_back(after);
        }
    }
    // False: nothing was owed, or the tweak is another. The stream's circuit then ends.
    [[nodiscard]] bool on_sendme(const Tweak& tweak) {
        if (marks_.empty() || marks_.front() != tweak) return false;
        marks_.pop_front();
        in_flight_ -= limits::sendme_cells;
        return true;
    }

private:
    std::uint32_t in_flight_ = 0;
    std::uint32_t since_mark_ = 0;
    std::deque<Tweak> marks_;  // bounded: stream_window_cells / sendme_cells
};

class ReceiveWindow {
public:
    // False: the peer sends past its window.
    [[nodiscard]] bool received(const Tweak& after) {
        if (++unanswered_ > limits::stream_window_cells) return false;
        if (++since_mark_ == limits::sendme_cells) {
            since_mark_ = 0;
            marks_.push_back(after);
        }
        return true;
    }
    // A received cell was passed on. Gives the tweak of the SENDME that is now due.
    std::optional<Tweak> consumed() {
        if (++consumed_ < limits::sendme_cells) return std::nullopt;
        consumed_ = 0;
        unanswered_ -= limits::sendme_cells;
        const Tweak due = marks_.front();
        marks_.pop_front();
        return due;
    }

private:
    std::uint32_t unanswered_ = 0;
    std::uint32_t since_mark_ = 0;
    std::uint32_t consumed_ = 0;
    std::deque<Tweak> marks_;  // bounded: stream_window_cells / sendme_cells
};

}  // namespace shoal::circuit
