// A prefix that moves between two real workers, through the doors that a node uses.
#include <gtest/gtest.h>
#include <signal.h>

#include "backend/test_engine.h"

namespace shoal::backend {
namespace {

using engine::Finished;
using engine::PrefixGone;
using engine::PrefixPiece;
using engine::PrefixRefused;
using engine::PrefixWanted;

const PrefixScope scope(ByteArray<32>{1});
const NodeId somebody(ByteArray<32>{9});

// An engine with what its second door says.
struct PrefixRig : Rig {
    explicit PrefixRig(WorkerOptions options) : Rig(std::move(options)) {
        on_drained = [this] {
            while (auto event = engine->prefixes()->poll_prefix()) {
                if (auto* each = std::get_if<PrefixWanted>(&*event)) wanted.push_back(*each);
                if (auto* each = std::get_if<PrefixRefused>(&*event)) refused.push_back(*each);
                if (auto* each = std::get_if<PrefixPiece>(&*event)) pieces.push_back(std::move(*each));
                if (std::holds_alternative<PrefixGone>(*event)) ++gone;
            }
        };
    }
    engine::Prefixes& door() { return *engine->prefixes(); }
    // By value: events that come later move those that are there.
    std::optional<Finished> ask(std::uint64_t id, const std::vector<ChatMessage>& messages,
                                std::optional<PrefixSource> source = std::nullopt) {
        start(id, messages, source);
        EXPECT_TRUE(until([&] { return ended(id); }));
        const Finished* finished = of<Finished>(id);
        return finished != nullptr ? std::optional(*finished) : std::nullopt;
    }
    void start(std::uint64_t id, const std::vector<ChatMessage>& messages, std::optional<PrefixSource> source) {
        engine::Job job = job_of(id, "");
        job.request.messages = messages;
        job.request.scope = scope;
        job.request.source = source;
        submit(std::move(job));
    }
    // Empty: it is not there.
    Bytes read(std::uint64_t id, const ByteArray<32>& chain, std::uint32_t tokens) {
        pieces.clear();
        gone = 0;
        door().open(loop.now(), PrefixReadId(id), chain, tokens);
        drain();
        Bytes out;
        for (std::size_t next = 0;; ++next) {
            EXPECT_TRUE(until([&] { return pieces.size() > next || gone > 0; }));
            if (gone > 0 || pieces.size() <= next) return {};
            EXPECT_EQ(pieces.size(), next + 1) << "a piece that was not asked for";
            append(out, pieces[next].bytes);
            if (pieces[next].last) return out;
            door().more(loop.now(), PrefixReadId(id));
            drain();
        }
    }
    void give(std::uint64_t job, ByteView bytes) {
        while (!bytes.empty() && refused.empty()) {
            ASSERT_TRUE(until([&] { return door().takes(JobId(job)) || !refused.empty() || ended(job); }));
            const ByteView part = bytes.first(std::min(limits::prefix_piece_bytes, bytes.size()));
            bytes = bytes.subspan(part.size());
            door().give(loop.now(), JobId(job), to_bytes(part), bytes.empty());
            drain();
        }
    }

    std::vector<PrefixWanted> wanted;
    std::vector<PrefixRefused> refused;
    std::vector<PrefixPiece> pieces;
    std::size_t gone = 0;
};

// Enough of it that reading takes limits::prefix_recompute_min and more.
std::vector<ChatMessage> first_turn() {
    std::string text;
    for (int i = 0; i < 40; ++i) text += "line " + std::to_string(i) + " of a long story about the sea; ";
    return {{Role::user, Plaintext(std::move(text))}};
}
std::vector<ChatMessage> second_turn() {
    std::vector<ChatMessage> out = first_turn();
    out.push_back({Role::assistant, Plaintext("I see.")});
    out.push_back({Role::user, Plaintext("and then?")});
    return out;
}

class PrefixEngines : public WithEngine {
protected:
    WorkerOptions options() const { return small_engine(fixture("slow"), command); }
};

TEST_F(PrefixEngines, WhatOneEngineComputedAnotherGoesOnWith) {
    PrefixRig one(options()), two(options()), fresh(options());
    const std::optional<Finished> first = one.ask(1, first_turn());
    ASSERT_TRUE(first && first->kept);
    const PrefixSource source{somebody, *first->kept};
    ASSERT_TRUE(fresh.ask(1, second_turn()));

    two.start(1, second_turn(), source);
    ASSERT_TRUE(two.until([&] { return !two.wanted.empty() || two.ended(1); }));
    ASSERT_EQ(two.wanted.size(), 1U) << "this machine reads too quickly for the test's prompt";
    EXPECT_EQ(two.wanted[0].source, source);
    EXPECT_GE(two.wanted[0].recompute, limits::prefix_recompute_min);
    RecordProperty("recompute_ms", static_cast<int>(two.wanted[0].recompute / 1ms));
    RecordProperty("tokens", static_cast<int>(source.kept.tokens));
    const Bytes snapshot = one.read(1, two.wanted[0].chain, source.kept.tokens);
    ASSERT_EQ(snapshot.size(), source.kept.bytes);
    EXPECT_GT(one.pieces.size(), 2U);
    two.give(1, snapshot);
    ASSERT_TRUE(two.until([&] { return two.ended(1); }));
    ASSERT_NE(two.of<Finished>(1), nullptr);
    EXPECT_TRUE(two.refused.empty());
    EXPECT_EQ(two.of<Finished>(1)->usage.reused.value(), source.kept.tokens);
    EXPECT_EQ(two.of<Finished>(1)->usage.prompt, fresh.of<Finished>(1)->usage.prompt);
    EXPECT_EQ(two.text_of(1), fresh.text_of(1));
    // The reader may ask again, and for nothing else.
    EXPECT_EQ(one.read(2, two.wanted[0].chain, source.kept.tokens), snapshot);
    EXPECT_TRUE(one.read(3, ByteArray<32>{}, source.kept.tokens).empty());
}

TEST_F(PrefixEngines, WhatWasAlteredIsRefusedAndTheAnswerIsRight) {
    PrefixRig one(options()), two(options()), fresh(options());
    const std::optional<Finished> first = one.ask(1, first_turn());
    ASSERT_TRUE(first && first->kept);
    const PrefixSource source{somebody, *first->kept};
    ASSERT_TRUE(fresh.ask(1, second_turn()));
    two.start(1, second_turn(), source);
    ASSERT_TRUE(two.until([&] { return !two.wanted.empty() || two.ended(1); }));
    ASSERT_EQ(two.wanted.size(), 1U);
    Bytes snapshot = one.read(1, two.wanted[0].chain, source.kept.tokens);
    snapshot[snapshot.size() / 2] ^= 1;
    two.give(1, snapshot);
    ASSERT_TRUE(two.until([&] { return two.ended(1); }));
    ASSERT_EQ(two.refused.size(), 1U);
    EXPECT_EQ(two.refused[0].job, JobId(1));
    EXPECT_NE(two.refused[0].reason.find("altered"), std::string::npos) << two.refused[0].reason;
    ASSERT_NE(two.of<Finished>(1), nullptr);
    EXPECT_EQ(two.of<Finished>(1)->usage.reused.value(), 0U);
    EXPECT_EQ(two.text_of(1), fresh.text_of(1));
    EXPECT_TRUE(two.all<engine::Down>().empty());
}

// A job that waits is open, and the node watches for silence meanwhile.
TEST_F(PrefixEngines, AWorkerWhoseJobWaitsIsNotTakenForOneThatHangs) {
    WorkerOptions watched = options();
    watched.silence_max = 2500ms;
    PrefixRig one(options()), two(watched);
    const std::optional<Finished> first = one.ask(1, first_turn());
    ASSERT_TRUE(first && first->kept);
    two.start(1, second_turn(), PrefixSource{somebody, *first->kept});
    ASSERT_TRUE(two.until([&] { return !two.wanted.empty() || two.ended(1); }));
    ASSERT_EQ(two.wanted.size(), 1U);
    bool passed = false;
    const net::Timer wait = two.loop.at(two.loop.now().mono + 3 * watched.silence_max, [&passed] { passed = true; });
    ASSERT_TRUE(two.until([&] { return passed; }));
    EXPECT_TRUE(two.all<engine::Down>().empty());
    two.door().give_up(two.loop.now(), JobId(1));
    ASSERT_TRUE(two.until([&] { return two.ended(1); }));
    EXPECT_NE(two.of<Finished>(1), nullptr);
}

TEST_F(PrefixEngines, AWorkerThatDiesTakesItsReadsAndWaitsWithIt) {
    PrefixRig one(options());
    const std::optional<Finished> first = one.ask(1, first_turn());
    ASSERT_TRUE(first && first->kept);
    ASSERT_EQ(::kill(one.engine->pid(), SIGKILL), 0);
    one.door().open(one.loop.now(), PrefixReadId(1), {}, 64);
    ASSERT_TRUE(one.until([&] { return one.gone > 0; }));
    ASSERT_TRUE(one.until([&] { return one.all<engine::Ready>().size() == 2; }));
    one.start(2, second_turn(), PrefixSource{somebody, *first->kept});
    ASSERT_TRUE(one.until([&] { return !one.wanted.empty() || one.ended(2); }));
    ASSERT_EQ(one.wanted.size(), 1U) << "the new worker holds nothing";
    ASSERT_EQ(::kill(one.engine->pid(), SIGKILL), 0);
    ASSERT_TRUE(one.until([&] { return one.ended(2); }));
    EXPECT_NE(one.of<engine::Failed>(2), nullptr);
    EXPECT_FALSE(one.door().takes(JobId(2)));
}

TEST_F(PrefixEngines, ALeadHasNoSuchDoor) {
    WorkerOptions lead = options();
    lead.lead.emplace();
    net::Loop loop;
    NullLog log;
    WorkerEngine engine(loop, log, std::move(lead), [] {});
    EXPECT_EQ(engine.prefixes(), nullptr);
}

}  // namespace
}  // namespace shoal::backend
