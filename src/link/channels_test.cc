#include "link/channels.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <set>

#include "base/test_rng.h"
#include "crypto/rng.h"

namespace shoal::link {
namespace {

using wire::CellCommand;
using wire::ChannelCloseReason;
using wire::ChannelProtocol;

Bytes message_of(std::size_t size, std::uint8_t seed) {
    Bytes out(size);
    for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::uint8_t>(seed + i * 7);
    return out;
}

class ChannelsTest : public ::testing::Test {
protected:
    struct Side {
        Channels channels;
        std::vector<Channels::Opened> opened;
        std::vector<Channels::Message> messages;
        std::vector<Channels::Closed> closed;
        std::size_t rooms = 0;
        bool takes = true;

        Side(bool dialled, Rng& rng) : channels(dialled, rng) {}
        void drain() {
            while (auto event = channels.poll()) {
                if (auto* message = std::get_if<Channels::Message>(&*event)) {
                    if (takes) channels.took(message->channel);
                    messages.push_back(std::move(*message));
                } else if (const auto* open = std::get_if<Channels::Opened>(&*event)) {
                    opened.push_back(*open);
                } else if (const auto* gone = std::get_if<Channels::Closed>(&*event)) {
                    closed.push_back(*gone);
                } else {
                    ++rooms;
                }
            }
            EXPECT_TRUE(channels.check());
        }
    };

    // Carries one cell; false: there was none.
    bool carry(Side& from, Side& to) {
        if (!from.channels.has_cell()) return false;
        to.channels.on_cell(from.channels.next_cell());
        to.drain();
        from.drain();
        ++cells_;
        return true;
    }
    void settle() {
        while (carry(a_, b_) || carry(b_, a_)) {
        }
    }
    ChannelNumber open_only() {
        const auto number = a_.channels.open(ChannelProtocol::stage);
        EXPECT_TRUE(number);
        settle();
        return *number;
    }
    // And a first message each way, so that the next may be long.
    ChannelNumber open() {
        const ChannelNumber number = open_only();
        const bool took = std::exchange(b_.takes, true);
        EXPECT_TRUE(a_.channels.send(number, {1}) && b_.channels.send(number, {1}));
        settle();
        b_.takes = took;
        a_.messages.clear();
        b_.messages.clear();
        return number;
    }
    wire::Cell cell(CellCommand command, ChannelNumber number, const Bytes& payload) {
        return wire::make_cell(command, number, payload, rng_);
    }

    crypto::SeededRng rng_{1};
    Side a_{true, rng_};
    Side b_{false, rng_};
    std::size_t cells_ = 0;
};

TEST_F(ChannelsTest, MessagesOfAnyLengthArriveWholeAndInOrder) {
    const ChannelNumber number = open();
    ASSERT_EQ(b_.opened.size(), 1U);
    EXPECT_EQ(b_.opened[0].channel, number);
    const std::vector<std::size_t> sizes = {1, 1386, 1387, 1388, 1387 + 1391, 1387 + 1391 + 1, 100'000};
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        ASSERT_TRUE(a_.channels.send(number, message_of(sizes[i], static_cast<std::uint8_t>(i))));
        ASSERT_TRUE(b_.channels.send(number, message_of(sizes[i], static_cast<std::uint8_t>(100 + i))));
    }
    settle();
    ASSERT_EQ(a_.messages.size(), sizes.size());
    ASSERT_EQ(b_.messages.size(), sizes.size());
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        EXPECT_EQ(b_.messages[i].bytes, message_of(sizes[i], static_cast<std::uint8_t>(i)));
        EXPECT_EQ(a_.messages[i].bytes, message_of(sizes[i], static_cast<std::uint8_t>(100 + i)));
    }
}

TEST_F(ChannelsTest, AMessageTakesNoMoreCellsThanItMust) {
    const ChannelNumber number = open();
    cells_ = 0;
    b_.takes = false;  // no credit comes back
    ASSERT_TRUE(a_.channels.send(number, message_of(1387 + 2 * 1391, 1)));
    settle();
    EXPECT_EQ(cells_, 3U);
}

TEST_F(ChannelsTest, AShortMessageIsNotHeldUpByALongOneOfAnotherChannel) {
    const ChannelNumber long_one = open(), short_one = open();
    ASSERT_TRUE(a_.channels.send(long_one, message_of(1'000'000, 1)));
    ASSERT_TRUE(a_.channels.send(short_one, message_of(10, 2)));
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(carry(a_, b_));
    ASSERT_EQ(b_.messages.size(), 1U);
    EXPECT_EQ(b_.messages[0].channel, short_one);
}

// ---- the window --------------------------------------------------------------------------------------------------

TEST_F(ChannelsTest, NoMoreMessagesAreUnderWayThanTheOtherSideTakes) {
    b_.takes = false;
    const ChannelNumber number = open();
    for (std::size_t i = 0; i < limits::channel_window_messages; ++i) {
        ASSERT_TRUE(a_.channels.may_send(number));
        ASSERT_TRUE(a_.channels.send(number, message_of(10, 1)));
    }
    EXPECT_FALSE(a_.channels.may_send(number));
    ASSERT_TRUE(a_.channels.send(number, message_of(10, 2))) << "waits";
    settle();
    EXPECT_EQ(b_.messages.size(), limits::channel_window_messages);
    EXPECT_EQ(a_.rooms, 0U);
    for (std::size_t i = 0; i < limits::channel_credit_messages; ++i) b_.channels.took(number);
    settle();
    EXPECT_EQ(b_.messages.size(), limits::channel_window_messages + 1);
    EXPECT_EQ(a_.rooms, 1U);
    EXPECT_TRUE(a_.channels.may_send(number));
}

TEST_F(ChannelsTest, SmallMessagesCostNoCellBackUntilTheyAreHalfAWindow) {
    const ChannelNumber number = open();
    cells_ = 0;
    for (std::size_t i = 1; i < limits::channel_credit_messages; ++i) {
        ASSERT_TRUE(a_.channels.send(number, message_of(10, 1)));
        settle();
    }
    EXPECT_EQ(cells_, limits::channel_credit_messages - 1);
    ASSERT_TRUE(a_.channels.send(number, message_of(10, 1)));
    settle();
    EXPECT_EQ(cells_, limits::channel_credit_messages + 1) << "and one cell back";
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(a_.channels.may_send(number)) << "never less than the other half";
        ASSERT_TRUE(a_.channels.send(number, message_of(10, 1)));
        settle();
    }
}

TEST_F(ChannelsTest, NoMoreBytesAreUnderWayThanTheWindowAndOneMessage) {
    b_.takes = false;
    const ChannelNumber number = open();
    ASSERT_TRUE(a_.channels.send(number, message_of(limits::channel_window_bytes - 1, 1)));
    ASSERT_TRUE(a_.channels.may_send(number));
    ASSERT_TRUE(a_.channels.send(number, message_of(3'000'000, 2)));
    EXPECT_FALSE(a_.channels.may_send(number));
    settle();
    EXPECT_EQ(b_.messages.size(), 2U);
    b_.channels.took(number);
    settle();
    EXPECT_EQ(a_.rooms, 1U);
}

TEST_F(ChannelsTest, WhatWaitsIsBounded) {
    b_.takes = false;
    const ChannelNumber number = open();
    const std::size_t most = limits::channel_window_messages + limits::channel_queued_messages_max;
    for (std::size_t i = 0; i < most; ++i) ASSERT_TRUE(a_.channels.send(number, message_of(1, 1)));
    EXPECT_FALSE(a_.channels.send(number, message_of(1, 1)));
}

TEST_F(ChannelsTest, APeerThatSendsBeyondTheWindowLosesTheChannel) {
    b_.takes = false;
    const ChannelNumber number = open();
    const Bytes one = wire::encode(wire::ChannelData{1, ByteView(Bytes{7})});
    for (std::size_t i = 0; i < limits::channel_window_messages; ++i) {
        b_.channels.on_cell(cell(CellCommand::channel_data, number, one));
    }
    b_.drain();
    EXPECT_TRUE(b_.closed.empty());
    b_.channels.on_cell(cell(CellCommand::channel_data, number, one));
    b_.drain();
    EXPECT_EQ(b_.messages.size(), limits::channel_window_messages);
    ASSERT_EQ(b_.closed.size(), 1U);
    settle();
    ASSERT_EQ(a_.closed.size(), 1U);
    EXPECT_EQ(a_.closed[0].reason, ChannelCloseReason::protocol);
}

TEST_F(ChannelsTest, APeerThatSendsMoreBytesThanTheWindowLosesTheChannel) {
    b_.takes = false;
    const ChannelNumber number = open();
    const Bytes large = message_of(limits::channel_window_bytes, 1);
    ASSERT_TRUE(a_.channels.send(number, large));
    settle();
    ASSERT_EQ(b_.messages.size(), 1U);
    b_.channels.on_cell(
        cell(CellCommand::channel_data, number, wire::encode(wire::ChannelData{1, ByteView(Bytes{7})})));
    b_.drain();
    EXPECT_EQ(b_.closed.size(), 1U);
}

TEST_F(ChannelsTest, BeforeAFirstMessageWasTakenNoneIsLong) {
    b_.takes = false;
    const ChannelNumber number = open_only();
    EXPECT_FALSE(a_.channels.may_send(number));
    ASSERT_TRUE(a_.channels.send(number, message_of(1387, 1)));
    ASSERT_TRUE(a_.channels.send(number, message_of(1388, 2)));
    settle();
    EXPECT_EQ(b_.messages.size(), 1U) << "the second waits";
    const Bytes first = wire::encode(wire::ChannelData{1388, message_of(1387, 1)});
    b_.channels.on_cell(cell(CellCommand::channel_data, number, first));
    b_.drain();
    ASSERT_EQ(b_.closed.size(), 1U) << "a peer that does not wait";
}

TEST_F(ChannelsTest, TheSecondMessageMayBeLong) {
    const ChannelNumber number = open_only();
    ASSERT_TRUE(a_.channels.send(number, message_of(10, 1)));
    ASSERT_TRUE(a_.channels.send(number, message_of(5000, 2)));
    settle();
    EXPECT_EQ(b_.messages.size(), 2U);
    EXPECT_TRUE(a_.channels.may_send(number));
}

// ---- endings -----------------------------------------------------------------------------------------------------

TEST_F(ChannelsTest, WhatWasSentBeforeTheCloseArrives) {
    const ChannelNumber number = open();
    ASSERT_TRUE(a_.channels.send(number, message_of(5000, 1)));
    a_.channels.close(number, ChannelCloseReason::done);
    EXPECT_FALSE(a_.channels.send(number, message_of(1, 1)));
    settle();
    ASSERT_EQ(b_.messages.size(), 1U);
    ASSERT_EQ(b_.closed.size(), 1U);
    EXPECT_EQ(b_.closed[0].reason, ChannelCloseReason::done);
    EXPECT_TRUE(a_.closed.empty()) << "who closes knows it";
    EXPECT_EQ(a_.channels.count() + b_.channels.count(), 0U);
}

TEST_F(ChannelsTest, BothMayCloseAtOnce) {
    const ChannelNumber number = open();
    a_.channels.close(number, ChannelCloseReason::done);
    b_.channels.close(number, ChannelCloseReason::busy);
    settle();
    EXPECT_TRUE(a_.closed.empty() && b_.closed.empty());
    EXPECT_EQ(a_.channels.count() + b_.channels.count(), 0U);
}

TEST_F(ChannelsTest, ThereAreOnlySoMany) {
    for (std::size_t i = 0; i < limits::channels_per_link_max; ++i)
        ASSERT_TRUE(a_.channels.open(ChannelProtocol::stage));
    EXPECT_FALSE(a_.channels.open(ChannelProtocol::stage));
    settle();
    // A peer that does not hold to it.
    b_.channels.on_cell(cell(CellCommand::channel_open, 0x8000'0001, {1}));
    b_.drain();
    EXPECT_EQ(b_.opened.size(), limits::channels_per_link_max);
    const wire::Cell refusal = b_.channels.next_cell();
    EXPECT_EQ(refusal.command, CellCommand::channel_close);
    EXPECT_EQ(wire::decode_channel_close(refusal.payload()).value(), ChannelCloseReason::busy);
    for (std::uint32_t i = 2; i < 1000; ++i) b_.channels.on_cell(cell(CellCommand::channel_open, 0x8000'0000 + i, {1}));
    EXPECT_LE(b_.channels.count(), 2 * limits::channels_per_link_max);
}

TEST_F(ChannelsTest, AnotherProtocolIsRefused) {
    b_.channels.on_cell(cell(CellCommand::channel_open, 0x8000'0001, {9}));
    b_.drain();
    EXPECT_TRUE(b_.opened.empty());
    const wire::Cell refusal = b_.channels.next_cell();
    EXPECT_EQ(wire::decode_channel_close(refusal.payload()).value(), ChannelCloseReason::refused);
}

TEST_F(ChannelsTest, AnIdOfTheWrongSideOpensNothing) {
    b_.channels.on_cell(cell(CellCommand::channel_open, 5, {1}));  // the dialler's have the top bit
    b_.channels.on_cell(cell(CellCommand::channel_open, 0, {1}));
    b_.drain();
    EXPECT_TRUE(b_.opened.empty());
    EXPECT_FALSE(b_.channels.has_cell());
}

// ---- cells that do not fit ---------------------------------------------------------------------------------------

TEST_F(ChannelsTest, ACellThatDoesNotFitEndsItsChannelOnly) {
    const Bytes first = wire::encode(wire::ChannelData{5000, message_of(1387, 1)});
    const Bytes more = wire::encode(wire::ChannelData{0, message_of(1391, 1)});
    const Bytes part = wire::encode(wire::ChannelData{0, message_of(100, 1)});
    const std::vector<std::vector<std::pair<CellCommand, Bytes>>> wrong = {
        {{CellCommand::channel_data, more}},                                                     // nothing has begun
        {{CellCommand::channel_data, first}, {CellCommand::channel_data, first}},                // within a message
        {{CellCommand::channel_data, first}, {CellCommand::channel_data, part}},                 // not full
        {{CellCommand::channel_data, wire::encode(wire::ChannelData{5000, message_of(9, 1)})}},  // the first neither
        {{CellCommand::channel_data, wire::encode(wire::ChannelData{1400, message_of(1387, 1)})},
         {CellCommand::channel_data, part}},  // more than was said
        {{CellCommand::channel_data, Bytes{9, 9}}},
        {{CellCommand::channel_credit, wire::encode(wire::ChannelCredit{1})}},  // nothing was sent
        {{CellCommand::channel_credit, wire::encode(wire::ChannelCredit{0})}},  // gives nothing
        {{CellCommand::channel_open, Bytes{1}}},                                // again
    };
    const ChannelNumber bystander = open();
    for (const auto& cells : wrong) {
        const ChannelNumber number = open();
        b_.closed.clear();
        for (const auto& [command, payload] : cells) b_.channels.on_cell(cell(command, number, payload));
        b_.drain();
        ASSERT_EQ(b_.closed.size(), 1U) << (&cells - wrong.data());
        EXPECT_EQ(b_.closed[0].channel, number);
        settle();
    }
    ASSERT_TRUE(a_.channels.send(bystander, message_of(10, 1)));
    settle();
    EXPECT_EQ(b_.messages.size(), 1U);
}

TEST_F(ChannelsTest, CreditForAMessageThatHasNotLeftWholeIsALie) {
    b_.takes = false;
    const ChannelNumber number = open();
    ASSERT_TRUE(a_.channels.send(number, message_of(5000, 1)));
    ASSERT_TRUE(carry(a_, b_));
    a_.channels.on_cell(cell(CellCommand::channel_credit, number, wire::encode(wire::ChannelCredit{1})));
    a_.drain();
    EXPECT_EQ(a_.closed.size(), 1U);
}

// ---- against a twin ----------------------------------------------------------------------------------------------

// Two sides at random, with cells under way in both directions; the twin is a list of messages for each channel and
// direction. What was sent arrives, in order, each once, until the channel closes.
class RandomPair {
public:
    explicit RandomPair(std::uint64_t seed) : rng_(seed), ids_(seed) {}

    void step(int number) {
        const int i = static_cast<int>(rng_.below(2));
        const ChannelNumber channel = pick();
        switch (rng_.below(8)) {
            case 0:
                if (open_.size() >= 4) break;
                if (const auto opened = sides_[i].open(ChannelProtocol::stage)) open_.insert(*opened);
                break;
            case 1: send(i, channel, message_of(1 + rng_.below(4000), static_cast<std::uint8_t>(number))); break;
            case 2:
                if (rng_.below(10) != 0) break;
                sides_[i].close(channel, ChannelCloseReason::done);
                open_.erase(channel);
                break;
            case 3:
                if (untaken_[{i, channel}] == 0) break;
                sides_[i].took(channel);
                --untaken_[{i, channel}];
                break;
            case 4:
            case 5:
                if (sides_[i].has_cell()) wire_[1 - i].push_back(sides_[i].next_cell());
                break;
            default:
                if (wire_[i].empty()) break;
                sides_[i].on_cell(wire_[i].front());
                wire_[i].pop_front();
                break;
        }
        for (int side = 0; side < 2; ++side) check(side);
    }

private:
    using Key = std::pair<int, ChannelNumber>;

    ChannelNumber pick() {
        if (open_.empty()) return 0;
        return *std::next(open_.begin(), static_cast<std::ptrdiff_t>(rng_.below(open_.size())));
    }
    void send(int side, ChannelNumber channel, Bytes message) {
        if (sides_[side].send(channel, message)) sent_[{side, channel}].push_back(std::move(message));
    }
    void check(int side) {
        while (auto event = sides_[side].poll()) {
            if (auto* message = std::get_if<Channels::Message>(&*event)) {
                auto& expected = sent_[{1 - side, message->channel}];
                RC_ASSERT(!expected.empty());
                RC_ASSERT(expected.front() == message->bytes);
                expected.pop_front();
                ++untaken_[{side, message->channel}];
            } else if (const auto* closed = std::get_if<Channels::Closed>(&*event)) {
                RC_ASSERT(closed->reason == ChannelCloseReason::done);
                open_.erase(closed->channel);
                untaken_.erase({side, closed->channel});
            }
        }
        RC_ASSERT(sides_[side].check());
    }

    TestRng rng_;
    crypto::SeededRng ids_;
    Channels sides_[2] = {{true, ids_}, {false, ids_}};
    std::deque<wire::Cell> wire_[2];         // towards side i
    std::map<Key, std::deque<Bytes>> sent_;  // by side i, not arrived
    std::map<Key, std::size_t> untaken_;
    std::set<ChannelNumber> open_;
};

RC_GTEST_PROP(Channels, NothingIsLostOrReordered, (std::uint64_t seed)) {
    RandomPair pair(seed);
    for (int i = 0; i < 400; ++i) pair.step(i);
}

}  // namespace
}  // namespace shoal::link
