// Two nodes' Stages over one link, and one node's to itself; their users are played by the test.
#include "node/stages.h"

#include <gtest/gtest.h>

#include "crypto/rng.h"

namespace shoal::node {
namespace {

using pipeline::ChannelId;
using pipeline::ChannelOutput;

constexpr std::uint32_t width = 32;

wire::StageMessage join(std::uint8_t hop = 1) {
    wire::StageJoin m;
    m.session = wire::StageSessionId(ByteArray<16>{7});
    m.hop = hop;
    return m;
}
// As many rows as make about so many bytes.
wire::StageMessage step(std::uint64_t number, std::size_t bytes = 128) {
    const std::size_t row = wire::activation_row_bytes(wire::ActivationType::f32, width);
    const std::size_t rows = std::max<std::size_t>(1, bytes / row);
    wire::StageStep m{number, number - 1, {}};
    m.rows.parts = {{0, 0, static_cast<std::uint16_t>(std::min<std::size_t>(rows, limits::stage_rows_max))}};
    m.rows.tensor.resize(std::max(bytes / m.rows.parts[0].rows, row) * m.rows.parts[0].rows);
    return m;
}
std::uint64_t number_of(const wire::StageMessage& message) {
    const auto* m = std::get_if<wire::StageStep>(&message);
    return m == nullptr ? 0 : m->number;
}

// Says what it is told to say, takes messages when it is told to, and writes down what it hears.
class Player final : public pipeline::ChannelUser {
public:
    bool takes(const NodeId& from, const wire::StageMessage& first) const override {
        return wanted && from == *wanted && std::holds_alternative<wire::StageJoin>(first);
    }
    void on_message(Now, ChannelId channel, const NodeId& from, wire::StageMessage message) override {
        heard.emplace_back(channel, from, number_of(message));
        if (takes_at_once) say.emplace_back(pipeline::Took{channel});
    }
    void on_connected(Now, std::uint64_t token, ChannelId channel) override { connected[token] = channel; }
    void on_connect_failed(Now, std::uint64_t token) override { failed.push_back(token); }
    void on_closed(Now, ChannelId channel) override { closed.push_back(channel); }
    std::optional<wire::StageMessage> next_data(ChannelId) override {
        if (data.empty()) return std::nullopt;
        wire::StageMessage next = std::move(data.front());
        data.pop_front();
        return next;
    }
    std::optional<ChannelOutput> poll_channels() override {
        if (say.empty()) return std::nullopt;
        ChannelOutput next = std::move(say.front());
        say.pop_front();
        return next;
    }

    std::optional<NodeId> wanted;  // from whom a JOIN is taken
    bool takes_at_once = true;
    std::deque<ChannelOutput> say;
    std::deque<wire::StageMessage> data;
    std::vector<std::tuple<ChannelId, NodeId, std::uint64_t>> heard;
    std::map<std::uint64_t, ChannelId> connected;
    std::vector<std::uint64_t> failed;
    std::vector<ChannelId> closed;
};

const NetworkId network(ByteArray<32>{3});
constexpr LinkId link_id{1};

class Side final : public link::CellSink {
public:
    explicit Side(std::uint64_t seed)
        : rng(seed), key(crypto::SigningKey::generate(rng)), links(key, network, rng), stages(key.node_id(), links) {
        stages.add(user);
    }
    void on_cell(Now now, const wire::Cell& cell) override {
        if (cell.command >= wire::CellCommand::channel_open && cell.command <= wire::CellCommand::channel_close) {
            stages.on_cell(now, link_id, cell);
        }
    }
    NodeId id() const { return key.node_id(); }

    crypto::SeededRng rng;
    crypto::SigningKey key;
    Links links;
    Stages stages;
    Player user;
};

class StagesTest : public testing::Test {
protected:
    void SetUp() override { lead_.user.takes_at_once = hop_.user.takes_at_once = true; }
    void link_up() {
        const auto dial = lead_.links.want(now_, hop_.id(), Identity::own, *wire::parse_address("127.2.0.1:9000"));
        EXPECT_FALSE(dial);
        lead_.links.on_connected(now_, link_id, hop_.id(), DialId(1));
        hop_.links.on_connected(now_, link_id, lead_.id(), std::nullopt);
        carry();
        lead_.stages.on_link_up(now_, hop_.id(), link_id);
        carry();
    }
    // Until neither has anything to say.
    void carry() {
        for (bool more = true; more;) {
            more = lead_.stages.drain(now_);
            more = hop_.stages.drain(now_) || more;
            for (auto [from, to] : {std::pair{&lead_, &hop_}, std::pair{&hop_, &lead_}}) {
                while (from->links.poll()) {
                }
                Bytes bytes;
                from->links.take_output(now_, link_id, std::size_t{1} << 26, bytes);
                for (std::size_t at = 0; at < bytes.size(); at += limits::cell_bytes) {
                    const ByteView cell = ByteView(bytes).subspan(at, limits::cell_bytes);
                    ASSERT_TRUE(to->links.on_bytes(now_, link_id, cell, *to));
                }
                more = more || !bytes.empty();
            }
        }
    }
    // A channel from the lead, taken by the hop.
    ChannelId open() {
        hop_.user.wanted = lead_.id();
        lead_.user.say.emplace_back(pipeline::Connect{1, hop_.id()});
        carry();
        const ChannelId channel = lead_.user.connected.at(1);
        lead_.user.say.emplace_back(pipeline::SendMessage{channel, join()});
        carry();
        EXPECT_EQ(hop_.user.heard.size(), 1U);
        return channel;
    }

    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    Side lead_{1}, hop_{2};
};

TEST_F(StagesTest, AChannelWaitsForItsLink) {
    lead_.user.say.emplace_back(pipeline::Connect{1, hop_.id()});
    (void)lead_.stages.drain(now_);
    const auto wanted = lead_.stages.poll();
    ASSERT_TRUE(wanted);
    EXPECT_EQ(wanted->node, hop_.id());
    EXPECT_TRUE(lead_.user.connected.empty());
    link_up();
    EXPECT_TRUE(lead_.user.connected.contains(1));
    EXPECT_TRUE(lead_.stages.uses_link(link_id));
}

TEST_F(StagesTest, WhoCannotBeReachedIsToldToWhoAsked) {
    lead_.user.say.emplace_back(pipeline::Connect{1, hop_.id()});
    (void)lead_.stages.drain(now_);
    lead_.stages.on_unreachable(now_, lead_.id());
    EXPECT_TRUE(lead_.user.failed.empty()) << "of another node";
    lead_.stages.on_unreachable(now_, hop_.id());
    EXPECT_EQ(lead_.user.failed, std::vector<std::uint64_t>{1});
}

TEST_F(StagesTest, MessagesComeInOrderFromWhoSentThem) {
    link_up();
    const ChannelId channel = open();
    for (std::uint64_t i = 1; i <= 5; ++i) lead_.user.say.emplace_back(pipeline::SendMessage{channel, step(i)});
    carry();
    ASSERT_EQ(hop_.user.heard.size(), 6U);
    for (std::uint64_t i = 0; i <= 5; ++i) {
        EXPECT_EQ(std::get<1>(hop_.user.heard[i]), lead_.id());
        EXPECT_EQ(std::get<2>(hop_.user.heard[i]), i);
    }
}

TEST_F(StagesTest, AChannelThatNobodyTakesIsClosed) {
    link_up();
    lead_.user.say.emplace_back(pipeline::Connect{1, hop_.id()});
    carry();
    const ChannelId channel = lead_.user.connected.at(1);
    lead_.user.say.emplace_back(pipeline::SendMessage{channel, join()});
    carry();
    EXPECT_TRUE(hop_.user.heard.empty());
    EXPECT_TRUE(hop_.user.closed.empty()) << "it never had it";
    EXPECT_EQ(lead_.user.closed, std::vector{channel});
    EXPECT_FALSE(lead_.stages.uses_link(link_id));
    EXPECT_FALSE(hop_.stages.uses_link(link_id));
}

TEST_F(StagesTest, BytesThatAreNoMessageCloseTheChannel) {
    link_up();
    (void)open();
    Link& link = *lead_.links.get(link_id);
    const auto channel = link.channels.open(wire::ChannelProtocol::stage);
    ASSERT_TRUE(channel && link.channels.send(*channel, Bytes{99, 1, 2}));
    carry();
    EXPECT_EQ(hop_.user.heard.size(), 1U);
    EXPECT_EQ(link.channels.count(), 1U) << "the channel that is in order stays";
}

TEST_F(StagesTest, DataWaitsForTheWindow) {
    link_up();
    const ChannelId channel = open();
    hop_.user.takes_at_once = false;
    for (std::uint64_t i = 1; i <= 100; ++i) lead_.user.data.push_back(step(i));
    lead_.user.say.emplace_back(pipeline::HasData{channel});
    carry();
    EXPECT_EQ(hop_.user.heard.size(), 1 + limits::channel_window_messages);
    const ChannelId theirs = std::get<0>(hop_.user.heard[0]);
    for (std::size_t i = 0; i < limits::channel_credit_messages; ++i) {
        hop_.user.say.emplace_back(pipeline::Took{theirs});
    }
    carry();
    EXPECT_EQ(hop_.user.heard.size(), 1 + limits::channel_window_messages + limits::channel_credit_messages);
    hop_.user.takes_at_once = true;
    for (std::size_t i = 0; i < limits::channel_window_messages; ++i) {
        hop_.user.say.emplace_back(pipeline::Took{theirs});
    }
    carry();
    EXPECT_EQ(hop_.user.heard.size(), 101U);
}

TEST_F(StagesTest, ALostLinkClosesItsChannelsOnBothSides) {
    link_up();
    const ChannelId channel = open();
    for (Side* side : {&lead_, &hop_}) {
        (void)side->links.on_disconnected(link_id);
        side->stages.on_link_down(now_, link_id);
        EXPECT_FALSE(side->stages.uses_link(link_id));
    }
    EXPECT_EQ(lead_.user.closed, std::vector{channel});
    EXPECT_EQ(hop_.user.closed.size(), 1U);
    lead_.user.say.emplace_back(pipeline::SendMessage{channel, join()});  // it does not know yet
    lead_.user.say.emplace_back(pipeline::Took{channel});
    EXPECT_TRUE(lead_.stages.drain(now_));
}

TEST_F(StagesTest, WhatWasSaidBeforeTheEndArrives) {
    link_up();
    const ChannelId channel = open();
    lead_.user.say.emplace_back(pipeline::SendMessage{channel, step(1, 100'000)});
    lead_.user.say.emplace_back(pipeline::CloseChannel{channel});
    carry();
    ASSERT_EQ(hop_.user.heard.size(), 2U);
    EXPECT_EQ(hop_.user.closed.size(), 1U);
    EXPECT_TRUE(lead_.user.closed.empty()) << "it wished so";
}

// ---- a node that is lead and hop ---------------------------------------------------------------------------------

class StagesOfOneNode : public testing::Test {
protected:
    StagesOfOneNode() { node_.stages.add(host_); }
    void drain() { (void)node_.stages.drain(now_); }
    ChannelId open() {
        host_.wanted = node_.id();
        lead_.say.emplace_back(pipeline::Connect{1, node_.id()});
        drain();
        const ChannelId channel = lead_.connected.at(1);
        lead_.say.emplace_back(pipeline::SendMessage{channel, join()});
        drain();
        return channel;
    }

    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    Side node_{1};
    Player& lead_ = node_.user;
    Player host_;
};

TEST_F(StagesOfOneNode, SpeaksToItselfWithoutALink) {
    const ChannelId channel = open();
    EXPECT_FALSE(node_.stages.poll()) << "a link to itself";
    for (std::uint64_t i = 1; i <= 3; ++i) lead_.say.emplace_back(pipeline::SendMessage{channel, step(i)});
    drain();
    ASSERT_EQ(host_.heard.size(), 4U);
    for (std::uint64_t i = 0; i <= 3; ++i) {
        EXPECT_EQ(std::get<1>(host_.heard[i]), node_.id());
        EXPECT_EQ(std::get<2>(host_.heard[i]), i);
    }
    host_.say.emplace_back(pipeline::SendMessage{std::get<0>(host_.heard[0]), step(9)});
    drain();
    ASSERT_EQ(lead_.heard.size(), 1U);
    EXPECT_EQ(std::get<0>(lead_.heard[0]), channel);
}

TEST_F(StagesOfOneNode, HasTheWindowOfAnyChannel) {
    const ChannelId channel = open();
    host_.takes_at_once = false;
    for (std::uint64_t i = 1; i <= 100; ++i) lead_.data.push_back(step(i));
    lead_.say.emplace_back(pipeline::HasData{channel});
    drain();
    EXPECT_EQ(host_.heard.size(), 1 + limits::channel_window_messages);
    host_.say.emplace_back(pipeline::Took{std::get<0>(host_.heard[0])});
    drain();
    EXPECT_EQ(host_.heard.size(), 2 + limits::channel_window_messages);
}

TEST_F(StagesOfOneNode, TheWindowCountsBytesToo) {
    const ChannelId channel = open();
    host_.takes_at_once = false;
    constexpr std::size_t bytes = limits::channel_window_bytes / 4;
    for (std::uint64_t i = 1; i <= 20; ++i) lead_.data.push_back(step(i, bytes));
    lead_.say.emplace_back(pipeline::HasData{channel});
    drain();
    EXPECT_EQ(host_.heard.size(), 1U + 4);
    host_.say.emplace_back(pipeline::Took{std::get<0>(host_.heard[0])});
    drain();
    EXPECT_EQ(host_.heard.size(), 2U + 4);
}

TEST_F(StagesOfOneNode, WhoSpeaksWithoutEndIsCutOff) {
    const ChannelId channel = open();
    host_.takes_at_once = false;
    constexpr std::size_t most = limits::channel_window_messages + limits::channel_queued_messages_max;
    for (std::uint64_t i = 1; i <= most + 1; ++i) lead_.say.emplace_back(pipeline::SendMessage{channel, step(i)});
    drain();
    EXPECT_EQ(lead_.closed, std::vector{channel});
    EXPECT_EQ(host_.heard.size(), 1 + most);
    EXPECT_EQ(host_.closed.size(), 1U);
}

TEST_F(StagesOfOneNode, WhatNobodyTakesIsClosed) {
    lead_.say.emplace_back(pipeline::Connect{1, node_.id()});
    drain();
    lead_.say.emplace_back(pipeline::SendMessage{lead_.connected.at(1), join()});
    drain();
    EXPECT_TRUE(host_.heard.empty());
    EXPECT_EQ(lead_.closed, std::vector{lead_.connected.at(1)});
}

TEST_F(StagesOfOneNode, EitherEndMayClose) {
    const ChannelId channel = open();
    lead_.say.emplace_back(pipeline::SendMessage{channel, step(1)});
    lead_.say.emplace_back(pipeline::CloseChannel{channel});
    drain();
    EXPECT_EQ(host_.heard.size(), 2U) << "what was said before";
    EXPECT_EQ(host_.closed.size(), 1U);
    EXPECT_TRUE(lead_.closed.empty());

    lead_.connected.clear();
    const ChannelId again = open();
    host_.say.emplace_back(pipeline::CloseChannel{std::get<0>(host_.heard.back())});
    drain();
    EXPECT_EQ(lead_.closed, std::vector{again});
}

}  // namespace
}  // namespace shoal::node
