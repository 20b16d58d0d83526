#include "directory/sign.h"

#include <gtest/gtest.h>

#include "directory/test_network.h"

namespace shoal::directory {
namespace {

struct DescriptorSignature : testing::Test {
    TestNetwork net;
    wire::Descriptor d = net.descriptor(0);
    Errc error(const wire::SignedDescriptor& s) {
        return verify_descriptor(s, net.genesis.network(), net.now).error().code;
    }
};

TEST_F(DescriptorSignature, HoldsForItsNodeAndNetwork) {
    const auto verified = verify_descriptor(net.sign(0, d), net.genesis.network(), net.now);
    ASSERT_TRUE(verified);
    EXPECT_EQ(*verified, d);
}

TEST_F(DescriptorSignature, OfAnotherNetworkIsRefused) {
    const auto other = sign_descriptor(net.nodes[0], NetworkId(ByteArray<32>{9}), d);
    EXPECT_EQ(error(other), Errc::unauthenticated);
}

TEST_F(DescriptorSignature, ByAnotherNodeIsRefused) {
    wire::SignedDescriptor mine = net.sign(0, d);
    mine.descriptor.node = net.nodes[1].node_id();
    EXPECT_EQ(error(mine), Errc::unauthenticated);
}

TEST_F(DescriptorSignature, EveryChangedFieldIsNoticed) {
    wire::SignedDescriptor changed = net.sign(0, d);
    ++changed.descriptor.sequence;
    EXPECT_EQ(error(changed), Errc::unauthenticated);
    changed = net.sign(0, d);
    changed.signature[5] ^= 1;
    EXPECT_EQ(error(changed), Errc::unauthenticated);
}

TEST_F(DescriptorSignature, TimesAreHeldWithGraceAtTheStartOnly) {
    d.valid_after = net.now.wall + 90s;
    EXPECT_TRUE(verify_descriptor(net.sign(0, d), net.genesis.network(), net.now));
    d.valid_after = net.now.wall + 91s;
    EXPECT_EQ(error(net.sign(0, d)), Errc::expired);
    d.valid_after = net.now.wall - 1h;
    d.valid_until = net.now.wall;
    EXPECT_EQ(error(net.sign(0, d)), Errc::expired);
}

TEST_F(DescriptorSignature, WhatNoDescriptorMaySayIsRefusedBeforeTheSignature) {
    wire::SignedDescriptor s = net.sign(0, d);
    s.descriptor.valid_until = s.descriptor.valid_after + 25h;
    EXPECT_EQ(error(s), Errc::invalid);
    s = net.sign(0, d);
    s.descriptor.addresses.clear();
    EXPECT_EQ(error(s), Errc::invalid);
}

// A signature over a snapshot can never pass for one over a descriptor.
TEST(SnapshotSignature, HasItsOwnDomain) {
    const TestNetwork net;
    const Bytes body = {1, 2, 3};
    const NetworkId network = net.genesis.network();
    const auto s = sign_snapshot(net.verifiers[0], network, 0, body);
    const NodeId signer = net.verifiers[0].node_id();
    EXPECT_TRUE(verify_snapshot_signature(signer, network, s, body));
    EXPECT_FALSE(verify_snapshot_signature(signer, NetworkId(), s, body));
    EXPECT_FALSE(crypto::verify(signer, domain_descriptor, network, body, s.signature));
}

}  // namespace
}  // namespace shoal::directory
