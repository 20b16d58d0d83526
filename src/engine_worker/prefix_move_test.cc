// A prefix that moves from one batcher to another: what the second one reads, what it refuses, and that its answers are
// those of a batcher that read everything itself. And from one shoal-engine to another.
#include <gtest/gtest.h>
#include <unistd.h>

#include "engine_worker/batcher.h"
#include "engine_worker/model_backbone.h"
#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"
#include "engine_worker/test_history.h"
#include "engine_worker/test_worker.h"

namespace shoal::engine_worker {
namespace {

namespace pipe = engine::pipe;
using Messages = std::vector<ChatMessage>;

const PrefixScope mine(ByteArray<32>{1});
const PrefixScope yours(ByteArray<32>{2});
const NodeId somebody(ByteArray<32>{9});

// One engine: a batcher over a backbone, with all that it says.
class Side {
public:
    explicit Side(int file) {
        pipe::Load load;
        load.context_tokens = 512;
        load.sequences = 8;
        load.threads = 1;
        auto ends = load_ends(open_whole_model(file, [](double) {}).value(), load);
        EXPECT_TRUE(ends.has_value());
        model = std::make_unique<Model>(std::move(ends->model));
        model->cells = 4096;
        backbone = std::make_unique<HistoryBackbone>(static_cast<std::size_t>(llama_vocab_n_tokens(model->vocab())), 1,
                                                     model->cells);
        batcher = std::make_unique<Batcher>(
            *model, *backbone, Speculation(), [this](const pipe::FromWorker& event) { note(event); },
            [this] { return std::chrono::steady_clock::time_point(now); });
    }
    std::uint64_t submit(const Messages& messages, std::optional<PrefixScope> scope,
                         std::optional<PrefixSource> source = std::nullopt, std::uint32_t tokens = 40) {
        engine::Job job;
        job.id = JobId(++last);
        job.request.messages = messages;
        job.request.completion_tokens_max = tokens;
        job.request.sampling.temperature = 0.8F;
        job.request.sampling.seed = 5;
        job.request.scope = scope;
        job.request.source = source;
        batcher->submit(std::move(job));
        return last;
    }
    bool step() {
        if (!batcher->begin_step()) return false;
        now += token_time * static_cast<int>(backbone->computed - timed);
        timed = backbone->computed;
        backbone->end(*batcher);
        return true;
    }
    void run() {
        while (batcher->busy()) (void)step();
    }
    std::string ask(const Messages& messages, std::optional<PrefixScope> scope,
                    std::optional<PrefixSource> source = std::nullopt) {
        const std::uint64_t job = submit(messages, scope, source);
        run();
        return texts[job];
    }
    // The snapshot under a chain; nothing where it is gone.
    Bytes read(const ByteArray<32>& chain, std::uint32_t tokens) {
        pieces.clear();
        gone = 0;
        batcher->giver().open(PrefixReadId(++last_read), chain, tokens);
        Bytes out;
        std::size_t seen = 0;
        while (seen < pieces.size()) {
            append(out, pieces[seen].bytes);
            if (pieces[seen++].last) return out;
            batcher->giver().more(PrefixReadId(last_read));
        }
        return {};
    }
    void note(const pipe::FromWorker& event) {
        if (const auto* text = std::get_if<engine::Text>(&event)) texts[text->job.value()] += text->text.expose();
        if (const auto* end = std::get_if<engine::Finished>(&event)) {
            EXPECT_FALSE(finished.contains(end->job.value()));
            finished[end->job.value()] = *end;
        }
        if (const auto* end = std::get_if<engine::Failed>(&event)) failed.push_back(end->job.value());
        if (const auto* ask = std::get_if<pipe::PrefixAsk>(&event)) asked.push_back(*ask);
        if (const auto* refused = std::get_if<engine::PrefixRefused>(&event)) reasons.push_back(refused->reason);
        if (const auto* piece = std::get_if<engine::PrefixPiece>(&event)) pieces.push_back(*piece);
        if (std::holds_alternative<engine::PrefixGone>(event)) ++gone;
    }
    const engine::Finished& of(std::uint64_t job) { return finished.at(job); }

    std::unique_ptr<Model> model;
    std::unique_ptr<HistoryBackbone> backbone;
    std::unique_ptr<Batcher> batcher;
    std::chrono::milliseconds token_time{10};
    std::chrono::milliseconds now{0};
    std::size_t timed = 0;
    std::uint64_t last = 0, last_read = 0;
    std::map<std::uint64_t, std::string> texts;
    std::map<std::uint64_t, engine::Finished> finished;
    std::vector<std::uint64_t> failed;
    std::vector<pipe::PrefixAsk> asked;
    std::vector<std::string> reasons;
    std::vector<engine::PrefixPiece> pieces;
    std::size_t gone = 0;
};

class PrefixMove : public ::testing::Test {
protected:
    static void SetUpTestSuite() { load_library(); }
    PrefixMove() : file_(fixture_path("spm")), one(file_.descriptor()), two(file_.descriptor()) {}

    static Messages first_turn() {
        std::string text = "tell me about the rain in spain, and do not leave out the plain or what is behind it";
        text += ". " + text;
        return {{Role::user, Plaintext(std::move(text))}};
    }
    static Messages second_turn(const std::string& answer) {
        Messages out = first_turn();
        out.push_back({Role::assistant, Plaintext(answer)});
        out.push_back({Role::user, Plaintext("and of the winds?")});
        return out;
    }
    // The first turn at `one`; what it says of it.
    PrefixSource after_first_turn() {
        answer = one.ask(first_turn(), mine);
        const engine::Finished& end = one.of(one.last);
        EXPECT_TRUE(end.kept.has_value());
        return {somebody, end.kept.value_or(KeptPrefix{})};
    }
    // The second one at `two`, up to where it asks. 0: it did not.
    std::uint64_t ask_two(const PrefixSource& source) {
        (void)two.ask({{Role::user, Plaintext("hello, how are you on this fine day, and what of tomorrow?")}}, yours);
        const std::uint64_t job = two.submit(second_turn(answer), mine, source);
        two.run();
        return two.asked.empty() ? 0 : job;
    }
    void give(std::uint64_t job, ByteView bytes, std::size_t most = 1000) {
        while (!bytes.empty()) {
            const ByteView part = bytes.first(std::min(most, bytes.size()));
            bytes = bytes.subspan(part.size());
            two.batcher->give(JobId(job), part, bytes.empty());
        }
    }
    static void expect_near(Duration a, Duration b) { EXPECT_LT(std::chrono::abs(a - b), 1us); }
    std::string recomputed() {
        Side fresh(file_.descriptor());
        return fresh.ask(second_turn(answer), std::nullopt);
    }

    OpenFile file_;
    Side one, two;
    std::string answer;
};

TEST_F(PrefixMove, TheSecondEngineReadsOnlyTheRest) {
    const PrefixSource source = after_first_turn();
    EXPECT_EQ(source.kept.tokens % prefix_block_tokens, 0U);
    EXPECT_GT(source.kept.tokens + prefix_block_tokens, one.of(1).usage.prompt.value());
    const std::uint64_t job = ask_two(source);
    ASSERT_NE(job, 0U);
    EXPECT_TRUE(two.batcher->waits());
    EXPECT_FALSE(two.batcher->busy());
    expect_near(two.asked[0].recompute, source.kept.tokens * Duration(10ms));
    const Bytes snapshot = one.read(two.asked[0].chain, source.kept.tokens);
    EXPECT_EQ(snapshot.size(), source.kept.bytes);
    const std::size_t before = two.backbone->computed;
    give(job, snapshot);
    EXPECT_TRUE(two.reasons.empty());
    two.run();
    const Usage& usage = two.of(job).usage;
    EXPECT_EQ(usage.reused.value(), source.kept.tokens);
    EXPECT_EQ(two.backbone->computed - before,
              usage.prompt.value() - usage.reused.value() + usage.completion.value() - 1);
    EXPECT_EQ(two.texts[job], recomputed());
    // What came is kept like what was read, and named anew.
    ASSERT_TRUE(two.of(job).kept.has_value());
    EXPECT_GT(two.of(job).kept->tokens, source.kept.tokens);
}

TEST_F(PrefixMove, TheSameRowsHaveTheSameNameWhereverTheyWereComputed) {
    const PrefixSource source = after_first_turn();
    (void)two.ask(first_turn(), mine);
    EXPECT_EQ(two.of(two.last).kept, source.kept);
    // Also where the sequence was reused, and goes on.
    (void)one.ask(first_turn(), mine);
    EXPECT_GT(one.of(one.last).usage.reused.value(), 0U);
    EXPECT_EQ(one.of(one.last).kept, source.kept);
}

TEST_F(PrefixMove, WhatWasAlteredIsRefusedAndReadHere) {
    const PrefixSource source = after_first_turn();
    const std::string right = recomputed();
    ASSERT_NE(ask_two(source), 0U);
    const Bytes snapshot = one.read(two.asked[0].chain, source.kept.tokens);
    two.batcher->give_up(JobId(two.last));
    two.run();
    std::uint8_t scope = 10;
    for (const std::size_t at :
         {std::size_t{0}, std::size_t{30}, std::size_t{60}, snapshot.size() / 2, snapshot.size() - 1}) {
        two.asked.clear();
        two.reasons.clear();
        const std::uint64_t job = two.submit(second_turn(answer), PrefixScope(ByteArray<32>{++scope}), source);
        two.run();
        ASSERT_EQ(two.asked.size(), 1U);
        Bytes altered = snapshot;
        altered[at] ^= 1;
        give(job, altered, 100);
        EXPECT_EQ(two.reasons.size(), 1U) << at;
        EXPECT_EQ(two.backbone->placed, 0U) << at;
        two.run();
        EXPECT_EQ(two.of(job).usage.reused.value(), 0U);
        EXPECT_EQ(two.texts[job], right) << at;
    }
}

TEST_F(PrefixMove, WhatEndsEarlyOrGoesOnIsRefused) {
    const PrefixSource source = after_first_turn();
    const std::uint64_t job = ask_two(source);
    ASSERT_NE(job, 0U);
    const Bytes snapshot = one.read(two.asked[0].chain, source.kept.tokens);
    give(job, ByteView(snapshot).first(snapshot.size() - 1));
    ASSERT_EQ(two.reasons.size(), 1U);
    EXPECT_NE(two.reasons[0].find("early"), std::string::npos);
    two.run();
    EXPECT_EQ(two.of(job).usage.reused.value(), 0U);

    const std::uint64_t next = two.submit(second_turn(answer), yours, source);
    two.run();
    ASSERT_EQ(two.asked.size(), 2U);
    Bytes longer = snapshot;
    longer.push_back(0);
    give(next, longer, snapshot.size());
    ASSERT_EQ(two.reasons.size(), 2U);
    EXPECT_NE(two.reasons[1].find("long"), std::string::npos);
    two.run();
    EXPECT_EQ(two.texts[next], recomputed());
    EXPECT_EQ(two.backbone->placed, 0U);
}

TEST_F(PrefixMove, WhoGivesUpReadsHere) {
    const PrefixSource source = after_first_turn();
    const std::uint64_t job = ask_two(source);
    ASSERT_NE(job, 0U);
    const Bytes snapshot = one.read(two.asked[0].chain, source.kept.tokens);
    two.batcher->give(JobId(job), ByteView(snapshot).first(200), false);
    two.batcher->give_up(JobId(job));
    two.batcher->give(JobId(job), ByteView(snapshot).subspan(200), true);  // dropped: it does not wait
    two.run();
    EXPECT_EQ(two.of(job).usage.reused.value(), 0U);
    EXPECT_EQ(two.texts[job], recomputed());
    EXPECT_TRUE(two.reasons.empty());
}

TEST_F(PrefixMove, AnEngineWithoutRoomReadsHere) {
    const PrefixSource source = after_first_turn();
    const std::uint64_t job = ask_two(source);
    ASSERT_NE(job, 0U);
    two.backbone->no_place = true;
    give(job, one.read(two.asked[0].chain, source.kept.tokens));
    EXPECT_TRUE(two.reasons.empty()) << "whoever gave it is blamed";
    two.run();
    EXPECT_EQ(two.backbone->placed, 1U);
    EXPECT_EQ(two.of(job).usage.reused.value(), 0U);
    EXPECT_EQ(two.texts[job], recomputed());
}

TEST_F(PrefixMove, AnEngineThatHoldsSomethingElseThenReadsHere) {
    const PrefixSource source = after_first_turn();
    const std::uint64_t job = ask_two(source);
    ASSERT_NE(job, 0U);
    two.backbone->lies = true;
    give(job, one.read(two.asked[0].chain, source.kept.tokens));
    two.run();
    EXPECT_EQ(two.backbone->placed, 1U);
    EXPECT_EQ(two.of(job).usage.reused.value(), 0U);
    EXPECT_EQ(two.texts[job], recomputed());
}

TEST_F(PrefixMove, AWaitingJobCanBeCancelledAndOthersGoOn) {
    const PrefixSource source = after_first_turn();
    const std::uint64_t job = ask_two(source);
    ASSERT_NE(job, 0U);
    EXPECT_FALSE(two.ask(first_turn(), std::nullopt).empty()) << "another job does not wait with it";
    two.batcher->cancel(JobId(job));
    EXPECT_FALSE(two.batcher->waits());
    ASSERT_EQ(two.failed.size(), 1U);
    const std::size_t placed = two.backbone->placed;
    give(job, one.read(two.asked[0].chain, source.kept.tokens));
    EXPECT_EQ(two.backbone->placed, placed);
    // Every sequence and cell is there again.
    for (int i = 0; i < 8; ++i) (void)two.submit(first_turn(), std::nullopt);
    two.run();
    EXPECT_EQ(two.finished.size(), 1U + 1 + 8);
}

TEST_F(PrefixMove, OnlyWhatIsWorthItIsAskedFor) {
    const PrefixSource source = after_first_turn();
    const auto asks = [&](PrefixSource from, const PrefixScope& scope) {
        two.asked.clear();
        const std::uint64_t job = two.submit(second_turn(answer), scope, from);
        two.run();
        if (!two.asked.empty()) two.batcher->give_up(JobId(job));
        two.run();
        return !two.asked.empty();
    };
    std::uint8_t scope = 20;
    const auto fresh = [&scope] { return PrefixScope(ByteArray<32>{++scope}); };
    EXPECT_TRUE(asks(source, fresh()));
    PrefixSource other = source;
    other.kept.bytes += 1;
    EXPECT_FALSE(asks(other, fresh())) << "no snapshot of this model";
    other = source;
    other.kept.tokens -= 1;
    EXPECT_FALSE(asks(other, fresh())) << "not whole blocks";
    other.kept.tokens = 480;
    other.kept.bytes = snapshot_bytes(*two.backbone->kv_shape(), 480);
    EXPECT_FALSE(asks(other, fresh())) << "longer than the prompt";
    two.token_time = 1ms;
    EXPECT_TRUE(asks(source, fresh())) << "nothing was read since";
    for (int i = 0; i < 12; ++i) (void)two.ask(first_turn(), std::nullopt);
    EXPECT_FALSE(asks(source, fresh())) << "quickly read";
    two.token_time = 10ms;
    for (int i = 0; i < 12; ++i) (void)two.ask(first_turn(), std::nullopt);
    EXPECT_TRUE(asks(source, fresh()));
    // It has as much itself.
    const PrefixScope again = fresh();
    EXPECT_TRUE(asks(source, again));
    EXPECT_FALSE(asks(source, again));
}

TEST_F(PrefixMove, AnEngineThatHasReadNothingYetMeasuresFirst) {
    const PrefixSource source = after_first_turn();
    const std::uint64_t job = two.submit(second_turn(answer), mine, source);
    two.run();
    ASSERT_EQ(two.asked.size(), 1U);
    EXPECT_EQ(two.backbone->computed, Batcher::measured_tokens_min);
    expect_near(two.asked[0].recompute, (source.kept.tokens - Batcher::measured_tokens_min) * Duration(10ms));
    give(job, one.read(two.asked[0].chain, source.kept.tokens));
    two.run();
    EXPECT_EQ(two.of(job).usage.reused.value(), source.kept.tokens);
    EXPECT_EQ(two.texts[job], recomputed());
}

TEST_F(PrefixMove, NoMoreJobsWaitThanMay) {
    const PrefixSource source = after_first_turn();
    (void)ask_two(source);
    for (int i = 0; i < 6; ++i) (void)two.submit(second_turn(answer), mine, source);
    two.run();
    EXPECT_EQ(two.asked.size(), limits::prefix_fetches_max);
    EXPECT_EQ(two.finished.size(), 1U + 7 - limits::prefix_fetches_max);
}

TEST_F(PrefixMove, NothingIsReadUnderAnotherChainOrLength) {
    const PrefixSource source = after_first_turn();
    ASSERT_NE(ask_two(source), 0U);
    const ByteArray<32> chain = two.asked[0].chain;
    ByteArray<32> other = chain;
    other[31] ^= 1;
    EXPECT_TRUE(one.read(other, source.kept.tokens).empty());
    EXPECT_TRUE(one.read(chain, source.kept.tokens - prefix_block_tokens).empty());
    EXPECT_TRUE(one.read(chain, source.kept.tokens + prefix_block_tokens).empty());
    EXPECT_TRUE(one.read(chain, 0).empty());
    EXPECT_EQ(one.gone, 1U);
    EXPECT_FALSE(one.read(chain, source.kept.tokens).empty());
    // Of another scope the same tokens have another name.
    (void)two.submit(second_turn(answer), yours, source);
    two.run();
    ASSERT_EQ(two.asked.size(), 2U);
    EXPECT_NE(two.asked[1].chain, chain);
    EXPECT_TRUE(one.read(two.asked[1].chain, source.kept.tokens).empty());
}

TEST_F(PrefixMove, WhatIsReadStaysWhenTheSequenceGoes) {
    const PrefixSource source = after_first_turn();
    const std::uint64_t job = ask_two(source);
    ASSERT_NE(job, 0U);
    PrefixGiver& giver = one.batcher->giver();
    giver.open(PrefixReadId(77), two.asked[0].chain, source.kept.tokens);
    ASSERT_EQ(one.pieces.size(), 1U);
    const Bytes before = one.pieces[0].bytes;
    EXPECT_TRUE(one.pieces[0].last);
    one.pieces.clear();
    // The conversation goes on: its sequence is another job's, which keeps it for a longer prompt.
    (void)one.submit(second_turn(answer), mine);
    (void)one.step();
    EXPECT_TRUE(one.read(two.asked[0].chain, source.kept.tokens).empty());
    one.run();
    EXPECT_TRUE(one.read(two.asked[0].chain, source.kept.tokens).empty()) << "only the last snapshot has a name";
    give(job, before);
    two.run();
    EXPECT_EQ(two.texts[job], recomputed());
}

TEST_F(PrefixMove, TheEndIsSaidWhenTheSnapshotHasItsName) {
    const std::uint64_t job = one.submit(first_turn(), mine, std::nullopt, 1);
    while (!one.texts.contains(job)) ASSERT_TRUE(one.step());
    EXPECT_FALSE(one.finished.contains(job));
    EXPECT_TRUE(one.batcher->busy());
    (void)one.step();
    ASSERT_TRUE(one.finished.contains(job));
    EXPECT_TRUE(one.of(job).kept.has_value());
    // A cancel does not wait for the name.
    const std::uint64_t next = one.submit(first_turn(), yours, std::nullopt, 1);
    while (!one.texts.contains(next)) ASSERT_TRUE(one.step());
    one.batcher->cancel(JobId(next));
    ASSERT_TRUE(one.finished.contains(next));
    EXPECT_FALSE(one.of(next).kept.has_value());
    one.run();
}

TEST_F(PrefixMove, WhatCannotBeMovedHasNoName) {
    (void)one.ask(first_turn(), std::nullopt);
    EXPECT_FALSE(one.of(one.last).kept.has_value()) << "without a scope";
    (void)one.ask({{Role::user, Plaintext("hi")}}, mine);
    EXPECT_FALSE(one.of(one.last).kept.has_value()) << "too short";
    one.backbone->shape.reset();
    answer = one.ask(first_turn(), yours);
    EXPECT_FALSE(one.of(one.last).kept.has_value()) << "a model of another form";
    const PrefixSource source{somebody, {96, 96 * 8, {}}};
    (void)one.ask(second_turn(answer), mine, source);
    EXPECT_TRUE(one.asked.empty());
}

TEST_F(PrefixMove, WhatMadeRoomMeanwhileHasNoName) {
    const std::uint64_t job = one.submit(first_turn(), mine, std::nullopt, 1);
    while (!one.texts.contains(job)) ASSERT_TRUE(one.step());
    one.batcher->fail_all("everything is lost");
    one.run();
    ASSERT_TRUE(one.finished.contains(job));
    EXPECT_FALSE(one.of(job).kept.has_value());
}

// Of a snapshot of some megabytes.
TEST_F(PrefixMove, PiecesComeAsTheyAreAskedForAndNoMoreReadsThanMay) {
    one.backbone->shape = two.backbone->shape = KvShape{{{{KvRowType::f16, 1 << 15}, {KvRowType::f16, 1 << 15}}}};
    const PrefixSource source = after_first_turn();
    const std::uint64_t job = ask_two(source);
    ASSERT_NE(job, 0U);
    PrefixGiver& giver = one.batcher->giver();
    const ByteArray<32> chain = two.asked[0].chain;
    for (std::uint64_t read = 100; read < 100 + limits::prefix_reads_max; ++read) {
        one.pieces.clear();
        giver.open(PrefixReadId(read), chain, source.kept.tokens);
        ASSERT_EQ(one.pieces.size(), pipe::prefix_pieces_ahead);
    }
    giver.open(PrefixReadId(100), chain, source.kept.tokens);  // an id names one read
    EXPECT_EQ(one.pieces.size(), pipe::prefix_pieces_ahead);
    giver.open(PrefixReadId(200), chain, source.kept.tokens);
    EXPECT_EQ(one.gone, 1U);
    giver.more(PrefixReadId(200));
    giver.close(PrefixReadId(200));
    EXPECT_EQ(one.pieces.size(), pipe::prefix_pieces_ahead);
    giver.close(PrefixReadId(100));
    giver.more(PrefixReadId(100));
    EXPECT_EQ(one.pieces.size(), pipe::prefix_pieces_ahead) << "of a closed read";
    const Bytes snapshot = one.read(chain, source.kept.tokens);
    EXPECT_EQ(snapshot.size(), source.kept.bytes);
    EXPECT_LT(std::size_t{pipe::prefix_pieces_ahead}, one.pieces.size());
    for (const engine::PrefixPiece& piece : one.pieces) {
        EXPECT_TRUE(piece.last || piece.bytes.size() == limits::prefix_piece_bytes);
    }
    give(job, snapshot, limits::prefix_piece_bytes);
    two.run();
    EXPECT_EQ(two.of(job).usage.reused.value(), source.kept.tokens);
    EXPECT_EQ(two.texts[job], recomputed());
}

TEST_F(PrefixMove, NoMoreIsCopiedThanMay) {
    PrefixCache cache;
    std::vector<engine::Finished> ends;
    const auto note = [&ends](const pipe::FromWorker& event) { ends.push_back(std::get<engine::Finished>(event)); };
    const std::vector<std::int32_t> prompt(64, 7);
    std::vector<BatchRow> rows;
    for (const llama_seq_id sequence : {0, 1, 2}) {
        for (std::uint32_t i = 0; i < prompt.size(); ++i) rows.push_back({prompt[i], i, sequence, false});
        (void)cache.keep(mine, prompt, sequence);
    }
    ASSERT_TRUE(one.backbone->begin(rows).has_value());
    PrefixGiver giver(*one.backbone, cache, note, 3500);  // a snapshot has 571 bytes, a copy 1376
    for (const std::int32_t sequence : {0, 1, 2}) {
        giver.finish({JobId(static_cast<std::uint64_t>(sequence)), FinishReason::stop, {}}, mine, prompt, sequence);
    }
    ASSERT_EQ(ends.size(), 0U);
    giver.finish({JobId(3), FinishReason::stop, {}}, mine, prompt, 0);
    ASSERT_EQ(ends.size(), 1U);
    EXPECT_EQ(ends[0].job, JobId(3));
    EXPECT_FALSE(ends[0].kept.has_value());
    while (giver.busy()) giver.work({});
    ASSERT_EQ(ends.size(), 4U);
    for (std::size_t i = 1; i < 4; ++i) EXPECT_TRUE(ends[i].kept.has_value());
}

// ---- real models ---------------------------------------------------------------------------------------------------

// A model as an engine loads it, under a batcher that takes reading for slow.
class RealSide {
public:
    RealSide(const std::string& path, pipe::KvType kv) : file_(path) {
        pipe::Load load;
        load.context_tokens = 512;
        load.sequences = 4;
        load.threads = 1;
        load.kv = kv;
        auto loaded = load_model(dup(file_.descriptor()), load, [](double) {});
        EXPECT_TRUE(loaded.has_value()) << (loaded ? "" : loaded.error().message);
        model_ = std::make_unique<Model>(std::move(*loaded));
        backbone_ = std::make_unique<ModelBackbone>(*model_);
        batcher = std::make_unique<Batcher>(
            *model_, *backbone_, Speculation(),
            [this](const pipe::FromWorker& event) {
                // Of the job that was asked last.
                if (const auto* text = std::get_if<engine::Text>(&event); text && text->job == JobId(last)) {
                    text_ += text->text.expose();
                }
                if (const auto* end = std::get_if<engine::Finished>(&event); end && end->job == JobId(last)) {
                    finished = *end;
                }
                if (const auto* ask = std::get_if<pipe::PrefixAsk>(&event)) asked = *ask;
                if (const auto* refused = std::get_if<engine::PrefixRefused>(&event)) refused_ = refused->reason;
                if (const auto* piece = std::get_if<engine::PrefixPiece>(&event)) append(snapshot, piece->bytes);
            },
            [this] { return std::chrono::steady_clock::time_point(now_ += 1s); });
    }
    void run() {
        while (batcher->busy()) {
            if (!batcher->begin_step()) continue;
            batcher->end_step([this](std::size_t row) {
                const float* logits = backbone_->logits(row);
                const auto count = static_cast<std::size_t>(llama_vocab_n_tokens(model_->vocab()));
                logits_.emplace_back(logits, logits + count);
                return logits;
            });
        }
    }
    std::string ask(const Messages& messages, std::optional<PrefixScope> scope,
                    std::optional<PrefixSource> source = std::nullopt) {
        engine::Job job = job_of(++last, "", 24);
        job.request.messages = messages;
        job.request.scope = scope;
        job.request.source = source;
        text_.clear();
        logits_.clear();
        asked.reset();
        batcher->submit(std::move(job));
        run();
        return text_;
    }
    const KvShape* shape() const { return backbone_->kv_shape(); }
    const std::string& text() const { return text_; }
    const std::string& refused() const { return refused_; }
    const std::vector<std::vector<float>>& logits() const { return logits_; }

    std::unique_ptr<Batcher> batcher;
    std::uint64_t last = 0;
    engine::Finished finished;
    std::optional<pipe::PrefixAsk> asked;
    Bytes snapshot;

private:
    OpenFile file_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<ModelBackbone> backbone_;
    std::chrono::seconds now_{0};
    std::string text_, refused_;
    std::vector<std::vector<float>> logits_;
};

const char* const question =
    "What is the capital of France, and why is it called so? Answer in a few words, please, and then tell me what the "
    "river is called that flows through it, and which other towns lie at that river.";

void expect_moves(const std::string& path, pipe::KvType kv, int times) {
    RealSide one(path, kv), two(path, kv), fresh(path, kv);
    ASSERT_NE(one.shape(), nullptr) << path;
    EXPECT_EQ(*one.shape(), *two.shape());
    std::string asked;
    for (int i = 0; i < times; ++i) asked += question;
    const Messages first = {{Role::user, Plaintext(asked)}};
    Messages messages = first;
    (void)one.ask(messages, mine);
    ASSERT_TRUE(one.finished.kept.has_value()) << path;
    const PrefixSource source{somebody, *one.finished.kept};
    messages.push_back({Role::assistant, Plaintext("It is Paris, as everybody knows.")});  // not what it said
    messages.push_back({Role::user, Plaintext("And of Spain?")});
    const std::string right = fresh.ask(messages, std::nullopt);

    (void)two.ask(messages, mine, source);
    ASSERT_TRUE(two.asked.has_value()) << path;
    one.batcher->giver().open(PrefixReadId(1), two.asked->chain, source.kept.tokens);
    ASSERT_EQ(one.snapshot.size(), source.kept.bytes);
    two.batcher->give(JobId(two.last), one.snapshot, true);
    EXPECT_EQ(two.refused(), "");
    two.run();
    EXPECT_EQ(two.finished.usage.reused.value(), source.kept.tokens) << path;
    EXPECT_EQ(two.text(), right) << path;

    // Bit by bit what an engine gives that read both parts itself: what was moved is what was computed.
    RealSide parts(path, kv);
    (void)parts.ask(first, mine);
    (void)parts.ask(messages, mine);
    ASSERT_EQ(parts.finished.usage.reused.value(), source.kept.tokens) << path;
    EXPECT_EQ(parts.finished.kept, two.finished.kept);
    ASSERT_EQ(two.logits().size(), parts.logits().size());
    for (std::size_t i = 0; i < two.logits().size(); ++i) EXPECT_EQ(two.logits()[i], parts.logits()[i]) << i;
}

const std::string mini = std::string(SHOAL_SOURCE_DIR) + "/models/shoal-mini.gguf";

TEST_F(PrefixMove, ARealModelsPrefixMoves) {
    expect_moves(fixture_path("bpe"), pipe::KvType::f16, 1);
    expect_moves(mini, pipe::KvType::f16, 3);
    expect_moves(mini, pipe::KvType::q8_0, 3);
    expect_moves(fixture_path("slow"), pipe::KvType::q8_0, 1);
}

// Memory in which others lie and have lain, at both engines.
TEST_F(PrefixMove, ARealModelsPrefixMovesBetweenOthers) {
    RealSide from(mini, pipe::KvType::f16), to(mini, pipe::KvType::f16), fresh(mini, pipe::KvType::f16);
    for (RealSide* side : {&from, &to}) {
        for (std::uint8_t i = 0; i < 12; ++i) {
            engine::Job job =
                job_of(++side->last, "Tell me of number " + std::to_string(i) + ", and of the sea.", 5 + i);
            if (i % 3 != 0) job.request.scope = PrefixScope(ByteArray<32>{static_cast<std::uint8_t>(100 + i)});
            side->batcher->submit(std::move(job));
        }
        side->run();
    }
    Messages messages = {{Role::user, Plaintext(std::string(question) + question + question)}};
    engine::Job beside = job_of(++from.last, "And beside it, what is there to say of the winds?", 60);
    from.batcher->submit(std::move(beside));
    (void)from.ask(messages, mine);
    ASSERT_TRUE(from.finished.kept.has_value());
    const PrefixSource source{somebody, *from.finished.kept};
    messages.push_back({Role::assistant, Plaintext("It is Paris.")});
    messages.push_back({Role::user, Plaintext("And of Spain?")});
    const std::string right = fresh.ask(messages, std::nullopt);
    (void)to.ask(messages, mine, source);
    ASSERT_TRUE(to.asked.has_value());
    from.snapshot.clear();
    from.batcher->giver().open(PrefixReadId(1), to.asked->chain, source.kept.tokens);
    to.batcher->give(JobId(to.last), from.snapshot, true);
    EXPECT_EQ(to.refused(), "");
    to.run();
    EXPECT_EQ(to.finished.usage.reused.value(), source.kept.tokens);
    EXPECT_EQ(to.text(), right);
}

TEST_F(PrefixMove, ACacheOfAnotherTypeIsNotAskedFor) {
    RealSide half(mini, pipe::KvType::f16), quarter(mini, pipe::KvType::q8_0);
    Messages messages = {{Role::user, Plaintext(std::string(question) + question + question)}};
    messages.push_back({Role::assistant, Plaintext(half.ask(messages, mine))});
    messages.push_back({Role::user, Plaintext("And of Spain?")});
    ASSERT_TRUE(half.finished.kept.has_value());
    (void)quarter.ask(messages, mine, PrefixSource{somebody, *half.finished.kept});
    EXPECT_FALSE(quarter.asked.has_value());
    EXPECT_EQ(quarter.finished.usage.reused.value(), 0U);
}

}  // namespace
}  // namespace shoal::engine_worker
