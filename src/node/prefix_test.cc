// A conversation that has to move: over a whole network, in virtual time, with fake engines.
#include <gtest/gtest.h>

#include "node/virtual_net_test.h"

namespace shoal::node {
namespace {

using What = model::PrefixNote::What;

constexpr std::uint32_t bytes_per_token = 4096;
constexpr double tokens_per_second = 100;  // that are read
constexpr std::size_t relays = 20;

class PrefixTest : public ::testing::Test {
protected:
    void start(std::uint64_t seed, VirtualNet::Moves moves = {bytes_per_token, tokens_per_second},
               VirtualNet::Replies replies = {}) {
        models_ = std::max<std::size_t>(2, replies.size());
        net_ = std::make_unique<VirtualNet>(seed, relays, models_, PacerMode::fast, std::move(replies), moves);
        ASSERT_TRUE(net_->run_until(
            [&] { return net_->ready() && net_->client().node->client()->model_nodes() == models_; }, 60s));
    }
    std::uint64_t finished(std::size_t i) const { return (*net_)[i].node->model()->stats().finished; }
    // The model node that answered, and what the answer says.
    std::size_t answer_of(const std::string& text) {
        std::vector<std::uint64_t> before;
        for (std::size_t i = 0; i < models_; ++i) before.push_back(finished(first_ + i));
        EXPECT_TRUE(net_->ask(text));
        EXPECT_TRUE(net_->run_until([&] { return net_->answered(); }, 300s));
        EXPECT_TRUE(net_->client().end) << (net_->client().fault ? net_->client().fault->message : "nothing");
        EXPECT_EQ(net_->client().answer, "echo: " + text);
        for (std::size_t i = 0; i < models_; ++i) {
            if (finished(first_ + i) > before[i]) return first_ + i;
        }
        return 0;
    }
    std::uint32_t reused() const { return net_->client().end->usage.reused.value(); }
    std::uint32_t prompt() const { return net_->client().end->usage.prompt.value(); }
    // No relay reaches it any more; other model nodes do.
    void cut_off(std::size_t node) {
        net_->on_wire = [node](std::size_t from, std::size_t to, Bytes& bytes) {
            if (to == node && from <= relays) bytes[4] = 0xee;  // no command of a cell
        };
    }
    // A first turn, after which the node that answered cannot be asked any more: (that one, the other one).
    std::pair<std::size_t, std::size_t> first_turn() {
        const std::size_t holder = answer_of(text_);
        EXPECT_TRUE(net_->client().end->kept);
        EXPECT_EQ(reused(), 0U);
        return {holder, 2 * first_ + 1 - holder};
    }
    const std::vector<model::PrefixNote>& notes(std::size_t i) const { return (*net_)[i].notes; }

    static constexpr std::size_t first_ = relays + 1;
    std::size_t models_ = 2;
    std::string text_ = std::string(2000, 'a');  // five hundred tokens: five seconds
    std::unique_ptr<VirtualNet> net_;
};

TEST_F(PrefixTest, TheNextTurnGoesToTheNodeThatHoldsIt) {
    start(1);
    const std::size_t holder = first_turn().first;
    for (int i = 0; i < 4; ++i) EXPECT_EQ(answer_of(text_), holder);
    EXPECT_TRUE(notes(holder).empty());
}

TEST_F(PrefixTest, AnotherNodeFetchesWhatTheOneBeforeComputed) {
    start(2);
    const auto [holder, other] = first_turn();
    const KeptPrefix kept = *net_->client().end->kept;
    cut_off(holder);
    EXPECT_EQ(answer_of(text_), other);
    EXPECT_EQ(reused(), kept.tokens);
    EXPECT_LT(prompt() - reused(), 32U);
    ASSERT_EQ(notes(other).size(), 1U) << notes(other).back().reason;
    EXPECT_EQ(notes(other)[0].what, What::fetched);
    EXPECT_EQ(notes(other)[0].node, (*net_)[holder].key.node_id());
    EXPECT_EQ(notes(other)[0].bytes, kept.bytes);
    EXPECT_LT(notes(other)[0].took, notes(other)[0].recompute / 10);
    ASSERT_EQ(notes(holder).size(), 1U);
    EXPECT_EQ(notes(holder)[0].what, What::given);
    // And now that one holds it, though the first is well again and the scope points to it.
    net_->on_wire = {};
    net_->run_until([] { return false; }, limits::node_shunned + 1s);
    EXPECT_EQ(answer_of(text_), other);
    // Nothing is left of it.
    net_->run_until([] { return false; }, 1min);
    for (const std::size_t i : {holder, other}) {
        for (std::uint64_t link = 0; link < 1000; ++link) {
            EXPECT_FALSE((*net_)[i].node->prefixes().uses_link(LinkId(link)));
        }
    }
}

TEST_F(PrefixTest, AlteredBytesAreRefusedAndThePromptIsRead) {
    start(3);
    const auto [holder, other] = first_turn();
    (*net_)[holder].engine->fake_prefixes().alter();
    cut_off(holder);
    EXPECT_EQ(answer_of(text_), other);
    EXPECT_EQ(reused(), 0U);
    ASSERT_EQ(notes(other).size(), 2U);
    EXPECT_EQ(notes(other)[1].what, What::tampered);
    EXPECT_EQ(notes(other)[1].node, (*net_)[holder].key.node_id());
    EXPECT_EQ(notes(other)[1].reason, "other bytes than the digest says");
}

TEST_F(PrefixTest, WhenTheHolderIsGoneThePromptIsRead) {
    start(4);
    const auto [holder, other] = first_turn();
    net_->kill(holder);
    EXPECT_TRUE(net_->ask(text_));
    ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 300s));
    EXPECT_EQ(net_->client().answer, "echo: " + text_);
    EXPECT_EQ(reused(), 0U);
    ASSERT_EQ(notes(other).size(), 1U);
    EXPECT_EQ(notes(other)[0].what, What::left);
    EXPECT_LE(notes(other)[0].took, notes(other)[0].recompute / 20);
}

TEST_F(PrefixTest, WhatTheHolderForgotIsRead) {
    start(5);
    const auto [holder, other] = first_turn();
    (*net_)[holder].engine->die(net_->now(), "killed");
    (*net_)[holder].node->on_engine(net_->now());
    net_->drain(holder);
    net_->run_until([] { return false; }, 5s);  // and is back, without what it knew
    cut_off(holder);
    EXPECT_EQ(answer_of(text_), other);
    EXPECT_EQ(reused(), 0U);
    ASSERT_EQ(notes(other).size(), 1U);
    EXPECT_EQ(notes(other)[0].reason, "it does not hold it any more");
}

TEST_F(PrefixTest, WhatASuspectHoldsIsNotFetched) {
    const auto honest = [](const ChatRequest& r) { return "echo: " + r.messages.back().content.expose(); };
    const auto liar = [&](const ChatRequest& r) {
        return r.messages.back().content.expose() == "compare" ? std::string("echo: something else") : honest(r);
    };
    start(7, {bytes_per_token, tokens_per_second}, {liar, honest, honest});
    for (char letter = 'a'; answer_of(text_) != first_ && letter < 'z'; ++letter) text_ = std::string(2000, letter);
    EXPECT_EQ(answer_of(text_), first_);
    ASSERT_TRUE(net_->ask("compare", *Comparison::parse("2/3")));
    ASSERT_TRUE(net_->run_until([&] { return !net_->client().compared.empty(); }, 300s));
    ASSERT_TRUE(net_->client().node->client()->suspects().suspected(net_->now(), (*net_)[first_].key.node_id()));
    const std::size_t other = answer_of(text_);
    EXPECT_NE(other, first_);
    EXPECT_EQ(reused(), 0U);
    EXPECT_TRUE(notes(other).empty()) << "nobody told it whom to ask";
}

TEST_F(PrefixTest, WhoeverTheDirectoryListsForNoModelIsNotAsked) {
    start(8);
    ChatRequest request;
    request.messages.push_back({Role::user, Plaintext(text_)});
    const NodeId relay = (*net_)[VirtualNet::first_relay].key.node_id();
    request.source = PrefixSource{relay, {496, 496 * bytes_per_token, {}}};
    ASSERT_TRUE(std::holds_alternative<client::AskId>(
        net_->client().node->ask(net_->now(), ModelId(ByteArray<32>{0xfa, 0x4e}), request)));
    net_->drain(net_->client_index());
    ASSERT_TRUE(net_->run_until([&] { return net_->answered(); }, 300s));
    EXPECT_EQ(net_->client().answer, "echo: " + text_);
    const std::size_t asked = finished(first_) > 0 ? first_ : first_ + 1;
    ASSERT_EQ(notes(asked).size(), 1U);
    EXPECT_EQ(notes(asked)[0].node, relay);
    EXPECT_EQ(notes(asked)[0].reason, "the directory does not list it for the model");
    EXPECT_EQ(notes(asked)[0].took, 0ns);
}

TEST_F(PrefixTest, AShortPromptIsNotAskedFor) {
    start(6, {bytes_per_token, 1e5});
    const auto [holder, other] = first_turn();
    cut_off(holder);
    EXPECT_EQ(answer_of(text_), other);
    EXPECT_EQ(reused(), 0U);
    ASSERT_EQ(notes(other).size(), 1U);
    EXPECT_EQ(notes(other)[0].reason, "the prompt is read sooner than it could answer");
    EXPECT_TRUE(notes(holder).empty());
}

}  // namespace
}  // namespace shoal::node
