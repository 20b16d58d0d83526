#include "backend/worker_prefixes.h"

#include <gtest/gtest.h>

namespace shoal::backend {
namespace {

namespace pipe = engine::pipe;
using engine::PrefixGone;
using engine::PrefixPiece;
using engine::PrefixRefused;
using engine::PrefixWanted;

const ByteArray<32> chain{7};
const PrefixSource source{NodeId(ByteArray<32>{3}), {64, 1000, {}}};
constexpr Now now{};

class WorkerPrefixesTest : public ::testing::Test {
protected:
    WorkerPrefixesTest() { prefixes.set_ready(true); }
    template <typename Kind>
    std::optional<Kind> sent() {
        if (frames.empty() || !std::holds_alternative<Kind>(frames.front())) return std::nullopt;
        Kind out = std::get<Kind>(std::move(frames.front()));
        frames.pop_front();
        return out;
    }
    template <typename Kind>
    std::optional<Kind> event() {
        auto next = prefixes.poll_prefix();
        if (!next || !std::holds_alternative<Kind>(*next)) return std::nullopt;
        return std::get<Kind>(std::move(*next));
    }
    void ask(std::uint64_t job) {
        prefixes.on_submit(JobId(job), source);
        ASSERT_TRUE(prefixes.on_message(pipe::PrefixAsk{JobId(job), chain, 2s}));
        ASSERT_TRUE(event<PrefixWanted>().has_value());
    }
    bool piece(std::uint64_t read, bool last = false) {
        return prefixes.on_message(PrefixPiece{PrefixReadId(read), Bytes(10), last});
    }
    void open(std::uint64_t read) {
        prefixes.open(now, PrefixReadId(read), chain, 64);
        ASSERT_TRUE(sent<pipe::PrefixOpen>().has_value());
    }

    std::deque<pipe::ToWorker> frames;
    std::size_t unsent = 0;
    WorkerPrefixes prefixes{[this](const pipe::ToWorker& message) { frames.push_back(message); },
                            [this] { return unsent; }};
};

TEST_F(WorkerPrefixesTest, AJobAsksForWhatItsRequestNamed) {
    prefixes.on_submit(JobId(1), source);
    ASSERT_TRUE(prefixes.on_message(pipe::PrefixAsk{JobId(1), chain, 2s}));
    const auto wanted = event<PrefixWanted>();
    ASSERT_TRUE(wanted.has_value());
    EXPECT_EQ(wanted->job, JobId(1));
    EXPECT_EQ(wanted->chain, chain);
    EXPECT_EQ(wanted->source, source);
    EXPECT_EQ(wanted->recompute, 2s);
    EXPECT_FALSE(prefixes.on_message(pipe::PrefixAsk{JobId(1), chain, 2s})) << "asks twice";
    EXPECT_FALSE(prefixes.on_message(pipe::PrefixAsk{JobId(2), chain, 2s})) << "asks for no job";
    prefixes.on_submit(JobId(3), std::nullopt);
    EXPECT_FALSE(prefixes.on_message(pipe::PrefixAsk{JobId(3), chain, 2s})) << "asks for a job that names none";
}

TEST_F(WorkerPrefixesTest, WhatIsGivenReachesTheWorkerInItsPieces) {
    ask(1);
    EXPECT_TRUE(prefixes.takes(JobId(1)));
    prefixes.give(now, JobId(1), Bytes(limits::prefix_piece_bytes + 1, 5), false);
    auto first = sent<pipe::PrefixGive>(), second = sent<pipe::PrefixGive>();
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->bytes.size(), limits::prefix_piece_bytes);
    EXPECT_EQ(second->bytes.size(), 1U);
    EXPECT_FALSE(first->last || second->last);
    prefixes.give(now, JobId(1), {}, true);
    auto end = sent<pipe::PrefixGive>();
    ASSERT_TRUE(end && end->last && end->bytes.empty());
    EXPECT_FALSE(prefixes.takes(JobId(1)));
    prefixes.give(now, JobId(1), Bytes(1), true);
    prefixes.give_up(now, JobId(1));
    EXPECT_TRUE(frames.empty()) << "it does not wait any more";
}

TEST_F(WorkerPrefixesTest, OfAJobThatDoesNotWaitAllIsDropped) {
    prefixes.on_submit(JobId(1), source);
    prefixes.give(now, JobId(1), Bytes(1), true);
    prefixes.give_up(now, JobId(1));
    EXPECT_FALSE(prefixes.takes(JobId(1)));
    ask(2);
    prefixes.give_up(now, JobId(2));
    EXPECT_TRUE(sent<pipe::PrefixGiveUp>().has_value());
    prefixes.give(now, JobId(2), Bytes(1), true);
    ask(3);
    prefixes.on_end(JobId(3));
    prefixes.give(now, JobId(3), Bytes(1), true);
    EXPECT_TRUE(frames.empty());
}

TEST_F(WorkerPrefixesTest, ARefusalComesOnceAndEndsTheWait) {
    prefixes.on_submit(JobId(1), source);
    EXPECT_FALSE(prefixes.on_message(PrefixRefused{JobId(1), "altered"})) << "it never asked";
    ASSERT_TRUE(prefixes.on_message(pipe::PrefixAsk{JobId(1), chain, 2s}));
    ASSERT_TRUE(event<PrefixWanted>().has_value());
    EXPECT_TRUE(prefixes.on_message(PrefixRefused{JobId(1), "altered"}));
    const auto refused = event<PrefixRefused>();
    ASSERT_TRUE(refused && refused->reason == "altered");
    EXPECT_FALSE(prefixes.takes(JobId(1)));
    EXPECT_FALSE(prefixes.on_message(PrefixRefused{JobId(1), "again"}));
}

TEST_F(WorkerPrefixesTest, AWorkerThatReadsSlowlyHoldsTheTransferBack) {
    ask(1);
    unsent = WorkerPrefixes::given_bytes_high;
    EXPECT_FALSE(prefixes.takes(JobId(1)));
    prefixes.give(now, JobId(1), Bytes(1000), false);
    EXPECT_TRUE(sent<pipe::PrefixGive>().has_value());
    unsent = WorkerPrefixes::given_bytes_max;
    prefixes.give(now, JobId(1), Bytes(1000), false);
    EXPECT_TRUE(sent<pipe::PrefixGiveUp>().has_value()) << "who never asks takes() is given up";
    prefixes.give(now, JobId(1), Bytes(1000), true);
    EXPECT_TRUE(frames.empty());
}

TEST_F(WorkerPrefixesTest, PiecesComeOneByOneAndAreAskedForAhead) {
    open(5);
    EXPECT_TRUE(piece(5));
    EXPECT_TRUE(event<PrefixPiece>().has_value()) << "the first comes unasked";
    EXPECT_TRUE(sent<pipe::PrefixMore>().has_value());
    EXPECT_TRUE(piece(5));
    EXPECT_FALSE(prefixes.poll_prefix().has_value()) << "the second waits for more()";
    EXPECT_TRUE(frames.empty());
    prefixes.more(now, PrefixReadId(5));
    EXPECT_TRUE(event<PrefixPiece>().has_value());
    EXPECT_TRUE(sent<pipe::PrefixMore>().has_value());
    prefixes.more(now, PrefixReadId(5));
    EXPECT_TRUE(piece(5, true));
    const auto last = event<PrefixPiece>();
    ASSERT_TRUE(last && last->last);
    EXPECT_TRUE(frames.empty()) << "more is asked for behind the last";
    prefixes.more(now, PrefixReadId(5));
    prefixes.close(now, PrefixReadId(5));
    EXPECT_TRUE(frames.empty()) << "the read has ended";
}

TEST_F(WorkerPrefixesTest, AWorkerThatSendsMoreThanItMayIsNotBelieved) {
    open(5);
    for (unsigned i = 0; i < pipe::prefix_pieces_ahead + 1; ++i) EXPECT_TRUE(piece(5)) << i;  // one was handed on
    EXPECT_FALSE(piece(5));
    frames.clear();
    open(6);
    EXPECT_TRUE(piece(6, false));
    EXPECT_TRUE(piece(6, true));
    EXPECT_FALSE(piece(6)) << "behind the last";
    EXPECT_FALSE(prefixes.on_message(PrefixGone{PrefixReadId(6)}));
}

TEST_F(WorkerPrefixesTest, OfAClosedReadNothingComes) {
    open(5);
    prefixes.close(now, PrefixReadId(5));
    EXPECT_TRUE(sent<pipe::PrefixClose>().has_value());
    EXPECT_TRUE(piece(5));
    EXPECT_TRUE(prefixes.on_message(PrefixGone{PrefixReadId(5)}));
    EXPECT_FALSE(prefixes.poll_prefix().has_value());
}

TEST_F(WorkerPrefixesTest, BeyondTheMostReadsNothingIsThere) {
    for (std::uint64_t read = 0; read < limits::prefix_reads_max; ++read) open(read);
    prefixes.open(now, PrefixReadId(99), chain, 64);
    EXPECT_TRUE(frames.empty());
    EXPECT_TRUE(event<PrefixGone>().has_value());
    EXPECT_TRUE(prefixes.on_message(PrefixGone{PrefixReadId(0)}));
    EXPECT_TRUE(event<PrefixGone>().has_value());
    open(100);
}

TEST_F(WorkerPrefixesTest, WhenTheWorkerGoesItsReadsAreGone) {
    open(5);
    ask(1);
    ASSERT_TRUE(piece(5));
    ASSERT_TRUE(event<PrefixPiece>().has_value());
    frames.clear();
    prefixes.set_ready(false);
    EXPECT_TRUE(event<PrefixGone>().has_value());
    EXPECT_FALSE(prefixes.takes(JobId(1)));
    prefixes.give(now, JobId(1), Bytes(1), true);
    prefixes.give_up(now, JobId(1));
    prefixes.more(now, PrefixReadId(5));
    prefixes.close(now, PrefixReadId(5));
    EXPECT_TRUE(frames.empty());
    prefixes.open(now, PrefixReadId(6), chain, 64);
    EXPECT_TRUE(event<PrefixGone>().has_value());
    EXPECT_TRUE(frames.empty());
    EXPECT_FALSE(prefixes.poll_prefix().has_value());
}

}  // namespace
}  // namespace shoal::backend
