#include "committee/verifier.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>

#include "directory/book.h"
#include "directory/test_network.h"

namespace shoal::committee {
namespace {

using directory::Book;
using directory::snapshot_hash;
using directory::TestNetwork;

struct VerifierTest : testing::Test {
    TestNetwork net;
    Verifier verifier{net.genesis, net.verifiers[0]};

    wire::PublishResult publish(std::size_t node, std::uint64_t sequence) {
        return verifier.on_publish(net.now, net.sign(node, net.descriptor(node, sequence)));
    }
    // Ticks and lets the disk do its part.
    std::optional<wire::SignedSnapshot> next(Verifier& v) {
        v.on_tick(net.now);
        while (v.take_persist()) v.on_persisted();
        v.check();
        return v.take_snapshot();
    }
    std::optional<wire::SignedSnapshot> next() { return next(verifier); }
};

TEST_F(VerifierTest, MakesADirectoryOfWhatIsPublished) {
    EXPECT_EQ(next(), std::nullopt);  // an empty one helps nobody
    ASSERT_TRUE(publish(2, 1).accepted);
    ASSERT_TRUE(publish(0, 1).accepted);
    const auto s = next();
    ASSERT_TRUE(s);
    const auto view = directory::View::verify(net.genesis, *s, net.now);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->epoch(), Epoch(1));
    ASSERT_EQ(view->entries().size(), 2U);
    EXPECT_EQ(view->entries()[0].descriptor, net.descriptor(0));
    EXPECT_EQ(view->entries()[0].weight, 1U);
    EXPECT_EQ(view->entries()[0].reputation, 500U);
    EXPECT_EQ(verifier.usage().nodes, 2U);
}

TEST_F(VerifierTest, ChainsItsSnapshots) {
    publish(0, 1);
    Book book(net.genesis);
    std::optional<wire::SignedSnapshot> before;
    for (std::uint64_t i = 1; i < 5; ++i) {
        publish(1, i);
        const auto s = next();
        ASSERT_TRUE(s);
        EXPECT_EQ(s->snapshot.epoch, Epoch(i));
        if (before) {
            EXPECT_EQ(s->snapshot.previous, snapshot_hash(before->body));
        }
        EXPECT_TRUE(*book.accept(net.now, *s));
        before = s;
        net.pass(1s);
    }
    EXPECT_FALSE(book.evidence());
}

TEST_F(VerifierTest, WaitsTheIntervalAndThenHasAllThatCameMeanwhile) {
    publish(0, 1);
    ASSERT_TRUE(next());
    publish(1, 1);
    publish(2, 1);
    EXPECT_EQ(next(), std::nullopt);
    EXPECT_EQ(verifier.next_deadline(), net.now.mono + limits::snapshot_interval_min);
    net.pass(1s);
    const auto s = next();
    ASSERT_TRUE(s);
    EXPECT_EQ(s->snapshot.entries.size(), 3U);
}

TEST_F(VerifierTest, ManyEntriesCostALongerInterval) {
    TestNetwork many({1}, 250);
    Verifier v(many.genesis, many.verifiers[0]);
    for (std::size_t i = 0; i < 250; ++i)
        ASSERT_TRUE(v.on_publish(many.now, many.sign(i, many.descriptor(i))).accepted);
    ASSERT_TRUE(next(v));
    v.on_publish(net.now, many.sign(0, many.descriptor(0, 2)));
    net.pass(2s);
    EXPECT_EQ(next(v), std::nullopt);
    net.pass(1s);
    EXPECT_NE(next(v), std::nullopt);
}

TEST_F(VerifierTest, RenewsAnUnchangedDirectoryAtHalfOfItsFreshTime) {
    publish(0, 1);
    ASSERT_TRUE(next());
    net.pass(30min - 1s);
    EXPECT_EQ(next(), std::nullopt);
    EXPECT_LE(verifier.next_deadline().value(), net.now.mono + 1s);
    net.pass(1s);
    EXPECT_NE(next(), std::nullopt);
}

TEST_F(VerifierTest, GivesNothingBeforeItsStateIsOnTheDisk) {
    publish(0, 1);
    verifier.on_tick(net.now);
    EXPECT_EQ(verifier.take_snapshot(), std::nullopt);
    ASSERT_TRUE(verifier.take_persist());
    EXPECT_EQ(verifier.take_persist(), std::nullopt);
    EXPECT_EQ(verifier.take_snapshot(), std::nullopt);
    publish(1, 1);
    net.pass(1h);
    verifier.on_tick(net.now);  // no second draft on top of one that is being written
    EXPECT_EQ(verifier.epoch(), Epoch(1));
    verifier.on_persisted();
    ASSERT_TRUE(verifier.take_snapshot());
    EXPECT_EQ(verifier.take_snapshot(), std::nullopt);
    EXPECT_LE(verifier.next_deadline().value(), net.now.mono);
}

// ---- what is refused ---------------------------------------------------------------------------------------------

TEST_F(VerifierTest, RefusesAnOlderSequenceAndAnotherContentForTheSame) {
    ASSERT_TRUE(publish(0, 5).accepted);
    EXPECT_TRUE(publish(0, 5).accepted);  // the answer may have been lost
    EXPECT_FALSE(publish(0, 4).accepted);
    wire::Descriptor other = net.descriptor(0, 5);
    other.onion_key[0] ^= 1;
    EXPECT_FALSE(verifier.on_publish(net.now, net.sign(0, other)).accepted);
    EXPECT_TRUE(publish(0, 6).accepted);
}

TEST_F(VerifierTest, RemembersTheSequenceOfANodeThatLeft) {
    const auto replay = net.sign(0, net.descriptor(0, 5));
    wire::Descriptor farewell = net.descriptor(0, 6);
    farewell.valid_until = net.now.wall + 60s;
    ASSERT_TRUE(publish(1, 1).accepted);
    ASSERT_TRUE(verifier.on_publish(net.now, net.sign(0, farewell)).accepted);
    ASSERT_EQ(next()->snapshot.entries.size(), 2U);
    net.pass(61s);
    ASSERT_EQ(next()->snapshot.entries.size(), 1U);
    EXPECT_FALSE(verifier.on_publish(net.now, replay).accepted);
    EXPECT_EQ(verifier.usage().remembered, 1U);
    // Also after a restart.
    net.pass(30min);
    ASSERT_TRUE(next());
    Verifier again(net.genesis, net.verifiers[0]);
    ASSERT_TRUE(again.restore(net.now, verifier.state()));
    EXPECT_FALSE(again.on_publish(net.now, replay).accepted);
    net.pass(25h);  // nothing that it signed before can run any more
    again.on_tick(net.now);
    EXPECT_FALSE(again.on_publish(net.now, replay).accepted);
    EXPECT_EQ(again.usage().remembered, 0U);
}

TEST_F(VerifierTest, RefusesWhatItsNodeDidNotSign) {
    wire::SignedDescriptor s = net.sign(0, net.descriptor(0));
    s.signature[1] ^= 1;
    const auto result = verifier.on_publish(net.now, s);
    EXPECT_FALSE(result.accepted);
    EXPECT_NE(result.reason.find("signature"), std::string::npos);
    EXPECT_EQ(verifier.usage().nodes, 0U);
    const auto elsewhere = directory::sign_descriptor(net.nodes[0], NetworkId(), net.descriptor(0));
    EXPECT_FALSE(verifier.on_publish(net.now, elsewhere).accepted);
}

TEST_F(VerifierTest, RefusesAVerifierThatTheGenesisDoesNotName) {
    wire::Descriptor d = net.descriptor(0);
    d.roles |= wire::role_verifier;
    EXPECT_FALSE(verifier.on_publish(net.now, net.sign(0, d)).accepted);
    d = net.descriptor(0);
    d.node = net.verifiers[0].node_id();
    d.roles = wire::role_verifier;
    const auto own = directory::sign_descriptor(net.verifiers[0], net.genesis.network(), d);
    EXPECT_TRUE(verifier.on_publish(net.now, own).accepted);
}

TEST_F(VerifierTest, ReasonsFitTheMessageThatCarriesThem) {
    publish(0, UINT64_MAX);
    EXPECT_LE(publish(0, 1).reason.size(), 256U);
    EXPECT_FALSE(publish(0, 1).reason.empty());
}

TEST_F(VerifierTest, DropsWhatHasEnded) {
    wire::Descriptor d = net.descriptor(0);
    d.valid_until = net.now.wall + 10min;
    verifier.on_publish(net.now, net.sign(0, d));
    publish(1, 1);
    ASSERT_EQ(next()->snapshot.entries.size(), 2U);
    net.pass(10min);
    const auto s = next();
    ASSERT_TRUE(s);
    ASSERT_EQ(s->snapshot.entries.size(), 1U);
    EXPECT_TRUE(directory::View::verify(net.genesis, *s, net.now));
}

// ---- restart -----------------------------------------------------------------------------------------------------

TEST_F(VerifierTest, GoesOnBehindItsLastEpochWithItsEntries) {
    publish(0, 3);
    publish(1, 1);
    const auto s = next();
    Verifier again(net.genesis, net.verifiers[0]);
    ASSERT_TRUE(again.restore(net.now, verifier.state()));
    EXPECT_EQ(again.epoch(), Epoch(1));
    const auto same = again.take_snapshot();  // the world may not have it yet
    ASSERT_TRUE(same);
    EXPECT_EQ(wire::encode(*same), wire::encode(*s));
    again.on_publish(net.now, net.sign(2, net.descriptor(2)));
    const auto after = next(again);
    ASSERT_TRUE(after);
    EXPECT_EQ(after->snapshot.epoch, Epoch(2));
    EXPECT_EQ(after->snapshot.previous, snapshot_hash(s->body));
    EXPECT_EQ(after->snapshot.entries.size(), 3U);
    EXPECT_FALSE(again.on_publish(net.now, net.sign(0, net.descriptor(0, 2))).accepted);
}

TEST_F(VerifierTest, ComesBackAfterADayWithoutTheDead) {
    publish(0, 3);
    ASSERT_TRUE(next());
    net.pass(48h);
    Verifier again(net.genesis, net.verifiers[0]);
    ASSERT_TRUE(again.restore(net.now, verifier.state()));
    EXPECT_EQ(again.take_snapshot(), std::nullopt);
    const auto s = next(again);
    ASSERT_TRUE(s);
    EXPECT_EQ(s->snapshot.epoch, Epoch(2));
    EXPECT_TRUE(s->snapshot.entries.empty());
}

TEST_F(VerifierTest, RefusesAStateThatItDidNotWrite) {
    publish(0, 1);
    ASSERT_TRUE(next());
    const Bytes state = verifier.state();
    Verifier again(net.genesis, net.verifiers[0]);
    for (std::size_t i = 0; i < state.size(); ++i) {
        if (i >= 37 && i < 69) continue;  // the hash of the last sealed one, here the snapshot's own, computed again
        Bytes damaged = state;
        damaged[i] ^= 1;
        EXPECT_FALSE(again.restore(net.now, damaged)) << i;
    }
    EXPECT_FALSE(again.restore(net.now, {}));
    directory::Genesis other = net.genesis;
    other.name = "other";
    Verifier elsewhere(other, net.verifiers[0]);
    EXPECT_EQ(elsewhere.restore(net.now, state).error().code, Errc::invalid);
}

TEST_F(VerifierTest, WithoutItsDiskGoesOnBehindWhatTheNetworkHas) {
    publish(0, 1);
    publish(1, 1);
    const auto s = next();
    net.pass(2s);
    Verifier bare(net.genesis, net.verifiers[0]);
    ASSERT_TRUE(bare.adopt(net.now, *s));
    EXPECT_EQ(bare.adopt(net.now, *s).error().code, Errc::replayed);
    const auto after = next(bare);
    ASSERT_TRUE(after);
    EXPECT_EQ(after->snapshot.epoch, Epoch(2));
    EXPECT_EQ(after->snapshot.previous, snapshot_hash(s->body));
    EXPECT_EQ(after->snapshot.entries.size(), 2U);
    wire::SignedSnapshot forged = *after;
    forged.signatures[0].signature[3] ^= 1;
    Verifier careful(net.genesis, net.verifiers[0]);
    EXPECT_EQ(careful.adopt(net.now, forged).error().code, Errc::unauthenticated);
}

// ---- a committee of several --------------------------------------------------------------------------------------

TEST(Committee, NeedsMoreThanTwoThirdsToSeal) {
    const TestNetwork net({1, 1, 1, 1});
    Verifier v(net.genesis, net.verifiers[1]);
    v.on_publish(net.now, net.sign(0, net.descriptor(0)));
    v.on_tick(net.now);
    EXPECT_EQ(v.draft(), nullptr);  // our signature does not leave before the disk has it
    ASSERT_TRUE(v.take_persist());
    v.on_persisted();
    ASSERT_NE(v.draft(), nullptr);
    EXPECT_EQ(v.take_snapshot(), std::nullopt);

    const Bytes body = v.draft()->body;
    const auto by = [&](std::uint8_t i) {
        return directory::sign_snapshot(net.verifiers[i], net.genesis.network(), i, body);
    };
    EXPECT_EQ(v.on_signature(net.now, Epoch(2), by(0)).error().code, Errc::not_found);
    EXPECT_EQ(v.on_signature(net.now, Epoch(1), {0, by(2).signature}).error().code, Errc::unauthenticated);
    EXPECT_EQ(v.on_signature(net.now, Epoch(1), {9, by(2).signature}).error().code, Errc::unauthenticated);
    EXPECT_TRUE(v.on_signature(net.now, Epoch(1), by(3)));
    EXPECT_TRUE(v.on_signature(net.now, Epoch(1), by(3)));  // counted once
    ASSERT_TRUE(v.take_persist());
    v.on_persisted();
    EXPECT_EQ(v.take_snapshot(), std::nullopt);  // two of four
    EXPECT_TRUE(v.on_signature(net.now, Epoch(1), by(0)));
    EXPECT_EQ(v.take_snapshot(), std::nullopt);  // not before it is written
    ASSERT_TRUE(v.take_persist());
    v.on_persisted();
    const auto s = v.take_snapshot();
    ASSERT_TRUE(s);
    EXPECT_TRUE(directory::View::verify(net.genesis, *s, net.now));
    v.check();
}

TEST(Committee, ASealThatCameWhileTheDiskWasBusyWaitsForItsOwnWrite) {
    const TestNetwork net({1, 1, 1});
    Verifier v(net.genesis, net.verifiers[0]);
    v.on_publish(net.now, net.sign(0, net.descriptor(0)));
    v.on_tick(net.now);
    ASSERT_TRUE(v.take_persist());
    v.on_persisted();
    const Bytes body = v.draft()->body;
    const auto sign = [&](std::uint8_t i) {
        return v.on_signature(net.now, Epoch(1),
                              directory::sign_snapshot(net.verifiers[i], net.genesis.network(), i, body));
    };
    ASSERT_TRUE(sign(1));
    ASSERT_TRUE(v.take_persist());
    ASSERT_TRUE(sign(2));
    v.on_persisted();  // of what was there before the third signature
    EXPECT_EQ(v.take_snapshot(), std::nullopt);
    ASSERT_TRUE(v.take_persist());
    v.on_persisted();
    EXPECT_TRUE(v.take_snapshot());
}

TEST(Committee, ADraftThatFindsNoQuorumGivesItsEpochUp) {
    TestNetwork net({1, 1, 1});
    Verifier v(net.genesis, net.verifiers[0]);
    v.on_publish(net.now, net.sign(0, net.descriptor(0)));
    std::map<Epoch, ByteArray<32>> drafts;
    for (int i = 0; i < 5; ++i) {
        v.on_tick(net.now);
        while (v.take_persist()) v.on_persisted();
        ASSERT_NE(v.draft(), nullptr);
        EXPECT_EQ(v.draft()->snapshot.previous, ByteArray<32>{});  // none was ever complete
        EXPECT_TRUE(drafts.try_emplace(v.draft()->snapshot.epoch, snapshot_hash(v.draft()->body)).second);
        net.pass(Verifier::draft_patience);
    }
    Verifier again(net.genesis, net.verifiers[0]);
    ASSERT_TRUE(again.restore(net.now, v.state()));
    EXPECT_EQ(again.epoch(), Epoch(5));
    EXPECT_EQ(again.take_snapshot(), std::nullopt);
    EXPECT_EQ(again.usage().nodes, 1U);
}

// Crashes at any step, a disk that holds what was last written there, publications and clocks that jump: no epoch is
// ever seen with two hashes, by draft or by snapshot, and no node's sequence falls.
RC_GTEST_PROP(VerifierModel, NeverShowsTwoHashesForOneEpoch, ()) {
    const bool alone = *rc::gen::arbitrary<bool>();
    TestNetwork net(alone ? std::vector<std::uint32_t>{1} : std::vector<std::uint32_t>{1, 1, 1});
    std::optional<Bytes> disk;
    std::optional<Bytes> being_written;
    std::map<Epoch, ByteArray<32>> seen;
    std::map<NodeId, std::uint64_t> listed;
    std::optional<Verifier> v;
    const auto boot = [&] {
        v.emplace(net.genesis, net.verifiers[0]);
        if (disk) RC_ASSERT(v->restore(net.now, *disk).has_value());
    };
    const auto show = [&](const wire::SignedSnapshot& s, bool fresh) {
        const auto [at, first] = seen.try_emplace(s.snapshot.epoch, snapshot_hash(s.body));
        RC_ASSERT(at->second == snapshot_hash(s.body));
        if (!fresh) return;
        for (const wire::SnapshotEntry& entry : s.snapshot.entries) {
            RC_ASSERT(entry.descriptor.sequence >= listed[entry.descriptor.node]);
            listed[entry.descriptor.node] = entry.descriptor.sequence;
        }
    };
    boot();
    const auto steps = *rc::gen::container<std::vector<int>>(80, rc::gen::inRange(0, 10));
    for (const int step : steps) {
        if (step == 0) {
            if (*rc::gen::arbitrary<bool>() && being_written) disk = being_written;
            being_written.reset();
            boot();
        }
        if (step == 1 || step == 2) {
            const auto node = *rc::gen::inRange<std::size_t>(0, 4);
            v->on_publish(net.now, net.sign(node, net.descriptor(node, *rc::gen::inRange<std::uint64_t>(1, 9))));
        }
        if (step == 3) net.pass(std::chrono::seconds(*rc::gen::inRange(-30, 60)));
        if (step == 4) net.pass(std::chrono::minutes(*rc::gen::inRange(0, 40)));
        if (step == 5 || step == 6) {
            if (auto state = v->take_persist()) being_written = std::move(state);
        }
        if ((step == 7 || step == 8) && being_written) {
            disk = std::exchange(being_written, std::nullopt);
            v->on_persisted();
        }
        if (step == 9 && v->draft() != nullptr) {
            const auto i = *rc::gen::inRange<std::uint8_t>(0, 3);
            const Bytes body = v->draft()->body;
            (void)v->on_signature(net.now, v->draft()->snapshot.epoch,
                                  directory::sign_snapshot(net.verifiers[i], net.genesis.network(), i, body));
        }
        v->on_tick(net.now);
        v->check();
        if (const wire::SignedSnapshot* draft = v->draft()) show(*draft, true);
        if (const auto s = v->take_snapshot()) {
            RC_ASSERT(directory::View::verify(net.genesis, *s, Now{net.now.mono, s->snapshot.valid_after}).has_value());
            show(*s, s->snapshot.epoch == v->epoch());
        }
    }
}

}  // namespace
}  // namespace shoal::committee
