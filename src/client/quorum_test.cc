#include "client/quorum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "crypto/rng.h"
#include "wire/text.h"

namespace shoal::client {
namespace {

Comparison rule(const char* text) {
    return *Comparison::parse(text);
}
ChatEnd end_of(FinishReason reason, std::uint32_t prompt, std::uint32_t completion) {
    return {.reason = reason, .usage = {TokenCount(prompt), TokenCount(completion)}};
}
const ChatEnd stopped = end_of(FinishReason::stop, 5, 9);

class QuorumTest : public ::testing::Test {
protected:
    void make(const char* compare, std::size_t nodes, std::uint32_t completion_tokens_max = 0) {
        quorum_.emplace(rule(compare), nodes, completion_tokens_max);
        for (std::size_t slot = 0; slot < nodes; ++slot) quorum_->start(slot, 4096);
        text_.clear();
        end_.reset();
        fault_.reset();
        verdicts_.clear();
    }
    void say(std::size_t slot, const std::string& text) {
        quorum_->on_delta(slot, {Plaintext(text)});
        drain();
    }
    void end(std::size_t slot, const ChatEnd& end = stopped) {
        quorum_->on_end(slot, end);
        drain();
    }
    void whole(std::size_t slot, const std::string& text, const ChatEnd& how = stopped) {
        say(slot, text);
        end(slot, how);
    }
    void fail(std::size_t slot, AskFault fault = AskFault::node_lost) {
        quorum_->on_fault(slot, {fault, "of node " + std::to_string(slot)});
        drain();
    }
    void drain() {
        while (auto output = quorum_->poll()) {
            if (const auto* verdict = std::get_if<Quorum::Verdict>(&*output)) {
                EXPECT_TRUE(verdicts_.emplace(verdict->slot, *verdict).second) << "judged twice";
                continue;
            }
            EXPECT_FALSE(end_ || fault_) << "something came behind the end";
            if (const auto* delta = std::get_if<ChatDelta>(&*output)) {
                EXPECT_TRUE(wire::is_utf8(delta->text.expose()));
                text_ += delta->text.expose();
            } else if (const auto* end = std::get_if<ChatEnd>(&*output)) {
                end_ = *end;
            } else {
                fault_ = std::get<ChatFault>(*output);
            }
        }
    }
    bool against(std::size_t slot) { return verdicts_.contains(slot) && !verdicts_.at(slot).agrees; }
    bool agrees(std::size_t slot) { return verdicts_.contains(slot) && verdicts_.at(slot).agrees; }
    std::size_t accused() {
        return static_cast<std::size_t>(
            std::count_if(verdicts_.begin(), verdicts_.end(), [](const auto& v) { return !v.second.agrees; }));
    }

    std::optional<Quorum> quorum_;
    std::string text_;
    std::optional<ChatEnd> end_;
    std::optional<ChatFault> fault_;
    std::map<std::size_t, Quorum::Verdict> verdicts_;
};

// ---- what comes out ----------------------------------------------------------------------------------------------

TEST_F(QuorumTest, WhatEnoughNodesSaySoFarIsHandedOut) {
    make("2/3", 3);
    say(0, "The capital");
    EXPECT_EQ(text_, "") << "one alone";
    say(1, "The cap");
    EXPECT_EQ(text_, "The cap");
    say(2, "The capital of");
    EXPECT_EQ(text_, "The capital");
    say(1, "ital of France");
    EXPECT_EQ(text_, "The capital of");
    end(1);
    EXPECT_FALSE(end_);
    whole(0, " of France");
    EXPECT_EQ(text_, "The capital of France");
    ASSERT_TRUE(end_);
    EXPECT_EQ(end_->agreement, (Agreement{2, 3}));
    EXPECT_EQ(end_->usage, stopped.usage);
    EXPECT_TRUE(agrees(0) && agrees(1));
    EXPECT_TRUE(quorum_->wants(2));
    whole(2, " France");
    EXPECT_TRUE(agrees(2));
    EXPECT_EQ(quorum_->running(), 0U);
}

TEST_F(QuorumTest, ACharacterIsNotCut) {
    make("2/2", 2);
    say(0, "\xc3\xa9");   // é
    say(1, "\xc3\xa8!");  // è begins with the same byte
    EXPECT_EQ(text_, "");
    ASSERT_TRUE(fault_);
    make("2/2", 2);
    say(0, "a\xc3\xa9");
    say(1, "a\xc3\xa9");
    EXPECT_EQ(text_, "a\xc3\xa9");
}

TEST_F(QuorumTest, AnEmptyReplyIsOne) {
    make("2/3", 3);
    end(0);
    end(1);
    ASSERT_TRUE(end_);
    say(2, "word");
    EXPECT_TRUE(against(2));
}

// ---- who is wrong ------------------------------------------------------------------------------------------------

TEST_F(QuorumTest, WhoDiffersIsFoundAndHeardNoMore) {
    make("2/3", 3);
    say(0, "It is Paris");
    say(2, "It is Lyon.");
    EXPECT_EQ(text_, "It is ");
    EXPECT_EQ(accused(), 0U) << "who of the two is wrong nobody knows yet";
    say(1, "It is P");
    EXPECT_TRUE(against(2));
    EXPECT_EQ(verdicts_.at(2).bytes, 6U);
    EXPECT_FALSE(quorum_->wants(2));
    say(2, "more");
    end(2);
    whole(1, "aris");
    end(0);
    EXPECT_EQ(text_, "It is Paris");
    EXPECT_EQ(end_->agreement, (Agreement{2, 3}));
}

TEST_F(QuorumTest, WhoStopsBeforeTheOthersOrGoesOnIsFound) {
    make("2/3", 3);
    whole(2, "It is");
    say(0, "It is Paris");
    say(1, "It is Paris");
    EXPECT_TRUE(against(2));
    make("2/3", 3);
    say(2, "It is Paris, or not");
    whole(0, "It is Paris");
    EXPECT_EQ(accused(), 0U);
    whole(1, "It is Paris");
    EXPECT_TRUE(against(2));
    EXPECT_EQ(text_, "It is Paris");
}

TEST_F(QuorumTest, WhoCountsOtherTokensIsFound) {
    make("2/3", 3);
    whole(2, "Paris", end_of(FinishReason::stop, 5, 900));
    whole(0, "Paris");
    EXPECT_FALSE(end_);
    whole(1, "Paris");
    ASSERT_TRUE(end_);
    EXPECT_EQ(end_->usage, stopped.usage);
    EXPECT_TRUE(against(2));
}

TEST_F(QuorumTest, WhoIsLateDoesNotEscape) {
    make("2/3", 3);
    whole(0, "Paris");
    whole(1, "Paris");
    ASSERT_TRUE(end_);
    say(2, "Par");
    EXPECT_TRUE(quorum_->wants(2));
    say(2, "sley");
    EXPECT_TRUE(against(2));
    EXPECT_EQ(verdicts_.at(2).bytes, 3U);
}

TEST_F(QuorumTest, AContextThatEndsAReplyIsNoLie) {
    const ChatEnd answer = end_of(FinishReason::stop, 5, 20);
    make("2/3", 3);
    quorum_->start(2, 16);
    whole(2, "one two", end_of(FinishReason::length, 5, 10));
    whole(0, "one two three", answer);
    whole(1, "one two three", answer);
    ASSERT_TRUE(end_);
    EXPECT_EQ(accused(), 0U);
    EXPECT_FALSE(agrees(2));
    // The same claim of a node whose context is longer, or with a prompt that the others did not count.
    make("2/3", 3);
    whole(2, "one two", end_of(FinishReason::length, 5, 10));
    whole(0, "one two three", answer);
    whole(1, "one two three", answer);
    EXPECT_TRUE(against(2));
    make("2/3", 3);
    whole(2, "one two", end_of(FinishReason::length, 4090, 10));
    whole(0, "one two three", answer);
    whole(1, "one two three", answer);
    EXPECT_TRUE(against(2));
}

TEST_F(QuorumTest, WhoGoesOnWhereAContextEndedTheAnswerDoesNotLie) {
    make("2/3", 3);
    say(2, "one two three");
    for (const std::size_t slot : {0, 1}) whole(slot, "one two", end_of(FinishReason::length, 5, 10));
    ASSERT_TRUE(end_);
    EXPECT_EQ(accused(), 0U);
    EXPECT_FALSE(quorum_->wants(2));
    make("2/3", 3, 10);
    say(2, "one two three");
    for (const std::size_t slot : {0, 1}) whole(slot, "one two", end_of(FinishReason::length, 5, 10));
    EXPECT_TRUE(against(2)) << "the question's own limit binds every node";
}

// ---- what fails --------------------------------------------------------------------------------------------------

TEST_F(QuorumTest, WithoutEnoughTheErrorSaysHowManyAgreed) {
    make("2/3", 3);
    say(0, "a");
    say(1, "b");
    EXPECT_FALSE(fault_);
    say(2, "c");
    ASSERT_TRUE(fault_);
    EXPECT_EQ(fault_->fault, AskFault::disagreed);
    EXPECT_EQ(fault_->message, "2 of 3 nodes must give one reply, and the most that agree are 1");
    EXPECT_EQ(accused(), 0U);
    make("3/4", 4);
    for (const std::size_t slot : {0, 1}) say(slot, "a");
    for (const std::size_t slot : {2, 3}) say(slot, "b");
    ASSERT_TRUE(fault_);
    EXPECT_NE(fault_->message.find("the most that agree are 2"), std::string::npos);
}

TEST_F(QuorumTest, FailuresAreBorneWhileEnoughAreLeft) {
    make("2/3", 3);
    say(0, "Par");
    say(1, "Par");
    EXPECT_TRUE(quorum_->can_do_without(0));
    fail(0);
    EXPECT_FALSE(fault_);
    EXPECT_FALSE(quorum_->can_do_without(1));
    whole(1, "is");
    whole(2, "Paris");
    EXPECT_EQ(text_, "Paris");
    EXPECT_EQ(end_->agreement, (Agreement{2, 3}));
    make("2/3", 3);
    fail(0);
    fail(1, AskFault::overloaded);
    ASSERT_TRUE(fault_);
    EXPECT_NE(fault_->fault, AskFault::disagreed);
    EXPECT_NE(fault_->message.find("2 failed"), std::string::npos) << fault_->message;
}

TEST_F(QuorumTest, WhatEnoughNodesRefuseIsRefusedInTheirWords) {
    make("2/3", 3);
    fail(0, AskFault::context_exceeded);
    say(1, "hi");
    fail(2, AskFault::context_exceeded);
    ASSERT_TRUE(fault_);
    EXPECT_EQ(fault_->fault, AskFault::context_exceeded);
    EXPECT_EQ(fault_->message, "of node 0");
}

TEST_F(QuorumTest, AnotherNodeInAPlaceBeginsAnew) {
    make("2/3", 3);
    say(0, "Paris is");
    say(1, "Paris is");
    quorum_->start(1, 4096);
    say(0, " large");
    EXPECT_EQ(text_, "Paris is");
    whole(1, "Paris is large");
    EXPECT_EQ(text_, "Paris is large");
    quorum_->start(2, 4096);
    whole(2, "Rome");
    EXPECT_TRUE(against(2));
    end(0);
    EXPECT_TRUE(end_);
}

TEST_F(QuorumTest, AReplyWithoutEndIsCutOff) {
    make("2/3", 3);
    const std::string part(limits::reply_bytes_max / 4, 'x');
    for (int i = 0; i < 4; ++i) say(0, part);
    EXPECT_TRUE(quorum_->wants(0));
    say(0, "x");
    EXPECT_FALSE(quorum_->wants(0));
    EXPECT_FALSE(fault_);
}

// ---- against a naive twin ----------------------------------------------------------------------------------------

TEST_F(QuorumTest, ComesToWhatLookingAtAllRepliesAtOnceGives) {
    crypto::SeededRng rng(7);
    const std::vector<std::string> letters = {"a", "a", "a", "b", "\xc3\xa9", "\xc3\xa8"};
    std::size_t answered = 0, failed = 0;
    for (int round = 0; round < 5000; ++round) {
        const std::size_t nodes = 2 + rng.below(limits::compared_nodes_max - 1);
        const std::size_t needed = nodes / 2 + 1 + rng.below(nodes - nodes / 2);
        make((std::to_string(needed) + "/" + std::to_string(nodes)).c_str(), nodes);
        std::vector<std::vector<std::string>> replies(nodes);
        std::vector<std::string> whole_texts(nodes);
        for (std::size_t slot = 0; slot < nodes; ++slot) {
            if (slot > 0 && rng.below(3) > 0) {
                replies[slot] = replies[slot - 1];
            } else {
                for (std::size_t i = rng.below(5); i > 0; --i)
                    replies[slot].push_back(letters[rng.below(letters.size())]);
            }
            for (const std::string& letter : replies[slot]) whole_texts[slot] += letter;
        }
        std::vector<std::size_t> at(nodes);
        for (std::size_t left = nodes; left > 0 && !fault_;) {
            const std::size_t slot = rng.below(nodes);
            if (at[slot] < replies[slot].size()) {
                say(slot, replies[slot][at[slot]++]);
            } else if (at[slot] == replies[slot].size()) {
                ++at[slot];
                --left;
                end(slot);
            }
        }
        // The twin.
        std::optional<std::string> answer;
        for (const std::string& text : whole_texts) {
            if (std::count(whole_texts.begin(), whole_texts.end(), text) >= static_cast<std::ptrdiff_t>(needed))
                answer = text;
        }
        ASSERT_EQ(end_.has_value(), answer.has_value()) << round;
        ASSERT_NE(end_.has_value(), fault_.has_value()) << round;
        const auto backed = std::count_if(whole_texts.begin(), whole_texts.end(),
                                          [&](const std::string& text) { return text.starts_with(text_); });
        ASSERT_GE(backed, static_cast<std::ptrdiff_t>(needed)) << round;
        if (answer) {
            ASSERT_EQ(text_, *answer) << round;
            for (std::size_t slot = 0; slot < nodes; ++slot)
                ASSERT_EQ(against(slot), whole_texts[slot] != *answer) << round;
        }
        answer ? ++answered : ++failed;
    }
    EXPECT_GT(answered, 500U);
    EXPECT_GT(failed, 500U);
}

// ---- how surely a liar is found ----------------------------------------------------------------------------------

// One question to three nodes, one of which lies in one of five ways, at any time relative to the others. Honest nodes
// are lost one time in twenty and replaced twice at most.
class LiarTest : public QuorumTest {
protected:
    struct Script {
        std::string text;
        ChatEnd end = stopped;
        std::size_t given = 0;
        std::size_t lost_at = std::string::npos;
        int replacements = 2;
        bool over = false;
    };
    std::string honest(crypto::SeededRng& rng) {
        std::string out;
        for (std::size_t i = 20 + rng.below(200); i > 0; --i) out += static_cast<char>('a' + rng.below(26));
        return out;
    }
    void lie(Script& script, crypto::SeededRng& rng) {
        const std::size_t at = rng.below(script.text.size());
        switch (rng.below(5)) {
            case 0: script.text[at] = '#'; break;                           // one token altered
            case 1: script.text.erase(at); break;                           // cut short
            case 2: script.text += "buy this"; break;                       // goes on
            case 3: script.end = end_of(FinishReason::stop, 5, 10); break;  // a token more on the bill
            default: script.text = honest(rng) + "#"; break;                // another model
        }
    }
    void step(std::size_t slot, Script& script, crypto::SeededRng& rng) {
        if (script.given >= script.lost_at) {
            if (script.replacements-- > 0) {
                quorum_->start(slot, 4096);
                script.given = 0;
                script.lost_at = rng.below(20) == 0 ? rng.below(script.text.size()) : std::string::npos;
                return;
            }
            script.over = true;
            return fail(slot);
        }
        const std::size_t bytes = std::min(1 + rng.below(8), script.text.size() - script.given);
        if (bytes == 0) {
            script.over = true;
            return end(slot, script.end);
        }
        say(slot, script.text.substr(script.given, bytes));
        script.given += bytes;
    }
};

TEST_F(LiarTest, IsFoundWithinOneQuestionAndNobodyElseIs) {
    crypto::SeededRng rng(12);
    constexpr std::size_t questions = 10'000;
    std::size_t found = 0, wrongly = 0, lies_handed_out = 0;
    for (std::size_t question = 0; question < questions; ++question) {
        make("2/3", 3);
        const std::string truth = honest(rng);
        std::vector<Script> scripts(3, Script{.text = truth});
        const std::size_t liar = rng.below(3);
        for (std::size_t slot = 0; slot < 3; ++slot) {
            if (slot == liar) {
                lie(scripts[slot], rng);
            } else if (rng.below(20) == 0) {
                scripts[slot].lost_at = rng.below(truth.size());
            }
        }
        // Each node has a pace of its own: the liar is first or last as often as not.
        std::size_t pace[3] = {1 + rng.below(9), 1 + rng.below(9), 1 + rng.below(9)};
        for (std::size_t turn = 0; turn < 10'000; ++turn) {
            const std::size_t slot = turn % 3;
            for (std::size_t i = 0; i < pace[slot]; ++i) {
                if (!scripts[slot].over && quorum_->wants(slot)) step(slot, scripts[slot], rng);
            }
        }
        found += against(liar) ? 1U : 0U;
        wrongly += accused() - (against(liar) ? 1U : 0U);
        lies_handed_out += truth.starts_with(text_) ? 0U : 1U;
        if (end_) lies_handed_out += text_ == truth && end_->usage == stopped.usage ? 0U : 1U;
    }
    RecordProperty("found", static_cast<int>(found));
    EXPECT_GE(static_cast<double>(found) / questions, .99);
    EXPECT_EQ(wrongly, 0U);
    EXPECT_EQ(lies_handed_out, 0U);
}

TEST_F(LiarTest, TwoThatAreOfOneMindOutvoteTheThird) {
    make("2/3", 3);
    whole(0, "Paris");
    whole(1, "Lyon");
    whole(2, "Lyon");
    EXPECT_EQ(text_, "Lyon");
    EXPECT_TRUE(against(0)) << "which is why nodes of one operator are not compared with each other";
}

}  // namespace
}  // namespace shoal::client
