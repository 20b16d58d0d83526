// The ends of a model in one process and its layers in two others, over a small carrier.
#include <gtest/gtest.h>
#include <signal.h>

#include <array>

#include "backend/test_carrier.h"

namespace shoal::backend {

using engine::Down;
using engine::Failed;
using engine::Finished;
using engine::Forward;
using engine::Ready;
using engine::Started;
using engine::Truncate;

namespace {

// For the bundled model something that it was trained for, whose answer hangs on no last bit.
std::string words(std::uint64_t job, bool story = false) {
    constexpr std::array<const char*, 6> whom = {"dog", "cat", "boat", "girl", "king", "bird"};
    if (story) return std::string("Tell me a story about a ") + whom[job % whom.size()] + ".";
    std::string out = "tell me number " + std::to_string(job);
    for (std::uint64_t i = 0; i < 20 * job; ++i) out += " and then";
    return out;
}

class LeadTest : public WithEngine {
protected:
    static constexpr std::uint32_t tokens = 24;

    // The texts that the whole model gives for words(1) and so on, one after the other.
    std::vector<std::string> texts_of_whole(const std::string& name, std::uint64_t jobs) const {
        Rig whole(fixture(name), command);
        std::vector<std::string> out;
        for (std::uint64_t job = 1; job <= jobs; ++job) {
            whole.submit(job_of(job, words(job, name == "mini"), tokens));
            EXPECT_TRUE(whole.until([&] { return whole.ended(job); }));
            out.push_back(whole.text_of(job));
            EXPECT_FALSE(out.back().empty());
        }
        return out;
    }
    void start(const std::string& name, std::uint16_t layers, std::uint16_t steps) {
        start(name, wire::LayerRange{0, layers}, steps, std::nullopt);
    }
    // The lead has what is before and behind `elsewhere`.
    void start_boomerang(wire::LayerRange elsewhere, std::uint16_t steps) {
        start("slow", elsewhere, steps, elsewhere);
    }
    void start(const std::string& name, wire::LayerRange elsewhere, std::uint16_t steps,
               std::optional<wire::LayerRange> middle) {
        WorkerOptions options = small_engine(fixture(name), command);
        options.lead = WorkerOptions::Lead{wire::ActivationType::f32, steps, middle};
        elsewhere_ = elsewhere;
        rig = std::make_unique<Rig>(options);
        ASSERT_TRUE(rig->until_ready());
        carrier = std::make_unique<Carrier>(*rig, fixture(name), command);
        ASSERT_TRUE(open_session()) << carrier->failure;
    }
    bool open_session() {
        const auto cut = static_cast<std::uint16_t>((elsewhere_.first + elsewhere_.end) / 2);
        return carrier->open_session(elsewhere_.first, cut, elsewhere_.end);
    }
    void submit(std::uint64_t job, std::uint64_t text, bool story = false) {
        rig->submit(job_of(job, words(text, story), tokens));
    }
    bool until_ended(std::uint64_t job) {
        return rig->until([&] { return rig->ended(job) || !carrier->failure.empty(); }) && rig->ended(job);
    }
    bool until_held() {
        return rig->until([&] { return !carrier->held.empty() || !carrier->failure.empty(); });
    }

    std::unique_ptr<Rig> rig;
    std::unique_ptr<Carrier> carrier;

private:
    wire::LayerRange elsewhere_;
};

TEST_F(LeadTest, GivesTheTextOfTheWholeModel) {
    for (const auto& [name, layers] : std::vector<std::pair<std::string, std::uint16_t>>{{"spm", 2}, {"slow", 8}}) {
        const auto whole = texts_of_whole(name, 1);
        start(name, layers, 1);
        ASSERT_FALSE(HasFatalFailure());
        EXPECT_EQ(rig->engine->shape()->sequences, 4);
        EXPECT_EQ(rig->engine->shape()->context, rig->engine->model()->context_tokens);
        submit(1, 1);
        ASSERT_TRUE(until_ended(1)) << carrier->failure;
        EXPECT_EQ(rig->text_of(1), whole[0]);
        ASSERT_NE(rig->of<Finished>(1), nullptr);
        EXPECT_EQ(rig->of<Finished>(1)->usage.prompt, rig->of<Started>(1)->prompt);
        EXPECT_EQ(rig->of<Finished>(1)->usage.completion, TokenCount(tokens));
        carrier.reset();
    }
}

TEST_F(LeadTest, SeveralJobsAtOnceEndWithTheirOwnTexts) {
    constexpr std::uint64_t jobs = 6;  // two more than there are sequences
    const auto whole = texts_of_whole("mini", jobs);
    for (const std::uint16_t steps : {std::uint16_t{1}, std::uint16_t{3}}) {
        start("mini", 8, steps);
        ASSERT_FALSE(HasFatalFailure());
        for (std::uint64_t job = 1; job <= jobs; ++job) submit(job, job, true);
        for (std::uint64_t job = 1; job <= jobs; ++job) {
            ASSERT_TRUE(until_ended(job)) << carrier->failure;
            EXPECT_EQ(rig->text_of(job), whole[job - 1]) << job << " over " << steps << " steps";
        }
        EXPECT_LE(carrier->most_out, steps);
        EXPECT_EQ(carrier->out, 0U);
        carrier.reset();
    }
}

TEST_F(LeadTest, WithItsOwnFirstAndLastLayersItGivesTheSameTexts) {
    constexpr std::uint64_t jobs = 3;
    const auto whole = texts_of_whole("slow", jobs);
    for (const wire::LayerRange middle : {wire::LayerRange{1, 7}, wire::LayerRange{3, 5}}) {
        start_boomerang(middle, 3);
        ASSERT_FALSE(HasFatalFailure());
        carrier->hold = true;  // until three pieces of prompts are under way
        for (std::uint64_t job = 1; job <= jobs; ++job) submit(job, job);
        ASSERT_TRUE(rig->until([&] { return carrier->held.size() == 3 || !carrier->failure.empty(); }));
        carrier->let_go();
        for (std::uint64_t job = 1; job <= jobs; ++job) {
            ASSERT_TRUE(until_ended(job)) << carrier->failure;
            EXPECT_EQ(rig->text_of(job), whole[job - 1]) << job << ", middle from " << middle.first;
        }
        EXPECT_EQ(carrier->most_out, 3U);
        carrier.reset();
    }
}

TEST_F(LeadTest, ItsOwnLayersForgetWhatWasBroken) {
    const auto whole = texts_of_whole("slow", 2);
    start_boomerang({2, 6}, 2);
    ASSERT_FALSE(HasFatalFailure());
    carrier->hold = true;
    submit(1, 8);
    ASSERT_TRUE(until_held());  // rows of its first layers are out, none came to its last ones
    carrier->close_session();
    rig->engine->broken(rig->loop.now(), "hop 2 was lost", engine::BrokenFor::now);
    ASSERT_TRUE(until_ended(1));
    carrier->hold = false;
    ASSERT_TRUE(open_session()) << carrier->failure;
    submit(2, 1);
    submit(3, 2);
    ASSERT_TRUE(until_ended(2) && until_ended(3)) << carrier->failure;
    EXPECT_EQ(rig->text_of(2), whole[0]);
    EXPECT_EQ(rig->text_of(3), whole[1]);
    EXPECT_TRUE(rig->all<Down>().empty());
}

TEST_F(LeadTest, AMiddleThatReachesTheLastLayerIsRefusedForGood) {
    WorkerOptions options = small_engine(fixture("slow"), command);
    options.lead = WorkerOptions::Lead{wire::ActivationType::f32, 1, wire::LayerRange{1, 8}};
    Rig lead(options);
    ASSERT_TRUE(lead.until([&] { return !lead.all<Down>().empty(); }));
    EXPECT_TRUE(lead.all<Down>()[0]->permanent);
    EXPECT_NE(lead.all<Down>()[0]->reason.find("Can be kept: the first 1-7 layers"), std::string::npos)
        << lead.all<Down>()[0]->reason;
}

// The hops hold what the last turn left there until they are told otherwise.
TEST_F(LeadTest, TheSecondTurnOfAConversationIsReadFromWhereTheFirstOneEnded) {
    const auto turn = [](std::uint64_t id, const std::string& answer, bool scoped) {
        engine::Job job = job_of(id, words(2), tokens);
        if (scoped) job.request.scope = PrefixScope(ByteArray<32>{1});
        if (answer.empty()) return job;
        job.request.messages.push_back({Role::assistant, Plaintext(answer)});
        job.request.messages.push_back({Role::user, Plaintext("and then?")});
        return job;
    };
    start("spm", 2, 3);
    ASSERT_FALSE(HasFatalFailure());
    const auto ask = [&](engine::Job job) {
        const std::uint64_t id = job.id.value();
        rig->submit(std::move(job));
        return until_ended(id) ? rig->of<Finished>(id) : nullptr;
    };
    ASSERT_NE(ask(turn(1, "", true)), nullptr);
    const std::string answer = rig->text_of(1);
    const Finished* plain = ask(turn(2, answer, false));
    ASSERT_NE(plain, nullptr);
    EXPECT_EQ(plain->usage.reused, TokenCount(0));
    const Finished* reused = ask(turn(3, answer, true));
    ASSERT_NE(reused, nullptr);
    EXPECT_EQ(rig->text_of(3), rig->text_of(2));
    EXPECT_GT(reused->usage.reused.value() + 32, rig->of<Started>(1)->prompt.value());
    // Hops that were lost take with them what they held.
    carrier->close_session();
    rig->engine->broken(rig->loop.now(), "hop 2 was lost", engine::BrokenFor::now);
    ASSERT_TRUE(open_session()) << carrier->failure;
    const Finished* after = ask(turn(4, answer, true));
    ASSERT_NE(after, nullptr);
    EXPECT_EQ(after->usage.reused, TokenCount(0));
    EXPECT_EQ(rig->text_of(4), rig->text_of(2));
}

TEST_F(LeadTest, SeveralStepsAreUnderWayAtOnce) {
    start("spm", 2, 3);
    ASSERT_FALSE(HasFatalFailure());
    submit(1, 8);  // a prompt of more than three pieces
    ASSERT_TRUE(until_ended(1)) << carrier->failure;
    EXPECT_EQ(carrier->most_out, 3U);
}

TEST_F(LeadTest, AJobThatIsCancelledWhileItsRowsAreOutLeavesNothingBehind) {
    const auto whole = texts_of_whole("spm", 3);
    start("spm", 2, 2);
    ASSERT_FALSE(HasFatalFailure());
    carrier->hold = true;
    submit(1, 3);
    ASSERT_TRUE(until_held());
    rig->engine->cancel(rig->loop.now(), JobId(1));
    ASSERT_TRUE(until_ended(1));
    ASSERT_NE(rig->of<Failed>(1), nullptr);
    EXPECT_EQ(rig->of<Failed>(1)->fault, AskFault::cancelled);
    EXPECT_GT(carrier->out, 0U);
    submit(2, 1);
    carrier->let_go();
    submit(3, 2);
    ASSERT_TRUE(until_ended(2) && until_ended(3)) << carrier->failure;
    EXPECT_EQ(rig->text_of(1), "");
    EXPECT_EQ(rig->text_of(2), whole[0]);
    EXPECT_EQ(rig->text_of(3), whole[1]);
    EXPECT_TRUE(rig->all<Down>().empty());
}

TEST_F(LeadTest, ABrokenSessionEndsWhatRunsAndTheNextOneServesWhatWaits) {
    const auto whole = texts_of_whole("spm", 3);
    start("spm", 2, 1);
    ASSERT_FALSE(HasFatalFailure());
    carrier->hold = true;
    submit(1, 3);
    ASSERT_TRUE(until_held());
    submit(2, 1);  // cannot begin before the rows are back
    carrier->close_session();
    rig->engine->broken(rig->loop.now(), "hop 2 was lost", engine::BrokenFor::now);
    ASSERT_TRUE(until_ended(1));
    ASSERT_NE(rig->of<Failed>(1), nullptr);
    EXPECT_EQ(rig->of<Failed>(1)->fault, AskFault::engine_failed);
    EXPECT_EQ(rig->of<Failed>(1)->message, "hop 2 was lost");
    carrier->hold = false;
    ASSERT_TRUE(open_session()) << carrier->failure;
    submit(3, 2);
    ASSERT_TRUE(until_ended(2) && until_ended(3)) << carrier->failure;
    EXPECT_EQ(rig->text_of(2), whole[0]);
    EXPECT_EQ(rig->text_of(3), whole[1]);
    EXPECT_TRUE(rig->all<Down>().empty());
}

// The hops of the next session hold nothing: prompts and what was said are read again.
TEST_F(LeadTest, AnAnswerGoesOnInTheNextSession) {
    const auto whole = texts_of_whole("mini", 3);
    start("mini", 8, 2);
    ASSERT_FALSE(HasFatalFailure());
    for (std::uint64_t job = 1; job <= 3; ++job) submit(job, job, true);
    for (std::uint64_t job = 1; job <= 3; ++job) {
        ASSERT_TRUE(rig->until([&] { return !rig->text_of(job).empty(); })) << carrier->failure;
    }
    for (int lost = 0; lost < 2; ++lost) {
        ASSERT_FALSE(rig->ended(1) || rig->ended(2) || rig->ended(3)) << "too late to show anything";
        const std::string said = rig->text_of(1);
        carrier->close_session();
        rig->engine->broken(rig->loop.now(), "hop 2 was lost", engine::BrokenFor::now);
        ASSERT_TRUE(open_session()) << carrier->failure;
        ASSERT_TRUE(rig->until([&] { return rig->text_of(1) != said; })) << carrier->failure;
    }
    for (std::uint64_t job = 1; job <= 3; ++job) {
        ASSERT_TRUE(until_ended(job)) << carrier->failure;
        ASSERT_NE(rig->of<Finished>(job), nullptr);
        EXPECT_EQ(rig->text_of(job), whole[job - 1]);
        EXPECT_EQ(rig->of<Finished>(job)->usage.prompt, rig->of<Started>(job)->prompt);
        EXPECT_LE(rig->of<Finished>(job)->usage.completion, TokenCount(tokens));
    }
    EXPECT_TRUE(rig->all<Down>().empty());
}

TEST_F(LeadTest, AnAnswerThatIsBrokenAgainAndAgainEnds) {
    start("mini", 8, 1);
    ASSERT_FALSE(HasFatalFailure());
    submit(1, 1, true);
    ASSERT_TRUE(rig->until([&] { return !rig->text_of(1).empty(); })) << carrier->failure;
    carrier->hold = true;
    for (int lost = 1; lost <= 4; ++lost) {
        ASSERT_TRUE(until_held()) << carrier->failure;
        ASSERT_FALSE(rig->ended(1)) << lost;
        carrier->close_session();
        rig->engine->broken(rig->loop.now(), "hop 2 was lost", engine::BrokenFor::now);
        ASSERT_TRUE(open_session()) << carrier->failure;
    }
    ASSERT_TRUE(until_ended(1));
    ASSERT_NE(rig->of<Failed>(1), nullptr);
    EXPECT_EQ(rig->of<Failed>(1)->fault, AskFault::engine_failed);
    EXPECT_EQ(rig->of<Failed>(1)->usage.prompt, rig->of<Started>(1)->prompt);
    EXPECT_GT(rig->of<Failed>(1)->usage.completion, TokenCount(0));
}

TEST_F(LeadTest, WhatIsBrokenForGoodEndsAnswersToo) {
    const auto whole = texts_of_whole("mini", 2);
    start("mini", 8, 2);
    ASSERT_FALSE(HasFatalFailure());
    submit(1, 1, true);
    ASSERT_TRUE(rig->until([&] { return !rig->text_of(1).empty(); })) << carrier->failure;
    carrier->close_session();
    rig->engine->broken(rig->loop.now(), "hop 2 was lost", engine::BrokenFor::now);
    for (std::uint64_t job = 3; job < 9; ++job) submit(job, job, true);  // more than there are sequences
    rig->engine->broken(rig->loop.now(), "hop 2 is still lost", engine::BrokenFor::good);
    ASSERT_TRUE(until_ended(1));
    for (std::uint64_t job = 3; job < 9; ++job) {
        ASSERT_TRUE(until_ended(job));
        ASSERT_NE(rig->of<Failed>(job), nullptr);
        EXPECT_EQ(rig->of<Failed>(job)->message, "hop 2 is still lost");
    }
    ASSERT_NE(rig->of<Failed>(1), nullptr);
    EXPECT_EQ(rig->of<Failed>(1)->message, "hop 2 is still lost");
    ASSERT_TRUE(open_session()) << carrier->failure;
    submit(2, 2, true);
    ASSERT_TRUE(until_ended(2)) << carrier->failure;
    EXPECT_EQ(rig->text_of(2), whole[1]);
}

TEST_F(LeadTest, RowsOfABrokenSessionThatWereOnTheirWayAreNotHandedOut) {
    WorkerOptions options = small_engine(fixture("slow"), command);
    options.lead = WorkerOptions::Lead{wire::ActivationType::f32, 8};
    Rig lead(options);
    ASSERT_TRUE(lead.until_ready());
    // Pieces of 128 rows of 2 KiB: more than the node reads at once.
    bool broken = false;
    std::size_t late = 0;
    lead.on_drained = [&] {
        while (auto work = lead.engine->next_work()) {
            if (!std::holds_alternative<Forward>(*work)) continue;
            late += broken ? 1 : 0;
            if (!std::exchange(broken, true))
                lead.engine->broken(lead.loop.now(), "hop 2 was lost", engine::BrokenFor::now);
        }
    };
    lead.submit(job_of(1, words(12)));
    ASSERT_TRUE(lead.until([&] { return lead.ended(1); }));
    ASSERT_TRUE(broken);
    EXPECT_EQ(late, 0U);
}

TEST_F(LeadTest, RowsOfAnotherSizeEndTheWorkerAndItComesBack) {
    const auto whole = texts_of_whole("spm", 2);
    start("spm", 2, 1);
    ASSERT_FALSE(HasFatalFailure());
    carrier->hold = true;
    submit(1, 2);
    ASSERT_TRUE(until_held());
    carrier->held.front().resize(carrier->held.front().size() / 2);
    carrier->let_go();
    ASSERT_TRUE(rig->until([&] { return !rig->all<Down>().empty(); }));
    EXPECT_NE(rig->all<Down>()[0]->reason.find("another shape"), std::string::npos) << rig->all<Down>()[0]->reason;
    EXPECT_FALSE(rig->all<Down>()[0]->permanent);
    ASSERT_NE(rig->of<Failed>(1), nullptr);
    EXPECT_EQ(rig->of<Failed>(1)->fault, AskFault::engine_failed);
    ASSERT_TRUE(rig->until([&] { return rig->all<Ready>().size() == 2; }));
    ASSERT_TRUE(open_session()) << carrier->failure;
    submit(2, 1);
    ASSERT_TRUE(until_ended(2)) << carrier->failure;
    EXPECT_EQ(rig->text_of(2), whole[0]);
}

TEST_F(LeadTest, ALeadThatDiesFailsItsJobsAndComesBack) {
    const auto whole = texts_of_whole("spm", 2);
    start("spm", 2, 2);
    ASSERT_FALSE(HasFatalFailure());
    carrier->hold = true;
    submit(1, 2);
    ASSERT_TRUE(until_held());
    ASSERT_EQ(::kill(rig->engine->pid(), SIGKILL), 0);
    ASSERT_TRUE(until_ended(1));
    EXPECT_EQ(rig->of<Failed>(1)->fault, AskFault::engine_failed);
    carrier->let_go();  // rows of a worker that is gone
    ASSERT_TRUE(rig->until([&] { return rig->all<Ready>().size() == 2; }));
    ASSERT_TRUE(open_session()) << carrier->failure;
    submit(2, 1);
    ASSERT_TRUE(until_ended(2)) << carrier->failure;
    EXPECT_EQ(rig->text_of(2), whole[0]);
}

}  // namespace
}  // namespace shoal::backend
