#include "pipeline/meter.h"

#include <cstdio>

namespace shoal::pipeline {
namespace {

std::string fixed(const char* format, double value) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format, value);
    return buffer;
}

}  // namespace

std::string text_of(const Measured& measured, const std::optional<Prediction>& predicted) {
    std::string out = "measured over " + std::to_string(measured.tokens) +
                      " tokens: " + fixed("%.2f tokens/s", measured.tokens_per_second()) +
                      fixed(" with %.1f", measured.answers) + " answers at once, " +
                      fixed("%.2f ms a token of each", to_seconds(measured.per_token()) * 1000);
    if (!predicted) return out;
    return out + "; predicted: " + fixed("%.2f tokens/s", predicted->tokens_per_second) + " with " +
           std::to_string(predicted->sequences) + ", " + fixed("%.2f ms a step", to_seconds(predicted->step) * 1000) +
           " of " + std::to_string(predicted->batch);
}

void Meter::pass(Now now) {
    if (!answers_.empty() && now.mono > last_) {
        busy_ += now.mono - last_;
        answer_seconds_ += to_seconds(now.mono - last_) * static_cast<double>(answers_.size());
    }
    last_ = now.mono;
}

void Meter::count(JobId job, TokenCount completion) {
    const auto at = answers_.find(job);
    if (at == answers_.end() || completion < at->second) return;
    tokens_ += completion.value() - at->second.value();
    at->second = completion;
}

void Meter::on_event(Now now, const engine::Event& event) {
    pass(now);
    if (const auto* text = std::get_if<engine::Text>(&event)) {
        answers_.emplace(text->job, text->completion);
        count(text->job, text->completion);
    } else if (const auto* finished = std::get_if<engine::Finished>(&event)) {
        count(finished->job, finished->usage.completion);
        answers_.erase(finished->job);
    } else if (const auto* failed = std::get_if<engine::Failed>(&event)) {
        answers_.erase(failed->job);
    } else if (std::holds_alternative<engine::Down>(event)) {
        answers_.clear();
    }
}

std::optional<Measured> Meter::take() {
    if (tokens_ < tokens_min || busy_ <= Duration::zero() || (reported_ && busy_ < later_busy_min)) return std::nullopt;
    const Measured out{tokens_, busy_, answer_seconds_ / to_seconds(busy_)};
    reported_ = true;
    tokens_ = 0;
    busy_ = {};
    answer_seconds_ = 0;
    return out;
}

}  // namespace shoal::pipeline
