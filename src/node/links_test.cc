// What a peer may say on which link: a node by itself, its peers played by the test.
#include <gtest/gtest.h>

#include "crypto/lioness.h"
#include "crypto/ntor.h"
#include "crypto/rng.h"
#include "directory/sign.h"
#include "node/node.h"

namespace shoal::node {
namespace {

using wire::CellCommand;

class LinksTest : public ::testing::Test {
protected:
    LinksTest() {
        genesis_.name = "test";
        genesis_.created = now_.wall;
        genesis_.verifiers.push_back({verifier_.node_id(), 1});
        genesis_.bootstraps.push_back({verifier_.node_id(), *wire::parse_address("127.1.0.1:9000")});
    }
    void start(std::uint16_t roles, CellObserver* observer = nullptr) {
        NodeConfig config;
        config.genesis = genesis_;
        config.roles = roles;
        config.client = roles == 0;
        if (roles != 0) config.addresses.push_back(*wire::parse_address("127.2.0.1:9000"));
        node_ = std::make_unique<Node>(now_, config, key_, rng_, observer);
        node_->on_tick(now_);
        drain();
    }
    void drain() {
        while (auto output = node_->poll()) {
            if (const auto* dial = std::get_if<Links::Dial>(&*output)) dials_.push_back(*dial);
            if (const auto* close = std::get_if<Links::Close>(&*output)) closed_.push_back(close->link);
            if (const auto* persist = std::get_if<Node::Persist>(&*output)) node_->on_persisted(now_, persist->file);
        }
    }
    void connect(LinkId link, const NodeId& peer, std::optional<DialId> dial) {
        node_->on_connected(now_, link, peer, dial);
        drain();
        wire::Versions versions;
        versions.network = genesis_.network();
        give(link, wire::make_cell(CellCommand::versions, 0, wire::encode(versions), rng_));
    }
    void give(LinkId link, const wire::Cell& cell) {
        Bytes bytes(limits::cell_bytes);
        wire::encode_cell(cell, std::span(bytes).first<limits::cell_bytes>());
        node_->on_bytes(now_, link, bytes);
        drain();
    }
    wire::Cell cell(CellCommand command) {
        Bytes payload;
        if (command == CellCommand::relay || command == CellCommand::relay_early)
            payload.resize(limits::cell_body_bytes);
        if (command == CellCommand::stream_data) payload.resize(limits::sealed_record_bytes);
        return wire::make_cell(command, 5, payload, rng_);
    }
    bool is_closed(LinkId link) const { return std::find(closed_.begin(), closed_.end(), link) != closed_.end(); }

    crypto::SeededRng rng_{1};
    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    crypto::SigningKey key_ = crypto::SigningKey::generate(rng_);
    crypto::SigningKey verifier_ = crypto::SigningKey::generate(rng_);
    crypto::SigningKey stranger_ = crypto::SigningKey::generate(rng_);
    directory::Genesis genesis_;
    std::unique_ptr<Node> node_;
    std::vector<Links::Dial> dials_;
    std::vector<LinkId> closed_;
};

TEST_F(LinksTest, AClientDialsUnderAKeyThatIsNotItsOwn) {
    start(0);
    ASSERT_EQ(dials_.size(), 1U);
    EXPECT_EQ(dials_[0].expected, verifier_.node_id());
    EXPECT_NE(dials_[0].identity->node_id(), key_.node_id());
}

TEST_F(LinksTest, ARelayDialsUnderItsOwn) {
    start(wire::role_relay);
    ASSERT_FALSE(dials_.empty());
    EXPECT_EQ(dials_[0].identity->node_id(), key_.node_id());
}

TEST_F(LinksTest, CellsForARelayOrAModelNodeEndAClientsLink) {
    start(0);
    std::uint64_t number = 0;
    for (const CellCommand command : {CellCommand::create, CellCommand::stream_open, CellCommand::stream_sendme,
                                      CellCommand::stream_data, CellCommand::stream_end}) {
        const LinkId link(++number);
        connect(link, verifier_.node_id(), dials_.back().dial);
        EXPECT_FALSE(is_closed(link));
        give(link, cell(command));
        EXPECT_TRUE(is_closed(link)) << static_cast<int>(command);
        node_->on_disconnected(now_, link);
        drain();
        // The next try to fetch the directory dials again.
        const std::size_t before = dials_.size();
        for (int i = 0; i < 200 && dials_.size() == before; ++i) {
            now_.mono += 500ms;
            node_->on_tick(now_);
            drain();
        }
        ASSERT_GT(dials_.size(), before);
    }
}

TEST_F(LinksTest, AStreamToANodeThatIsNoModelNodeEndsTheLink) {
    start(wire::role_relay);
    connect(LinkId(1), stranger_.node_id(), std::nullopt);
    EXPECT_FALSE(is_closed(LinkId(1)));
    give(LinkId(1), cell(CellCommand::stream_open));
    EXPECT_TRUE(is_closed(LinkId(1)));
}

TEST_F(LinksTest, ACircuitThroughANodeThatIsNoRelayEndsTheLink) {
    start(wire::role_model);
    connect(LinkId(1), stranger_.node_id(), std::nullopt);
    give(LinkId(1), cell(CellCommand::create));
    EXPECT_TRUE(is_closed(LinkId(1)));
}

TEST_F(LinksTest, ADirectoryThatNobodyAskedForEndsTheLink) {
    start(wire::role_relay);
    connect(LinkId(1), stranger_.node_id(), std::nullopt);
    const Bytes message = wire::encode_directory_message(wire::NotNewer{Epoch(1)});
    for (const Bytes& payload : wire::fragment_directory(message)) {
        give(LinkId(1), wire::make_cell(CellCommand::directory, 0, payload, rng_));
    }
    EXPECT_TRUE(is_closed(LinkId(1)));
}

TEST_F(LinksTest, AClientAnswersNoQuestion) {
    start(0);
    connect(LinkId(1), verifier_.node_id(), dials_.back().dial);
    const Bytes message = wire::encode_directory_message(wire::GetSnapshot{});
    give(LinkId(1), wire::make_cell(CellCommand::directory, 0, wire::fragment_directory(message)[0], rng_));
    EXPECT_TRUE(is_closed(LinkId(1)));
}

// The verifier may have dialled first: what it is asked then comes over that link.
TEST_F(LinksTest, ASnapshotMayComeOverALinkThatTheOtherSideDialled) {
    const Bytes begin = wire::fragment_directory(Bytes(100'000))[0];
    start(wire::role_relay);
    connect(LinkId(1), stranger_.node_id(), std::nullopt);
    give(LinkId(1), wire::make_cell(CellCommand::directory, 0, begin, rng_));
    EXPECT_TRUE(is_closed(LinkId(1))) << "who was not asked sends no snapshot";
    ASSERT_FALSE(dials_.empty()) << "the directory is asked for";
    connect(LinkId(2), verifier_.node_id(), std::nullopt);
    give(LinkId(2), wire::make_cell(CellCommand::directory, 0, begin, rng_));
    EXPECT_FALSE(is_closed(LinkId(2)));
}

// Sees at each directory cell how much waits for that link by then.
class WaitingAnswers final : public CellObserver {
public:
    void on_cell_seen(Now now, LinkId link, const NodeId&, bool incoming, const wire::Cell& cell) override {
        if (!incoming || cell.command != CellCommand::directory) return;
        Bytes out;
        node->take_output(now, link, limits::snapshot_bytes_max, out);
        cells.push_back(out.size() / limits::cell_bytes);
    }
    Node* node = nullptr;
    std::vector<std::size_t> cells;
};

TEST_F(LinksTest, EachRequestForTheDirectoryIsAnsweredBeforeTheNextIsRead) {
    // Else who sends a thousand in one piece has a thousand snapshots made before the first is refused its place.
    WaitingAnswers observer;
    start(wire::role_relay, &observer);
    observer.node = node_.get();
    connect(LinkId(1), stranger_.node_id(), std::nullopt);
    Bytes requests;
    const Bytes message = wire::encode_directory_message(wire::GetSnapshot{Epoch(0)});
    for (int i = 0; i < 4; ++i) {
        for (const Bytes& payload : wire::fragment_directory(message)) {
            requests.resize(requests.size() + limits::cell_bytes);
            wire::encode_cell(wire::make_cell(CellCommand::directory, 0, payload, rng_),
                              std::span(requests).last<limits::cell_bytes>());
        }
    }
    node_->on_bytes(now_, LinkId(1), requests);
    // Before the first only VERSIONS waits.
    EXPECT_EQ(observer.cells, (std::vector<std::size_t>{1, 1, 1, 1}));
}

TEST_F(LinksTest, APeerThatAsksForTheDirectoryWithoutReadingGetsNoMore) {
    start(wire::role_relay);
    connect(LinkId(1), stranger_.node_id(), std::nullopt);
    const Bytes message = wire::encode_directory_message(wire::GetSnapshot{Epoch(0)});
    for (std::size_t i = 0; i < 4 * limits::directory_queued_cells_max; ++i) {
        for (const Bytes& payload : wire::fragment_directory(message)) {
            give(LinkId(1), wire::make_cell(CellCommand::directory, 0, payload, rng_));
        }
    }
    Bytes out;
    node_->take_output(now_, LinkId(1), limits::snapshot_bytes_max, out);
    EXPECT_EQ(out.size() / limits::cell_bytes, 1 + limits::directory_queued_cells_max) << "VERSIONS is the first";
}

// A relay that has a directory and, on its first link, a client played by the test.
class LinksOfARelayTest : public LinksTest {
protected:
    LinksOfARelayTest() {
        wire::Snapshot snapshot;
        snapshot.network = genesis_.network();
        snapshot.epoch = Epoch(1);
        snapshot.valid_after = now_.wall;
        snapshot.fresh_until = now_.wall + 1h;
        snapshot.valid_until = now_.wall + 3h;
        snapshot.entries = {entry(relay_, wire::role_relay, 3), entry(model_, wire::role_model, 4),
                            entry(key_.node_id(), wire::role_relay | wire::role_model, 2)};
        std::ranges::sort(snapshot.entries, {}, [](const auto& e) { return e.descriptor.node; });
        wire::SignedSnapshot whole{snapshot, wire::encode_snapshot_body(snapshot), {}};
        whole.signatures = {directory::sign_snapshot(verifier_, genesis_.network(), 0, whole.body)};
        start(wire::role_relay);
        EXPECT_TRUE(node_->restore(now_, StateFile::directory, wire::encode(whole)));
        connect(LinkId(1), stranger_.node_id(), std::nullopt);
        (void)said();
    }
    wire::SnapshotEntry entry(const NodeId& node, std::uint16_t roles, std::uint8_t subnet) {
        wire::Descriptor d;
        d.node = node;
        d.onion_key = crypto::KeyPair::generate(rng_).public_key;
        d.hpke_key = crypto::KeyPair::generate(rng_).public_key;
        d.roles = roles;
        d.addresses = {*wire::parse_address("127." + std::to_string(subnet) + ".0.1:9000")};
        d.sequence = 1;
        d.valid_after = now_.wall;
        d.valid_until = now_.wall + 24h;
        return {d, 1, 500};
    }
    std::vector<wire::Cell> said() {
        Bytes out;
        node_->take_output(now_, LinkId(1), 1 << 20, out);
        std::vector<wire::Cell> cells;
        for (std::size_t at = 0; at < out.size(); at += limits::cell_bytes) {
            cells.push_back(*wire::decode_cell(ByteView(out).subspan(at).first<limits::cell_bytes>()));
        }
        return cells;
    }
    // Whether a circuit that asks for it makes the relay dial.
    bool dials(wire::RelayCommand command, StreamId stream, const Bytes& data) {
        const std::uint32_t id = 0x8000'0000 | ++circuits_;
        const auto onion = node_->agent().publisher().onion_keys();
        auto client = crypto::NtorClient::start(crypto::NtorProfile::circuit(genesis_.network()), node_->id(),
                                                onion.current.public_key, {}, rng_);
        const wire::Handshake hello{wire::handshake_ntor3, client->hello()};
        give(LinkId(1), wire::make_cell(CellCommand::create, id, wire::encode(hello), rng_));
        auto outcome = client->finish(wire::decode_handshake(said().at(0).payload())->data);
        crypto::LayerCipher forward(std::move(outcome->keys.forward));
        wire::Cell cell;
        cell.id = id;
        cell.command = command == wire::RelayCommand::extend ? CellCommand::relay_early : CellCommand::relay;
        cell.length = limits::cell_body_bytes;
        cell.body = wire::encode_relay(command, stream, data);
        forward.client_forward(cell.body);
        const std::size_t before = dials_.size();
        give(LinkId(1), cell);
        (void)said();
        return dials_.size() > before;
    }
    bool extends_to(const NodeId& node) {
        return dials(wire::RelayCommand::extend, StreamId(0),
                     wire::encode(wire::Extend{node, {wire::handshake_ntor3, Bytes(128, 1)}}));
    }
    bool connects_to(const NodeId& node) {
        return dials(wire::RelayCommand::connect, StreamId(1),
                     wire::encode(wire::Connect{node, {wire::StreamProtocol::prompt, {1}}}));
    }

    NodeId relay_{ByteArray<32>{21}};
    NodeId model_{ByteArray<32>{22}};
    std::uint32_t circuits_ = 0;
};

TEST_F(LinksOfARelayTest, CircuitsGoOnThroughRelaysAndEndAtModelNodes) {
    EXPECT_FALSE(extends_to(model_));
    EXPECT_FALSE(connects_to(relay_));
    EXPECT_FALSE(extends_to(NodeId(ByteArray<32>{23}))) << "the directory does not list it";
    EXPECT_FALSE(connects_to(node_->id())) << "itself, though it is listed";
    EXPECT_TRUE(extends_to(relay_));
    EXPECT_TRUE(connects_to(model_));
}

TEST_F(LinksTest, APeerThatDoesNotReadItsStreamsIsCutOff) {
    start(wire::role_model);
    connect(LinkId(1), stranger_.node_id(), std::nullopt);
    // Each is refused with a cell of its own; none of them leaves.
    for (std::size_t i = 0; i < limits::link_queue_cells_max; ++i) give(LinkId(1), cell(CellCommand::stream_open));
    EXPECT_FALSE(is_closed(LinkId(1)));
    give(LinkId(1), cell(CellCommand::stream_open));
    EXPECT_TRUE(is_closed(LinkId(1)));
}

TEST_F(LinksTest, AnotherNetworksVersionsEndTheLink) {
    start(wire::role_relay);
    node_->on_connected(now_, LinkId(1), stranger_.node_id(), std::nullopt);
    wire::Versions versions;
    versions.network = NetworkId(ByteArray<32>{1});
    give(LinkId(1), wire::make_cell(CellCommand::versions, 0, wire::encode(versions), rng_));
    EXPECT_TRUE(is_closed(LinkId(1)));
}

TEST_F(LinksTest, ALinkWithoutUseIsClosedAfterAWhileAndASilentOneSooner) {
    start(wire::role_relay);
    connect(LinkId(1), stranger_.node_id(), std::nullopt);
    connect(LinkId(2), verifier_.node_id(), std::nullopt);
    wire::Cell padding = wire::make_cell(CellCommand::padding, 0, {}, rng_);
    const Instant begun = now_.mono;
    while (!is_closed(LinkId(1)) && now_.mono - begun < 2 * limits::link_idle_timeout) {
        now_.mono += 5s;
        give(LinkId(1), padding);
        node_->on_tick(now_);
        drain();
        if (now_.mono - begun == 80s) {
            EXPECT_TRUE(is_closed(LinkId(2))) << "nothing heard";
        }
    }
    EXPECT_GE(now_.mono - begun, limits::link_idle_timeout);
    EXPECT_LE(now_.mono - begun, limits::link_idle_timeout + limits::link_keepalive + 5s);
}

}  // namespace
}  // namespace shoal::node
