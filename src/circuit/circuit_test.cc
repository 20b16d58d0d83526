// One client, three relays and a stand-in for the model node, as shipped objects over plain function calls.
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "circuit/origin.h"
#include "circuit/relay.h"
#include "crypto/rng.h"

namespace shoal::circuit {
namespace {

const NetworkId network(ByteArray<32>{7});
const NodeId model_node(ByteArray<32>{9});

struct RelayMachine {
    NodeId id;
    crypto::KeyPair onion;
    std::unique_ptr<Relay> relay;
    LinkId to_client_side;
    LinkId to_next_side;
};

// client =L1= relay0 =L2= relay1 =L3= relay2 =L4= model node
class CircuitTest : public ::testing::Test {
protected:
    CircuitTest() {
        for (std::size_t i = 0; i < 3; ++i) {
            RelayMachine& m = machines_[i];
            m.id = NodeId(rng_.array<32>());
            m.onion = crypto::KeyPair::generate(rng_);
            m.relay = std::make_unique<Relay>(RelayConfig{m.id, network}, rng_);
            m.relay->set_onion_keys(m.onion, nullptr);
            m.to_client_side = LinkId(10 * i + 1);
            m.to_next_side = LinkId(10 * i + 2);
            m.relay->on_link_up(m.to_client_side, false);
        }
    }
    OriginConfig config(PacerMode pacer = PacerMode::fast) {
        OriginConfig out;
        out.network = network;
        out.id = CircuitId(0x8000'0001);
        out.pacer = pacer;
        for (std::size_t i = 0; i < 3; ++i) out.path[i] = {machines_[i].id, machines_[i].onion.public_key};
        return out;
    }
    void build() {
        origin_ = std::make_unique<Origin>(now_, config(), rng_);
        pump();
        ASSERT_EQ(origin_->state(), Origin::State::ready);
        ASSERT_TRUE(std::holds_alternative<Origin::Ready>(*origin_->poll()));
    }
    // Moves cells until nothing moves; time stands still but for the pacers' 10 ms.
    void pump() {
        for (int turn = 0; turn < 400; ++turn) {
            bool moved = false;
            for (const wire::Cell& cell : origin_->take_cells()) moved = to_relay(0, cell) || true;
            for (std::size_t i = 0; i < 3; ++i) {
                machines_[i].relay->on_tick(now_);
                while (auto output = machines_[i].relay->poll()) {
                    moved = true;
                    handle(i, std::move(*output));
                }
                EXPECT_TRUE(machines_[i].relay->check());
            }
            origin_->on_tick(now_);
            if (!moved) {
                now_.mono += 10ms;
                if (++quiet_ > 3) break;
            } else {
                quiet_ = 0;
            }
        }
        quiet_ = 0;
    }
    bool to_relay(std::size_t i, wire::Cell cell) {
        if (on_forward) on_forward(i, cell);
        if (cell.length == 0 && cell.command == wire::CellCommand::padding) return false;
        machines_[i].relay->on_cell(now_, machines_[i].to_client_side, cell);
        return true;
    }
    void handle(std::size_t i, RelayOutput output) {
        if (const auto* want = std::get_if<WantLink>(&output)) {
            wanted_.push_back(*want);
            const bool known = i + 1 < 3 ? want->node == machines_[i + 1].id : want->node == model_node;
            if (!known) return machines_[i].relay->on_link_failed(now_, want->token, wire::DestroyReason::unreachable);
            machines_[i].relay->on_link_up(machines_[i].to_next_side, true);
            return machines_[i].relay->on_link_ready(now_, want->token, machines_[i].to_next_side);
        }
        const auto& send = std::get<SendCell>(output);
        if (send.link == machines_[i].to_next_side) {
            if (i < 2) {
                to_relay(i + 1, send.cell);
            } else {
                at_model_.push_back(send.cell);
            }
        } else if (i == 0) {
            if (on_backward) {
                wire::Cell cell = send.cell;
                on_backward(cell);
                return origin_->on_cell(now_, cell);
            }
            origin_->on_cell(now_, send.cell);
        } else {
            machines_[i - 1].relay->on_cell(now_, machines_[i - 1].to_next_side, send.cell);
        }
    }
    StreamId open() {
        const auto id = origin_->open_stream(wire::Connect{model_node, {wire::StreamProtocol::prompt, {1, 2, 3}}});
        pump();
        return *id;
    }
    // What the model node sends on the only stream.
    void from_model(wire::CellCommand command, ByteView payload) {
        const auto& m = machines_[2];
        m.relay->on_cell(now_, m.to_next_side, wire::make_cell(command, at_model_.front().id, payload, rng_));
    }
    std::uint64_t bad_cells() const {
        std::uint64_t sum = 0;
        for (const auto& m : machines_) sum += m.relay->stats().bad_cells;
        return sum;
    }

    crypto::SeededRng rng_{42};
    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    std::array<RelayMachine, 3> machines_;
    std::unique_ptr<Origin> origin_;
    std::vector<wire::Cell> at_model_;
    std::vector<WantLink> wanted_;
    std::function<void(std::size_t, wire::Cell&)> on_forward;
    std::function<void(wire::Cell&)> on_backward;
    int quiet_ = 0;
};

Bytes record(std::uint8_t fill) {
    return Bytes(limits::sealed_record_bytes, fill);
}

TEST_F(CircuitTest, BuildsThreeHopsWithOneHandshakeEach) {
    build();
    for (const auto& m : machines_) {
        EXPECT_EQ(m.relay->circuits(), 1U);
        EXPECT_EQ(m.relay->stats().public_key_operations, 1U);
    }
    EXPECT_EQ(wanted_.size(), 2U);
}

TEST_F(CircuitTest, CarriesAStreamBothWays) {
    build();
    const StreamId stream = open();
    ASSERT_EQ(at_model_.size(), 1U);
    EXPECT_EQ(at_model_[0].command, wire::CellCommand::stream_open);
    ASSERT_TRUE(origin_->send(stream, record(0x5A)));
    pump();
    ASSERT_EQ(at_model_.size(), 2U);
    EXPECT_EQ(to_bytes(at_model_[1].payload()), record(0x5A));
    from_model(wire::CellCommand::stream_data, record(0xA5));
    pump();
    const auto event = origin_->poll();
    ASSERT_TRUE(event && std::holds_alternative<Origin::StreamData>(*event));
    EXPECT_EQ(to_bytes(std::get<Origin::StreamData>(*event).sealed), record(0xA5));
    for (const auto& m : machines_) EXPECT_EQ(m.relay->stats().public_key_operations, 1U);
}

TEST_F(CircuitTest, AFlippedBitEndsTheCircuitAndIsCounted) {
    for (const std::size_t place : {0U, 31U, 32U, 700U, 1391U}) {
        for (std::size_t hop = 0; hop < 3; ++hop) {
            origin_.reset();
            for (auto& m : machines_) {
                m.relay->on_link_down(now_, m.to_client_side);
                m.relay->on_link_up(m.to_client_side, false);
            }
            at_model_.clear();
            build();
            const StreamId stream = open();
            const std::uint64_t before = bad_cells();
            bool done = false;
            on_forward = [&](std::size_t i, wire::Cell& cell) {
                if (i != hop || done || cell.command != wire::CellCommand::relay) return;
                cell.body[place] ^= 1;
                done = true;
            };
            origin_->send(stream, record(1));
            pump();
            on_forward = nullptr;
            ASSERT_TRUE(done);
            EXPECT_EQ(bad_cells(), before + 1) << "hop " << hop << " place " << place;
            EXPECT_EQ(origin_->state(), Origin::State::closed);
            for (const auto& cell : at_model_) EXPECT_NE(cell.command, wire::CellCommand::stream_data);
        }
    }
}

TEST_F(CircuitTest, AReplayedCellEndsTheCircuit) {
    build();
    const StreamId stream = open();
    std::optional<wire::Cell> kept;
    on_forward = [&](std::size_t i, wire::Cell& cell) {
        if (i == 1 && cell.command == wire::CellCommand::relay) kept = cell;
    };
    origin_->send(stream, record(1));
    pump();
    on_forward = nullptr;
    const std::uint64_t before = bad_cells();
    to_relay(1, *kept);
    pump();
    EXPECT_EQ(bad_cells(), before + 1);
    EXPECT_EQ(origin_->state(), Origin::State::closed);
}

TEST_F(CircuitTest, ABackwardCellThatWasChangedClosesTheCircuitAtTheClient) {
    build();
    open();
    on_backward = [](wire::Cell& cell) {
        if (cell.command == wire::CellCommand::relay) cell.body[900] ^= 4;
    };
    from_model(wire::CellCommand::stream_data, record(2));
    pump();
    EXPECT_EQ(origin_->state(), Origin::State::closed);
}

TEST_F(CircuitTest, AHandshakeIsAnsweredOnce) {
    std::optional<wire::Cell> create;
    on_forward = [&](std::size_t i, wire::Cell& cell) {
        if (i == 0 && cell.command == wire::CellCommand::create) create = cell;
    };
    build();
    on_forward = nullptr;
    create->id = 0x8000'0002;
    to_relay(0, *create);
    EXPECT_EQ(machines_[0].relay->stats().creates_replayed, 1U);
    EXPECT_EQ(machines_[0].relay->circuits(), 1U);
}

TEST_F(CircuitTest, AnUnreachableHopIsNamed) {
    OriginConfig wrong = config();
    wrong.path[2] = {NodeId(ByteArray<32>{77}), machines_[2].onion.public_key};
    origin_ = std::make_unique<Origin>(now_, wrong, rng_);
    pump();
    ASSERT_EQ(origin_->state(), Origin::State::closed);
    const auto event = origin_->poll();
    ASSERT_TRUE(event && std::holds_alternative<Origin::Closed>(*event));
    EXPECT_EQ(std::get<Origin::Closed>(*event).hops_built, 2U);
    EXPECT_EQ(std::get<Origin::Closed>(*event).reason, wire::DestroyReason::unreachable);
}

TEST_F(CircuitTest, AHopWithAnotherKeyIsRefused) {
    OriginConfig wrong = config();
    wrong.path[1].onion_key = crypto::KeyPair::generate(rng_).public_key;
    origin_ = std::make_unique<Origin>(now_, wrong, rng_);
    pump();
    EXPECT_EQ(origin_->state(), Origin::State::closed);
    EXPECT_EQ(machines_[1].relay->circuits(), 0U);
}

TEST_F(CircuitTest, TheModelNodesWindowIsGivenBackAsCellsLeave) {
    build();
    open();
    for (int i = 0; i < 8; ++i) from_model(wire::CellCommand::stream_data, record(3));
    pump();
    const bool given = std::any_of(at_model_.begin(), at_model_.end(), [](const wire::Cell& cell) {
        return cell.command == wire::CellCommand::stream_sendme;
    });
    EXPECT_TRUE(given);
}

TEST_F(CircuitTest, AModelNodeThatSendsPastItsWindowLosesItsStream) {
    build();
    open();
    now_.mono += 1ms;
    for (int i = 0; i < 40; ++i) from_model(wire::CellCommand::stream_data, record(3));
    pump();
    const bool ended = std::any_of(at_model_.begin(), at_model_.end(), [](const wire::Cell& cell) {
        return cell.command == wire::CellCommand::stream_end;
    });
    EXPECT_TRUE(ended);
    EXPECT_EQ(origin_->state(), Origin::State::ready);
}

TEST_F(CircuitTest, ALongReplyArrivesWholeAndInOrder) {
    build();
    open();
    std::size_t sent = 0;
    std::vector<std::uint8_t> got;
    for (int turn = 0; turn < 200 && got.size() < 250; ++turn) {
        std::size_t window = 16;
        std::size_t sendmes = 0;
        for (const auto& cell : at_model_) sendmes += cell.command == wire::CellCommand::stream_sendme ? 1 : 0;
        while (sent < 250 && sent < window + 8 * sendmes) {
            from_model(wire::CellCommand::stream_data, record(static_cast<std::uint8_t>(sent++)));
        }
        pump();
        while (auto event = origin_->poll()) {
            ASSERT_TRUE(std::holds_alternative<Origin::StreamData>(*event));
            got.push_back(std::get<Origin::StreamData>(*event).sealed[0]);
        }
    }
    ASSERT_EQ(got.size(), 250U);
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], static_cast<std::uint8_t>(i));
}

TEST_F(CircuitTest, LosingALinkEndsItsCircuitsOnBothSides) {
    build();
    const StreamId stream = open();
    machines_[1].relay->on_link_down(now_, machines_[1].to_next_side);
    machines_[2].relay->on_link_down(now_, machines_[2].to_client_side);
    pump();
    EXPECT_EQ(origin_->state(), Origin::State::closed);
    const auto end = origin_->poll();
    ASSERT_TRUE(end && std::holds_alternative<Origin::StreamEnd>(*end));
    EXPECT_EQ(std::get<Origin::StreamEnd>(*end).stream, stream);
    for (const auto& m : machines_) EXPECT_EQ(m.relay->circuits(), 0U);
    EXPECT_EQ(at_model_.back().command, wire::CellCommand::stream_end);
}

TEST(Window, ASendmeMustNameCellsThatWereSent) {
    SendWindow window;
    const Tweak tweak{1};
    EXPECT_FALSE(window.on_sendme(tweak));
    for (std::uint32_t i = 0; i < limits::stream_window_cells; ++i) {
        ASSERT_TRUE(window.open());
        window.sent(i + 1 == limits::sendme_cells ? tweak : Tweak{});
    }
    EXPECT_FALSE(window.open());
    EXPECT_FALSE(window.on_sendme(Tweak{2}));
    EXPECT_TRUE(window.on_sendme(tweak));
    EXPECT_TRUE(window.open());
}

TEST(Window, MoreThanAWindowIsNotTaken) {
    ReceiveWindow window;
    for (std::uint32_t i = 0; i < limits::stream_window_cells; ++i) ASSERT_TRUE(window.received(Tweak{}));
    EXPECT_FALSE(window.received(Tweak{}));
}

}  // namespace
}  // namespace shoal::circuit
