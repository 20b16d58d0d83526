#include "link/session.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "crypto/rng.h"

namespace shoal::link {
namespace {

using wire::CellCommand;

struct Collect final : CellSink {
    std::vector<wire::Cell> cells;
    void on_cell(Now, const wire::Cell& cell) override { cells.push_back(cell); }
};

class SessionTest : public ::testing::Test {
protected:
    wire::Cell cell(CellCommand command, std::uint32_t id = 1) {
        Bytes payload;
        if (command == CellCommand::relay || command == CellCommand::relay_early)
            payload.resize(limits::cell_body_bytes);
        if (command == CellCommand::stream_data) payload.resize(limits::sealed_record_bytes);
        const bool of_link = command == CellCommand::padding || command == CellCommand::directory ||
                             command == CellCommand::pad_negotiate || command == CellCommand::versions;
        return wire::make_cell(command, of_link ? 0 : id, payload, rng_);
    }
    Bytes bytes_of(const wire::Cell& c) {
        Bytes out(limits::cell_bytes);
        wire::encode_cell(c, std::span(out).first<limits::cell_bytes>());
        return out;
    }
    Bytes versions(NetworkId network, std::uint16_t version = wire::link_version) {
        Bytes payload = wire::encode(wire::Versions{wire::link_version, network, now_.wall});
        store_le<std::uint16_t>(payload.data(), version);
        return bytes_of(wire::make_cell(CellCommand::versions, 0, payload, rng_));
    }
    Bytes output(Session& session, std::size_t most = 1 << 20) {
        Bytes out;
        session.take_output(now_, most, out);
        return out;
    }
    void open(Session& session) {
        ASSERT_TRUE(session.on_bytes(now_, versions(network_), sink_));
        (void)output(session);
    }
    std::vector<CellCommand> commands(ByteView bytes) {
        std::vector<CellCommand> out;
        for (; !bytes.empty(); bytes = bytes.subspan(limits::cell_bytes)) {
            out.push_back(wire::decode_cell(bytes.first<limits::cell_bytes>())->command);
        }
        return out;
    }
    void pass(Duration time) { now_.mono += time; }

    crypto::SeededRng rng_{1};
    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    NetworkId network_{ByteArray<32>{7}};
    Collect sink_;
    Session session_{now_, network_, rng_};
};

// ---- opening -----------------------------------------------------------------------------------------------------

TEST_F(SessionTest, TwoSessionsOpenEachOther) {
    Session other(now_, network_, rng_);
    EXPECT_FALSE(session_.open());
    ASSERT_TRUE(other.on_bytes(now_, output(session_), sink_));
    ASSERT_TRUE(session_.on_bytes(now_, output(other), sink_));
    EXPECT_TRUE(session_.open());
    EXPECT_TRUE(other.open());
    EXPECT_TRUE(sink_.cells.empty()) << "VERSIONS is the session's own";
    EXPECT_FALSE(session_.has_output());
}

TEST_F(SessionTest, NothingIsTakenBeforeVersions) {
    for (const CellCommand command : {CellCommand::padding, CellCommand::create, CellCommand::relay,
                                      CellCommand::directory, CellCommand::stream_open}) {
        Session fresh(now_, network_, rng_);
        const Status taken = fresh.on_bytes(now_, bytes_of(cell(command)), sink_);
        ASSERT_FALSE(taken);
        EXPECT_EQ(taken.error().code, Errc::malformed);
    }
    EXPECT_TRUE(sink_.cells.empty());
}

TEST_F(SessionTest, ASecondVersionsEndsTheLink) {
    open(session_);
    const Status again = session_.on_bytes(now_, versions(network_), sink_);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::malformed);
}

TEST_F(SessionTest, AnotherNetworkIsRefused) {
    const Status taken = session_.on_bytes(now_, versions(NetworkId(ByteArray<32>{8})), sink_);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, Errc::unsupported);
    EXPECT_FALSE(session_.open());
}

TEST_F(SessionTest, AnotherVersionIsRefused) {
    const Status taken = session_.on_bytes(now_, versions(network_, 2), sink_);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, Errc::unsupported);
}

TEST_F(SessionTest, OnlyVersionsLeavesBeforeThePeersCame) {
    ASSERT_TRUE(session_.send(cell(CellCommand::create)));
    EXPECT_EQ(commands(output(session_)), std::vector{CellCommand::versions});
    EXPECT_FALSE(session_.has_output());
    ASSERT_TRUE(session_.on_bytes(now_, versions(network_), sink_));
    EXPECT_TRUE(session_.has_output());
    EXPECT_EQ(commands(output(session_)), std::vector{CellCommand::create});
}

// ---- order and bounds --------------------------------------------------------------------------------------------

TEST_F(SessionTest, ControlGoesBeforeDataBeforeDirectory) {
    open(session_);
    for (const CellCommand command : {CellCommand::directory, CellCommand::relay, CellCommand::destroy,
                                      CellCommand::created, CellCommand::stream_data, CellCommand::stream_end,
                                      CellCommand::stream_sendme, CellCommand::directory, CellCommand::create}) {
        ASSERT_TRUE(session_.send(cell(command)));
    }
    EXPECT_EQ(commands(output(session_)),
              (std::vector{CellCommand::created, CellCommand::stream_sendme, CellCommand::create, CellCommand::relay,
                           CellCommand::destroy, CellCommand::stream_data, CellCommand::stream_end,
                           CellCommand::directory, CellCommand::directory}));
}

TEST_F(SessionTest, WholeCellsOnlyAndNoMoreThanAskedFor) {
    open(session_);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(session_.send(cell(CellCommand::relay)));
    EXPECT_TRUE(output(session_, limits::cell_bytes - 1).empty());
    EXPECT_EQ(output(session_, 3 * limits::cell_bytes - 1).size(), 2 * limits::cell_bytes);
    EXPECT_EQ(session_.queued_cells(), 1U);
}

TEST_F(SessionTest, AFullQueueSaysNoAndTheOthersStillTake) {
    open(session_);
    for (std::size_t i = 0; i < limits::link_queue_cells_max; ++i) ASSERT_TRUE(session_.send(cell(CellCommand::relay)));
    EXPECT_FALSE(session_.send(cell(CellCommand::relay)));
    EXPECT_TRUE(session_.send(cell(CellCommand::created)));
    EXPECT_TRUE(session_.send(cell(CellCommand::directory)));
    EXPECT_EQ(session_.queued_bulk(), 1U);
    (void)output(session_, limits::cell_bytes * 2);
    EXPECT_TRUE(session_.send(cell(CellCommand::relay)));
}

// ---- bytes -------------------------------------------------------------------------------------------------------

TEST_F(SessionTest, CellsMayBeCutAnywhere) {
    Bytes stream = versions(network_);
    append(stream, bytes_of(cell(CellCommand::relay, 1)));
    append(stream, bytes_of(cell(CellCommand::relay, 2)));
    for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
        Session fresh(now_, network_, rng_);
        Collect sink;
        ASSERT_TRUE(fresh.on_bytes(now_, ByteView(stream).first(cut), sink));
        EXPECT_EQ(fresh.partial_bytes(), cut % limits::cell_bytes);
        ASSERT_TRUE(fresh.on_bytes(now_, ByteView(stream).subspan(cut), sink));
        ASSERT_EQ(sink.cells.size(), 2U) << cut;
        EXPECT_EQ(sink.cells[0].id, 1U);
        EXPECT_EQ(sink.cells[1].id, 2U);
        EXPECT_EQ(fresh.partial_bytes(), 0U);
    }
}

RC_GTEST_PROP(Session, PiecesOfAnySizeGiveTheSameCells, ()) {
    crypto::SeededRng rng(*rc::gen::arbitrary<std::uint32_t>());
    const Now now{Instant(1h), from_unix_seconds(1'800'000'000)};
    const NetworkId network(ByteArray<32>{7});
    Session from(now, network, rng);
    Session to(now, network, rng);
    Collect sink;
    Collect ignored;
    Bytes hello;
    to.take_output(now, 1 << 20, hello);
    RC_ASSERT(bool(from.on_bytes(now, hello, ignored)));
    const auto count = *rc::gen::inRange<std::uint32_t>(0, 20);
    for (std::uint32_t i = 1; i <= count; ++i) {
        RC_ASSERT(from.send(wire::make_cell(CellCommand::relay, i, Bytes(limits::cell_body_bytes), rng)));
    }
    Bytes bytes;
    from.take_output(now, 1 << 20, bytes);
    for (ByteView rest = bytes; !rest.empty();) {
        const std::size_t piece = std::min<std::size_t>(rest.size(), 1 + rng.below(3 * limits::cell_bytes));
        RC_ASSERT(bool(to.on_bytes(now, rest.first(piece), sink)));
        RC_ASSERT(to.partial_bytes() < limits::cell_bytes);
        rest = rest.subspan(piece);
    }
    RC_ASSERT(sink.cells.size() == count);
    for (std::uint32_t i = 0; i < count; ++i) RC_ASSERT(sink.cells[i].id == i + 1);
    RC_ASSERT(to.stats().cells_in == count + 1U);
    RC_ASSERT(from.stats().cells_out == count + 1U);
}

TEST_F(SessionTest, AMalformedCellEndsTheLinkAndWhatCameBeforeItCounts) {
    open(session_);
    Bytes stream = bytes_of(cell(CellCommand::relay));
    Bytes bad = bytes_of(cell(CellCommand::relay));
    bad[4] = 200;  // no such command
    append(stream, bad);
    append(stream, bytes_of(cell(CellCommand::relay)));
    EXPECT_FALSE(session_.on_bytes(now_, stream, sink_));
    EXPECT_EQ(sink_.cells.size(), 1U);
}

// ---- pings -------------------------------------------------------------------------------------------------------

TEST_F(SessionTest, APingIsAnsweredWithItsToken) {
    open(session_);
    const Bytes ping = wire::encode(wire::Ping{0x1234'5678'9abc'def0});
    ASSERT_TRUE(session_.on_bytes(now_, bytes_of(wire::make_cell(CellCommand::ping, 0, ping, rng_)), sink_));
    EXPECT_TRUE(sink_.cells.empty()) << "PING is the session's own";
    const Bytes answer = output(session_);
    ASSERT_EQ(commands(answer), std::vector{CellCommand::pong});
    EXPECT_EQ(to_bytes(wire::decode_cell(ByteView(answer).first<limits::cell_bytes>())->payload()), ping);
    ASSERT_TRUE(session_.on_bytes(now_, answer, sink_));
    ASSERT_EQ(sink_.cells.size(), 1U) << "PONG is for who asked";
}

TEST_F(SessionTest, WhoPingsTooMuchIsNotAnswered) {
    open(session_);
    const auto answered = [&](int pings) {
        for (int i = 0; i < pings; ++i) {
            const auto ping = wire::make_cell(CellCommand::ping, 0, wire::encode(wire::Ping{7}), rng_);
            EXPECT_TRUE(session_.on_bytes(now_, bytes_of(ping), sink_));
        }
        return static_cast<int>(commands(output(session_)).size());
    };
    EXPECT_EQ(answered(2 * limits::link_pings_at_once), limits::link_pings_at_once);
    pass(limits::link_ping_interval * 5);
    EXPECT_EQ(answered(100), 5);
    pass(limits::link_ping_interval / 2);
    EXPECT_EQ(answered(1), 0);
    pass(limits::link_ping_interval / 2);
    EXPECT_EQ(answered(2), 1);
    pass(1h);
    EXPECT_EQ(answered(2 * limits::link_pings_at_once), limits::link_pings_at_once);
}

TEST_F(SessionTest, AMalformedPingEndsTheLink) {
    open(session_);
    EXPECT_FALSE(session_.on_bytes(now_, bytes_of(wire::make_cell(CellCommand::ping, 0, Bytes(7), rng_)), sink_));
}

// ---- liveness ----------------------------------------------------------------------------------------------------

TEST_F(SessionTest, NoVersionsInTimeIsATimeout) {
    pass(limits::link_handshake_timeout - 1ms);
    EXPECT_TRUE(session_.on_tick(now_));
    EXPECT_EQ(session_.next_deadline(), now_.mono + 1ms);
    pass(1ms);
    const Status tick = session_.on_tick(now_);
    ASSERT_FALSE(tick);
    EXPECT_EQ(tick.error().code, Errc::timeout);
}

TEST_F(SessionTest, ASilentSideSaysThatItIsThere) {
    open(session_);
    pass(limits::link_keepalive - 1ms);
    ASSERT_TRUE(session_.on_tick(now_));
    EXPECT_FALSE(session_.has_output());
    pass(1ms);
    EXPECT_EQ(session_.next_deadline(), now_.mono);
    ASSERT_TRUE(session_.on_tick(now_));
    EXPECT_GT(session_.next_deadline(), now_.mono);
    EXPECT_EQ(commands(output(session_)), std::vector{CellCommand::padding});
}

TEST_F(SessionTest, PaddingKeepsALinkAliveAndIsNobodysCell) {
    open(session_);
    for (int i = 0; i < 10; ++i) {
        pass(limits::link_keepalive);
        ASSERT_TRUE(session_.on_bytes(now_, bytes_of(cell(CellCommand::padding)), sink_));
        ASSERT_TRUE(session_.on_tick(now_));
    }
    EXPECT_TRUE(sink_.cells.empty());
}

TEST_F(SessionTest, APeerThatIsNotHeardIsDead) {
    open(session_);
    pass(limits::link_keepalive * 5 / 2 - 1ms);
    ASSERT_TRUE(session_.on_tick(now_));
    pass(1ms);
    const Status tick = session_.on_tick(now_);
    ASSERT_FALSE(tick);
    EXPECT_EQ(tick.error().code, Errc::timeout);
}

TEST_F(SessionTest, HalfACellIsNoSignOfLife) {
    open(session_);
    for (int i = 0; i < 75; ++i) {
        pass(1s);
        ASSERT_TRUE(session_.on_bytes(now_, Bytes(1), sink_));
    }
    EXPECT_FALSE(session_.on_tick(now_));
}

}  // namespace
}  // namespace shoal::link
