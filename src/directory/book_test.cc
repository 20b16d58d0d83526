#include "directory/book.h"

#include <gtest/gtest.h>

#include "directory/test_network.h"

namespace shoal::directory {
namespace {

struct BookTest : testing::Test {
    TestNetwork net;
    Book book{net.genesis};

    // Another snapshot for this epoch: one entry less.
    wire::SignedSnapshot twin(std::uint64_t epoch) {
        wire::Snapshot s = net.snapshot(epoch);
        s.entries.pop_back();
        return net.sign(s, {0});
    }
    Errc error(wire::SignedSnapshot s) {
        const auto result = book.accept(net.now, std::move(s));
        EXPECT_FALSE(result);
        return result ? Errc::internal : result.error().code;
    }
    // Follows what is held, as an honest committee's would.
    wire::SignedSnapshot successor() {
        const auto held = book.current(net.now);
        wire::Snapshot s = net.snapshot(held->epoch().value() + 1);
        s.previous = held->hash();
        return net.sign(s, {0});
    }
};

TEST_F(BookTest, StartsWithNothing) {
    EXPECT_EQ(book.current(net.now), nullptr);
    EXPECT_EQ(book.find(net.nodes[0].node_id(), net.now), nullptr);
    EXPECT_FALSE(book.fresh(net.now));
    EXPECT_TRUE(book.state().empty());
}

TEST_F(BookTest, TakesANewerOneAndSaysSo) {
    EXPECT_TRUE(*book.accept(net.now, net.signed_snapshot()));
    EXPECT_FALSE(*book.accept(net.now, net.signed_snapshot()));
    const auto next = successor();
    EXPECT_TRUE(*book.accept(net.now, next));
    EXPECT_EQ(book.current(net.now)->epoch(), Epoch(2));
    EXPECT_EQ(book.previous(net.now)->epoch(), Epoch(1));
    EXPECT_FALSE(book.evidence());
}

TEST_F(BookTest, RefusesALowerEpoch) {
    ASSERT_TRUE(book.accept(net.now, net.signed_snapshot(5)));
    EXPECT_EQ(error(net.signed_snapshot(4)), Errc::replayed);
    wire::SignedSnapshot lying = net.signed_snapshot(4);  // claims more than it signed
    lying.snapshot.epoch = Epoch(6);
    EXPECT_EQ(error(lying), Errc::replayed);
    wire::SignedSnapshot forged = net.signed_snapshot(4);
    forged.signatures[0].signature[0] ^= 1;
    EXPECT_EQ(error(forged), Errc::replayed) << "it is too old to be worth a look at its signatures";
    EXPECT_EQ(book.current(net.now)->epoch(), Epoch(5));
}

TEST_F(BookTest, RefusesWhatDoesNotVerify) {
    wire::SignedSnapshot s = net.signed_snapshot();
    s.signatures.clear();
    EXPECT_EQ(error(s), Errc::unauthenticated);
    EXPECT_EQ(book.current(net.now), nullptr);
}

TEST_F(BookTest, KeepsBothOfTwoSnapshotsForOneEpochAndUsesTheFirst) {
    const auto first = net.signed_snapshot(5);
    const auto second = twin(5);
    ASSERT_TRUE(book.accept(net.now, first));
    EXPECT_EQ(error(second), Errc::invalid);
    ASSERT_TRUE(book.evidence());
    EXPECT_EQ(book.evidence()->first, wire::encode(first));
    EXPECT_EQ(book.evidence()->second, wire::encode(second));
    EXPECT_EQ(book.current(net.now)->hash(), snapshot_hash(first.body));
    // Anybody can check it.
    for (const Bytes& side : {book.evidence()->first, book.evidence()->second}) {
        EXPECT_TRUE(View::verify(net.genesis, *wire::decode_signed_snapshot(side), net.now));
    }
}

TEST_F(BookTest, DoesNotCallAnUnsignedTwinEvidence) {
    ASSERT_TRUE(book.accept(net.now, net.signed_snapshot(5)));
    wire::SignedSnapshot forged = twin(5);
    forged.signatures[0].signature[0] ^= 1;
    EXPECT_EQ(error(forged), Errc::unauthenticated);
    EXPECT_FALSE(book.evidence());
}

TEST_F(BookTest, NoticesASecondSnapshotOfTheEpochBefore) {
    ASSERT_TRUE(book.accept(net.now, net.signed_snapshot()));
    ASSERT_TRUE(book.accept(net.now, successor()));
    EXPECT_EQ(error(twin(1)), Errc::invalid);
    EXPECT_TRUE(book.evidence());
}

TEST_F(BookTest, NoticesASuccessorOfAnotherSnapshotAndStillGoesOn) {
    ASSERT_TRUE(book.accept(net.now, net.signed_snapshot(5)));
    wire::Snapshot s = net.snapshot(6);
    s.previous = snapshot_hash(twin(5).body);
    EXPECT_TRUE(*book.accept(net.now, net.sign(s, {0})));
    EXPECT_TRUE(book.evidence());
}

TEST_F(BookTest, LetsAnEndedDirectoryGo) {
    ASSERT_TRUE(book.accept(net.now, net.signed_snapshot()));
    EXPECT_TRUE(book.fresh(net.now));
    net.pass(1h);
    EXPECT_FALSE(book.fresh(net.now));
    EXPECT_NE(book.current(net.now), nullptr);
    net.pass(2h);
    EXPECT_EQ(book.current(net.now), nullptr);
    EXPECT_EQ(book.find(net.nodes[0].node_id(), net.now), nullptr);
}

TEST_F(BookTest, FindsANodeThatJustLeft) {
    ASSERT_TRUE(book.accept(net.now, net.signed_snapshot(1)));
    net.pass(1h);
    ASSERT_TRUE(book.accept(net.now, twin(2)));
    const NodeId left = net.nodes.back().node_id();
    EXPECT_EQ(book.current(net.now)->find(left), nullptr);
    ASSERT_NE(book.find(left, net.now), nullptr);
    EXPECT_EQ(book.find(left, net.now)->node, left);
    net.pass(2h);  // the older one ends
    EXPECT_EQ(book.find(left, net.now), nullptr);
    EXPECT_NE(book.find(net.nodes[0].node_id(), net.now), nullptr);
}

TEST_F(BookTest, AViewOutlivesItsReplacement) {
    ASSERT_TRUE(book.accept(net.now, net.signed_snapshot(1)));
    const auto view = book.current(net.now);
    ASSERT_TRUE(book.accept(net.now, net.signed_snapshot(3)));
    ASSERT_TRUE(book.accept(net.now, net.signed_snapshot(5)));
    EXPECT_EQ(view->epoch(), Epoch(1));
    EXPECT_NE(view->find(net.nodes[0].node_id()), nullptr);
}

TEST_F(BookTest, BelievesItsOwnDiskNoMoreThanAPeer) {
    ASSERT_TRUE(book.accept(net.now, net.signed_snapshot(5)));
    const Bytes state = book.state();
    Book again(net.genesis);
    ASSERT_TRUE(again.restore(net.now, state));
    EXPECT_EQ(again.current(net.now)->epoch(), Epoch(5));
    EXPECT_TRUE(again.restore(net.now, {}));

    Bytes damaged = state;
    damaged[damaged.size() / 2] ^= 1;
    Book suspicious(net.genesis);
    EXPECT_FALSE(suspicious.restore(net.now, damaged));
    EXPECT_FALSE(suspicious.restore(net.now, ByteView(state).first(40)));
    net.pass(3h);
    EXPECT_FALSE(suspicious.restore(net.now, state));
    EXPECT_EQ(suspicious.current(net.now), nullptr);
}

}  // namespace
}  // namespace shoal::directory
