#include "directory/publisher.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>

#include "directory/test_network.h"

namespace shoal::directory {
namespace {

struct PublisherTest : testing::Test {
    TestNetwork net;
    crypto::SeededRng rng{4};
    const crypto::SigningKey& identity = net.nodes[0];
    Publisher publisher{net.now, identity, net.genesis.network(), rng};
    std::vector<wire::Address> addresses = {*wire::parse_address("127.1.0.1:9000")};

    void configure(Publisher& p) {
        p.set_roles(wire::role_relay | wire::role_guard);
        p.set_addresses(addresses);
    }
    void persist(Publisher& p) {
        while (p.take_persist()) p.on_persisted();
    }
    std::optional<wire::SignedDescriptor> offered(Publisher& p) {
        p.on_tick(net.now);
        persist(p);
        return p.take_descriptor();
    }
    View view_with(const wire::Descriptor& d, std::uint64_t epoch = 1) {
        wire::Snapshot s = net.snapshot(epoch);
        s.entries.erase(s.entries.begin());
        if (d.node == identity.node_id()) s.entries.insert(s.entries.begin(), {d, 1, 500});
        auto view = View::verify(net.genesis, net.sign(s, {0}), net.now);
        return std::move(view).value();
    }
};

TEST_F(PublisherTest, SaysNothingBeforeItHasRolesAndAnAddress) {
    EXPECT_EQ(offered(publisher), std::nullopt);
    publisher.set_roles(wire::role_relay);
    EXPECT_EQ(offered(publisher), std::nullopt);
    publisher.set_addresses(addresses);
    EXPECT_NE(offered(publisher), std::nullopt);
}

TEST_F(PublisherTest, PublishesWhatVerifiersTake) {
    configure(publisher);
    publisher.set_family(FamilyId(ByteArray<32>{3}));
    const auto s = offered(publisher);
    ASSERT_TRUE(s);
    const auto d = verify_descriptor(*s, net.genesis.network(), net.now);
    ASSERT_TRUE(d);
    EXPECT_EQ(d->node, identity.node_id());
    EXPECT_EQ(d->addresses, addresses);
    EXPECT_EQ(d->onion_key, publisher.onion_keys().current.public_key);
    EXPECT_EQ(d->hpke_key, publisher.hpke_keys().current.public_key);
    EXPECT_EQ(d->valid_until - d->valid_after, 24h);
    EXPECT_EQ(d->sequence, unix_seconds(net.now.wall));
}

TEST_F(PublisherTest, LeavesOutWhatADescriptorCannotCarry) {
    publisher.set_roles(0xFFFF);
    publisher.set_addresses({{}, addresses[0], addresses[0]});
    publisher.set_models({{ModelId(ByteArray<32>{2}), 1, 4096, {}, "b"},
                          {ModelId(ByteArray<32>{1}), 1, 4096, {}, "a"},
                          {ModelId(ByteArray<32>{3}), 1, 4096, {}, "not a name"},
                          {ModelId(ByteArray<32>{4}), 1, 0, {}, "c"}});
    auto s = offered(publisher);
    ASSERT_TRUE(s);
    EXPECT_EQ(s->descriptor.addresses, addresses);
    ASSERT_EQ(s->descriptor.models.size(), 2U);
    EXPECT_EQ(s->descriptor.models[0].name, "a");
    publisher.set_roles(wire::role_guard | wire::role_verifier);
    s = offered(publisher);
    ASSERT_TRUE(s);
    EXPECT_EQ(s->descriptor.roles, wire::role_verifier);
    EXPECT_TRUE(s->descriptor.models.empty());
}

TEST_F(PublisherTest, GivesNothingBeforeItsStateIsOnTheDisk) {
    configure(publisher);
    publisher.on_tick(net.now);
    EXPECT_EQ(publisher.take_descriptor(), std::nullopt);
    ASSERT_TRUE(publisher.take_persist());
    EXPECT_EQ(publisher.take_persist(), std::nullopt);
    EXPECT_EQ(publisher.take_descriptor(), std::nullopt);
    publisher.set_family(FamilyId(ByteArray<32>{1}));  // while the disk is busy with the state before
    publisher.on_tick(net.now);
    publisher.on_persisted();
    EXPECT_EQ(publisher.take_descriptor(), std::nullopt);
    ASSERT_TRUE(publisher.take_persist());
    publisher.on_persisted();
    EXPECT_NE(publisher.take_descriptor(), std::nullopt);
}

TEST_F(PublisherTest, OffersUntilTheDirectoryShowsIt) {
    configure(publisher);
    const auto s = offered(publisher);
    ASSERT_TRUE(s);
    publisher.on_result(net.now, {true, ""});
    net.pass(limits::publish_accepted_retry - 1s);
    EXPECT_EQ(offered(publisher), std::nullopt);
    net.pass(1s);
    const auto again = offered(publisher);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->descriptor, s->descriptor);  // the same, not a new sequence
    publisher.on_directory(net.now, view_with(s->descriptor));
    EXPECT_TRUE(publisher.published());
    net.pass(11h);
    EXPECT_EQ(offered(publisher), std::nullopt);
    publisher.on_directory(net.now, view_with({}, 2));  // the committee forgot it
    EXPECT_FALSE(publisher.published());
    EXPECT_NE(offered(publisher), std::nullopt);
}

TEST_F(PublisherTest, BacksOffAfterRefusalsAndSilence) {
    configure(publisher);
    ASSERT_TRUE(offered(publisher));
    publisher.on_result(net.now, {false, "no room"});
    EXPECT_EQ(publisher.refusal(), "no room");
    EXPECT_LE(publisher.next_deadline().value(), net.now.mono + 1500ms);
    net.pass(2s);
    ASSERT_TRUE(offered(publisher));
    net.pass(limits::publish_timeout);
    publisher.on_tick(net.now);  // silence
    EXPECT_GE(publisher.next_deadline().value(), net.now.mono + 1s);
    net.pass(3s);
    ASSERT_TRUE(offered(publisher));
    publisher.on_failed(net.now);
    EXPECT_GE(publisher.next_deadline().value(), net.now.mono + 2s);
}

TEST_F(PublisherTest, SignsAnewAtHalfOfItsLifeAndWhenAnythingChanges) {
    configure(publisher);
    const auto first = offered(publisher);
    ASSERT_TRUE(first);
    publisher.on_directory(net.now, view_with(first->descriptor));
    net.pass(12h - 1s);
    EXPECT_EQ(offered(publisher), std::nullopt);
    net.pass(1s);
    const auto second = offered(publisher);
    ASSERT_TRUE(second);
    EXPECT_GT(second->descriptor.sequence, first->descriptor.sequence);
    publisher.set_addresses({*wire::parse_address("127.1.0.2:9000")});
    EXPECT_LE(publisher.next_deadline().value(), net.now.mono);
    const auto third = offered(publisher);
    ASSERT_TRUE(third);
    EXPECT_EQ(third->descriptor.sequence, second->descriptor.sequence + 1);
    publisher.set_addresses({*wire::parse_address("127.1.0.2:9000")});
    EXPECT_EQ(offered(publisher), std::nullopt);  // nothing has changed
}

TEST_F(PublisherTest, ChangesTheOnionKeyDailyAndKeepsTheOneBeforeForADay) {
    configure(publisher);
    offered(publisher);
    const auto old_onion = publisher.onion_keys().current.public_key;
    const auto old_hpke = publisher.hpke_keys().current.public_key;
    EXPECT_EQ(publisher.onion_keys().previous, nullptr);
    net.pass(24h);
    const auto s = offered(publisher);
    ASSERT_TRUE(s);
    EXPECT_NE(s->descriptor.onion_key, old_onion);
    EXPECT_EQ(s->descriptor.hpke_key, old_hpke);
    ASSERT_NE(publisher.onion_keys().previous, nullptr);
    EXPECT_EQ(publisher.onion_keys().previous->public_key, old_onion);
    net.pass(6 * 24h);
    offered(publisher);
    EXPECT_NE(publisher.hpke_keys().current.public_key, old_hpke);
    ASSERT_NE(publisher.hpke_keys().previous, nullptr);
    EXPECT_EQ(publisher.hpke_keys().previous->public_key, old_hpke);
    EXPECT_EQ(publisher.onion_keys().previous, nullptr);  // off for six days: nobody uses the old one any more
}

TEST_F(PublisherTest, WipesAnOldKeyOnTheDiskToo) {
    configure(publisher);
    offered(publisher);
    const auto old = publisher.onion_keys().current.secret.clone();
    net.pass(24h);
    offered(publisher);
    const auto holds = [&](const Bytes& state) { return !std::ranges::search(state, old.expose()).empty(); };
    EXPECT_TRUE(holds(publisher.state()));
    net.pass(24h);
    publisher.on_tick(net.now);
    const auto state = publisher.take_persist();
    ASSERT_TRUE(state);
    EXPECT_FALSE(holds(*state));
}

TEST_F(PublisherTest, AClockThatWasAheadStretchesNoKey) {
    net.pass(365 * 24h);
    Publisher ahead(net.now, identity, net.genesis.network(), rng);
    configure(ahead);
    const auto early = offered(ahead);
    const auto key = ahead.onion_keys().current.public_key;
    net.pass(-365 * 24h);
    const auto now = offered(ahead);
    ASSERT_TRUE(now);  // signed anew: nobody takes the one from the future
    EXPECT_LE(now->descriptor.valid_after, net.now.wall);
    EXPECT_GT(now->descriptor.sequence, early->descriptor.sequence);
    net.pass(24h);
    ahead.on_tick(net.now);
    EXPECT_NE(ahead.onion_keys().current.public_key, key);
}

TEST_F(PublisherTest, ComesBackWithItsKeysAndAHigherSequence) {
    configure(publisher);
    const auto s = offered(publisher);
    const Bytes state = publisher.state();
    Publisher again(net.now, identity, net.genesis.network(), rng);
    configure(again);
    ASSERT_TRUE(again.restore(net.now, state));
    EXPECT_EQ(again.onion_keys().current.public_key, publisher.onion_keys().current.public_key);
    EXPECT_EQ(again.hpke_keys().current.secret.expose(), publisher.hpke_keys().current.secret.expose());
    const auto next = offered(again);
    ASSERT_TRUE(next);
    EXPECT_GT(next->descriptor.sequence, s->descriptor.sequence);
}

TEST_F(PublisherTest, RefusesAStateThatIsNotItsOwn) {
    const Bytes state = publisher.state();
    Publisher other(net.now, net.nodes[1], net.genesis.network(), rng);
    EXPECT_EQ(other.restore(net.now, state).error().code, Errc::invalid);
    Publisher elsewhere(net.now, identity, NetworkId(), rng);
    EXPECT_EQ(elsewhere.restore(net.now, state).error().code, Errc::invalid);
    EXPECT_EQ(publisher.restore(net.now, ByteView(state).first(50)).error().code, Errc::malformed);
    EXPECT_EQ(publisher.restore(net.now, {}).error().code, Errc::malformed);
}

TEST_F(PublisherTest, GoesOnAboveWhatTheDirectoryShowsOfARunItForgot) {
    configure(publisher);
    ASSERT_TRUE(offered(publisher));
    wire::Descriptor earlier = net.descriptor(0);
    earlier.sequence = publisher.sequence() + 1000;
    publisher.on_directory(net.now, view_with(earlier));
    const auto s = offered(publisher);
    ASSERT_TRUE(s);
    EXPECT_EQ(s->descriptor.sequence, earlier.sequence + 1);
    // Also when it has the same number by chance.
    earlier.sequence = s->descriptor.sequence;
    publisher.on_directory(net.now, view_with(earlier, 2));
    EXPECT_EQ(offered(publisher)->descriptor.sequence, earlier.sequence + 1);
}

TEST_F(PublisherTest, StopsWhenItHasNoRoleLeft) {
    configure(publisher);
    ASSERT_TRUE(offered(publisher));
    publisher.set_roles(0);
    net.pass(13h);
    EXPECT_EQ(offered(publisher), std::nullopt);
    EXPECT_GT(publisher.next_deadline().value(), net.now.mono);
}

// Crashes at any step, with the disk holding whatever was last written: no sequence is ever seen with two contents.
RC_GTEST_PROP(PublisherModel, NeverGivesOneSequenceToTwoDescriptors, ()) {
    TestNetwork net;
    crypto::SeededRng rng(*rc::gen::arbitrary<std::uint64_t>());
    std::optional<Bytes> disk;
    std::optional<Bytes> being_written;
    std::map<std::uint64_t, wire::Descriptor> sent;
    std::optional<Publisher> publisher;
    const auto boot = [&] {
        publisher.emplace(net.now, net.nodes[0], net.genesis.network(), rng);
        if (disk) RC_ASSERT(publisher->restore(net.now, *disk).has_value());
        publisher->set_roles(wire::role_relay);
        publisher->set_addresses({*wire::parse_address("127.0.0.1:1")});
    };
    boot();
    const auto steps = *rc::gen::container<std::vector<int>>(60, rc::gen::inRange(0, 9));
    for (const int step : steps) {
        if (step == 0) {
            if (*rc::gen::arbitrary<bool>() && being_written) disk = being_written;  // it got there or not
            being_written.reset();
            boot();
        }
        if (step == 1) publisher->set_family(rng.id<FamilyId>());
        if (step == 2) net.pass(std::chrono::seconds(*rc::gen::inRange(0, 100'000)));
        if (step == 3) net.pass(-std::chrono::seconds(*rc::gen::inRange(0, 1000)));
        if (step == 4) {
            if (auto state = publisher->take_persist()) being_written = std::move(state);
        }
        if (step == 5 && being_written) {
            disk = std::exchange(being_written, std::nullopt);
            publisher->on_persisted();
        }
        if (step == 6) publisher->on_result(net.now, {*rc::gen::arbitrary<bool>(), ""});
        publisher->on_tick(net.now);
        while (const auto out = publisher->take_descriptor()) {
            const auto [at, fresh] = sent.try_emplace(out->descriptor.sequence, out->descriptor);
            RC_ASSERT(at->second == out->descriptor);
            RC_ASSERT(std::prev(sent.end()) == at);  // and they only rise
        }
    }
}

}  // namespace
}  // namespace shoal::directory
