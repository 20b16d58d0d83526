#include "engine/fake.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>

#include "wire/text.h"

namespace shoal::engine {
namespace {

Now at(Duration since_start) {
    return {Instant(since_start), UnixTime{}};
}

Job job_of(std::uint64_t id, std::string text) {
    Job job;
    job.id = JobId(id);
    job.request.messages.push_back({Role::user, Plaintext(std::move(text))});
    return job;
}

// What became of each job, and whether the rules of engine.h were kept.
struct Watcher {
    struct Story {
        bool started = false;
        int ends = 0;
        std::string text;
        std::optional<Finished> finished;
        std::optional<Failed> failed;
    };
    std::map<std::uint64_t, Story> stories;
    int readies = 0, downs = 0;

    void drain(Engine& engine) {
        while (auto event = engine.poll()) see(*event);
    }
    void see(const Event& event) {
        if (std::holds_alternative<Ready>(event)) ++readies;
        if (std::holds_alternative<Down>(event)) ++downs;
        if (const auto* started = std::get_if<Started>(&event)) {
            Story& story = stories[started->job.value()];
            EXPECT_FALSE(story.started);
            EXPECT_EQ(story.ends, 0);
            story.started = true;
        } else if (const auto* text = std::get_if<Text>(&event)) {
            Story& story = stories[text->job.value()];
            EXPECT_TRUE(story.started);
            EXPECT_EQ(story.ends, 0) << "text after the end";
            EXPECT_TRUE(wire::is_utf8(text->text.expose()));
            story.text += text->text.expose();
        } else if (const auto* finished = std::get_if<Finished>(&event)) {
            Story& story = stories[finished->job.value()];
            ++story.ends;
            story.finished = *finished;
        } else if (const auto* failed = std::get_if<Failed>(&event)) {
            Story& story = stories[failed->job.value()];
            ++story.ends;
            story.failed = *failed;
        }
    }
};

Watcher run_to_end(FakeEngine& engine, Now now) {
    Watcher watcher;
    engine.on_tick(now);
    while (const auto next = engine.next_deadline()) engine.on_tick({*next, now.wall});
    watcher.drain(engine);
    return watcher;
}

TEST(FakeEngine, EchoesTheLastMessage) {
    FakeEngine engine({});
    engine.on_tick(at(0s));
    engine.submit(at(0s), job_of(1, "hello"));
    const Watcher watcher = run_to_end(engine, at(0s));
    const auto& story = watcher.stories.at(1);
    EXPECT_EQ(story.text, "echo: hello");
    ASSERT_TRUE(story.finished.has_value());
    EXPECT_EQ(story.finished->usage.prompt.value(), 4U + 2U);
    EXPECT_EQ(story.finished->usage.completion.value(), 3U);
}

TEST(FakeEngine, TakesItsTime) {
    FakeOptions options;
    options.prefill_per_second = 100;
    options.decode_per_second = 10;
    FakeEngine engine(options);
    engine.submit(at(0s), job_of(1, std::string(4 * 96, 'x')));  // 100 tokens of prompt
    Watcher watcher;
    engine.on_tick(at(999ms));
    watcher.drain(engine);
    EXPECT_FALSE(watcher.stories.contains(1));
    engine.on_tick(at(1000ms));
    watcher.drain(engine);
    EXPECT_TRUE(watcher.stories[1].started);
    EXPECT_EQ(watcher.stories[1].text, "");
    engine.on_tick(at(1100ms));
    watcher.drain(engine);
    EXPECT_EQ(watcher.stories[1].text.size(), 4U);
}

TEST(FakeEngine, HonoursLimitsAndStops) {
    FakeEngine engine({});
    Job limited = job_of(1, "a long text that goes on");
    limited.request.completion_tokens_max = 2;
    Job stopped = job_of(2, "one. two");
    stopped.request.stop = {"."};
    engine.submit(at(0s), std::move(limited));
    engine.submit(at(0s), std::move(stopped));
    const Watcher watcher = run_to_end(engine, at(0s));
    EXPECT_EQ(watcher.stories.at(1).finished->reason, FinishReason::length);
    EXPECT_EQ(watcher.stories.at(1).finished->usage.completion.value(), 2U);
    EXPECT_EQ(watcher.stories.at(2).text, "echo: one");
    EXPECT_EQ(watcher.stories.at(2).finished->reason, FinishReason::stop);
}

TEST(FakeEngine, RefusesWhatItCannotServe) {
    FakeOptions options;
    options.context_tokens = 16;
    FakeEngine engine(options);
    engine.submit(at(0s), job_of(1, std::string(100, 'x')));
    Job bad = job_of(2, "x");
    bad.request.sampling.temperature = 9;
    engine.submit(at(0s), std::move(bad));
    const Watcher watcher = run_to_end(engine, at(0s));
    EXPECT_EQ(watcher.stories.at(1).failed->fault, AskFault::context_exceeded);
    EXPECT_EQ(watcher.stories.at(2).failed->fault, AskFault::bad_request);
}

TEST(FakeEngine, AFullQueueAnswersOverloaded) {
    FakeOptions options;
    options.sequences = 1;
    FakeEngine engine(options);
    engine.on_tick(at(0s));
    for (std::uint64_t i = 0; i < limits::engine_jobs_queued_max + 2; ++i) engine.submit(at(0s), job_of(i, "x"));
    Watcher watcher;
    watcher.drain(engine);
    EXPECT_EQ(watcher.stories.at(limits::engine_jobs_queued_max + 1).failed->fault, AskFault::overloaded);
    EXPECT_EQ(engine.queued(), limits::engine_jobs_queued_max);
}

TEST(FakeEngine, DiesFailsItsJobsAndComesBack) {
    FakeEngine engine({});
    engine.submit(at(0s), job_of(1, "hello"));
    engine.on_tick(at(1ms));
    engine.die(at(2ms), "killed");
    EXPECT_EQ(engine.health(), Health::down);
    engine.submit(at(3ms), job_of(2, "hello"));
    const Watcher watcher = run_to_end(engine, at(3ms));
    EXPECT_EQ(watcher.stories.at(1).failed->fault, AskFault::engine_failed);
    EXPECT_EQ(watcher.stories.at(2).failed->fault, AskFault::engine_failed);
    EXPECT_EQ(watcher.readies, 2);
    EXPECT_EQ(engine.health(), Health::ready);
    engine.die(at(10s), "bad file", true);
    EXPECT_EQ(engine.health(), Health::dead);
    EXPECT_FALSE(engine.next_deadline().has_value());
}

TEST(FakeEngine, OneLateTickGivesWhatManyPunctualOnesGive) {
    const auto texts = [](bool punctual) {
        FakeEngine engine({});
        for (std::uint64_t i = 0; i < 30; ++i) engine.submit(at(0s), job_of(i, "job " + std::to_string(i)));
        std::string order;
        const auto note = [&] {
            while (auto event = engine.poll()) {
                if (const auto* text = std::get_if<Text>(&*event))
                    order += std::to_string(text->job.value()) + text->text.expose();
            }
        };
        for (Duration t = 0s; punctual && t < 10s; t += 7ms) {
            engine.on_tick(at(t));
            note();
        }
        engine.on_tick(at(10s));
        note();
        return order;
    };
    EXPECT_EQ(texts(true), texts(false));
}

// Any order of calls: each job that was submitted ends exactly once, and nothing follows its end.
RC_GTEST_PROP(FakeEngine, EachJobEndsExactlyOnce, ()) {
    FakeOptions options;
    options.sequences = *rc::gen::inRange(1U, 5U);
    options.load_time = 5ms;
    FakeEngine engine(options);
    Watcher watcher;
    std::uint64_t jobs = 0;
    Duration now = 0s;
    const int calls = *rc::gen::inRange(0, 80);
    for (int i = 0; i < calls; ++i) {
        now += std::chrono::milliseconds(*rc::gen::inRange(0, 60));
        switch (*rc::gen::inRange(0, 8)) {
            case 0: engine.cancel(at(now), JobId(*rc::gen::inRange<std::uint64_t>(0, jobs + 2))); break;
            case 1: engine.die(at(now), "killed"); break;
            case 2: engine.on_tick(at(now)); break;
            default: engine.submit(at(now), job_of(jobs++, std::string(*rc::gen::inRange<std::size_t>(0, 60), 'z')));
        }
        watcher.drain(engine);
        RC_ASSERT(engine.running() <= options.sequences);
    }
    engine.on_tick(at(now + 1h));
    watcher.drain(engine);
    for (std::uint64_t i = 0; i < jobs; ++i) RC_ASSERT(watcher.stories[i].ends == 1);
    RC_ASSERT(engine.running() == 0U && engine.queued() == 0U);
}

}  // namespace
}  // namespace shoal::engine
