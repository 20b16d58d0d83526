#include "model/prefix_holder.h"

#include <gtest/gtest.h>

#include "engine/fake.h"

namespace shoal::model {
namespace {

const NodeId peer(ByteArray<32>{3});
const NodeId stranger(ByteArray<32>{4});
constexpr std::uint32_t bytes_per_token = 4096;  // 640 tokens make ten pieces

class PrefixHolderTest : public testing::Test {
protected:
    PrefixHolderTest() {
        engine_.on_tick(now_);
        model_ = engine_.model()->id;
        kept_ = *engine_.fake_prefixes().keep(scope_, 640);
        holder_.add_engine(engine_);
    }
    static engine::FakeOptions options() {
        engine::FakeOptions out;
        out.prefix_bytes_per_token = bytes_per_token;
        return out;
    }
    // The chain is the fake engine's own: it is read from what it says when somebody wants it.
    ByteArray<32> chain() {
        engine::Job job{JobId(77), {}, {}};
        job.request.scope = scope_;
        job.request.source = PrefixSource{peer, kept_};
        EXPECT_TRUE(engine_.fake_prefixes().waits(job, 700, 1s));
        const auto event = engine_.fake_prefixes().poll_prefix();
        engine_.fake_prefixes().forget(job.id);
        return std::get<engine::PrefixWanted>(*event).chain;
    }
    wire::PrefixFetch fetch() { return {model_, chain(), kept_.tokens}; }
    // What the engine says goes to the holder, and what that says is kept.
    void drain() {
        while (auto event = engine_.fake_prefixes().poll_prefix()) {
            if (auto* piece = std::get_if<engine::PrefixPiece>(&*event)) {
                holder_.on_piece(now_, std::move(*piece));
            } else {
                holder_.on_gone(now_, std::get<engine::PrefixGone>(*event).read);
            }
        }
        while (auto output = holder_.poll()) {
            if (auto* sent = std::get_if<PrefixSend>(&*output)) {
                said_[sent->channel].push_back(std::move(sent->message));
            } else if (const auto* closed = std::get_if<PrefixClose>(&*output)) {
                closed_.push_back(closed->channel);
            } else if (const auto* ready = std::get_if<PrefixHasData>(&*output)) {
                ready_.push_back(ready->channel);
            }
        }
    }
    void ask(PrefixChannelId channel, const wire::PrefixMessage& message, const NodeId& from = peer) {
        holder_.on_message(now_, channel, from, message);
        drain();
    }
    std::optional<wire::PrefixRefusal> refusal(PrefixChannelId channel) {
        if (said_[channel].empty()) return std::nullopt;
        const auto* m = std::get_if<wire::PrefixRefused>(&said_[channel].back());
        return m == nullptr ? std::nullopt : std::optional(m->reason);
    }

    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    engine::FakeEngine engine_{options()};
    ModelId model_;
    PrefixScope scope_{ByteArray<32>{8}};
    KeptPrefix kept_;
    PrefixHolder holder_{[](Now, const NodeId& node, const ModelId&) { return node == peer; }};
    std::map<PrefixChannelId, std::vector<wire::PrefixMessage>> said_;
    std::vector<PrefixChannelId> closed_, ready_;
};

TEST_F(PrefixHolderTest, GivesWhatIsKeptAPieceAtATime) {
    const PrefixChannelId channel(1);
    ask(channel, fetch());
    ASSERT_EQ(said_[channel].size(), 1U);
    EXPECT_TRUE(std::holds_alternative<wire::PrefixReading>(said_[channel][0]));
    std::uint64_t bytes = 0;
    std::size_t pieces = 0;
    for (bool last = false; !last; ++pieces) {
        ASSERT_EQ(ready_.size(), pieces + 1) << "one, until it is taken";
        const auto message = holder_.next_data(now_, channel);
        ASSERT_TRUE(message);
        const auto& piece = std::get<wire::PrefixBytes>(*message);
        bytes += piece.bytes.size();
        last = piece.last;
        EXPECT_FALSE(holder_.next_data(now_, channel)) << "the engine has not said more yet";
        drain();
    }
    EXPECT_EQ(bytes, kept_.bytes);
    EXPECT_EQ(pieces, 10U);
    EXPECT_EQ(holder_.reads(), 0U);
    EXPECT_EQ(closed_, std::vector{channel});
    const auto note = holder_.poll_note();
    ASSERT_TRUE(note);
    EXPECT_EQ(note->what, PrefixNote::What::given);
    EXPECT_EQ(note->node, peer);
    EXPECT_EQ(note->bytes, kept_.bytes);
}

TEST_F(PrefixHolderTest, AStrangerIsRefusedWithoutALook) {
    const PrefixChannelId channel(1);
    ask(channel, fetch(), stranger);
    EXPECT_EQ(refusal(channel), wire::PrefixRefusal::stranger);
    EXPECT_EQ(closed_, std::vector{channel});
    EXPECT_EQ(holder_.reads(), 0U);
    PrefixHolder nobody({});
    nobody.add_engine(engine_);
    nobody.on_message(now_, channel, peer, fetch());
    const auto said = nobody.poll();
    ASSERT_TRUE(said);
    EXPECT_EQ(std::get<wire::PrefixRefused>(std::get<PrefixSend>(*said).message).reason, wire::PrefixRefusal::stranger);
}

TEST_F(PrefixHolderTest, WhatIsNotThereIsSaidToBeGone) {
    wire::PrefixFetch other = fetch();
    other.chain[5] ^= 1;
    ask(PrefixChannelId(1), other);
    EXPECT_EQ(refusal(PrefixChannelId(1)), wire::PrefixRefusal::gone);
    other = fetch();
    other.model = ModelId(ByteArray<32>{42});
    ask(PrefixChannelId(2), other);
    EXPECT_EQ(refusal(PrefixChannelId(2)), wire::PrefixRefusal::gone);
    // Dropped while it is read.
    ask(PrefixChannelId(3), fetch());
    EXPECT_FALSE(refusal(PrefixChannelId(3)));
    const wire::PrefixFetch later = fetch();
    engine_.die(now_, "killed");
    drain();
    EXPECT_EQ(refusal(PrefixChannelId(3)), wire::PrefixRefusal::gone);
    ask(PrefixChannelId(4), later);
    EXPECT_EQ(refusal(PrefixChannelId(4)), wire::PrefixRefusal::gone) << "an engine that is down is not asked";
    EXPECT_EQ(holder_.reads(), 0U);
}

TEST_F(PrefixHolderTest, NoMoreAreReadThanMayBeAndWhoeverTakesNothingLosesItsPlace) {
    for (std::size_t i = 1; i <= limits::prefix_reads_max; ++i) ask(PrefixChannelId(i), fetch());
    const PrefixChannelId more(90);
    ask(more, fetch());
    EXPECT_EQ(refusal(more), wire::PrefixRefusal::busy);
    // The first one takes a piece, the others none.
    now_.mono += limits::prefix_read_idle / 2;
    EXPECT_TRUE(holder_.next_data(now_, PrefixChannelId(1)));
    drain();
    now_.mono = holder_.next_deadline();
    holder_.on_tick(now_);
    drain();
    EXPECT_EQ(holder_.reads(), 1U);
    ask(PrefixChannelId(91), fetch());
    EXPECT_FALSE(refusal(PrefixChannelId(91)));
    EXPECT_EQ(holder_.reads(), 2U);
}

TEST_F(PrefixHolderTest, AChannelThatClosesEndsItsRead) {
    ask(PrefixChannelId(1), fetch());
    holder_.on_closed(now_, PrefixChannelId(1));
    EXPECT_EQ(holder_.reads(), 0U);
    drain();
    EXPECT_FALSE(holder_.next_data(now_, PrefixChannelId(1)));
    EXPECT_EQ(holder_.next_deadline(), Instant::max());
}

TEST_F(PrefixHolderTest, WhoeverAsksSaysOneThing) {
    ask(PrefixChannelId(1), fetch());
    ask(PrefixChannelId(1), fetch());
    EXPECT_EQ(holder_.reads(), 0U);
    EXPECT_EQ(closed_, std::vector{PrefixChannelId(1)});
    ask(PrefixChannelId(2), wire::PrefixReading{});
    EXPECT_EQ(closed_.back(), PrefixChannelId(2));
}

}  // namespace
}  // namespace shoal::model
