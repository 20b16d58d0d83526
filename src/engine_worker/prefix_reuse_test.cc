// A batcher that keeps prefixes, over a backbone whose logits are made of all that the sequence holds: what is reused
// wrongly changes the answer. And shoal-engine itself, on models of the build and of the project.
#include <gtest/gtest.h>

#include "engine_worker/batcher.h"
#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"
#include "engine_worker/test_history.h"
#include "engine_worker/test_worker.h"

namespace shoal::engine_worker {
namespace {

const PrefixScope mine(ByteArray<32>{1});
const PrefixScope yours(ByteArray<32>{2});

class PrefixReuse : public ::testing::Test {
protected:
    static void SetUpTestSuite() { load_library(); }
    PrefixReuse() : file_(fixture_path("spm")) { make(1, 2048); }
    void make(std::size_t steps, std::uint32_t cells, std::uint16_t sequences = 4) {
        batcher_.reset();
        engine::pipe::Load load;
        load.context_tokens = 512;
        load.sequences = sequences;
        load.threads = 1;
        auto ends = load_ends(open_whole_model(file_.descriptor(), [](double) {}).value(), load);
        ASSERT_TRUE(ends.has_value());
        model_ = std::make_unique<Model>(std::move(ends->model));
        model_->cells = cells;
        const auto vocabulary = static_cast<std::size_t>(llama_vocab_n_tokens(model_->vocab()));
        backbone_ = std::make_unique<HistoryBackbone>(vocabulary, steps, cells);
        restart();
    }
    // Of the same backbone: its cache is new, and it knows what the backbone says of itself now.
    void restart() {
        batcher_ = std::make_unique<Batcher>(*model_, *backbone_, Speculation(), [this](const auto& event) {
            if (const auto* text = std::get_if<engine::Text>(&event)) texts_[text->job.value()] += text->text.expose();
            if (const auto* end = std::get_if<engine::Finished>(&event)) usage_[end->job.value()] = end->usage;
            if (const auto* end = std::get_if<engine::Failed>(&event)) usage_[end->job.value()] = end->usage;
        });
    }
    using Messages = std::vector<ChatMessage>;
    std::uint64_t submit(const Messages& messages, std::optional<PrefixScope> scope, std::uint32_t tokens = 40,
                         float temperature = 0.8F) {
        engine::Job job;
        job.id = JobId(++last_);
        job.request.messages = messages;
        job.request.completion_tokens_max = tokens;
        job.request.sampling.temperature = temperature;
        job.request.sampling.seed = 5;
        job.request.scope = scope;
        batcher_->submit(std::move(job));
        return last_;
    }
    bool step() {
        bool any = false;
        while (batcher_->begin_step()) any = true;
        if (batcher_->under_way() > 0) backbone_->end(*batcher_);
        return any || batcher_->under_way() > 0;
    }
    void run() {
        while (batcher_->busy()) step();
    }
    std::string ask(const Messages& messages, std::optional<PrefixScope> scope) {
        const std::uint64_t job = submit(messages, scope);
        run();
        return texts_[job];
    }
    std::uint32_t reused() { return usage_[last_].reused.value(); }
    std::uint32_t prompt() { return usage_[last_].prompt.value(); }
    // The first turn with its answer, and what is asked then.
    Messages second_turn(const std::string& answer) const {
        return {{Role::user, Plaintext(first_)}, {Role::assistant, Plaintext(answer)}, {Role::user, Plaintext("so?")}};
    }
    Messages first_turn() const { return {{Role::user, Plaintext(first_)}}; }

    OpenFile file_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<HistoryBackbone> backbone_;
    std::unique_ptr<Batcher> batcher_;
    std::map<std::uint64_t, std::string> texts_;
    std::map<std::uint64_t, Usage> usage_;
    std::uint64_t last_ = 0;
    std::string first_ = "tell me about the rain in spain, and do not leave out the plain or what is behind it";
};

TEST_F(PrefixReuse, TheSecondTurnReadsOnlyWhatIsNew) {
    for (const std::size_t steps : {1, 3}) {
        make(steps, 2048);
        const std::string answer = ask(first_turn(), std::nullopt);
        const std::string next = ask(second_turn(answer), std::nullopt);
        EXPECT_EQ(reused(), 0U);
        EXPECT_EQ(ask(first_turn(), mine), answer);
        EXPECT_EQ(reused(), 0U);
        const std::uint32_t first_prompt = prompt();
        backbone_->computed = 0;
        EXPECT_EQ(ask(second_turn(answer), mine), next);
        EXPECT_GE(reused() + prefix_block_tokens, first_prompt);
        // Exact: what was not reused was computed, and a row for each token of the answer but the last.
        EXPECT_EQ(backbone_->computed, prompt() - reused() + usage_[last_].completion.value() - 1);
    }
}

TEST_F(PrefixReuse, NothingIsReusedOfAnotherScopeOrOfNone) {
    const std::string answer = ask(first_turn(), mine);
    (void)ask(second_turn(answer), yours);
    EXPECT_EQ(reused(), 0U);
    (void)ask(second_turn(answer), std::nullopt);
    EXPECT_EQ(reused(), 0U);
    (void)ask(first_turn(), std::nullopt);
    (void)ask(first_turn(), std::nullopt);
    EXPECT_EQ(reused(), 0U);
    (void)ask(second_turn(answer), mine);
    EXPECT_GT(reused(), 0U);
}

TEST_F(PrefixReuse, WhatIsKeptGoesBeforeAJobWaits) {
    make(1, 520);  // less than two jobs that may take their whole context
    (void)ask(first_turn(), mine);
    // Needs all cells but those few, and is alone: what is kept must not make it wait.
    const std::uint64_t greedy = submit({{Role::user, Plaintext("hello")}}, std::nullopt, 0);
    ASSERT_TRUE(step());
    EXPECT_FALSE(usage_.contains(greedy));
    EXPECT_GT(backbone_->computed, 0U);
    run();
    EXPECT_TRUE(usage_.contains(greedy));
    (void)ask(first_turn(), mine);
    EXPECT_EQ(reused(), 0U);
}

TEST_F(PrefixReuse, SequencesThatAreKeptAreGivenToOthers) {
    make(1, 4096, 2);
    for (std::uint8_t i = 10; i < 20; ++i) (void)ask(first_turn(), PrefixScope(ByteArray<32>{i}));
    (void)ask(first_turn(), PrefixScope(ByteArray<32>{19}));
    EXPECT_GT(reused(), 0U);
    (void)ask(first_turn(), PrefixScope(ByteArray<32>{10}));
    EXPECT_EQ(reused(), 0U);
}

TEST_F(PrefixReuse, ABackboneThatHoldsSomethingElseIsReadAnew) {
    const std::string answer = ask(first_turn(), mine);
    const std::string next = ask(second_turn(answer), std::nullopt);
    backbone_->lies = true;
    EXPECT_EQ(ask(second_turn(answer), mine), next);
    EXPECT_EQ(reused(), 0U);
}

TEST_F(PrefixReuse, NothingIsKeptOfAJobThatFailed) {
    const std::string answer = ask(first_turn(), std::nullopt);
    backbone_->not_finite_next = true;
    (void)ask(first_turn(), mine);
    EXPECT_EQ(usage_[last_].completion.value(), 0U);
    EXPECT_EQ(ask(first_turn(), mine), answer);
    EXPECT_EQ(reused(), 0U);
}

TEST_F(PrefixReuse, NothingIsKeptOfABackboneThatFailed) {
    const std::string answer = ask(first_turn(), mine);
    backbone_->fail_next = true;
    (void)submit({{Role::user, Plaintext("hello")}}, std::nullopt);
    EXPECT_FALSE(batcher_->begin_step());
    backbone_->forget_under_way();
    EXPECT_EQ(ask(first_turn(), mine), answer);
    EXPECT_EQ(reused(), 0U);
}

TEST_F(PrefixReuse, NoMoreIsKeptThanTheBackboneMay) {
    backbone_->kept_max = 64;
    restart();
    const std::string answer = ask(first_turn(), mine);
    ASSERT_GT(prompt() + usage_[last_].completion.value(), 64U + prefix_block_tokens);
    (void)ask(second_turn(answer), mine);
    EXPECT_EQ(reused(), 0U);
    backbone_->kept_max = 0;
    restart();
    (void)ask(first_turn(), mine);
    (void)ask(first_turn(), mine);
    EXPECT_EQ(reused(), 0U);
}

TEST_F(PrefixReuse, AJobLiesBesideNoMoreThanSlowsItLittle) {
    const Messages hello = {{Role::user, Plaintext("hello")}};
    backbone_->beside_max = 1;
    const std::string answer = ask(first_turn(), mine);
    (void)ask(second_turn(answer), mine);  // its own tokens do not count
    EXPECT_GT(reused(), 0U);
    (void)ask(hello, std::nullopt);
    (void)ask(second_turn(answer), mine);
    EXPECT_EQ(reused(), 0U);
    // Beside running jobs the oldest goes.
    make(1, 2048);
    (void)ask(first_turn(), mine);
    (void)ask(first_turn(), yours);
    const std::uint32_t one = prompt() + 40;
    (void)submit(hello, std::nullopt);
    (void)step();
    backbone_->beside_max = one + 20;
    (void)submit(hello, std::nullopt);
    run();
    backbone_->beside_max = UINT32_MAX;
    (void)ask(first_turn(), mine);
    EXPECT_EQ(reused(), 0U);
    (void)ask(first_turn(), yours);
    EXPECT_GT(reused(), 0U);
}

TEST_F(PrefixReuse, WhatMayLieFarApartGoesBeforeAJobThatIsAlone) {
    const Messages hello = {{Role::user, Plaintext("hello")}};
    (void)submit(first_turn(), std::nullopt);
    (void)submit(first_turn(), std::nullopt);
    run();
    const std::uint32_t two = 2 * prompt();
    (void)ask(first_turn(), mine);  // all were free before
    backbone_->beside_max = two;
    (void)ask(hello, std::nullopt);
    (void)ask(first_turn(), mine);
    EXPECT_GT(reused(), 0U);
    (void)submit(first_turn(), std::nullopt);
    (void)submit(first_turn(), std::nullopt);
    run();
    (void)ask(hello, std::nullopt);
    (void)ask(first_turn(), mine);
    EXPECT_EQ(reused(), 0U);
}

TEST_F(PrefixReuse, AModelWithRecurrentLayersKeepsNothing) {
    model_->one_kind_a_step = true;
    restart();
    const std::string answer = ask(first_turn(), mine);
    (void)ask(second_turn(answer), mine);
    EXPECT_EQ(reused(), 0U);
}

TEST_F(PrefixReuse, ACancelledJobLeavesWhatItComputed) {
    const std::string answer = ask(first_turn(), std::nullopt);
    const std::uint64_t job = submit(first_turn(), mine);
    for (int i = 0; i < 5; ++i) (void)step();
    batcher_->cancel(JobId(job));
    EXPECT_FALSE(batcher_->busy());
    EXPECT_EQ(ask(first_turn(), mine), answer);
    EXPECT_GT(reused(), 0U);
}

// Many conversations at once, some cancelled, on too few cells and sequences: every answer is the one that is given
// without reuse, and no more cells are ever held than there are (the backbone looks).
TEST_F(PrefixReuse, ChangesNoAnswerUnderPressure) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        TestRng rng(seed);
        const std::size_t steps = 1 + rng.below(3);
        make(steps, 700, 3);
        std::map<std::uint64_t, std::pair<Messages, std::uint32_t>> asked;
        std::map<std::uint64_t, Messages> conversations;
        std::vector<std::uint64_t> cancelled;
        std::uint32_t reuses = 0;
        for (int round = 0; round < 60; ++round) {
            const std::uint64_t who = rng.below(4);
            Messages& messages = conversations[who];
            if (messages.size() > 6) messages.clear();
            messages.push_back({Role::user, Plaintext("number " + std::to_string(rng.below(3)) + " " + first_)});
            const auto tokens = static_cast<std::uint32_t>(1 + rng.below(30));
            ByteArray<32> scope{static_cast<std::uint8_t>(1 + who % 3)};
            const std::uint64_t job = submit(messages, PrefixScope(scope), tokens);
            asked[job] = {messages, tokens};
            for (std::size_t i = rng.below(30); i > 0 && batcher_->busy(); --i) (void)step();
            if (rng.below(5) == 0 && !usage_.contains(job)) {
                batcher_->cancel(JobId(job));
                cancelled.push_back(job);
            }
            if (rng.below(2) == 0) run();
            messages.push_back({Role::assistant, Plaintext(texts_[job])});
        }
        run();
        for (const auto& [job, usage] : usage_) reuses += usage.reused.value() > 0 ? 1 : 0;
        EXPECT_GT(reuses, 10U);
        const std::map<std::uint64_t, std::string> with = texts_;
        make(1, 4096, 3);
        for (const auto& [job, what] : asked) {
            const std::uint64_t again = submit(what.first, std::nullopt, what.second);
            run();
            if (std::find(cancelled.begin(), cancelled.end(), job) != cancelled.end()) {
                EXPECT_TRUE(texts_[again].starts_with(with.contains(job) ? with.at(job) : ""));
            } else {
                EXPECT_EQ(texts_[again], with.at(job)) << seed << ": " << job;
            }
        }
        texts_.clear();
        usage_.clear();
    }
}

// ---- the engine itself -------------------------------------------------------------------------------------------

// Two turns; the second one's answer with and without reuse.
void expect_same_answers(const std::string& path, std::uint32_t context) {
    TestWorker worker(path);
    engine::pipe::Load load;
    load.context_tokens = context;
    load.sequences = 4;
    load.threads = 1;
    const auto ready = worker.load(load);
    ASSERT_TRUE(ready && std::holds_alternative<engine::Ready>(*ready)) << path;
    std::uint64_t id = 0;
    for (const float temperature : {0.0F, 0.8F}) {
        const std::string question = "What is the capital of France, and why is it called so? Answer in a few words.";
        const auto ask = [&](const std::vector<ChatMessage>& messages, std::optional<PrefixScope> scope) {
            engine::Job job = job_of(++id, "", 24);
            job.request.messages = messages;
            job.request.scope = scope;
            job.request.sampling.temperature = temperature;
            job.request.sampling.seed = 3;
            worker.send(std::move(job));
            Reply reply = worker.collect({id})[id];
            EXPECT_TRUE(reply.finished.has_value()) << path;
            return reply;
        };
        const PrefixScope scope(ByteArray<32>{static_cast<std::uint8_t>(10 * temperature + 1)});
        std::vector<ChatMessage> messages = {{Role::user, Plaintext(question)}};
        const Reply first = ask(messages, scope);
        messages.push_back({Role::assistant, Plaintext(first.text)});
        messages.push_back({Role::user, Plaintext("And of Spain?")});
        const Reply plain = ask(messages, std::nullopt);
        const Reply reused = ask(messages, scope);
        EXPECT_EQ(reused.text, plain.text) << path << " at " << temperature;
        EXPECT_EQ(plain.finished->usage.reused.value(), 0U);
        EXPECT_GE(reused.finished->usage.reused.value() + 2 * prefix_block_tokens, first.prompt);
        EXPECT_EQ(reused.finished->usage.prompt, plain.finished->usage.prompt);
    }
}

TEST(PrefixReuseWorker, ChangesNoTokenOfAnAnswer) {
    for (const char* name : {"spm", "bpe"}) expect_same_answers(fixture_path(name), 512);
    expect_same_answers(std::string(SHOAL_SOURCE_DIR) + "/models/shoal-mini.gguf", 512);
}

}  // namespace
}  // namespace shoal::engine_worker
