// Meter: how fast a model over several nodes really answers, by what its engine says, beside what a plan predicted.
//
// Counted is what comes behind the first piece of each answer, over the time in which at least one answer is between
// its first piece and its end. So prompts count only as far as they make answers wait, and idle time not at all.
//
// Pure; one thread. O(log jobs) an event.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/time.h"
#include "engine/engine.h"

namespace shoal::pipeline {

// Of a plan (plan.h): a step gives one token to each of `batch` answers; `tokens_per_second` are those of all
// `sequences` answers.
struct Prediction {
    Duration step{};
    std::uint32_t batch = 1;
    double tokens_per_second = 0;
    std::uint32_t sequences = 1;
};

struct Measured {
    std::uint64_t tokens = 0;
    Duration busy{};
    double answers = 0;  // at once, on average
    double tokens_per_second() const { return static_cast<double>(tokens) / to_seconds(busy); }
    // Between two tokens of one answer.
    Duration per_token() const { return from_seconds(to_seconds(busy) * answers / static_cast<double>(tokens)); }
};
// In a line for people.
std::string text_of(const Measured& measured, const std::optional<Prediction>& predicted);

class Meter {
public:
    // The first figures come early, so that whoever sets a model up sees them; later ones are averages of a minute.
    static constexpr std::uint64_t tokens_min = 64;
    static constexpr Duration later_busy_min = 60s;

    void on_event(Now now, const engine::Event& event);
    // What was counted since the last time; nullopt: not enough yet.
    std::optional<Measured> take();

private:
    void pass(Now now);
    void count(JobId job, TokenCount completion);

    std::map<JobId, TokenCount> answers_;  // tokens that each gave; bounded: jobs of the engine
    Instant last_{};
    std::uint64_t tokens_ = 0;
    Duration busy_{};
    double answer_seconds_ = 0;
    bool reported_ = false;
};

}  // namespace shoal::pipeline
