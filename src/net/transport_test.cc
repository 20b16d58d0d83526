#include "net/transport.h"

#include "net/net_testing.h"

namespace shoal::net {
namespace {

using testing::identity_of;
using testing::loopback;
using testing::RawSocket;
using testing::Recorder;
using testing::watchdog;

// A node that listens and one that dials, in one loop.
struct Network : ::testing::Test {
    Network() { start({}, {}); }
    void start(TransportOptions for_server, TransportOptions for_client) {
        server = std::make_unique<Transport>(loop, at_server, for_server);
        client = std::make_unique<Transport>(loop, at_client, for_client);
        address = server->listen(loopback(), server_id).value();
    }
    bool until(const std::function<bool()>& condition) { return loop.run_until(condition, watchdog); }
    LinkId dial() {
        const LinkId link = client->next_id();
        client->dial(link, address, server_id.id(), client_id);
        return link;
    }
    LinkId connect() {
        const LinkId link = dial();
        EXPECT_TRUE(until([&] { return at_server.ups.size() == 1 && at_client.ups.size() == 1; }));
        return link;
    }

    Loop loop;
    Recorder at_server;
    Recorder at_client;
    LocalIdentity server_id = identity_of(1);
    LocalIdentity client_id = identity_of(2);
    std::unique_ptr<Transport> server;
    std::unique_ptr<Transport> client;
    Endpoint address;
};

using TransportTest = Network;

TEST_F(TransportTest, TwoNodesMeetAndKnowEachOther) {
    const LinkId link = connect();
    EXPECT_EQ(at_client.ups[0].link, link);
    EXPECT_EQ(at_client.ups[0].peer, server_id.id());
    EXPECT_EQ(at_client.ups[0].remote, address);
    EXPECT_TRUE(at_client.ups[0].initiator);
    EXPECT_EQ(at_server.ups[0].peer, client_id.id());
    EXPECT_TRUE(at_server.ups[0].remote.is_loopback());
    EXPECT_FALSE(at_server.ups[0].initiator);
    const auto binding = client->channel_binding(link);
    ASSERT_TRUE(binding);
    EXPECT_EQ(binding, server->channel_binding(at_server.ups[0].link));
}

TEST_F(TransportTest, TheDiallerRefusesAnotherIdentityAndTheListenerNeverHearsOfIt) {
    const LinkId link = client->next_id();
    client->dial(link, address, identity_of(9).id(), client_id);
    ASSERT_TRUE(until([&] { return !at_client.downs.empty(); }));
    EXPECT_EQ(at_client.downs[0].first, link);
    EXPECT_EQ(at_client.downs[0].second.code, Errc::unauthenticated);
    EXPECT_TRUE(at_client.ups.empty());
    // An honest link afterwards is the only one that the listener knows.
    connect();
    EXPECT_TRUE(at_server.downs.empty());
}

TEST_F(TransportTest, NobodyThereIsUnavailable) {
    address.port = RawSocket().listen_silently().port;  // closed again at once
    dial();
    ASSERT_TRUE(until([&] { return !at_client.downs.empty(); }));
    EXPECT_EQ(at_client.downs[0].second.code, Errc::unavailable);
    EXPECT_NE(at_client.downs[0].second.message.find(address.text()), std::string::npos);
    EXPECT_EQ(client->link_count(), 0U);
}

TEST_F(TransportTest, ADialWithoutAnAnswerTimesOut) {
    RawSocket silent;
    start({}, {.handshake_timeout = 50ms});
    address = silent.listen_silently();
    dial();
    ASSERT_TRUE(until([&] { return !at_client.downs.empty(); }));
    EXPECT_EQ(at_client.downs[0].second.code, Errc::timeout);
}

TEST_F(TransportTest, BytesArriveInOrderBothWays) {
    const LinkId link = connect();
    const LinkId back = at_server.ups[0].link;
    ASSERT_TRUE(client->send(link, as_bytes("from the client, ")));
    ASSERT_TRUE(client->send(link, as_bytes("in two parts")));
    ASSERT_TRUE(server->send(back, as_bytes("from the server")));
    ASSERT_TRUE(until([&] { return at_server.received[back].size() == 29 && at_client.received[link].size() == 15; }));
    EXPECT_EQ(as_text(at_server.received[back]), "from the client, in two parts");
    EXPECT_EQ(as_text(at_client.received[link]), "from the server");
}

TEST_F(TransportTest, SendBeyondTheLimitIsRefusedWholeAndTheEndOfItIsTold) {
    const LinkId link = connect();
    const Bytes cell(1400, 7);
    std::size_t sent = 0;
    while (client->send(link, cell)) sent += cell.size();
    EXPECT_LE(sent, limits::link_in_flight_bytes_max);
    EXPECT_GT(sent + 2 * cell.size(), limits::link_in_flight_bytes_max - 1024);
    EXPECT_GE(client->unsent_bytes(link), sent);
    EXPECT_EQ(at_client.writable, 0);
    ASSERT_TRUE(until([&] { return at_client.writable == 1; }));
    EXPECT_TRUE(client->send(link, cell));
    const Bytes& got = at_server.received[at_server.ups[0].link];
    ASSERT_TRUE(until([&] { return got.size() == sent + cell.size(); }));
    EXPECT_EQ(at_client.writable, 1);
}

TEST_F(TransportTest, UnknownAndUnfinishedLinksTakeNothing) {
    EXPECT_FALSE(client->send(LinkId(99), as_bytes("x")));
    const LinkId link = dial();
    EXPECT_FALSE(client->send(link, as_bytes("too early")));
    client->close(LinkId(99));
    EXPECT_EQ(client->unsent_bytes(LinkId(99)), 0U);
    EXPECT_EQ(client->channel_binding(link), std::nullopt);
}

TEST_F(TransportTest, CloseSendsWhatIsQueuedAndBothHearOfTheEndOnce) {
    const LinkId link = connect();
    const LinkId back = at_server.ups[0].link;
    const Bytes much(100'000, 3);
    ASSERT_TRUE(client->send(link, much));
    client->close(link);
    client->close(link);
    EXPECT_FALSE(client->send(link, as_bytes("too late")));
    ASSERT_TRUE(until([&] { return !at_client.downs.empty() && !at_server.downs.empty(); }));
    EXPECT_EQ(at_server.received[back], much);
    EXPECT_EQ(at_client.downs[0].second.code, Errc::cancelled);
    EXPECT_EQ(at_server.downs[0].second.code, Errc::unavailable);
    dial();
    ASSERT_TRUE(until([&] { return at_client.ups.size() == 2; }));
    EXPECT_NE(at_client.ups[1].link, link);
}

TEST_F(TransportTest, ADialThatIsClosedEndsOnceWithCancelled) {
    const LinkId link = dial();
    client->close(link);
    ASSERT_TRUE(until([&] { return !at_client.downs.empty(); }));
    EXPECT_EQ(at_client.downs[0].second.code, Errc::cancelled);
    EXPECT_EQ(client->link_count(), 0U);
}

TEST_F(TransportTest, CloseDoesNotWaitForEverOnAPeerThatDoesNotAnswer) {
    start({}, {.close_timeout = 50ms});
    const LinkId link = connect();
    // The other side's socket stays open and unread: its transport is in a loop that nobody runs.
    Loop other_loop;
    Recorder other;
    Transport sleeping(other_loop, other);
    const Endpoint there = sleeping.listen(loopback(), server_id).value();
    const LinkId second = client->next_id();
    client->dial(second, there, server_id.id(), client_id);
    while (at_client.ups.size() < 2) {
        loop.run_until([] { return false; }, 1ms);
        other_loop.run_until([] { return false; }, 1ms);
    }
    client->close(second);
    ASSERT_TRUE(until([&] { return !at_client.downs.empty(); }));
    EXPECT_EQ(at_client.downs[0].first, second);
    EXPECT_EQ(at_client.downs[0].second.code, Errc::cancelled);
    EXPECT_NE(link, second);
}

TEST_F(TransportTest, LinksBeyondTheMaximumAreRefusedOnBothSides) {
    start({.links_max = 1}, {});
    connect();
    const LinkId second = dial();
    ASSERT_TRUE(until([&] { return !at_client.downs.empty(); }));
    EXPECT_EQ(at_client.downs[0].first, second);
    EXPECT_EQ(at_server.ups.size(), 1U);

    start({}, {.links_max = 0});
    const LinkId refused = dial();
    ASSERT_TRUE(until([&] { return at_client.downs.size() == 2; }));
    EXPECT_EQ(at_client.downs[1].first, refused);
    EXPECT_EQ(at_client.downs[1].second.code, Errc::exhausted);
}

TEST_F(TransportTest, DialsBeyondTheMaximumAreRefused) {
    start({}, {.dials_max = 1});
    dial();
    const LinkId second = dial();
    ASSERT_TRUE(until([&] { return !at_client.downs.empty() && at_client.ups.size() == 1; }));
    EXPECT_EQ(at_client.downs[0].first, second);
    EXPECT_EQ(at_client.downs[0].second.code, Errc::exhausted);
    // The place is free again once the handshake is done.
    dial();
    ASSERT_TRUE(until([&] { return at_client.ups.size() == 2; }));
}

TEST_F(TransportTest, DialsLeaveFromTheAddressThatWasNamed) {
    start({}, {.dial_from = Endpoint::v4(127, 3, 0, 1, 0)});
    connect();
    EXPECT_EQ(at_server.ups[0].remote.ip, Endpoint::v4(127, 3, 0, 1, 0).ip);
}

TEST_F(TransportTest, DialsFromAnAddressOfTheOtherFamilyAreRefused) {
    start({}, {.dial_from = Endpoint::parse("[::1]:0").value()});
    dial();
    ASSERT_TRUE(until([&] { return !at_client.downs.empty(); }));
    EXPECT_EQ(at_client.downs[0].second.code, Errc::invalid);
}

TEST_F(TransportTest, APortInUseIsNamed) {
    const auto second = client->listen(address, client_id);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::io);
    EXPECT_NE(second.error().message.find(std::to_string(address.port) + " is in use"), std::string::npos);
}

struct Observed : FrameObserver {
    void on_plaintext(LinkId, const NodeId& peer, Direction direction, ByteView bytes) override {
        log += (direction == Direction::in ? "in " : "out ") + peer.brief() + " " + std::string(as_text(bytes)) + "\n";
    }
    std::string log;
};

TEST_F(TransportTest, TheObserverSeesThePlaintextOfBothDirections) {
    Observed observer;
    start({.observer = &observer}, {});
    const LinkId link = connect();
    ASSERT_TRUE(client->send(link, as_bytes("ping")));
    ASSERT_TRUE(until([&] { return !at_server.received.empty(); }));
    ASSERT_TRUE(server->send(at_server.ups[0].link, as_bytes("pong")));
    const std::string who = client_id.id().brief();
    EXPECT_EQ(observer.log, "in " + who + " ping\nout " + who + " pong\n");
    server.reset();
}

// Sends back what comes, and keeps what the link does not take at once.
struct Echo : Recorder {
    void on_link_bytes(LinkId link, ByteView bytes) override {
        append(waiting, bytes);
        push(link);
    }
    void on_link_writable(LinkId link) override { push(link); }
    void push(LinkId link) {
        std::size_t done = 0;
        while (done < waiting.size()) {
            const ByteView part = ByteView(waiting).subspan(done, std::min<std::size_t>(1400, waiting.size() - done));
            if (!transport->send(link, part)) break;
            done += part.size();
        }
        waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(done));
    }
    Transport* transport = nullptr;
    Bytes waiting;
};

TEST(TransportStream, TenMegabytesComeBackIntact) {
    constexpr std::size_t total = 10 * 1024 * 1024;
    Loop loop;
    Echo echo;
    struct Collect : Echo {
        void on_link_bytes(LinkId, ByteView bytes) override { append(back, bytes); }
        Bytes back;
    } collect;
    Transport server(loop, echo);
    Transport client(loop, collect);
    echo.transport = &server;
    collect.transport = &client;
    const LocalIdentity id = identity_of(1);
    const LinkId link = client.next_id();
    client.dial(link, server.listen(loopback(), id).value(), id.id(), identity_of(2));
    ASSERT_TRUE(loop.run_until([&] { return collect.ups.size() == 1; }, watchdog));
    crypto::SeededRng rng(5);
    collect.waiting.resize(total);
    rng.fill(collect.waiting);
    const Bytes sent = collect.waiting;
    collect.push(link);
    ASSERT_TRUE(loop.run_until([&] { return collect.back.size() >= total; }, watchdog));
    EXPECT_TRUE(collect.back == sent);
    EXPECT_EQ(client.unsent_bytes(link), 0U);
}

// An event's receiver may destroy what calls it.
TEST(TransportLife, ATransportMayBeDestroyedFromItsOwnEvents) {
    for (int which = 0; which < 3; ++which) {
        Loop loop;
        struct Destroyer : Recorder {
            void on_link_up(LinkId link, const NodeId& peer, const Endpoint& remote, bool initiator) override {
                Recorder::on_link_up(link, peer, remote, initiator);
                if (which == 0) victim.reset();
            }
            void on_link_bytes(LinkId link, ByteView bytes) override {
                Recorder::on_link_bytes(link, bytes);
                if (which == 1) victim.reset();
            }
            void on_link_down(LinkId link, const Error& why) override {
                Recorder::on_link_down(link, why);
                if (which == 2) victim.reset();
            }
            std::unique_ptr<Transport> victim;
            int which = 0;
        } destroyer;
        destroyer.which = which;
        destroyer.victim = std::make_unique<Transport>(loop, destroyer);
        Recorder at_client;
        Transport client(loop, at_client);
        const LocalIdentity id = identity_of(1);
        const LinkId link = client.next_id();
        client.dial(link, destroyer.victim->listen(loopback(), id).value(), id.id(), identity_of(2));
        ASSERT_TRUE(loop.run_until([&] { return !at_client.ups.empty(); }, watchdog));
        [[maybe_unused]] const bool sent = client.send(link, as_bytes("hello"));
        if (which == 2) client.close(link);
        ASSERT_TRUE(loop.run_until([&] { return !at_client.downs.empty() && !destroyer.victim; }, watchdog)) << which;
    }
}

}  // namespace
}  // namespace shoal::net
