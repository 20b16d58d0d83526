// The gauge over a line of known delay and width, and against peers that cheat.
#include "link/gauge.h"

#include <gtest/gtest.h>

#include <deque>

#include "base/test_rng.h"
#include "link/session.h"

namespace shoal::link {
namespace {

using wire::CellCommand;

// Two sessions and a line between them.
class GaugeTest : public ::testing::Test, private CellSink {
protected:
    struct Nobody final : CellSink {
        void on_cell(Now, const wire::Cell& cell) override { ADD_FAILURE() << static_cast<int>(cell.command); }
    };
    struct OnItsWay {
        Instant arrives;
        Bytes bytes;
    };

    void SetUp() override { start(); }
    void start() {
        here_.emplace(now_, network_, rng_);
        there_.emplace(now_, network_, rng_);
        Bytes ours, theirs;
        here_->take_output(now_, limits::cell_bytes, ours);
        there_->take_output(now_, limits::cell_bytes, theirs);
        ASSERT_TRUE(here_->on_bytes(now_, theirs, *this));
        ASSERT_TRUE(there_->on_bytes(now_, ours, nobody_));
        gauge_.emplace(now_, rng_);
        here_->set_source(&*gauge_);
        sent_ = 0;
    }
    void on_cell(Now now, const wire::Cell& cell) override {
        const Status taken = gauge_->on_cell(now, cell);
        if (!taken) failure_ = taken.error();
    }
    // Lets both sides speak until the gauge is done: one way takes `delay`, a byte from here 1 / `width` s.
    void run(Duration delay, double width) {
        std::deque<OnItsWay> to, back;
        Instant free = now_.mono;
        while (!gauge_->done() && !failure_) {
            Bytes out;
            // A line holds so much, then it waits: what has not left is the gauge's still.
            if (free <= now_.mono) here_->take_output(now_, 16 * limits::cell_bytes, out);
            if (!out.empty()) {
                sent_ += out.size();
                free = now_.mono + from_seconds(static_cast<double>(out.size()) / width);
                to.push_back({free + delay, std::move(out)});
            }
            Instant next = gauge_->next_deadline();
            if (here_->has_output()) next = std::min(next, std::max(free, now_.mono + Duration(1)));
            if (!to.empty()) next = std::min(next, to.front().arrives);
            if (!back.empty()) next = std::min(next, back.front().arrives);
            now_.mono = next;
            if (!to.empty() && to.front().arrives <= now_.mono) {
                ASSERT_TRUE(there_->on_bytes(now_, to.front().bytes, nobody_));
                to.pop_front();
                Bytes answer;
                there_->take_output(now_, 1 << 20, answer);
                if (!answer.empty() && !silent_) back.push_back({now_.mono + delay, std::move(answer)});
            }
            if (!back.empty() && back.front().arrives <= now_.mono) {
                const Bytes bytes = std::move(back.front().bytes);
                back.pop_front();
                ASSERT_TRUE(here_->on_bytes(now_, bytes, *this));
            }
            if (const Status tick = gauge_->on_tick(now_); !tick) failure_ = tick.error();
        }
    }
    wire::Cell pong(std::uint64_t token) {
        return wire::make_cell(CellCommand::pong, 0, wire::encode(wire::Ping{token}), rng_);
    }

    TestRng rng_{1};
    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    NetworkId network_{ByteArray<32>{7}};
    std::optional<Session> here_, there_;
    Nobody nobody_;
    std::optional<Gauge> gauge_;
    std::optional<Error> failure_;
    std::size_t sent_ = 0;
    bool silent_ = false;
};

TEST_F(GaugeTest, ALineIsFoundAsItIs) {
    struct Line {
        Duration delay;
        double width;
    };
    for (const Line line : {Line{15ms, 2.5e6}, Line{40ms, 125e3}, Line{100us, 100e6}, Line{5ms, 1e9}}) {
        start();
        run(line.delay, line.width);
        ASSERT_FALSE(failure_) << failure_->message;
        const LinkFigures found = gauge_->figures();
        EXPECT_GE(found.round_trip, 2 * line.delay);
        EXPECT_LT(to_seconds(found.round_trip - 2 * line.delay), 1.1 * 1400 / line.width + 1e-6);
        const double bodies = line.width * limits::cell_body_bytes / limits::cell_bytes;
        EXPECT_NEAR(static_cast<double>(found.bytes_per_second) / bodies, 1, 0.03) << line.width;
        EXPECT_LE(sent_, limits::gauge_bytes_max);
    }
}

TEST_F(GaugeTest, WhoStallsCostsTheTimeoutAndNoMore) {
    silent_ = true;
    const Instant begin = now_.mono;
    run(10ms, 1e6);
    ASSERT_TRUE(failure_);
    EXPECT_EQ(failure_->code, Errc::timeout);
    EXPECT_EQ(now_.mono - begin, limits::gauge_timeout);
}

TEST_F(GaugeTest, ALineThatIsTooSlowForASecondTrainCountsByTheFirst) {
    run(10ms, 7000);  // 3.5 s for the pings, 3.2 s for the first train, 6.4 s for the second
    ASSERT_FALSE(failure_) << failure_->message;
    EXPECT_NEAR(static_cast<double>(gauge_->figures().bytes_per_second), 6960, 70);
}

TEST_F(GaugeTest, APongThatWasNotEarnedIsNone) {
    (void)gauge_->next_cell();
    const Status guessed = gauge_->on_cell(now_, pong(0));
    ASSERT_FALSE(guessed);
    EXPECT_EQ(guessed.error().code, Errc::malformed);
}

TEST_F(GaugeTest, APongBeforeItsPingHasLeftIsNone) {
    Gauge gauge(now_, rng_);
    Gauge twin = gauge;  // knows the token, as no peer can
    const wire::Ping ping = *wire::decode_ping(twin.next_cell().payload());
    EXPECT_FALSE(gauge.on_cell(now_, pong(ping.token)));
    (void)gauge.next_cell();
    EXPECT_TRUE(gauge.on_cell(now_, pong(ping.token)));
    EXPECT_FALSE(gauge.on_cell(now_, pong(ping.token))) << "a token counts once";
}

TEST_F(GaugeTest, AnyOtherCellIsRefused) {
    for (const CellCommand command : {CellCommand::directory, CellCommand::create, CellCommand::channel_open}) {
        Gauge gauge(now_, rng_);
        const wire::Cell ping = gauge.next_cell();
        const std::uint32_t id = command == CellCommand::directory ? 0 : 1;
        // With the token: it is the command that is wrong.
        const Status taken = gauge.on_cell(now_, wire::make_cell(command, id, ping.payload(), rng_));
        ASSERT_FALSE(taken);
        EXPECT_EQ(taken.error().code, Errc::malformed);
    }
}

}  // namespace
}  // namespace shoal::link
