// A relay whose client is played by the test, and a client whose relays are: what neither would do by itself.
#include <gtest/gtest.h>

#include "circuit/origin.h"
#include "circuit/relay.h"
#include "crypto/rng.h"

namespace shoal::circuit {
namespace {

using wire::CellCommand;
using wire::RelayCommand;
using State = Origin::State;

const NetworkId network(ByteArray<32>{7});
const NodeId model_node(ByteArray<32>{9});
constexpr std::uint32_t client_bit = 0x8000'0000;

wire::Cell relay_cell(std::uint32_t id, const wire::RelayBlock& block, bool early = false) {
    wire::Cell cell;
    cell.id = id;
    cell.command = early ? CellCommand::relay_early : CellCommand::relay;
    cell.length = limits::cell_body_bytes;
    cell.body = block;
    return cell;
}

// ---- a hostile client --------------------------------------------------------------------------------------------

class HostileClientTest : public ::testing::Test {
protected:
    HostileClientTest() {
        relay_.set_onion_keys(onion_, nullptr);
        relay_.on_link_up(client_, false);
        relay_.on_link_up(next_, true);
    }
    wire::Cell create_cell(std::uint32_t id) {
        handshake_.emplace(
            *crypto::NtorClient::start(crypto::NtorProfile::circuit(network), self_, onion_.public_key, {}, rng_));
        const wire::Handshake hello{wire::handshake_ntor3, handshake_->hello()};
        return wire::make_cell(CellCommand::create, id, wire::encode(hello), rng_);
    }
    // What the relay answers first.
    CellCommand create(std::uint32_t id) {
        relay_.on_cell(now_, client_, create_cell(id));
        const auto cells = take();
        if (cells.at(0).command != CellCommand::created) return cells[0].command;
        auto outcome = handshake_->finish(wire::decode_handshake(cells[0].payload())->data);
        forward_.emplace(std::move(outcome->keys.forward));
        id_ = id;
        return CellCommand::created;
    }
    void send(RelayCommand command, ByteView data, bool early = false) {
        wire::RelayBlock block = wire::encode_relay(command, StreamId(0), data);
        forward_->client_forward(block);
        relay_.on_cell(now_, client_, relay_cell(id_, block, early));
    }
    Bytes extend_to(const NodeId& node) {
        return wire::encode(wire::Extend{node, {wire::handshake_ntor3, Bytes(128, 1)}});
    }
    // The circuit gets a next hop that is about to answer; gives its id there.
    std::uint32_t extend() {
        EXPECT_EQ(create(client_bit | 1), CellCommand::created);
        send(RelayCommand::extend, extend_to(model_node), true);
        const auto want = relay_.poll();
        relay_.on_link_ready(now_, std::get<WantLink>(*want).token, next_);
        return take().at(0).id;
    }
    wire::Cell created(std::uint32_t id) {
        const wire::Handshake answer{wire::handshake_ntor3, Bytes(64, 1)};
        return wire::make_cell(CellCommand::created, id, wire::encode(answer), rng_);
    }
    std::vector<wire::Cell> take() {
        std::vector<wire::Cell> out;
        while (auto output = relay_.poll()) {
            if (const auto* cell = std::get_if<SendCell>(&*output)) out.push_back(cell->cell);
        }
        return out;
    }

    crypto::SeededRng rng_{5};
    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    NodeId self_{ByteArray<32>{3}};
    crypto::KeyPair onion_ = crypto::KeyPair::generate(rng_);
    Relay relay_{RelayConfig{self_, network}, rng_};
    LinkId client_{1};
    LinkId next_{2};
    std::optional<crypto::NtorClient> handshake_;
    std::optional<crypto::LayerCipher> forward_;
    std::uint32_t id_ = 0;
};

TEST_F(HostileClientTest, ACircuitsNumberIsOfItsMakersHalf) {
    EXPECT_EQ(create(5), CellCommand::destroy);
    EXPECT_EQ(create(0), CellCommand::destroy);
    EXPECT_EQ(create(client_bit | 5), CellCommand::created);
    EXPECT_EQ(create(client_bit | 5), CellCommand::destroy) << "in use";
    EXPECT_EQ(relay_.stats().creates_refused, 3U);
    EXPECT_EQ(relay_.stats().public_key_operations, 1U);
}

TEST_F(HostileClientTest, ALinkCarriesABoundedNumberOfCircuits) {
    for (std::uint32_t i = 1; i <= limits::circuits_per_link_max; ++i) {
        ASSERT_EQ(create(client_bit | i), CellCommand::created);
    }
    EXPECT_EQ(create(client_bit | 0x7fff'ffff), CellCommand::destroy);
    EXPECT_EQ(relay_.stats().public_key_operations, limits::circuits_per_link_max);
}

TEST_F(HostileClientTest, RecordsOfHandshakesGoWithTheKeyThatTheyWereMadeFor) {
    const wire::Cell first = create_cell(client_bit | 1);
    relay_.on_cell(now_, client_, first);
    const auto other = crypto::KeyPair::generate(rng_);
    relay_.set_onion_keys(other, &onion_);
    wire::Cell again = first;
    again.id = client_bit | 2;
    relay_.on_cell(now_, client_, again);
    EXPECT_EQ(relay_.stats().creates_replayed, 1U) << "the key before is honoured still, and so is its record";
    relay_.set_onion_keys(other, nullptr);
    relay_.set_onion_keys(onion_, nullptr);
    again.id = client_bit | 3;
    relay_.on_cell(now_, client_, again);
    EXPECT_EQ(relay_.stats().creates_replayed, 1U) << "it is kept no longer than its key";
}

TEST_F(HostileClientTest, FewCellsMayExtend) {
    create(client_bit | 1);
    for (std::uint32_t i = 0; i < limits::relay_early_per_circuit_max; ++i) send(RelayCommand::drop, {}, true);
    EXPECT_EQ(relay_.circuits(), 1U);
    send(RelayCommand::drop, {}, true);
    EXPECT_EQ(relay_.circuits(), 0U);
    EXPECT_EQ(relay_.stats().protocol_errors, 1U);
}

TEST_F(HostileClientTest, ExtendComesInAnEarlyCell) {
    create(client_bit | 1);
    send(RelayCommand::extend, extend_to(model_node), false);
    EXPECT_EQ(relay_.circuits(), 0U);
}

TEST_F(HostileClientTest, ACircuitIsExtendedOnce) {
    create(client_bit | 1);
    send(RelayCommand::extend, extend_to(model_node), true);
    EXPECT_EQ(relay_.circuits(), 1U);
    send(RelayCommand::extend, extend_to(NodeId(ByteArray<32>{10})), true);
    EXPECT_EQ(relay_.circuits(), 0U);
}

TEST_F(HostileClientTest, ARelayIsNoHopAfterItself) {
    create(client_bit | 1);
    send(RelayCommand::extend, extend_to(self_), true);
    EXPECT_EQ(relay_.circuits(), 0U);
}

TEST_F(HostileClientTest, TheNextHopAnswersOnce) {
    const std::uint32_t id = extend();
    relay_.on_cell(now_, next_, created(id));
    EXPECT_EQ(relay_.circuits(), 1U);
    relay_.on_cell(now_, next_, created(id));
    EXPECT_EQ(relay_.circuits(), 0U);
}

TEST_F(HostileClientTest, TheNextHopSaysNothingBeforeItsAnswer) {
    const std::uint32_t id = extend();
    relay_.on_cell(now_, next_, relay_cell(id, {}));
    EXPECT_EQ(relay_.circuits(), 0U);
    EXPECT_EQ(relay_.stats().protocol_errors, 1U);
}

TEST_F(HostileClientTest, ACircuitEndsAfterItsCells) {
    const std::uint32_t id = extend();
    relay_.on_cell(now_, next_, created(id));
    // With the EXTEND one more would be too many.
    for (std::uint32_t i = 1; i < 2 * limits::circuit_cells_max; ++i) {
        relay_.on_cell(now_, next_, relay_cell(id, {}));
        take();
    }
    EXPECT_EQ(relay_.circuits(), 1U);
    relay_.on_cell(now_, next_, relay_cell(id, {}));
    EXPECT_EQ(relay_.circuits(), 0U);
}

TEST_F(HostileClientTest, ACircuitThatNobodyUsesIsGivenUp) {
    create(client_bit | 1);
    relay_.on_tick(now_);
    now_.mono += limits::relay_circuit_idle - 1s;
    relay_.on_tick(now_);
    EXPECT_EQ(relay_.circuits(), 1U);
    now_.mono += 2min;
    relay_.on_tick(now_);
    EXPECT_EQ(relay_.circuits(), 0U);
}

// ---- hostile relays ----------------------------------------------------------------------------------------------

class HostileRelaysTest : public ::testing::Test {
protected:
    struct PlayedHop {
        NodeId id;
        crypto::KeyPair onion;
        std::optional<crypto::LayerCipher> forward;
        std::optional<crypto::LayerCipher> backward;
    };
    HostileRelaysTest() {
        OriginConfig config;
        config.network = network;
        config.id = CircuitId(client_bit | 1);
        config.pacer = PacerMode::fast;
        for (std::size_t i = 0; i < hops_.size(); ++i) {
            hops_[i].id = NodeId(rng_.array<32>());
            hops_[i].onion = crypto::KeyPair::generate(rng_);
            config.path[i] = {hops_[i].id, hops_[i].onion.public_key};
        }
        origin_.emplace(now_, config, rng_);
    }
    wire::Handshake answer(PlayedHop& hop, const wire::Handshake& hello) {
        auto made = crypto::ntor_answer(crypto::NtorProfile::circuit(network), hop.id, hop.onion, nullptr,
                                        *crypto::NtorHello::parse(hello.data), {}, rng_);
        hop.forward.emplace(std::move(made->keys.forward));
        hop.backward.emplace(std::move(made->keys.backward));
        return {wire::handshake_ntor3, std::move(made->answer)};
    }
    // A cell as it comes from the guard; the hop speaks under its own layer and those before it.
    void say(std::size_t hop, RelayCommand command, StreamId stream, ByteView data) {
        wire::RelayBlock block = wire::encode_relay(command, stream, data);
        for (std::size_t i = hop + 1; i-- > 0;) hops_[i].backward->relay_backward(block);
        origin_->on_cell(now_, relay_cell(client_bit | 1, block));
    }
    void say_created(const wire::Handshake& handshake) {
        origin_->on_cell(now_, wire::make_cell(CellCommand::created, client_bit | 1, wire::encode(handshake), rng_));
    }
    void build() {
        const auto first = origin_->take_cells();
        say_created(answer(hops_[0], *wire::decode_handshake(first.at(0).payload())));
        for (std::size_t hop = 1; hop < hops_.size(); ++hop) {
            wire::RelayBlock block = origin_->take_cells().at(0).body;
            for (std::size_t i = 0; i < hop; ++i) hops_[i].forward->relay_forward(block);
            const auto extend = wire::decode_extend(wire::decode_relay(block)->payload());
            say(hop - 1, RelayCommand::extended, StreamId(0), wire::encode(answer(hops_[hop], extend->handshake)));
        }
        ASSERT_EQ(origin_->state(), State::ready);
        (void)origin_->poll();
    }
    StreamId open() {
        const auto id = origin_->open_stream(wire::Connect{model_node, {wire::StreamProtocol::prompt, {}}});
        origin_->flush(now_);
        return *id;
    }

    crypto::SeededRng rng_{6};
    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    std::array<PlayedHop, limits::hops> hops_;
    std::optional<Origin> origin_;
};

TEST_F(HostileRelaysTest, OnlyTheLastHopSpeaksForAStream) {
    build();
    const StreamId stream = open();
    const Bytes record(limits::sealed_record_bytes, 1);
    say(2, RelayCommand::data, stream, record);
    ASSERT_TRUE(std::holds_alternative<Origin::StreamData>(*origin_->poll()));
    say(0, RelayCommand::data, stream, record);
    EXPECT_EQ(origin_->state(), State::closed);
}

TEST_F(HostileRelaysTest, AHopThatDoesNotProveItsKeyEndsTheCircuit) {
    const auto first = origin_->take_cells();
    wire::Handshake forged = answer(hops_[0], *wire::decode_handshake(first.at(0).payload()));
    forged.data.back() ^= 1;
    say_created(forged);
    ASSERT_EQ(origin_->state(), State::closed);
    EXPECT_EQ(std::get<Origin::Closed>(*origin_->poll()).reason, wire::DestroyReason::handshake);
}

TEST_F(HostileRelaysTest, AnAnswerThatNobodyAskedForEndsTheCircuit) {
    build();
    say_created({wire::handshake_ntor3, Bytes(64, 1)});
    EXPECT_EQ(origin_->state(), State::closed);
}

TEST_F(HostileRelaysTest, AHopThatDoesNotAnswerIsGivenUpInTime) {
    now_.mono += limits::circuit_build_timeout_min - 1ms;
    origin_->on_tick(now_);
    EXPECT_EQ(origin_->state(), State::building);
    now_.mono += 1ms;
    origin_->on_tick(now_);
    ASSERT_EQ(origin_->state(), State::closed);
    EXPECT_EQ(std::get<Origin::Closed>(*origin_->poll()).hops_built, 0U);
}

TEST_F(HostileRelaysTest, ACircuitIsRetiredAfterItsCells) {
    build();
    std::uint32_t cells = 0;
    while (origin_->state() == State::ready && cells <= limits::circuit_cells_max) {
        origin_->end_stream(open());  // two cells, for which no window is asked
        now_.mono += 10ms;
        origin_->flush(now_);
        cells += static_cast<std::uint32_t>(origin_->take_cells().size());
    }
    EXPECT_EQ(origin_->state(), State::retired);
    EXPECT_EQ(origin_->open_stream(wire::Connect{}), std::nullopt);
}

}  // namespace
}  // namespace shoal::circuit
