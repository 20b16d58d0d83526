#include "prompt/reply.h"

#include <gtest/gtest.h>

#include "crypto/rng.h"

namespace shoal::prompt {
namespace {

class ReplyTest : public ::testing::Test {
protected:
    crypto::SeededRng rng_{1};
    Key32 key_{rng_.array<32>()};
    RequestId request_ = rng_.id<RequestId>();
    Reply reply_{key_, request_};
    ReplySealer reader_{key_, request_};
    Instant now_{1h};

    std::string read_all() {
        std::string text;
        wire::ReplyFrames frames;
        for (std::uint32_t i = 0; i < reply_.records(); ++i) {
            const auto got = frames.feed(*reader_.open(i, reply_.record(i).sealed));
            for (const auto& frame : *got) {
                if (const auto* delta = std::get_if<ChatDelta>(&frame)) text += delta->text.expose();
            }
        }
        return text;
    }
};

TEST_F(ReplyTest, WhatCannotLeaveYetIsMergedIntoOneRecord) {
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(reply_.add(ChatDelta{Plaintext("token ")}));
    EXPECT_EQ(reply_.records(), 0U);
    EXPECT_TRUE(reply_.has_uncut());
    reply_.cut(now_);
    EXPECT_EQ(reply_.records(), 1U);
    EXPECT_FALSE(reply_.has_uncut());
    EXPECT_EQ(reply_.cut_after(), now_ + limits::reply_flush);
    EXPECT_EQ(read_all().size(), 120U);
}

TEST_F(ReplyTest, ARecordNeverChangesOnceItIsCut) {
    ASSERT_TRUE(reply_.add(ChatDelta{Plaintext("one")}));
    reply_.cut(now_);
    const Bytes before = reply_.record(0).sealed;
    ASSERT_TRUE(reply_.add(ChatDelta{Plaintext("two")}));
    reply_.cut(now_);
    EXPECT_EQ(reply_.record(0).sealed, before);
    EXPECT_NE(reply_.record(1).sealed, before);
}

TEST_F(ReplyTest, TheLastRecordSaysSo) {
    ASSERT_TRUE(reply_.add(ChatDelta{Plaintext(std::string(3000, 'a'))}));
    ASSERT_TRUE(reply_.add(ChatEnd{}));
    EXPECT_TRUE(reply_.ended());
    while (reply_.has_uncut()) {
        EXPECT_FALSE(reply_.complete());
        reply_.cut(now_);
    }
    EXPECT_TRUE(reply_.complete());
    ASSERT_GE(reply_.records(), 3U);
    for (std::uint32_t i = 0; i < reply_.records(); ++i) EXPECT_EQ(reply_.record(i).last, i + 1 == reply_.records());
    EXPECT_EQ(read_all(), std::string(3000, 'a'));
}

TEST_F(ReplyTest, TooMuchTextIsRefusedAndTheEndStillFits) {
    const std::string piece(wire::reply_frame_text_bytes_max, 'a');
    std::size_t pieces = 0;
    while (reply_.add(ChatDelta{Plaintext(piece)})) ++pieces;
    EXPECT_LE(reply_.bytes(), limits::reply_bytes_max);
    EXPECT_GT(reply_.bytes() + piece.size() + 3, limits::reply_bytes_max);
    ASSERT_TRUE(reply_.add(ChatEnd{FinishReason::length, {}}));
    while (reply_.has_uncut()) reply_.cut(now_);
    EXPECT_EQ(read_all().size(), pieces * piece.size());
}

TEST_F(ReplyTest, ARecordOpensOnlyAtItsNumberForItsRequestWithItsKey) {
    ASSERT_TRUE(reply_.add(ChatDelta{Plaintext("one")}));
    reply_.cut(now_);
    const Bytes sealed = reply_.record(0).sealed;
    EXPECT_TRUE(reader_.open(0, sealed));
    EXPECT_FALSE(reader_.open(1, sealed));
    EXPECT_FALSE(ReplySealer(key_, rng_.id<RequestId>()).open(0, sealed));
    EXPECT_FALSE(ReplySealer(Key32(rng_.array<32>()), request_).open(0, sealed));
    for (std::size_t i = 0; i < sealed.size(); ++i) {
        Bytes bent = sealed;
        bent[i] ^= 1;
        EXPECT_FALSE(reader_.open(0, bent));
    }
}

TEST_F(ReplyTest, AProofHoldsForOneKeyRequestAndNumber) {
    const auto proof = resume_proof(key_, request_, 5);
    EXPECT_EQ(proof, resume_proof(key_, request_, 5));
    EXPECT_NE(proof, resume_proof(key_, request_, 6));
    EXPECT_NE(proof, resume_proof(key_, rng_.id<RequestId>(), 5));
    EXPECT_NE(proof, resume_proof(Key32(rng_.array<32>()), request_, 5));
}

}  // namespace
}  // namespace shoal::prompt
